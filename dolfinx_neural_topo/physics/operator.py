"""The assembled operator of a state equation and its solver, forward and transposed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from dolfinx import fem
from petsc4py import PETSc

from dolfinx_neural_topo._dolfinx import assemble_matrix, create_matrix
from dolfinx_neural_topo._petsc import Owner, options, reason_name
from dolfinx_neural_topo.errors import SolverError
from dolfinx_neural_topo.physics import nullspace
from dolfinx_neural_topo.physics.solvers import Preset, Traits, choose

SYMMETRY = 1e-10  # |x.Ay - y.Ax| relative to |Ax| |y|, above which the operator counts as not symmetric
WORDS = {
    "DIVERGED_MAX_IT": "the iteration limit was reached; raise ksp_max_it, or use solver='direct'",
    "DIVERGED_DTOL": "the residual grew; check supports and moduli, or use solver='direct'",
    "DIVERGED_INDEFINITE_PC": "the preconditioner is not positive definite; raise "
    "mg_levels_esteig_ksp_max_it",
    "DIVERGED_INDEFINITE_MAT": "the operator is not positive definite; use solver='direct' with pc_type lu",
    "DIVERGED_NANORINF": "NaN or infinity appeared; check moduli, loads and coordinates",
    "DIVERGED_PC_FAILED": "the factorization failed, so the operator is singular or not positive definite; "
    "check the "
    "supports, keep E_min > 0, or use petsc_options={'pc_type': 'lu'}",
    "DIVERGED_BREAKDOWN": "the Krylov method broke down; use solver='direct'",
}


class Operator(Owner):
    """Matrix A of a bilinear form, with the identity in rows and columns of Dirichlet degrees of freedom.

    The pattern, the solver and its symbolic factorization live as long as the object; `assemble` renews
    values only.

    Args:
        a: Compiled bilinear form.
        bcs: Dirichlet conditions.
        prefix: PETSc options prefix.
        solver: Name of a preset, or None for the one that suits.
        petsc_options: Options over those of the preset.
        linear: Whether the equation is linear. Elsewhere the matrix may lose its definiteness between solves.
    """

    def __init__(
        self,
        a: fem.Form,
        V: fem.FunctionSpace,
        bcs: Sequence[fem.DirichletBC],
        prefix: str,
        solver: str | None,
        petsc_options: Mapping[str, Any],
        *,
        linear: bool,
    ):
        super().__init__()
        self.V, self.bcs, self.prefix = V, list(bcs), prefix
        self._a, self._solver, self._given = a, solver, dict(petsc_options)
        self._linear = linear
        self.rtol: float | None = None
        self.A = self.own(create_matrix(a))
        self.A.setOptionsPrefix(prefix)
        self._residual = self.own(self.A.createVecLeft())
        self.traits: Traits | None = None
        self._session: Owner | None = None
        self._pair: tuple[PETSc.Mat, PETSc.Mat] | None = None
        self.num_factorizations = 0
        self.iterations = 0
        self.ksp: PETSc.KSP
        self.preset: Preset
        self.direct = False
        self._stale = self._rebuild = True
        self._first_iterations: int | None = None

    @property
    def symmetric(self) -> bool:
        """Whether the matrix was symmetric at the last probe."""
        assert self.traits is not None
        return self.traits.symmetric

    def assemble(self) -> None:
        """Compute the values of A from the form's present coefficients and constants.

        Note: Collective.
        """
        assemble_matrix(self.A, self._a, self.bcs)
        if self.traits is not None:
            self._tell_petsc(self.traits)
        self._stale = True

    def _tell_petsc(self, traits: Traits) -> None:
        # PETSc forgets these at every assembly.
        self.A.setOption(PETSc.Mat.Option.SYMMETRIC, traits.symmetric)
        if traits.definite:
            self.A.setOption(PETSc.Mat.Option.SPD, True)

    def probe(self) -> None:
        """Find out from the assembled matrix what kind it is, check supports, and set up a solver that suits.

        Raises:
            SolverError: A rigid-body motion (or a constant) is left free.
            InputError: The preset named does not suit the operator.

        Note: Collective.
        """
        if not np.isfinite(self.A.norm()):
            raise SolverError(
                f"the matrix of '{self.prefix}' holds NaN or infinity; check moduli and constants"
            )
        names, modes = nullspace.free_motions(self.V)
        nullspace.check_supports(self.A, names, modes)
        symmetric = self._is_symmetric()
        diagonal = self.A.getDiagonal()
        mixed = nullspace.is_mixed(self.V)
        definite = symmetric and self._linear and not mixed and diagonal.min()[1] > 0.0
        diagonal.destroy()
        traits = Traits(self.V, self.bcs, symmetric, definite, mixed)
        if self.traits is None or (traits.symmetric, traits.definite) != (
            self.traits.symmetric,
            self.traits.definite,
        ):
            self.traits = traits
            self._tell_petsc(traits)
            self._build(modes)

    def _is_symmetric(self) -> bool:
        x, y, Ax, Ay = (self.A.createVecLeft() for _ in range(4))
        random = np.random.default_rng(x.comm.rank)
        for vector in (x, y):
            vector.array_w[:] = random.standard_normal(vector.local_size)
        self.A.mult(x, Ax)
        self.A.mult(y, Ay)
        difference = abs(y.dot(Ax) - x.dot(Ay))
        symmetric = difference <= SYMMETRY * (Ax.norm() * y.norm() + Ay.norm() * x.norm())
        for vector in (x, y, Ax, Ay):
            vector.destroy()
        return bool(symmetric)

    def _build(self, modes: np.ndarray) -> None:
        assert self.traits is not None
        if self._session is not None:
            self._owned.remove(self._session)
            self._session.destroy()
        session = self._session = self.own(Owner())
        self.preset = choose(self._solver, self.traits)
        self.options = {**self.preset.options, **self._given}
        self.ksp = session.own(PETSc.KSP().create(self.A.comm))
        self.ksp.setOptionsPrefix(self.prefix)
        self.ksp.setOperators(self.A)
        self.ksp.setErrorIfNotConverged(False)
        if self.preset.near_nullspace:
            for vector in nullspace.attach_near_nullspace(self.A, modes):
                session.own(vector)
        if self.preset.configure is not None:
            support = self.preset.configure(self.ksp)
            if support is not None:
                session.own(support)
        with options(self.prefix, self.options):
            self.ksp.setFromOptions()
        self.direct = self.ksp.getType() == PETSc.KSP.Type.PREONLY
        self.ksp.setInitialGuessNonzero(self._linear and not self.direct)
        self._stale = self._rebuild = True
        self._first_iterations = None

    def set_up(self) -> None:
        """Factorize, or renew the preconditioner, if values have changed since.

        Note: Collective.
        """
        if self.rtol is not None:
            self.ksp.setTolerances(rtol=self.rtol)
        if not self._stale:
            return
        if not np.isfinite(self.A.norm()):
            raise SolverError(
                f"the matrix of '{self.prefix}' holds NaN or infinity; check moduli and density"
            )
        if self._rebuild and self.preset.rebuild:
            self.ksp.getPC().reset()
            self._first_iterations = None
        with options(self.prefix, self.options):  # multigrid makes its levels here, which read options
            self.ksp.setOperators(self.A)
            self.ksp.setUp()
            self.ksp.getPC().setUp()
        self._stale = self._rebuild = False
        self.num_factorizations += 1

    def solve(self, b: PETSc.Vec, x: PETSc.Vec, *, transpose: bool = False) -> None:
        """Solve A x = b (or A^T x = b); x holds the initial guess of iterative solvers.

        Raises:
            SolverError: No convergence, or a residual that shows A to be singular.

        Note: Collective.
        """
        assert self.traits is not None
        self.set_up()
        if transpose and not self.traits.symmetric:
            self.ksp.solveTranspose(b, x)
        else:
            self.ksp.solve(b, x)
        self._check(b, x, transpose)

    def solve_together(self, bs: Sequence[PETSc.Vec], xs: Sequence[PETSc.Vec]) -> None:
        """Solve A x_i = b_i for several right-hand sides, in one sweep over the factor where there is one.

        Raises:
            SolverError: As `solve`.

        Note: Collective.
        """
        self.set_up()
        if not self.direct or len(bs) == 1:
            for b, x in zip(bs, xs, strict=True):
                self.solve(b, x)
            return
        B, X = self._dense_pair(len(bs), bs[0].sizes)
        columns = B.getDenseArray()
        for i, b in enumerate(bs):
            columns[:, i] = b.array_r
        B.assemble()
        self.ksp.matSolve(B, X)
        columns = X.getDenseArray(readonly=True)
        for b, x, column in zip(bs, xs, columns.T, strict=True):
            x.array_w[:] = column
            self._check(b, x, transpose=False)

    def _dense_pair(self, count: int, sizes: tuple[int, int]) -> tuple[PETSc.Mat, PETSc.Mat]:
        if self._pair is None:
            pair = [self.own(PETSc.Mat().createDense((sizes, count), comm=self.A.comm)) for _ in range(2)]
            for matrix in pair:
                matrix.setUp()
                matrix.assemble()
            self._pair = (pair[0], pair[1])
        return self._pair

    def _check(self, b: PETSc.Vec, x: PETSc.Vec, transpose: bool) -> None:
        reason, iterations = self.ksp.getConvergedReason(), self.ksp.getIterationNumber()
        self.iterations = iterations
        if reason < 0:
            x.set(0.0)  # no initial guess for the next solve
            name = reason_name(PETSc.KSP.ConvergedReason, reason)
            residual = self.ksp.getResidualNorm()
            kind = f"{self.ksp.getType()}, {self.ksp.getPC().getType()}"
            raise SolverError(
                f"linear solver '{self.prefix}' ({kind}) failed with {name} after {iterations} iterations at "
                f"residual {residual:.3g}: {WORDS.get(name, 'see PETSc on this reason')}",
                reason=reason,
                iterations=iterations,
                residual=residual,
            )
        if self.direct:
            self._check_residual(b, x, transpose)
        elif self._first_iterations is None:
            self._first_iterations = iterations
        elif iterations > 1.5 * self._first_iterations + 5:
            self._rebuild = True

    def _check_residual(self, b: PETSc.Vec, x: PETSc.Vec, transpose: bool) -> None:
        r = self._residual
        self.A.multTranspose(x, r) if transpose else self.A.mult(x, r)
        r.aypx(-1.0, b)
        residual, scale = r.norm(), b.norm()
        if not residual <= 1e-5 * scale:  # also true for NaN
            x.set(0.0)
            raise SolverError(
                f"direct solver '{self.prefix}' left a residual of {residual:.3g} at a right-hand side of "
                f"{scale:.3g}, so the operator "
                "is singular or nearly so, or holds NaN; check supports, moduli (E_min > 0) and loads",
                residual=residual,
            )

    def destroy(self) -> None:
        """Destroy the solver, then the matrix.

        Note: Collective.
        """
        super().destroy()
        self._session = None
