"""Solves of a linear state equation for all of its load cases."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from dolfinx import fem

from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.physics.field import Field
from dolfinx_neural_topo.physics.forms import Equation
from dolfinx_neural_topo.physics.inputs import Change
from dolfinx_neural_topo.physics.operator import Operator
from dolfinx_neural_topo.physics.right_hand_side import RightHandSides


class LoadCases:
    """States of a linear equation, one for each load case, from one matrix.

    Args:
        operator: The matrix.
        equation: The equation.
        rho: Its density.
        loads: Right-hand sides.
        states: Receive the solutions; they hold the initial guess of iterative solvers.
    """

    def __init__(
        self,
        operator: Operator,
        equation: Equation,
        rho: fem.Function,
        loads: RightHandSides,
        states: Sequence[Field],
    ):
        self._operator, self._states, self.loads = operator, states, loads
        self._rho_in_matrix = rho in equation.a.coefficients()
        self._rho_in_load = [L is not None and rho in L.coefficients() for L in equation.loads]

    def solve(self, change: Change, *, may_vanish: bool) -> None:
        """Solve at the present inputs.

        Args:
            change: What differs from the last solve.
            may_vanish: Whether a load of zero is right, as in a step of time.

        Raises:
            InputError: A load that is zero or not finite, or values on the boundary of a periodic problem.
            SolverError: No convergence.

        Note: Collective.
        """
        lifted = bool(change & Change.LIFTED)
        if lifted and self._operator.periodicity is not None:
            raise InputError("bcs of a periodic problem must have the value zero, got others")
        renewed = bool(change & Change.MATRIX) or (self._rho_in_matrix and bool(change & Change.RHO))
        if renewed:
            self._operator.assemble()
        for case, depends in enumerate(self._rho_in_load):
            if change & Change.LOAD or (depends and change & Change.RHO) or (lifted and renewed):
                self.loads.assemble(
                    case, lifted=lifted, diagonal=self._operator.diagonal, may_vanish=may_vanish
                )
        self._operator.solve(self.loads.vectors, [u.vec for u in self._states])
        for u in self._states:
            u.scatter_forward()

    def external_work(self) -> np.ndarray:
        """This rank's share of the work L_i(u_i), nodal loads included, shape (number of cases,)."""
        pairs = zip(self.loads.fields, self._states, strict=True)
        return np.array([b.owned @ u.owned for b, u in pairs])
