"""The state equation as a function of the density."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import ufl
from dolfinx import fem
from mpi4py import MPI

from dolfinx_neural_topo._checks import SetOnce, check_number
from dolfinx_neural_topo._dolfinx import unknown_options
from dolfinx_neural_topo._petsc import Owner, check_prefix, require_real
from dolfinx_neural_topo.errors import InputError, SolverError, agree, collective
from dolfinx_neural_topo.physics import chain
from dolfinx_neural_topo.physics.adjoints import Adjoints
from dolfinx_neural_topo.physics.checks import check_conditions, check_density, check_ghosts
from dolfinx_neural_topo.physics.field import Field
from dolfinx_neural_topo.physics.forms import FAST, compile_form, parse
from dolfinx_neural_topo.physics.inputs import Change, Inputs
from dolfinx_neural_topo.physics.linear_solver import ACCEPTED
from dolfinx_neural_topo.physics.load_cases import LoadCases
from dolfinx_neural_topo.physics.newton import Newton
from dolfinx_neural_topo.physics.operator import Operator
from dolfinx_neural_topo.physics.periodic import find_periodicity
from dolfinx_neural_topo.physics.probing import Probing
from dolfinx_neural_topo.physics.right_hand_side import RightHandSides


def _alive(problem: StateProblem, name: str, given: Mapping[str, Any]) -> StateProblem:
    """Check that a problem and those that feed it can be solved."""
    for each in problem.chain:
        if each.destroyed:
            raise InputError(f"state problem '{each.petsc_options_prefix}' was destroyed: make a new one")
    return problem


class StateProblem(SetOnce, Owner):
    """State u(rho) of a UFL equation, with one matrix, pattern and solver for all densities.

    A linear equation a(u_i, v; rho) = L_i(v; rho) is solved for all load cases i with one factorization, a
    nonlinear one F(u; v, rho) = 0 by Newton's method with the exact Jacobian. A `solve` at inputs that have
    not changed does nothing, so that several functionals share one solve.

    An equation may hold states of problems made before, with the same density: heat that strains, a flow
    that cools. They are solved first, and functionals go back through them. All other coefficients count as
    constants; so do the states of a problem that was destroyed.

    Args:
        equation: (a, L), (a, [L_1, L_2, ...]) or a residual F with `u`. An L that is None is zero. A residual
            that is linear in `u` is treated as the pair it stands for.
        rho: Density in DG0, dimensionless. Its degrees of freedom are the input of the problem.
        u: Function (or one for each load case) that holds the state. A nonlinear solve starts from it.
        bcs: Dirichlet conditions on the space of the state, or subspaces; their values may change between
            solves.
        nodal_loads: Forces at degrees of freedom (see `nodal_load`), beside L: one function, or one or None
            for each load case.
        periodic: True where the state of a box repeats from cell to cell, or the axes along which it does,
            such as (0,). Linear equations alone; all nodes of opposite faces must match.
        petsc_options_prefix: Prefix of all PETSc options of this problem, such as "bridge_"; the same on all
            ranks.
        solver: Preset, "direct", "amg" or "gmg"; None chooses by dimension, size and kind.
        petsc_options: PETSc options without prefix, over those of the preset. `PETSC_OPTIONS` wins over
            both.
        form_compiler_options: For `fem.form`.
        jit_options: For `fem.form`; by default optimized for this machine's processor.

    Attributes:
        states: Solution of each load case.
        V: Their space.
        rho: Density.
        chain: All problems that feed this one, in the order in which they are solved, and this one.
        constants: Coefficients and nodal loads that nobody solves for.
        num_solves: Forward solves so far, one for each load case.
        num_adjoint_solves: Adjoint solves so far.

    Raises:
        InputError: An argument is unusable, see its message.

    Note: Collective.

    Example:
        >>> beam = dnt.StateProblem((a, L), rho, bcs=bcs, nodal_loads=load, petsc_options_prefix="own_")
        >>> beam.solve(half)
        >>> beam.num_solves, beam.u.function_space is V
        (1, True)
        >>> beam.destroy()
    """

    load_may_vanish = False
    _changing = frozenset({"num_solves", "num_adjoint_solves"})

    @collective
    def __init__(
        self,
        equation: Any,
        rho: fem.Function,
        *,
        u: fem.Function | Sequence[fem.Function] | None = None,
        bcs: Sequence[fem.DirichletBC] = (),
        nodal_loads: fem.Function | Sequence[fem.Function | None] | None = None,
        periodic: bool | Sequence[int] = False,
        petsc_options_prefix: str,
        solver: str | None = None,
        petsc_options: Mapping[str, Any] | None = None,
        form_compiler_options: dict[str, Any] | None = None,
        jit_options: dict[str, Any] | None = None,
    ):
        super().__init__()
        self.comm: MPI.Comm = check_density(rho)
        require_real(self.comm)
        self.petsc_options_prefix = check_prefix(self.comm, petsc_options_prefix)
        one = isinstance(nodal_loads, fem.Function)
        nodal: list[fem.Function | None] = [nodal_loads] if one else list(nodal_loads or ())  # type: ignore
        wrong = unknown_options(form_compiler_options or {}, jit_options or {})
        if wrong is not None:
            raise InputError(wrong)
        self.equation = parse(equation, rho, u, len(nodal))
        self.V, self.states, self.rho = self.equation.V, self.equation.states, rho
        agree(self.comm, check_conditions(self.V, rho, bcs, nodal) or self._link(bcs, nodal))
        check_ghosts(self.V, bcs)
        self.mesh, self.bcs = self.V.mesh, tuple(bcs)
        self.nodal_loads = tuple(nodal) or tuple(None for _ in self.states)
        self.num_owned_cells = rho.function_space.dofmap.index_map.size_local
        self._compiler: dict[str, Any] = {
            "form_compiler_options": form_compiler_options,
            "jit_options": jit_options or {"cffi_extra_compile_args": FAST},
        }
        self.num_solves = self.num_adjoint_solves = 0
        self._inputs = Inputs(self.equation, rho, self.bcs, self.nodal_loads, self.constants)
        self._lifted, self._copied = self._inputs.lifted(), False
        self._fields = [self.own(Field(state)) for state in self.states]
        self._a = self.compile(self.equation.a)
        periodicity = find_periodicity(self.V, self.bcs, periodic, linear=self.equation.linear)
        self._operator: Operator = self.own(
            Operator(
                self._a,
                self.V,
                self.bcs,
                self.petsc_options_prefix,
                solver,
                petsc_options or {},
                linear=self.equation.linear,
                periodicity=None if periodicity is None else self.own(periodicity),
            )
        )
        self._probing: Probing = self.own(
            Probing(self._operator, self.equation, self._a, rho, self.bcs, self.compile)
        )
        forms = [None if L is None else self.compile(L) for L in self.equation.loads]
        loads = self.own(RightHandSides(self._a, self.V, self.bcs, forms, self.nodal_loads))
        self._load_cases = LoadCases(self._operator, self.equation, rho, loads, self._fields)
        self._newton: Newton | None = None
        self._adjoints: Adjoints = self.own(Adjoints(self._operator, self.V))
        chain.register(self, self.states)

    def _link(self, bcs: Sequence[fem.DirichletBC], nodal: Sequence[fem.Function | None]) -> str | None:
        """Find the problems that feed this one; return what is wrong with that, or None."""
        parents, self.constants, wrong = chain.link(self.equation, self.rho, bcs, nodal)
        self.chain: tuple[StateProblem, ...] = (*chain.in_order(parents), self)
        return wrong

    @collective
    def check_differentiable(self) -> None:
        """Refuse a gradient where the equation holds a copy of a solution.

        Raises:
            InputError: It does, as one step of time holds the one before.

        Note: Collective (on an equation that does).
        """
        if self._copied:
            agree(self.comm, self._inputs.copies.problem())

    @property
    def u(self) -> fem.Function:
        """Solution of the first load case."""
        return self.states[0]

    @property
    def num_factorizations(self) -> int:
        """Factorizations, or set-ups of the preconditioner, so far."""
        return self._operator.num_factorizations

    @property
    def iterations(self) -> int:
        """Iterations of the last linear solve, of all load cases (one each for direct solvers)."""
        return self._operator.iterations

    @property
    def residual(self) -> float:
        """True residual of the last linear solve, relative to the right-hand side."""
        return self._operator.residual

    @property
    def rtol(self) -> float | None:
        """Relative tolerance of iterative linear solvers; None stands for that of the options.

        A looser one may do while a design still moves. On tetrahedra with "amg", 1e-3 took a third of
        the iterations of 1e-8, and no gradient was wrong by more than 1e-4; 1e-2 took a fifth, with errors of
        1e-3 (demos/results/tetrahedra_4.json). Setting it makes the next solve a new one, and is collective.
        """
        return self._operator.rtol

    @rtol.setter
    @collective
    def rtol(self, value: float) -> None:
        if not 0.0 < check_number("rtol", value) <= 0.1:
            raise InputError(f"rtol must lie in (0, 0.1], got {value}: beyond, nothing of a gradient is left")
        if value != self._operator.rtol:
            self._operator.rtol = value
            self._inputs.forget()

    @collective
    def settle(self) -> bool:
        """Return to a tolerance fit for results, 1e-5, where solves end at a looser one.

        Returns:
            Whether they did.

        Note: Collective.
        """
        loose = self._operator.traits is not None and self._operator.solver.rtol > ACCEPTED
        if loose:
            self.rtol = ACCEPTED
        return loose

    @property
    def homogeneous(self) -> bool:
        """Whether all Dirichlet values were zero at the last solve (before the first: are zero)."""
        return not self._lifted

    @collective
    def is_symmetric(self) -> bool:
        """Return whether the operator is symmetric, found out from its matrix at a generic density.

        Note: Collective (at the first use).
        """
        if self._probing.look():
            self._inputs.take_matrix()  # the first solve does not look once more
        return self._operator.symmetric

    @collective
    def compile(self, form: ufl.Form) -> fem.Form:
        """Compile a form with the options of this problem.

        Raises:
            InputError: DOLFINx or UFL refuse it.

        Note: Collective.
        """
        return compile_form(form, self.petsc_options_prefix, self._compiler)

    @collective(self=_alive)
    def solve(self, rho: np.ndarray | None = None) -> None:
        """Solve for the states at a density, those that feed them first, unless they are there already.

        Args:
            rho: Density on owned cells, shape (num_owned_cells,), or None for what `self.rho` holds.

        Raises:
            InputError: A density of wrong shape or with NaN; a load that is zero or not finite; a PETSc
                option that nothing has read (said once).
            SolverError: No convergence, or a singular operator. The next solve starts afresh.

        Note: Collective.
        """
        for problem in self.chain:
            problem._solve(rho)

    def _solve(self, rho: np.ndarray | None) -> None:
        change = self._look(rho)
        if change & (Change.RHO | Change.MATRIX | Change.LOAD | Change.STATE):
            self._renew(change)

    def _look(self, rho: np.ndarray | None) -> Change:
        """Take a density and see what has changed since the last solve."""
        change = self._inputs.receive(rho)
        self._lifted, self._copied = bool(change & Change.LIFTED), bool(change & Change.COPIED)
        return change

    def _renew(self, change: Change) -> None:
        """Solve at the present inputs."""
        self._inputs.forget()
        self._probing.look(again=bool(change & Change.MATRIX))
        if self.equation.linear:
            self._solve_linear(change)
        else:
            self._solve_nonlinear()
        self.num_solves += len(self.states)
        self._inputs.take()
        self._operator.unread.check(self.petsc_options_prefix)

    @collective
    def solve_adjoint(self, dJ_du: Sequence[fem.Form], lmbda: Field, load: np.ndarray | None = None) -> None:
        """Solve A^T lmbda = dJ/du at the present state, zero on Dirichlet degrees of freedom.

        Args:
            dJ_du: Compiled linear forms on V, which are summed.
            lmbda: Receives the adjoint; its present value is the initial guess of iterative solvers.
            load: More of the right-hand side, on owned degrees of freedom.

        Raises:
            SolverError: No convergence.

        Note: Collective.
        """
        try:
            solved = self._adjoints.solve(dJ_du, lmbda, load, self._newton)
        except SolverError:
            self._inputs.forget()
            raise
        self.num_adjoint_solves += solved

    def external_work(self) -> np.ndarray:
        """Return this rank's share of the work L_i(u_i), nodal loads included, shape (number of cases,).

        Right for a linear equation with zero Dirichlet values.
        """
        return self._load_cases.external_work()

    def _solve_linear(self, change: Change) -> None:
        self._load_cases.solve(change, may_vanish=self.load_may_vanish)

    def _solve_nonlinear(self) -> None:
        if self._newton is None:
            F = self.equation.residual
            assert F is not None
            residual, (u,), (load,) = self.compile(F), self._fields, self.nodal_loads
            self._newton = self.own(Newton(self._operator, residual, self._a, u, load))
        self._newton.solve(self._lifted, may_vanish=self.load_may_vanish)
