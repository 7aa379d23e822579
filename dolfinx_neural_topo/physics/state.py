"""The state equation as a function of the density."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import ufl
from dolfinx import fem
from mpi4py import MPI

from dolfinx_neural_topo._dolfinx import dg0_cells
from dolfinx_neural_topo._petsc import Owner, check_prefix, require_real
from dolfinx_neural_topo.errors import InputError, agree
from dolfinx_neural_topo.physics.checks import check_conditions, check_density
from dolfinx_neural_topo.physics.field import Field
from dolfinx_neural_topo.physics.forms import FAST, parse
from dolfinx_neural_topo.physics.newton import Newton
from dolfinx_neural_topo.physics.operator import Operator
from dolfinx_neural_topo.physics.snapshot import Snapshot

_RHO, _MATRIX, _LOAD, _LIFTED, _SHAPE, _FINITE = (1 << k for k in range(6))  # bits of the verdict on inputs


class StateProblem(Owner):
    """State u(rho) of a UFL equation, with one matrix, pattern and solver for all densities.

    A linear equation a(u_i, v; rho) = L_i(v; rho) is solved for all load cases i with one factorization, a
    nonlinear one F(u; v, rho) = 0 by Newton's method with the exact Jacobian. A `solve` at inputs that have
    not changed does nothing, so that several functionals share one solve.

    Args:
        equation: (a, L), (a, [L_1, L_2, ...]) or a residual F with `u`. An L that is None is zero. A residual
            that is linear in `u` is treated as the pair it stands for.
        rho: Density in DG0, dimensionless. Its degrees of freedom are the input of the problem.
        u: Function (or one for each load case) that holds the state. A nonlinear solve starts from it.
        bcs: Dirichlet conditions on the space of the state, or subspaces; their values may change between
            solves.
        nodal_loads: Forces at degrees of freedom (see `nodal_load`), beside L: one function, or one or None
            for each load case.
        petsc_options_prefix: Prefix of all PETSc options of this problem, such as "bridge_"; the same on all
            ranks.
        solver: Preset, "direct" or "amg"; None chooses by dimension, size and kind.
        petsc_options: PETSc options without prefix, over those of the preset. The command line wins over
            both.
        form_compiler_options: For `fem.form`.
        jit_options: For `fem.form`; by default optimized for this machine's processor.

    Attributes:
        states: Solution of each load case.
        V: Their space.
        rho: Density.
        num_solves: Forward solves so far, one for each load case.
        num_adjoint_solves: Adjoint solves so far.

    Raises:
        InputError: An argument is unusable, see its message.

    Note: Collective.
    """

    def __init__(
        self,
        equation: Any,
        rho: fem.Function,
        *,
        u: fem.Function | Sequence[fem.Function] | None = None,
        bcs: Sequence[fem.DirichletBC] = (),
        nodal_loads: fem.Function | Sequence[fem.Function | None] | None = None,
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
        nodal = [nodal_loads] if isinstance(nodal_loads, fem.Function) else list(nodal_loads or ())
        self.equation = parse(equation, rho, u, len(nodal))
        self.V, self.states, self.rho = self.equation.V, self.equation.states, rho
        agree(self.comm, check_conditions(self.V, rho, bcs, nodal))
        self.mesh, self.bcs = self.V.mesh, list(bcs)
        self.nodal_loads: list[fem.Function | None] = nodal or [None] * len(self.states)
        self.num_owned_cells = rho.function_space.dofmap.index_map.size_local
        self._compiler = {
            "form_compiler_options": form_compiler_options,
            "jit_options": jit_options or {"cffi_extra_compile_args": FAST},
        }
        self.num_solves = self.num_adjoint_solves = 0
        self._fields = [self.own(Field(state)) for state in self.states]
        self._loads = [self.own(Field(fem.Function(self.V))) for _ in self.states]
        self._adjoint_load = self.own(Field(fem.Function(self.V)))
        self._bc_values = np.zeros_like(self.states[0].x.array)
        self._a = self.compile(self.equation.a)
        self._load_forms = [None if L is None else self.compile(L) for L in self.equation.loads]
        self._operator: Operator = self.own(
            Operator(
                self._a,
                self.V,
                self.bcs,
                self.petsc_options_prefix,
                solver,
                petsc_options or {},
                may_be_definite=self.equation.linear,
            )
        )
        self._newton: Newton | None = None
        self._watch()

    # --- what others build on ------------------------------------------------------------------------------

    @property
    def u(self) -> fem.Function:
        """Solution of the first load case."""
        return self.states[0]

    @property
    def num_factorizations(self) -> int:
        """Factorizations, or set-ups of the preconditioner, so far."""
        return self._operator.num_factorizations

    @property
    def symmetric(self) -> bool:
        """Whether the operator is symmetric, found out from the matrix at a generic density.

        Note: Collective (at the first use).
        """
        self._probe()
        assert self._operator.traits is not None
        return self._operator.traits.symmetric

    @property
    def homogeneous(self) -> bool:
        """Whether all Dirichlet values are zero now.

        Note: Collective.
        """
        return not self.comm.allreduce(bool(self._read_bcs().any()), op=MPI.LOR)

    def compile(self, form: ufl.Form) -> fem.Form:
        """Compile a form with the options of this problem.

        Note: Collective.
        """
        return fem.form(form, **self._compiler)

    def solve(self, rho: np.ndarray | None = None) -> None:
        """Solve for the states at a density, unless they are there already.

        Args:
            rho: Density on owned cells, shape (num_owned_cells,), or None for what `self.rho` holds.

        Raises:
            InputError: A density of wrong shape or with NaN; a load that is zero or not finite.
            SolverError: No convergence, or a singular operator.

        Note: Collective.
        """
        verdict = self._receive(rho)
        if verdict == 0:
            return
        self._forget()
        self._probe(again=bool(verdict & _MATRIX))
        if self.equation.linear:
            self._solve_linear(verdict)
        else:
            self._solve_nonlinear(bool(verdict & _LIFTED))
        self.num_solves += len(self.states)
        for snapshot in (self._rho_inputs, self._matrix_inputs, self._load_inputs):
            snapshot.take()

    def solve_adjoint(self, dJ_du: fem.Form, lmbda: Field) -> None:
        """Solve A^T lmbda = dJ/du at the present state, zero on Dirichlet degrees of freedom.

        Args:
            dJ_du: Compiled linear form on V.
            lmbda: Receives the adjoint; its present value is the initial guess of iterative solvers.

        Raises:
            SolverError: No convergence.

        Note: Collective.
        """
        b = self._adjoint_load
        b.assemble([dJ_du])
        for bc in self.bcs:
            bc.set(b.function.x.array, None, 0.0)
        b.changed()
        if b.vec.norm() == 0.0:
            lmbda.function.x.array[:] = 0.0
            return
        if self._newton is not None:
            self._newton.linearize()
        self._operator.solve(b.vec, lmbda.vec, transpose=True)
        lmbda.scatter_forward()
        self.num_adjoint_solves += 1

    def external_work(self) -> list[float]:
        """Return L_i(u_i) plus the work of the nodal loads, for each load case; the share of this rank.

        Only for a linear equation with zero Dirichlet values.
        """
        return [float(b.owned @ u.owned) for b, u in zip(self._loads, self._fields, strict=True)]

    # --- inputs --------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Note what the equation reads: density, other inputs of the matrix, inputs of the loads."""
        n, eq = self.num_owned_cells, self.equation
        self._rho_inputs = Snapshot([], arrays=[lambda: self.rho.x.array[:n]])
        known = [self.rho, *self.states]
        self._matrix_inputs = Snapshot([eq.a, eq.residual], known)
        nodal = [load for load in self.nodal_loads if load is not None]
        arrays = [self._read_bcs, *(lambda load=load: load.x.array for load in nodal)]
        self._load_inputs = Snapshot(eq.loads, known, arrays)
        self._rho_in_matrix = self.rho in eq.a.coefficients()
        self._rho_in_load = [L is not None and self.rho in L.coefficients() for L in eq.loads]

    def _forget(self) -> None:
        """Make the next solve a full one, in case this one fails."""
        self._rho_inputs.forget()

    def _read_bcs(self) -> np.ndarray:
        for bc in self.bcs:
            bc.set(self._bc_values, None, 1.0)
        return self._bc_values

    def _receive(self, rho: np.ndarray | None) -> int:
        """Take a density and say what has changed since the last solve, the same on all ranks."""
        if self._destroyed:
            raise InputError(
                f"state problem '{self.petsc_options_prefix}' was destroyed, so that it cannot solve"
            )
        held = self.rho.x.array[: self.num_owned_cells]
        given = held if rho is None else np.asarray(rho, dtype=np.float64)
        verdict = _SHAPE * (given.shape != held.shape)
        if not verdict:
            verdict = _FINITE * (not np.isfinite(given).all()) | _RHO * (not np.array_equal(given, held))
        verdict |= _RHO * self._rho_inputs.changed() | _MATRIX * self._matrix_inputs.changed()
        verdict |= _LOAD * self._load_inputs.changed() | _LIFTED * bool(self._read_bcs().any())
        if self.comm.size > 1:
            verdict = self.comm.allreduce(verdict, op=MPI.BOR)
        if verdict & (_SHAPE | _FINITE):
            self._refuse(given, held)
        if not verdict & (_RHO | _MATRIX | _LOAD):
            return 0
        held[:] = given
        self.rho.x.scatter_forward()
        return verdict

    def _refuse(self, given: np.ndarray, held: np.ndarray) -> None:
        problem = None
        if given.shape != held.shape:
            problem = f"rho must have shape {held.shape}, one number for each owned cell, got {given.shape}"
        elif not np.isfinite(given).all():
            problem = (
                f"rho must be finite, got NaN or infinity in {np.count_nonzero(~np.isfinite(given))} cells"
            )
        agree(self.comm, problem)

    # --- solving -------------------------------------------------------------------------------------------

    def _probe(self, again: bool = False) -> None:
        """Let the operator find out what kind it is, from its matrix at a generic density.

        A uniform density could hide an asymmetry, an extreme one could look like a missing support.
        """
        if self._operator.traits is not None and not (again and self.equation.linear):
            return
        held = self.rho.x.array.copy()
        cells = dg0_cells(self.rho.function_space)
        self.rho.x.array[:] = (
            0.25 + 0.75 * np.modf(0.618034 * self.mesh.topology.original_cell_index[cells])[0]
        )
        self._operator.assemble()
        self._operator.probe()
        self.rho.x.array[:] = held
        self._matrix_is_generic = True

    def _solve_linear(self, verdict: int) -> None:
        renewed = (
            self._matrix_is_generic
            or bool(verdict & _MATRIX)
            or (self._rho_in_matrix and bool(verdict & _RHO))
        )
        if renewed:
            self._operator.assemble()
            self._matrix_is_generic = False
        for case, depends in enumerate(self._rho_in_load):
            if verdict & _LOAD or (depends and verdict & _RHO) or (verdict & _LIFTED and renewed):
                self._assemble_load(case, bool(verdict & _LIFTED))
        self._operator.solve_together([b.vec for b in self._loads], [u.vec for u in self._fields])
        for u in self._fields:
            u.scatter_forward()

    def _assemble_load(self, case: int, lift: bool) -> None:
        b, form, nodal = self._loads[case], self._load_forms[case], self.nodal_loads[case]
        b.assemble([] if form is None else [form], scatter=False)
        if lift:
            fem.apply_lifting(b.function.x.array, [self._a], [self.bcs])
        b.add_from_ghosts()
        if nodal is not None:
            b.owned[:] += nodal.x.array[: b.owned.size]
        for bc in self.bcs:
            bc.set(b.function.x.array, None, 1.0)
        b.changed()
        norm = b.vec.norm()
        if not np.isfinite(norm):
            raise InputError(f"the load of case {case} must be finite, got NaN or infinity in it")
        if norm == 0.0:
            raise InputError(
                f"the load of case {case} must not be zero, got nothing but zeros at free degrees of "
                "freedom; way out: check "
                "tags and measures in L, positions of nodal_loads, or use inhomogeneous bcs"
            )

    def _solve_nonlinear(self, lift: bool) -> None:
        if self._newton is None:
            F = self.equation.residual
            assert F is not None
            self._newton = self.own(
                Newton(self._operator, self.compile(F), self._a, self._fields[0], self.nodal_loads[0])
            )
        self._newton.solve(lift)
