"""Eigenvalue problems, natural frequencies and buckling, by SLEPc."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import ufl
from dolfinx import fem
from petsc4py import PETSc

from dolfinx_neural_topo._communication import sum_replicated
from dolfinx_neural_topo._dolfinx import assemble_matrix, create_matrix
from dolfinx_neural_topo._petsc import options
from dolfinx_neural_topo.errors import InputError, SolverError, collective
from dolfinx_neural_topo.physics.chain import whole
from dolfinx_neural_topo.physics.field import Field
from dolfinx_neural_topo.physics.forms import Equation, pinned
from dolfinx_neural_topo.physics.inputs import Change
from dolfinx_neural_topo.physics.operator import is_symmetric
from dolfinx_neural_topo.physics.state import StateProblem

TOLERANCE = 1e-11  # relative residual of an eigenpair; eigenvalues are as exact as its square
ROUGH = 1e-3  # the same where its size alone matters
SAME = 1e-9  # distance of eigenvalues, relative to the largest, that rounding explains
SMALL_SPACE = 8  # dimension of the Krylov space for one eigenvalue
MOST_RESTARTS = 100  # of the Krylov space


class EigenProblem(StateProblem):
    """Lowest positive eigenvalues of a(u, v) = lmbda b(u, v) and their modes, as functions of the density.

    a is the stiffness, b the mass (natural frequencies, lmbda = omega^2) or what a stress takes from the
    stiffness (buckling, lmbda = factor on the load; see `elasticity.geometric_form`). SLEPc looks for the
    largest 1 / lmbda of b(u, v) = a(u, v) / lmbda by a Krylov-Schur method with A^-1 B, which is shift and
    invert at zero: A is factorized once a density, with the symbolic factorization of the one before. A
    Krylov space may miss the second of two equal eigenvalues; therefore a search among what is orthogonal to
    all that was found must find nothing better.

    It is a `StateProblem` whose states are the modes, with a(u_i, u_i) = 1. `Eigenvalue` makes functionals.

    A body that nothing holds, such as a periodic cell, has rigid modes with lmbda = 0, and a is singular.
    With a + s b instead of a, for a number s > 0, eigenvalues are lmbda + s and modes are the same.

    Args:
        a: Symmetric positive definite bilinear form, with the conditions in `bcs`.
        b: Symmetric bilinear form. It may be semidefinite or indefinite, and hold states of other problems.
        rho: Density in DG0.
        num: How many eigenvalues.
        bcs: Dirichlet conditions with value zero.
        periodic: As for `StateProblem`; modes have the period of the cell (the Gamma point of its bands).
        petsc_options_prefix: Prefix of all options, of PETSc and SLEPc (such as `eps_ncv`).
        petsc_options: Options without prefix.
        form_compiler_options: For `fem.form`.
        jit_options: For `fem.form`.

    Attributes:
        eigenvalues: Of the last solve, ascending, shape (num,); infinite where there are fewer positive ones.

    Raises:
        InputError: A form is not symmetric, `num` is not in 1 ... number of unknowns, a boundary value is
            not zero, or there is no slepc4py.

    Note: Collective.

    Example:
        >>> u, v = ufl.TrialFunction(V), ufl.TestFunction(V)
        >>> b = dnt.mass(rho) * ufl.inner(u, v) * ufl.dx
        >>> modes = dnt.EigenProblem(a, b, rho, num=2, bcs=bcs, petsc_options_prefix="modes_")
        >>> modes.solve(half)
        >>> bool(np.all(modes.eigenvalues > 0.0))
        True
        >>> modes.destroy()
    """

    _changing = StateProblem._changing | {"eigenvalues"}

    @collective
    def __init__(
        self,
        a: ufl.Form,
        b: ufl.Form,
        rho: fem.Function,
        *,
        num: int = 6,
        bcs: Sequence[fem.DirichletBC] = (),
        periodic: bool | Sequence[int] = False,
        petsc_options_prefix: str,
        petsc_options: Mapping[str, Any] | None = None,
        form_compiler_options: dict[str, Any] | None = None,
        jit_options: dict[str, Any] | None = None,
    ):
        self._slepc, self._options = _slepc(), dict(petsc_options or {})
        super().__init__(
            _equation(a, b, num),
            rho,
            bcs=bcs,
            periodic=periodic,
            petsc_options_prefix=petsc_options_prefix,
            solver="direct",
            petsc_options=petsc_options,
            form_compiler_options=form_compiler_options,
            jit_options=jit_options,
        )
        self.eigenvalues = np.full(num, np.inf)
        if not any(rho in form.coefficients() for form in (a, b)) and len(self.chain) == 1:
            raise InputError("a or b must contain the density rho, but neither does; way out: simp(rho) in a")
        self._num_free = self._count_free()
        if num > self._num_free:
            raise InputError(f"num must be at most the number of free unknowns, {self._num_free}, got {num}")
        assert self.equation.b is not None
        self._b = self.compile(self.equation.b)
        self._once: PETSc.Mat = self.own(create_matrix(self._b))
        # Where b lives on facets alone, its pattern lacks the diagonal of Dirichlet rows.
        self._once.setOption(PETSc.Mat.Option.NEW_NONZERO_ALLOCATION_ERR, False)
        self._B: PETSc.Mat | None = None if self._operator.periodicity else self._once

    def _count_free(self) -> int:
        free = np.ones(self.V.dofmap.index_map.size_local * self.V.dofmap.index_map_bs, dtype=bool)
        for bc in self.bcs:
            rows = bc.dof_indices()[0]
            free[rows[rows < free.size]] = False
        if self._operator.periodicity is not None:
            free[self._operator.periodicity.far] = False
        return int(sum_replicated(self.comm, float(free.sum())))

    def solve_adjoint(self, dJ_du: Sequence[fem.Form], lmbda: Field, load: np.ndarray | None = None) -> None:
        """Refuse: modes turn where eigenvalues meet, and a functional of them has no derivative there."""
        raise InputError(
            f"modes of '{self.petsc_options_prefix}' have no adjoint; way out: functionals of eigenvalues "
            "(Eigenvalue)"
        )

    def _solve_linear(self, change: Change) -> None:
        operator, prefix = self._operator, self.petsc_options_prefix
        assert operator.traits is not None
        if not operator.traits.definite:
            raise InputError(
                f"a of '{prefix}' must be symmetric and positive definite, got one that is not; way out: "
                "check its signs, and whether stiffness and mass are in each other's place"
            )
        if self._lifted:
            raise InputError("bcs of an eigenvalue problem must have the value zero, got others")
        operator.assemble()
        assemble_matrix(self._once, self._b, list(self.bcs), 0.0)
        if operator.periodicity is not None:
            first = self._B is None
            self._B = operator.periodicity.reduce(self._once, self._B, 0.0)
            if first:
                self.own(self._B)
        assert self._B is not None
        norm = self._B.norm()
        if not 0.0 < norm < np.inf:
            raise InputError(f"b of '{prefix}' must be finite and not zero, got a matrix of norm {norm:g}")
        if not is_symmetric(self._B):
            raise InputError(f"b of '{prefix}' must be symmetric, got a form that is not")
        operator.solver.set_up()
        try:
            pairs, scale = self._pairs()
            if operator.periodicity is not None:
                operator.periodicity.unfold([vector for _, vector in pairs])
        except PETSc.Error as error:
            operator.drop_solver()
            raise SolverError(
                f"SLEPc failed on '{prefix}' with error {error.ierr}: a is singular or not positive "
                "definite; way out: check supports and moduli, keep E_min > 0"
            ) from error
        for mode, (_, vector) in zip(self._fields, pairs, strict=True):
            mode.owned[:] = vector.array_r
            for bc in self.bcs:
                bc.set(mode.function.x.array, None, 0.0)
            mode.scatter_forward()
            mode.changed()
            vector.destroy()
        mu = np.array([mu for mu, _ in pairs])
        positive = mu > SAME * scale
        if not positive.any():
            raise SolverError(
                f"'{prefix}' has no positive eigenvalue: b takes nothing from a; way out: check signs (a "
                "structure in tension does not buckle)"
            )
        self.eigenvalues = np.divide(1.0, mu, where=positive, out=np.full(len(mu), np.inf))

    def _pairs(self) -> tuple[list[tuple[float, PETSc.Vec]], float]:
        """Return the largest mu of b = mu a with a-normal vectors, none missed, and the largest |mu|."""
        num, conv = len(self.states), self._slepc.EPS.Conv
        ((mu, vector),) = self._search(1, [], conv.REL, ROUGH, magnitude=True)
        vector.destroy()
        scale = abs(mu)
        pairs = self._search(num, [], conv.ABS, TOLERANCE * scale)
        while len(pairs) < self._num_free:
            pairs.sort(key=lambda pair: -pair[0])
            known, least = [vector for _, vector in pairs], pairs[num - 1][0]
            ((mu, vector),) = self._search(1, known, conv.ABS, ROUGH * max(least, ROUGH**2 * scale))
            vector.destroy()
            if mu <= least + SAME * scale:
                break
            pairs += self._search(1, known, conv.ABS, TOLERANCE * scale)
        for _, vector in pairs[num:]:
            vector.destroy()
        return pairs[:num], scale

    def _search(
        self, num: int, known: list[PETSc.Vec], test: Any, tolerance: float, magnitude: bool = False
    ) -> list[tuple[float, PETSc.Vec]]:
        """Return pairs with the largest mu (or |mu|) among what is orthogonal to known vectors."""
        operator, prefix = self._operator, self.petsc_options_prefix
        eps, start = self._slepc.EPS().create(self.comm), operator.A.createVecRight()
        try:
            eps.setOptionsPrefix(prefix)
            eps.setOperators(self._B, operator.A)
            eps.setProblemType(eps.ProblemType.GHEP)
            eps.setWhichEigenpairs(eps.Which.LARGEST_MAGNITUDE if magnitude else eps.Which.LARGEST_REAL)
            room = self._num_free - len(known)
            eps.setDimensions(num, min(SMALL_SPACE, room) if num == 1 else None)
            eps.setConvergenceTest(test)
            eps.setTolerances(tolerance, MOST_RESTARTS)
            eps.getST().setKSP(operator.solver.ksp)
            # A start sees one direction of an eigenspace, known afterwards: each search has its own.
            generator = np.random.default_rng([self.comm.rank, len(known)])
            start.array_w[:] = generator.standard_normal(start.local_size)
            eps.setInitialSpace([start])
            if known:
                eps.setDeflationSpace(known)
            with options(prefix, self._options, operator.unread):
                eps.setFromOptions()
            eps.solve()
            if eps.getConverged() < num:
                raise SolverError(
                    f"SLEPc found {eps.getConverged()} of {num} eigenvalues of '{prefix}' within "
                    f"{eps.getIterationNumber()} restarts; way out: fewer, or a larger eps_ncv or eps_max_it "
                    "in petsc_options (a structure in tension hardly buckles: check the sign of b)"
                )
            vectors = [operator.A.createVecRight() for _ in range(num)]
            return [(eps.getEigenpair(i, x).real, x) for i, x in enumerate(vectors)]
        finally:
            start.destroy()
            eps.destroy()


def _equation(a: Any, b: Any, num: Any) -> Equation:
    """Return the equation of an eigenvalue problem, checked."""
    for name, form in (("a", a), ("b", b)):
        if not isinstance(form, ufl.Form) or len(form.arguments()) != 2:
            raise InputError(f"{name} must be a bilinear form in UFL, got {form!r:.80}")
    V = a.arguments()[0].ufl_function_space()
    if any(argument.ufl_function_space() != V for argument in (*a.arguments(), *b.arguments())):
        raise InputError("a and b must have their test and trial functions on one space, got several")
    if isinstance(num, bool) or not isinstance(num, int | np.integer) or num < 1:
        raise InputError(f"num must be a positive number of eigenvalues, got {num!r}")
    unknowns = V.dofmap.index_map.size_global * V.dofmap.index_map_bs
    if num > unknowns:
        raise InputError(f"num must be at most the number of unknowns, {unknowns}, got {num}")
    modes = [fem.Function(V, name=f"mode_{i}") for i in range(num)]
    return Equation(V, modes, pinned(whole(a)), [None] * num, None, pinned(whole(b)))


def _slepc() -> Any:
    try:
        from slepc4py import SLEPc
    except ImportError as error:
        raise InputError(
            "eigenvalue problems need slepc4py, which cannot be imported; way out: install it beside "
            "petsc4py (Debian: python3-slepc4py-real, conda: slepc4py)"
        ) from error
    return SLEPc
