"""The method of moving asymptotes, and its globally convergent variant, on distributed variables."""

from __future__ import annotations

from typing import Any

import numpy as np

from dolfinx_neural_topo.errors import InputError, agree, checked
from dolfinx_neural_topo.optimize.method import Array, Method, Variables, total
from dolfinx_neural_topo.optimize.mma_subproblem import Subproblem

_PRICE = 1000.0  # of a constraint's violation; objective and constraints are scaled to slopes of order one
_REGULARIZATION = 1e-5  # curvature added to every function, relative to its mean slope
_FAR = 1e3  # a constraint so many bounds away is scaled down to that in the subproblem
_CAUTION = 0.1  # of the way from the asymptotes to the iterate, where no new iterate may lie


class MMA(Method):
    """Minimize successive separable convex approximations with moving asymptotes; any number of constraints.

    Objective and constraints are approximated around the iterate by sums of p / (U - x) and q / (x - L). The
    asymptotes L and U move away from a variable that keeps its direction and towards one that oscillates.
    Only numbers of the size of the constraints cross ranks.

    Args:
        move: Largest change of a variable per step, relative to its range.
        growth: Factor on the distance of the asymptotes of a variable that keeps its direction (Svanberg:
            1.2).
        shrink: Factor for a variable that oscillates.
        initial: First distance of the asymptotes, relative to the range.

    Raises:
        InputError: If an argument is out of range, or the variables are not bounded on both sides.

    References:
        Svanberg, The method of moving asymptotes, Int. J. Numer. Meth. Eng. 24 (1987).
        Svanberg, MMA and GCMMA - two methods for nonlinear optimization (2007).
        Aage, Lazarov, Parallel framework for topology optimization using MMA, SMO 47 (2013).

    Example:
        >>> found = dnt.minimize(design, dnt.MMA(), evaluations=6)
        >>> bool(found.objective < design.evaluate(design.initial(), gradient=False).value)
        True
    """

    name = "MMA"
    constrained = True
    fields = ("x", "older", "oldest", "low", "upp", "slopes")

    @checked
    def __init__(self, move: float = 0.3, growth: float = 1.4, shrink: float = 0.7, initial: float = 0.5):
        checks = {
            "move must lie in (0, 1]": (move, 0 < move <= 1),
            "growth must be at least 1 and finite": (growth, 1 <= growth < np.inf),
            "shrink must lie in (0, 1]": (shrink, 0 < shrink <= 1),
            "initial must lie in (0, 1]": (initial, 0 < initial <= 1),
        }
        for expected, (given, right) in checks.items():
            if not right:
                raise InputError(f"{expected}, got {given}")
        self.move, self.growth, self.shrink, self.initial = map(float, (move, growth, shrink, initial))

    def start(self, variables: Variables) -> None:
        """Prepare for a run; see `Method.start`. Note: Collective."""
        x = np.array(variables.initial(), dtype=np.float64)
        lower, upper = (
            np.full(len(x), bound, dtype=np.float64)
            if np.ndim(bound) == 0
            else np.array(bound, dtype=np.float64)
            for bound in (
                -np.inf if variables.lower is None else variables.lower,
                np.inf if variables.upper is None else variables.upper,
            )
        )
        bounded = bool(np.all(np.isfinite(lower) & np.isfinite(upper) & (lower <= upper)))
        agree(
            variables.comm,
            None if bounded else f"{self.name} needs variables with finite bounds lower <= upper",
        )
        self._comm = variables.comm
        self._lower, self._upper = lower, upper
        self._range = np.maximum(upper - lower, 1e-5)
        self._count = int(total(self._comm, np.array([len(x)]))[0])
        self._iteration = 0
        self._multipliers: Array = np.empty(0)
        self._next_multipliers: Array = self._multipliers
        self._failures = 0
        self._x = x
        self._asked: Array | None = x

    def ask(self) -> Array:
        """Return the minimizer of the approximation around the last good point. Note: Collective."""
        if self._asked is None:
            self._asked = self._step()
        return self._asked

    def tell(self, x: Array, evaluation: Any) -> None:
        """Take an evaluation; after a failure the next step is half as long. Note: Collective."""
        self._asked = None
        if self._iteration > 0:
            self._multipliers = self._next_multipliers
        if evaluation.gradient is None:
            self._failures += 1
        else:
            self._accept(x, evaluation)

    def _accept(self, x: Array, evaluation: Any) -> None:
        """Make an evaluated point the iterate, and move the asymptotes."""
        self._failures = 0
        self._iteration += 1
        if self._iteration == 1:
            self._older = self._oldest = self._x
            self._multipliers = np.ones(len(evaluation.constraints))
        else:
            self._oldest, self._older = self._older, self._x
        self._x = np.array(x, dtype=np.float64)
        self._values = np.array([evaluation.value, *evaluation.constraints], dtype=np.float64)
        self._slopes = np.array([evaluation.gradient, *evaluation.constraint_gradients], dtype=np.float64)
        sizes = total(
            self._comm, np.abs(self._slopes) @ self._range
        )  # what a function can change over the box
        self._scale = float(sizes[0]) if sizes[0] > 0 else 1.0
        self._values[0] /= self._scale
        self._slopes[0] /= self._scale
        sizes[0] /= self._scale
        self._mean_slopes = sizes / self._count
        self._move_asymptotes()

    def _move_asymptotes(self) -> None:
        x, span = self._x, self._range
        if self._iteration < 3:
            self._low, self._upp = x - self.initial * span, x + self.initial * span
            return
        trend = (x - self._older) * (self._older - self._oldest)
        factor = np.where(trend > 0, self.growth, np.where(trend < 0, self.shrink, 1.0))
        below = np.clip(factor * (self._older - self._low), 0.01 * span, 10.0 * span)
        above = np.clip(factor * (self._upp - self._older), 0.01 * span, 10.0 * span)
        self._low, self._upp = x - below, x + above

    def _step(self) -> Array:
        return self._approximation(_REGULARIZATION * np.maximum(self._mean_slopes, 1e-12))

    def _approximation(self, curvatures: Array) -> Array:
        """Minimize the approximation.

        Args:
            curvatures: Added to each function, objective first, shape (1 + m,).

        Returns:
            The minimizer, this rank's part.
        """
        x, low, upp = self._x, self._low, self._upp
        move = self.move * 0.5**self._failures * self._range
        rising, falling = np.maximum(self._slopes, 0.0), np.maximum(-self._slopes, 0.0)
        added = np.outer(curvatures, 1.0 / self._range)
        self._p = (upp - x) ** 2 * (1.001 * rising + 0.001 * falling + added)
        self._q = (x - low) ** 2 * (0.001 * rising + 1.001 * falling + added)
        self._rest = self._values - total(self._comm, self._p @ (1 / (upp - x)) + self._q @ (1 / (x - low)))
        far = np.maximum(1.0, np.abs(self._values[1:]) / _FAR)  # else their prices drown all in rounding
        each = np.concatenate([[1.0], far])[:, None]
        subproblem = Subproblem(
            comm=self._comm,
            low=low,
            upp=upp,
            alpha=np.maximum.reduce([self._lower, low + _CAUTION * (x - low), x - move]),
            beta=np.minimum.reduce([self._upper, upp - _CAUTION * (upp - x), x + move]),
            p=self._p / each,
            q=self._q / each,
            b=-self._rest[1:] / far,
            price=_PRICE,
        )
        x_new, multipliers = subproblem.solve(self._multipliers * far)
        self._next_multipliers = multipliers / far
        return x_new

    def state(self) -> dict[str, Any]:
        """Return the last three iterates, the asymptotes and the linearization."""
        return {
            "x": self._x,
            "older": self._older,
            "oldest": self._oldest,
            "low": self._low,
            "upp": self._upp,
            "slopes": self._slopes,
            "values": self._values,
            "mean_slopes": self._mean_slopes,
            "multipliers": self._multipliers,
            "scale": self._scale,
            "iteration": self._iteration,
            "failures": self._failures,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken."""
        for name, value in state.items():
            setattr(self, f"_{name}", value)
        self._asked = None
