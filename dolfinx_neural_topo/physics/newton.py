"""Newton's method for a nonlinear state equation, through PETSc SNES."""

from __future__ import annotations

import numpy as np
from dolfinx import fem
from petsc4py import PETSc

from dolfinx_neural_topo._petsc import Owner, options, reason_name, take_options
from dolfinx_neural_topo.errors import InputError, SolverError
from dolfinx_neural_topo.physics.field import Field
from dolfinx_neural_topo.physics.linear_solver import ACCEPTED
from dolfinx_neural_topo.physics.operator import Operator

# Residuals relative to that of the zero state (the load): the one aimed at, unless snes_atol is given, and
# the one accepted where steps have become as small, or the line search as fruitless, as rounding makes them.
# Whatever ends Newton's method, no more than ACCEPTED is left.
TOLERANCE, ROUNDING = 1e-10, 1e-7
OPTIONS = {
    "snes_type": "newtonls",
    "snes_linesearch_type": "bt",
    "snes_rtol": 0.0,  # relative to a start, which may be far away
    "snes_stol": 1e-9,
    "snes_max_it": 60,
}


class Newton(Owner):
    """Solves F(u) = nodal loads with the Jacobian that an `Operator` holds.

    Args:
        operator: Operator of the Jacobian's form, probed.
        residual: Compiled F.
        jacobian: Compiled derivative of F, for lifting.
        u: State, the initial guess of every solve.
        nodal_load: Forces at degrees of freedom, or None.

    Attributes:
        linearized: Whether the Jacobian is that of the present state.
    """

    def __init__(
        self,
        operator: Operator,
        residual: fem.Form,
        jacobian: fem.Form,
        u: Field,
        nodal_load: fem.Function | None,
    ):
        super().__init__()
        self._operator, self._residual, self._jacobian = operator, residual, jacobian
        self._u, self._nodal_load, self._lift = u, nodal_load, False
        self._r: Field = self.own(Field(fem.Function(u.function.function_space)))
        self._f = self.own(u.vec.duplicate())
        self._x = self.own(u.vec.duplicate())
        self._options = {**OPTIONS, **operator.solver.options}
        self.snes = self.own(PETSc.SNES().create(u.function.function_space.mesh.comm))
        self.snes.setOptionsPrefix(operator.prefix)
        self.snes.setFunction(self._evaluate, self._f)
        self.snes.setJacobian(self._linearize_at, operator.A)
        self.snes.setKSP(operator.solver.ksp)
        with options(operator.prefix, self._options, operator.unread):
            take_options(self.snes, operator.prefix)
            self._atol_given = PETSc.Options().hasName(f"{operator.prefix}snes_atol")
        self.linearized = False

    def _set_state(self, x: PETSc.Vec) -> None:
        self._u.owned[:] = x.array_r
        self._u.scatter_forward()

    def _evaluate(self, snes: PETSc.SNES, x: PETSc.Vec, f: PETSc.Vec) -> None:
        self._set_state(x)
        state, r = self._u.function.x.array, self._r
        r.assemble([self._residual], scatter=False)
        bcs = self._operator.bcs
        if self._lift:
            fem.apply_lifting(r.function.x.array, [self._jacobian], [bcs], [state], -1.0)
        r.add_from_ghosts()
        if self._nodal_load is not None:
            r.owned[:] -= self._nodal_load.x.array[: r.owned.size]
        for bc in bcs:
            bc.set(r.function.x.array, state, -self._operator.diagonal)  # times state minus boundary value
        f.array_w[:] = r.owned

    def _linearize_at(self, snes: PETSc.SNES, x: PETSc.Vec, J: PETSc.Mat, P: PETSc.Mat) -> None:
        self._set_state(x)
        self._operator.assemble()
        self._operator.solver.num_set_ups += 1  # SNES factorizes next

    def linearize(self) -> None:
        """Bring the Jacobian to the present state (Newton leaves it one step behind).

        Note: Collective.
        """
        if not self.linearized:
            self._operator.assemble()
            self._operator.reconsider()
            self.linearized = True

    def solve(self, lift: bool, may_vanish: bool = False) -> None:
        """Find the state from its present value, or, where that fails, from zero.

        Args:
            lift: Whether Dirichlet values are not all zero.
            may_vanish: Whether a load of zero, with the state zero, is right, as in a step of time.

        Raises:
            InputError: The load is zero.
            SolverError: No convergence from either start; the state is then as before.

        Note: Collective.
        """
        self._lift, self.linearized = lift, False
        before = self._u.owned.copy()
        self._measure_load()
        if self._load == 0.0 and may_vanish:
            return  # the state is zero now
        if self._load == 0.0:
            raise InputError(
                "the load must not be zero, got a residual of zero at the zero state; way out: check loads, "
                "tags and bcs"
            )
        again = self._operator.reconsider
        good = self._attempt(before) or (again() and self._attempt(before)) or self._attempt(0.0)
        if good and lift and self._operator.match_diagonal():  # a start far away lets boundary values
            found = self._x.array_r.copy()  # weigh as much as the Jacobian there: too much of a load
            self._measure_load()
            good = self._attempt(found)
        if not good:
            self._x.array_w[:] = before
            self._set_state(self._x)
            raise self._failure()
        self._set_state(self._x)

    def _measure_load(self) -> None:
        """Take the residual of the zero state as the load that residuals are compared with."""
        self._x.set(0.0)
        self._evaluate(self.snes, self._x, self._f)
        self._load, self._left = self._f.norm(), np.nan
        if not self._atol_given and np.isfinite(self._load):
            self.snes.setTolerances(atol=TOLERANCE * self._load)

    def _attempt(self, start: np.ndarray | float) -> bool:
        self._x.array_w[:] = start
        solver = self._operator.solver
        self.snes.setKSP(solver.ksp)
        try:
            with options(
                self._operator.prefix, self._options, self._operator.unread
            ):  # multigrid makes its levels inside
                self.snes.solve(None, self._x)
        except PETSc.Error:  # some factorizations raise where others set the failed reason
            self._operator.drop_solver()
            return False
        if solver.ksp.getConvergedReason() < 0:
            self._operator.drop_solver()
        reason = self.snes.getConvergedReason()
        reasons = PETSc.SNES.ConvergedReason
        self._evaluate(self.snes, self._x, self._f)
        self._left = self._f.norm()  # the true residual: options may have asked for none
        fruitless = reason in (reasons.CONVERGED_SNORM_RELATIVE, reasons.DIVERGED_LINE_SEARCH)
        accepted = ROUNDING if fruitless else ACCEPTED
        return bool((reason > 0 or fruitless) and self._left <= accepted * self._load)

    def _failure(self) -> SolverError:
        reason, iterations = self.snes.getConvergedReason(), self.snes.getIterationNumber()
        residual = self._left
        linear = self.snes.getKSP().getConvergedReason()
        inner = f" (linear solver: {reason_name(PETSc.KSP.ConvergedReason, linear)})" if linear < 0 else ""
        if reason == PETSc.SNES.ConvergedReason.CONVERGED_SNORM_RELATIVE:  # the residual is not small
            reason = PETSc.SNES.ConvergedReason.DIVERGED_LINE_SEARCH
        name = reason_name(PETSc.SNES.ConvergedReason, reason)
        remedy = "load steps, raise E_min, or set snes_max_it and snes_linesearch_type in petsc_options"
        if not np.isfinite(self._load):
            remedy = "finite loads and constants; where zero is no state (ln u, 1 / u), w with u = 1 + w"
        elif reason > 0:
            remedy = f"leave out snes_rtol, snes_atol or snes_type; {ACCEPTED:g} of it at most is accepted"
        return SolverError(
            f"Newton's method '{self._operator.prefix}' failed with {name}{inner} after {iterations} "
            f"iterations at residual {residual:.3g} (at zero: {self._load:.3g}), from the last state and "
            f"from zero; way out: {remedy}",
            reason=reason,
            iterations=iterations,
            residual=residual,
        )
