"""The assembled operator of a state equation: its matrix, what kind it is, and the solver that suits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from dolfinx import fem
from petsc4py import PETSc

from dolfinx_neural_topo._communication import sum_replicated
from dolfinx_neural_topo._dolfinx import assemble_matrix, create_matrix
from dolfinx_neural_topo._petsc import Owner, Unread
from dolfinx_neural_topo.errors import SolverError
from dolfinx_neural_topo.physics import nullspace
from dolfinx_neural_topo.physics.factor_assembly import FactorAssembly
from dolfinx_neural_topo.physics.linear_solver import ACCEPTED, LinearSolver
from dolfinx_neural_topo.physics.periodic import Periodicity
from dolfinx_neural_topo.physics.solvers import Traits, choose

SYMMETRY = 1e-10  # |x.Ay - y.Ax| relative to |Ax| |y|, above which the operator counts as not symmetric


class Operator(Owner):
    """Matrix A of a bilinear form, diagonal in rows and columns of Dirichlet degrees of freedom.

    The number on that diagonal has the size of the other ones, so that nothing depends on the units.

    The pattern, the solver and its symbolic factorization live as long as the object; `assemble` renews
    values only.

    Args:
        a: Compiled bilinear form.
        V: Its space.
        bcs: Dirichlet conditions.
        prefix: PETSc options prefix.
        preset: Name of a preset, or None for the one that suits.
        petsc_options: Options over those of the preset.
        linear: Whether the equation is linear. Elsewhere the matrix may lose its definiteness between solves.
        periodicity: Of the state, owned by the caller, or None.

    Attributes:
        A: The matrix.
        diagonal: What stands in the rows of Dirichlet degrees of freedom.
        traits: What kind it is; None before the first `probe`.
        rtol: Relative tolerance of iterative solvers, None for that of the options.
        unread: Those of the options given that nothing has read yet.
        shortcut: A faster way to compute the same values, or None.
        periodicity: Of the state, or None.
    """

    def __init__(
        self,
        a: fem.Form,
        V: fem.FunctionSpace,
        bcs: Sequence[fem.DirichletBC],
        prefix: str,
        preset: str | None,
        petsc_options: Mapping[str, Any],
        *,
        linear: bool,
        periodicity: Periodicity | None = None,
    ):
        super().__init__()
        self.V, self.bcs, self.prefix, self.linear = V, list(bcs), prefix, linear
        self._a, self._preset, self._given = a, preset, dict(petsc_options)
        self.unread = Unread(petsc_options)
        self.diagonal, self.periodicity = 1.0, periodicity
        self._once: PETSc.Mat | None = None if periodicity is None else self.own(create_matrix(a))
        self.A: PETSc.Mat = self._new_matrix()
        self.traits: Traits | None = None
        self.rtol: float | None = None
        self.shortcut: FactorAssembly | None = None
        self._solver: LinearSolver | None = None
        self._set_ups_before = 0

    @property
    def symmetric(self) -> bool:
        """Whether the matrix was symmetric when it was last looked at."""
        assert self.traits is not None
        return self.traits.symmetric

    @property
    def num_factorizations(self) -> int:
        """Factorizations, or set-ups of the preconditioner, so far."""
        return self._set_ups_before + (0 if self._solver is None else self._solver.num_set_ups)

    @property
    def iterations(self) -> int:
        """Iterations of the last solve."""
        return 0 if self._solver is None else self._solver.iterations

    @property
    def residual(self) -> float:
        """True residual of the last solve, relative to the right-hand side."""
        return 0.0 if self._solver is None else self._solver.residual

    @property
    def solver(self) -> LinearSolver:
        """The solver, made at its first use.

        Note: Collective (at the first use).
        """
        if self._solver is None:
            assert self.traits is not None
            preset = choose(self._preset, self.traits)
            if preset.name == "gmg" and self.periodicity is not None:  # its coarser grids do not repeat
                preset = choose("amg", self.traits)
            self._solver = self.own(
                LinearSolver(
                    self.A,
                    self.traits,
                    preset,
                    self._given,
                    self.prefix,
                    warm_start=self.linear,
                    unread=self.unread,
                )
            )
        return self._solver

    def drop_solver(self) -> None:
        """Destroy the solver; the next use makes a new one. A failed one may be spoiled for good.

        Note: Collective.
        """
        if self._solver is not None:
            self._set_ups_before += self._solver.num_set_ups
            self._owned.remove(self._solver)
            self._solver.destroy()
            self._solver = None

    def assemble(self) -> None:
        """Compute the values of A from the form's present coefficients and constants.

        Note: Collective.
        """
        if self.periodicity is not None:
            assemble_matrix(self._once, self._a, self.bcs, self.diagonal)
            self.periodicity.reduce(self._once, self.A, self.diagonal)
        elif self.shortcut is None:
            assemble_matrix(self.A, self._a, self.bcs, self.diagonal)
        else:
            self.shortcut.assemble(self.A, self.diagonal)
        if self.traits is not None:
            self._tell_petsc(self.traits)
        if self._solver is not None:
            self._solver.stale = True

    def _tell_petsc(self, traits: Traits) -> None:
        # PETSc forgets these at every assembly.
        self.A.setOption(PETSc.Mat.Option.SYMMETRIC, traits.symmetric)
        if traits.definite:
            self.A.setOption(PETSc.Mat.Option.SPD, True)

    def probe(self) -> None:
        """Find out from its matrix what kind it is, and check that supports leave nothing free.

        Raises:
            SolverError: A rigid-body motion (or a constant) is left free, or there is NaN in the matrix.

        Note: Collective.
        """
        self.assemble()
        if not np.isfinite(self.A.norm()):
            raise SolverError(f"the matrix of '{self.prefix}' holds NaN or infinity; check moduli, constants")
        self.match_diagonal()
        names, motions = nullspace.free_motions(self.V)
        if self.periodicity is not None:
            motions[self.periodicity.far] = 0.0
        nullspace.check_supports(self.A, names, motions)
        symmetric, mixed = is_symmetric(self.A), nullspace.is_mixed(self.V)
        diagonal = self.A.getDiagonal()
        definite = symmetric and self.linear and not mixed and diagonal.min()[1] > 0.0
        diagonal.destroy()
        traits = Traits(self.V, self.bcs, symmetric, definite, mixed)
        if traits != self.traits:
            self.drop_solver()
            self.traits = traits
        self._tell_petsc(traits)

    def reconsider(self) -> bool:
        """Look whether a matrix that counts as symmetric still is; if not, it counts as none from now on.

        The Jacobian of a nonlinear equation may be symmetric where it was probed, and nowhere else.

        Returns:
            Whether it counts as another kind now; the next use makes a solver for that.

        Note: Collective.
        """
        assert self.traits is not None
        if not self.traits.symmetric or not np.isfinite(self.A.norm()) or is_symmetric(self.A):
            return False
        self.traits = replace(self.traits, symmetric=False, definite=False)
        self._tell_petsc(self.traits)
        self.drop_solver()
        return True

    def match_diagonal(self) -> bool:
        """Give the rows of Dirichlet degrees of freedom the size of the free ones, to a factor of 8.

        Returns:
            Whether that is a change, with which the matrix is assembled anew.

        Note: Collective.
        """
        diagonal = self.A.getDiagonal()
        free = np.abs(diagonal.array_r)
        diagonal.destroy()
        for bc in self.bcs:
            rows = bc.dof_indices()[0]
            free[rows[rows < free.size]] = 0.0
        if self.periodicity is not None:
            free[self.periodicity.far] = 0.0
        free = free[free > 0.0]
        total, count = sum_replicated(self.A.comm.tompi4py(), [free.sum(), free.size])
        if count and total > 0.0 and not 1 / 8 < total / count / self.diagonal < 8:
            # A power of two: matrices of scaled problems are the scaled ones, and those of size one stay.
            self.diagonal = float(2.0 ** np.round(np.log2(total / count)))
            self.assemble()
            return True
        return False

    def solve(self, bs: Sequence[PETSc.Vec], xs: Sequence[PETSc.Vec], *, transpose: bool = False) -> None:
        """Solve A x_i = b_i (or A^T x_i = b_i), in one sweep over the factor where there is one.

        Args:
            bs: Right-hand sides.
            xs: Receive the solutions, zero after a failure; they hold the initial guess of iterative solvers.
            transpose: Whether to solve with the transpose.

        Raises:
            SolverError: No convergence, or a residual that shows A to be singular; A is to be assembled anew.

        Note: Collective.
        """
        if self._solver is not None and self._solver.aged and self._solver.stale:
            self.drop_solver()
        solver = self.solver
        if self.rtol is not None:
            solver.ksp.setTolerances(rtol=self.rtol)
            solver.accepted = max(ACCEPTED, 10 * self.rtol)
        periodicity = self.periodicity
        try:
            loads = bs if periodicity is None else periodicity.fold(bs)
            solver.solve(loads, xs, transpose=transpose and not self.symmetric)
            if periodicity is not None:
                periodicity.unfold(xs)
        except SolverError:
            for x in xs:
                x.set(0.0)
            self.drop_solver()
            if not solver.fresh:  # what it has kept from another design may be to blame
                self.solve(bs, xs, transpose=transpose)
                return
            if self.linear:
                self._renew_matrix()
            raise

    def _renew_matrix(self) -> None:
        # A smoother that met a zero pivot marks the matrix itself as failed, and nothing takes that back.
        self._owned.remove(self.A)
        self.A.destroy()
        self.A = self._new_matrix()

    def _new_matrix(self) -> PETSc.Mat:
        """Return a matrix with the pattern of the form, and of its periodicity."""
        if self.periodicity is None:
            A = create_matrix(self._a)
        else:
            assemble_matrix(self._once, self._a, self.bcs, self.diagonal)
            A = self.periodicity.reduce(self._once, None, self.diagonal)
        A.setOptionsPrefix(self.prefix)
        return self.own(A)


def is_symmetric(A: PETSc.Mat) -> bool:
    """Return whether a matrix is symmetric, by two random vectors.

    Note: Collective.
    """
    x, y, Ax, Ay = (A.createVecLeft() for _ in range(4))
    random = np.random.default_rng(x.comm.rank)
    for vector in (x, y):
        vector.array_w[:] = random.standard_normal(vector.local_size)
    A.mult(x, Ax)
    A.mult(y, Ay)
    difference = abs(y.dot(Ax) - x.dot(Ay))
    symmetric = difference <= SYMMETRY * (Ax.norm() * y.norm() + Ay.norm() * x.norm())
    for vector in (x, y, Ax, Ay):
        vector.destroy()
    return bool(symmetric)
