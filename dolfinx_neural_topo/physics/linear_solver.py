"""A PETSc solver that is kept between matrices, and looks at what it returns."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from petsc4py import PETSc

from dolfinx_neural_topo._petsc import Owner, Unread, options, reason_name, take_options
from dolfinx_neural_topo.errors import InputError, SolverError
from dolfinx_neural_topo.physics import nullspace
from dolfinx_neural_topo.physics.solvers import Preset, Traits

# True residual, relative to the right-hand side, that is always accepted. A direct solver leaves more only
# where the matrix is singular, an iterative one where it has judged itself by another norm.
ACCEPTED = 1e-5
WORK_ERROR = 0.01  # relative error of the work b . x up to which rounding excuses a larger residual
MISSING_FACTOR = 92  # PETSc's error for a factorization that it does not have
EPSILON = float(np.finfo(np.float64).eps)
WORDS = {
    "DIVERGED_MAX_IT": "the iteration limit was reached; raise ksp_max_it, or use solver='direct'",
    "DIVERGED_DTOL": "the residual grew; check supports and moduli, or use solver='direct'",
    "DIVERGED_INDEFINITE_PC": "the preconditioner is indefinite; raise mg_levels_esteig_ksp_max_it",
    "DIVERGED_INDEFINITE_MAT": "the operator is not positive definite; use solver='direct' with pc_type lu",
    "DIVERGED_NANORINF": "NaN or infinity appeared; check moduli, loads and coordinates",
    "DIVERGED_PCSETUP_FAILED": "the set-up failed, so the operator is singular or not positive definite; "
    "check the supports, keep E_min > 0, or use petsc_options={'pc_type': 'lu'}",
    "DIVERGED_BREAKDOWN": "the Krylov method broke down; use solver='direct'",
}


class LinearSolver(Owner):
    """KSP for a matrix whose values change and whose pattern does not.

    Args:
        A: Matrix, owned by the caller.
        traits: What kind it is.
        preset: Solver preset.
        petsc_options: Options over those of the preset.
        prefix: PETSc options prefix.
        warm_start: Whether iterative solves start from what the solution vector holds.
        unread: Is told which options have been read.

    Attributes:
        ksp: PETSc's solver.
        options: All options, without prefix.
        stale: Whether the values of A have changed since the last `set_up`.
        aged: Whether the preconditioner keeps parts of its first set-up and has come to need more iterations.
        accepted: True residual, relative to the right-hand side, up to which a solve counts as one, whatever
            tolerance the options name.
        direct: Whether one application of the preconditioner is the solution.
        iterations: Iterations of the last solve, of all right-hand sides together.
        residual: True residual of the last solve, relative to the right-hand side (the largest of several).
        num_set_ups: Factorizations, or set-ups of the preconditioner, so far.

    Note: Collective.
    """

    def __init__(
        self,
        A: PETSc.Mat,
        traits: Traits,
        preset: Preset,
        petsc_options: Mapping[str, Any],
        prefix: str,
        *,
        warm_start: bool,
        unread: Unread,
    ):
        super().__init__()
        self.A, self.prefix, self._keeps_parts = A, prefix, preset.rebuild
        self.options = {**preset.options, **petsc_options}
        self._residual: PETSc.Vec = self.own(A.createVecLeft())
        self._block: list[PETSc.Mat] = []
        self.ksp: PETSc.KSP = self.own(PETSc.KSP().create(A.comm))
        self.ksp.setOptionsPrefix(prefix)
        self.ksp.setOperators(A)
        if preset.near_nullspace:
            for vector in nullspace.attach_near_nullspace(A, nullspace.free_motions(traits.V)[1]):
                self.own(vector)
        if preset.configure is not None:
            own = {**preset.options, **preset.configure(self.ksp)}
            for name in petsc_options:  # given for all levels: over what the preset says of one
                rest = re.escape(name.removeprefix("mg_levels_"))
                own = {
                    key: value
                    for key, value in own.items()
                    if not re.fullmatch(f"mg_levels_\\d+_{rest}", key)
                }
            self.options = {**own, **petsc_options}
        self._unread = unread
        with options(prefix, self.options, unread):
            take_options(self.ksp, prefix)
        self.direct = self.ksp.getType() == PETSc.KSP.Type.PREONLY
        self._warm_start = warm_start and not self.direct
        self.ksp.setInitialGuessNonzero(self._warm_start)
        self.stale, self.aged = True, False
        self.accepted = max(ACCEPTED, 10 * min(self.rtol, ACCEPTED))
        self._first_iterations: int | None = None
        self.iterations = self.num_set_ups = 0
        self.residual = 0.0

    @property
    def fresh(self) -> bool:
        """Whether nothing of the preconditioner can stem from another matrix."""
        return not self._keeps_parts or self.num_set_ups <= 1

    @property
    def rtol(self) -> float:
        """Residual at which a solve ends, relative to the right-hand side; 0 for direct solvers."""
        return 0.0 if self.direct else float(self.ksp.getTolerances()[0])

    def set_up(self) -> None:
        """Factorize, or renew the preconditioner, if values have changed since.

        Raises:
            SolverError: The matrix holds NaN, or PETSc refused it.

        Note: Collective.
        """
        if not self.stale:
            return
        if not np.isfinite(self.A.norm()):
            raise SolverError(f"the matrix of '{self.prefix}' holds NaN or infinity; check moduli, density")
        with options(self.prefix, self.options, self._unread):  # levels of multigrid read them here
            self.ksp.setOperators(self.A)
            self._call(self.ksp.setUp)
            self._call(self.ksp.getPC().setUp)
        self.stale = False
        self.num_set_ups += 1

    def _call(self, function: Any, *args: Any) -> None:
        """Call PETSc; some of its libraries raise where others set the failed reason."""
        try:
            function(*args)
        except PETSc.Error as error:
            kind = self.ksp.getPC().getType()
            package = self.options.get("pc_factor_mat_solver_type")
            if error.ierr == MISSING_FACTOR:
                raise InputError(
                    f"pc_factor_mat_solver_type of '{self.prefix}' must be one that this PETSc has for "
                    f"{kind} on {self.A.comm.size} ranks, got {package!r}; way out: leave it out, or 'mumps'"
                ) from error
            raise SolverError(
                f"linear solver '{self.prefix}' ({self.ksp.getType()}, {kind}) failed with PETSc error "
                f"{error.ierr}: {WORDS['DIVERGED_PCSETUP_FAILED']}"
            ) from error

    def solve(self, bs: Sequence[PETSc.Vec], xs: Sequence[PETSc.Vec], *, transpose: bool) -> None:
        """Solve A x_i = b_i (or A^T x_i = b_i).

        Raises:
            SolverError: No convergence, or a residual that shows A to be singular.

        Note: Collective.
        """
        self.set_up()
        self.residual, self.iterations = 0.0, 0
        if self.direct and len(bs) > 1 and not transpose:
            self._solve_block(bs, xs)
            return
        for b, x in zip(bs, xs, strict=True):
            if self._warm_start and not self._residual_norm(b, x, transpose) <= b.norm():
                x.set(0.0)  # the state of another design can be worse than nothing, and count as divergence
            self._call(self.ksp.solveTranspose if transpose else self.ksp.solve, b, x)
            self._check(b, x, transpose)

    def _solve_block(self, bs: Sequence[PETSc.Vec], xs: Sequence[PETSc.Vec]) -> None:
        """Solve for several right-hand sides together, the columns of a dense matrix."""
        if not self._block:
            for _ in range(2):
                matrix = PETSc.Mat().createDense((bs[0].sizes, len(bs)), comm=self.A.comm)
                matrix.setUp()
                matrix.assemble()
                self._block.append(self.own(matrix))
        B, X = self._block
        columns = B.getDenseArray()
        for i, b in enumerate(bs):
            columns[:, i] = b.array_r
        B.assemble()
        self._call(self.ksp.matSolve, B, X)
        columns = X.getDenseArray(readonly=True)
        for b, x, column in zip(bs, xs, columns.T, strict=True):
            x.array_w[:] = column
            self._check(b, x, False)

    def _check(self, b: PETSc.Vec, x: PETSc.Vec, transpose: bool) -> None:
        reason = self.ksp.getConvergedReason()
        iterations = self.ksp.getIterationNumber()
        self.iterations += iterations
        if reason < 0:
            name = reason_name(PETSc.KSP.ConvergedReason, reason)
            residual = self.ksp.getResidualNorm()
            kind = f"{self.ksp.getType()}, {self.ksp.getPC().getType()}"
            raise SolverError(
                f"linear solver '{self.prefix}' ({kind}) failed with {name} after {iterations} "
                f"iterations at residual {residual:.3g}: {WORDS.get(name, 'see PETSc on this reason')}",
                reason=reason,
                iterations=iterations,
                residual=residual,
            )
        self._check_residual(b, x, transpose)
        if self.direct:
            return
        if self._first_iterations is None:
            self._first_iterations = iterations
        elif iterations > 1.5 * self._first_iterations + 5:
            self.aged = self._keeps_parts

    def _residual_norm(self, b: PETSc.Vec, x: PETSc.Vec, transpose: bool) -> float:
        r = self._residual
        self.A.multTranspose(x, r) if transpose else self.A.mult(x, r)
        r.aypx(-1.0, b)
        return r.norm()

    def _check_residual(self, b: PETSc.Vec, x: PETSc.Vec, transpose: bool) -> None:
        residual, scale = self._residual_norm(b, x, transpose), b.norm()
        good = residual <= self.accepted * scale  # false for NaN
        if not (good or self._is_rounding(residual, b, x)):
            kind = f"{self.ksp.getType()}, {self.ksp.getPC().getType()}"
            why = (
                "so the operator is singular or nearly so; check supports, moduli (E_min > 0) and loads, or "
            )
            if self.rtol > self.accepted:
                why = (
                    f"as ksp_rtol = {self.rtol:g} asked for; way out: a smaller one, or `rtol` of the state "
                )
                why += "problem for rough solves on purpose, or "
            raise SolverError(
                f"linear solver '{self.prefix}' ({kind}) left a true residual of {residual:.3g} at a "
                f"right-hand side of {scale:.3g}, {why}use ksp_norm_type unpreconditioned",
                iterations=self.iterations,
                residual=residual,
            )
        self.residual = max(self.residual, residual / scale if scale else 0.0)

    def _is_rounding(self, residual: float, b: PETSc.Vec, x: PETSc.Vec) -> bool:
        """Whether a direct solve could not do better, and its solution still tells what the state is worth.

        A loaded piece that only void holds moves by 1e9 and more, and rounding of A x leaves a residual. The
        error of b . x is at most |r| |x|. Were A singular with null vector z, x would lie along z and |r| be
        at least |z . b| / |z|, so that |r| |x| >= |b . x|.
        """
        if not self.direct:
            return False
        size = x.norm()
        rounding = 10.0 * EPSILON * self.A.norm(PETSc.NormType.NORM_INFINITY) * size
        return bool(residual <= rounding and residual * size <= WORK_ERROR * abs(b.dot(x)))
