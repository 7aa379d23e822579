"""The globally convergent variant of the method of moving asymptotes."""

from __future__ import annotations

from typing import Any

import numpy as np

from dolfinx_neural_topo.errors import InputError, checked
from dolfinx_neural_topo.optimize.method import Array, Variables, total
from dolfinx_neural_topo.optimize.mma import MMA

_FIRST_CURVATURE = 0.1  # relative to the mean slope
_ROUNDING = 1e-12


class GCMMA(MMA):
    """MMA with inner iterations until the approximations are conservative.

    A minimizer at which objective or a constraint turns out larger than its approximation is refused, and
    the approximation of that function gets more curvature. From a feasible start all iterates are feasible,
    the objective never rises, and the iterates converge to a point that fulfils the optimality conditions.
    Every refused point costs an evaluation.

    Args:
        move: See `MMA`.
        growth: See `MMA`.
        shrink: See `MMA`.
        initial: See `MMA`.
        inner: Largest number of refusals per iteration.

    References:
        Svanberg, A class of globally convergent optimization methods based on conservative convex separable
        approximations, SIAM J. Optim. 12 (2002), section 3.

    Example:
        >>> found = dnt.minimize(design, dnt.GCMMA(), evaluations=6)
        >>> bool(found.objective < design.evaluate(design.initial(), gradient=False).value)
        True
    """

    name = "GCMMA"

    @checked
    def __init__(
        self,
        move: float = 0.5,
        growth: float = 1.2,
        shrink: float = 0.7,
        initial: float = 0.5,
        inner: int = 15,
    ):
        super().__init__(move, growth, shrink, initial)
        if inner < 1:
            raise InputError(f"inner must be at least 1, got {inner}")
        self.inner = int(inner)

    def start(self, variables: Variables) -> None:
        """Prepare for a run; see `Method.start`. Note: Collective."""
        super().start(variables)
        self._refused = 0

    def objective_changed(self) -> None:
        """Accept the next point whatever it is: the values at hand are those of the old objective."""
        self._refused = self.inner

    def tell(self, x: Array, evaluation: Any) -> None:
        """Take an evaluation: accept the point, or refuse it and add curvature. Note: Collective."""
        if self._iteration > 0 and self._refused < self.inner and not self._is_conservative(x, evaluation):
            self._asked = None
            self._refused += 1
            return
        super().tell(x, evaluation)
        if evaluation.gradient is not None:
            self._refused = 0
            self._curvatures = np.maximum(_FIRST_CURVATURE * self._mean_slopes, 1e-6)

    def _is_conservative(self, x: Array, evaluation: Any) -> bool:
        """Tell whether no function is above its approximation at `x`; if one is, give it more curvature."""
        if evaluation.gradient is None:
            self._curvatures = 10.0 * self._curvatures
            return False
        up, down = 1 / (self._upp - x), 1 / (x - self._low)
        unit = (self._upp - self._low) * (x - self._x) ** 2 * up * down / self._range  # effect of curvature 1
        sums = total(self._comm, np.append(self._p @ up + self._q @ down, unit.sum()))
        approximations, effect = sums[:-1] + self._rest, sums[-1]
        values = np.array([evaluation.value / self._scale, *evaluation.constraints])
        missing = values - approximations
        above = missing > _ROUNDING * np.maximum(1.0, np.abs(values))
        if not above.any() or effect == 0.0:
            return True
        more = np.minimum(1.1 * (self._curvatures + missing / effect), 10.0 * self._curvatures)
        self._curvatures = np.where(above, more, self._curvatures)
        return False

    def _step(self) -> Array:
        return self._approximation(self._curvatures)

    def state(self) -> dict[str, Any]:
        """Return the state of MMA, the curvatures and the number of refusals."""
        return {**super().state(), "curvatures": self._curvatures, "refused": self._refused}
