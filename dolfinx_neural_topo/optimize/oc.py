"""Optimality criteria: the classical update for one volume constraint."""

from __future__ import annotations

from typing import Any

import numpy as np
from mpi4py import MPI

from dolfinx_neural_topo.errors import InputError, checked
from dolfinx_neural_topo.optimize.method import Array, Method, Variables, total
from dolfinx_neural_topo.optimize.volume_root import increasing_root, volume_constraint

_BOTH_SIGNS = 0.01  # share of a gradient's positive part that rough solves explain


class OC(Method):
    """Scale each density by the ratio of what it gains to what it costs.

        x_new = clip(x * (max(0, -dJ/dx) / (lmbda * dg/dx))^damping, x - move, x + move)

    within the bounds, with lmbda such that the volume constraint g(x_new) = 0 holds. Positive dJ/dx count as
    zero, so OC is for objectives that more material improves (compliance). Others (self-weight, heat that
    strains) are refused at the start, and end a run that comes to them later; use MMA.

    Args:
        move: Largest change of a density per step, in (0, 1].
        damping: Exponent, in (0, 1].

    Raises:
        InputError: If an argument is out of range, the variables have no bounds, there is not exactly one
            constraint, or the gradient has both signs.

    Note: The volume is what `variables.volume_constraint(x)` says where there is such a method (a `Design`,
        projected or not), else it is taken to be linear in x.

    References:
        Andreassen et al., Efficient topology optimization in MATLAB using 88 lines of code, SMO 43 (2011),
        eq. 3.

    Example:
        >>> found = dnt.minimize(design, dnt.OC(), evaluations=6)
        >>> bool(found.objective < design.evaluate(design.initial(), gradient=False).value)
        True
    """

    name = "OC"
    constrained = True
    fields = ("x", "scale", "slope")

    @checked
    def __init__(self, move: float = 0.2, damping: float = 0.5):
        for name, value in (("move", move), ("damping", damping)):
            if not 0 < value <= 1:
                raise InputError(f"{name} must lie in (0, 1], got {value}")
        self.move = float(move)
        self.damping = float(damping)

    def start(self, variables: Variables) -> None:
        """Prepare for a run; see `Method.start`."""
        if variables.lower is None or variables.upper is None:
            raise InputError(
                "OC needs bounded variables (a Design); for the weights of a network use LBFGS or Adam"
            )
        self._variables = variables
        self._comm = variables.comm
        self._x: Array = np.array(variables.initial(), dtype=np.float64)
        self._scale: Array = np.empty(0)  # no evaluation yet
        self._slope: Array = self._scale
        self._violation, self._told, self.finished = 0.0, False, None
        self._shrink = 1.0  # of the move limit, after failures
        self._next: Array | None = self._x

    def ask(self) -> Array:
        """Return the next design. Note: Collective."""
        if self._next is None:
            self._next = self._update()
        return self._next

    def tell(self, x: Array, evaluation: Any) -> None:
        """Take an evaluation. Note: Collective."""
        self._next = None
        if evaluation.gradient is None:
            self._shrink *= 0.5
            return
        if len(evaluation.constraints) != 1:
            given = len(evaluation.constraints)
            raise InputError(
                f"OC needs exactly one constraint, the volume, got {given}; use MMA for any number"
            )
        self._check_signs(evaluation.gradient)
        self._shrink = 1.0
        self._x = np.array(x)
        self._violation = float(evaluation.constraints[0])
        self._slope = np.array(evaluation.constraint_gradients[0])
        gain = np.maximum(-evaluation.gradient, 0.0)
        cost = np.where(self._slope > 0, self._slope, 1.0)  # a cell that costs nothing: any positive number
        self._scale = self._x * (gain / cost) ** self.damping
        largest = self._comm.allreduce(self._scale.max(initial=0.0), op=MPI.MAX)
        if largest > 0:
            self._scale /= largest

    def _check_signs(self, gradient: Array) -> None:
        up, down = total(self._comm, [np.maximum(gradient, 0.0).sum(), np.maximum(-gradient, 0.0).sum()])
        if up > _BOTH_SIGNS * (up + down):
            wrong = (
                f"OC needs an objective that more material improves, got a gradient of both signs ({up:.3g} "
                f"above zero, {down:.3g} below); use MMA"
            )
            if not self._told:
                raise InputError(wrong)
            self.finished = wrong
        self._told = True

    def _update(self) -> Array:
        """Find the factor s = lmbda^-damping at which clip(s * scale) obeys the volume."""
        move = self._shrink * self.move
        low = np.maximum(self._x - move, self._variables.lower)
        high = np.minimum(self._x + move, self._variables.upper)

        def design(log_s: float) -> Array:
            return np.clip(np.exp(log_s) * self._scale, low, high)

        def excess(log_s: float) -> float:
            x = design(log_s)
            return volume_constraint(self._variables, x, self._x, self._violation, self._slope)

        return design(increasing_root(excess))

    def state(self) -> dict[str, Any]:
        """Return the last good point, its linearization and the state of the move limit."""
        return {
            "x": self._x,
            "scale": self._scale,
            "slope": self._slope,
            "violation": self._violation,
            "shrink": self._shrink,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken."""
        self._x, self._scale, self._slope = (np.array(state[name]) for name in self.fields)
        self._violation, self._shrink = state["violation"], state["shrink"]
        self._told = True
        self._next = None
