"""A line search for the strong Wolfe conditions that asks for one step at a time."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from dolfinx_neural_topo.optimize.method import Array

_GROW_LEAST, _GROW_MOST = 1.1, 4.0  # range of an extrapolated step, in lengths of the last change
_SHRINK = 0.66  # the interval must shrink at least by this factor in two steps, else it is halved
_AFTER_FAILURE = 0.25  # part of the way from the best step to a failed one that is tried next


class _Point(NamedTuple):
    """Step, value and slope along the line."""

    step: float
    value: float
    slope: float

    def tilted(self, tilt: float) -> _Point:
        """Subtract a linear function of slope `tilt`."""
        return _Point(self.step, self.value - tilt * self.step, self.slope - tilt)


class StrongWolfe:
    """Find a step t with phi(t) <= phi(0) + decrease t phi'(0) and |phi'(t)| <= curvature |phi'(0)|.

    The search of Moré and Thuente, with the constants of L-BFGS-B: an interval that holds an acceptable step,
    and trials from cubic and quadratic interpolation. A failed trial (value not finite) is a wall: the next
    one is a quarter of the way to it, and later ones stay halfway to it at most.

    Args:
        decrease: Sufficient decrease, in (0, curvature).
        curvature: Reduction of the slope, below 1.
        width: The search ends when the interval is this small, relative to its larger end.
        trials: Evaluations after which the search takes any sufficient decrease, or fails.

    Attributes:
        step: Step to evaluate next; after acceptance, the step accepted.

    References:
        Moré, Thuente: Line search algorithms with guaranteed sufficient decrease, ACM TOMS 20 (1994).
    """

    def __init__(
        self, decrease: float = 1e-3, curvature: float = 0.9, *, width: float = 0.1, trials: int = 20
    ):
        self.decrease, self.curvature = decrease, curvature
        self.width, self.trials = width, trials
        self.begin(0.0, -1.0, 1.0)

    def begin(self, value: float, slope: float, step: float) -> None:
        """Start at phi(0) = value, phi'(0) = slope < 0, with the first trial at `step`."""
        self.step = step
        self._origin = self._best = self._other = _Point(0.0, value, slope)
        self._low, self._high = 0.0, (1.0 + _GROW_MOST) * step
        self._wall = math.inf
        self._bracketed = False
        self._auxiliary = True  # still searching by the function less its sufficient decrease
        self._lengths = (math.inf, math.inf)  # of the bracketed interval, one and two trials ago
        self._count = 0

    def tell(self, value: float, slope: float) -> str:
        """Take phi and phi' at `step`.

        Args:
            value: phi(step); inf or nan if the evaluation failed.
            slope: phi'(step); ignored if the evaluation failed.

        Returns:
            "accepted", "go on" (evaluate at the new `step`) or "failed".
        """
        self._count += 1
        last = self._count >= self.trials
        if math.isfinite(value) and math.isfinite(slope):
            last = last or self._is_small(self.step)
            flat = abs(slope) <= -self.curvature * self._origin.slope
            if value <= self._bound() and (flat or last):
                return "accepted"
            if not last:
                self._narrow(_Point(self.step, value, slope))
        elif not last:
            if self.step > self._best.step:
                self._wall = min(self._wall, self.step)
            self.step = self._best.step + _AFTER_FAILURE * (self.step - self._best.step)
        return "failed" if last or not self.step > 0 else "go on"

    def _bound(self) -> float:
        """Largest value at `step` that is a sufficient decrease."""
        return self._origin.value + self.step * self.decrease * self._origin.slope

    def _is_small(self, step: float) -> bool:
        """Whether the interval leaves no room for `step`."""
        small = self._high - self._low <= self.width * self._high
        return self._bracketed and (small or not self._low < step < self._high)

    def _narrow(self, trial: _Point) -> None:
        """Update the interval with the trial and choose the next one."""
        bound = self._bound()
        if trial.value <= bound and trial.slope >= 0:
            self._auxiliary = False
        use_auxiliary = self._auxiliary and bound < trial.value <= self._best.value
        tilt = self.decrease * self._origin.slope if use_auxiliary else 0.0
        best, other, new = (point.tilted(tilt) for point in (self._best, self._other, trial))
        step, self._bracketed = _interpolate(best, other, new, self._bracketed, (self._low, self._high))
        if new.value > best.value:
            self._other = trial
        else:
            if new.slope * best.slope < 0:
                self._other = self._best
            self._best = trial
        self.step = self._safeguard(step)

    def _safeguard(self, step: float) -> float:
        """Keep the next trial inside the interval (or the range of extrapolation) and off the wall."""
        best, other = self._best.step, self._other.step
        if self._bracketed:
            length = abs(other - best)
            if length >= _SHRINK * self._lengths[1]:
                step = best + 0.5 * (other - best)
            self._lengths = (length, self._lengths[0])
            self._low, self._high = min(best, other), max(best, other)
            if self._is_small(step):
                step = best
        else:
            self._low = step + _GROW_LEAST * (step - best)
            self._high = step + _GROW_MOST * (step - best)
        return step if step < self._wall else 0.5 * (best + self._wall)

    def state(self) -> Array:
        """Return all that the search remembers, as numbers; shape (18,), float64."""
        points = (*self._origin, *self._best, *self._other)
        flags = (self._bracketed, self._auxiliary, self._count)
        return np.array(
            [self.step, *points, self._low, self._high, self._wall, *self._lengths, *flags], dtype=float
        )

    def restore(self, state: Array) -> None:
        """Continue where `state` was taken."""
        numbers = [float(number) for number in state]
        self.step = numbers[0]
        self._origin, self._best, self._other = (_Point(*numbers[k : k + 3]) for k in (1, 4, 7))
        self._low, self._high, self._wall = numbers[10:13]
        self._lengths = (numbers[13], numbers[14])
        self._bracketed, self._auxiliary, self._count = bool(numbers[15]), bool(numbers[16]), int(numbers[17])


def _cubic(a: _Point, b: _Point) -> tuple[float, bool]:
    """Return where the cubic through both points is lowest, 0 at `a`, 1 at `b`, and whether it has one."""
    theta = 3.0 * (a.value - b.value) / (b.step - a.step) + a.slope + b.slope
    scale = max(abs(theta), abs(a.slope), abs(b.slope))
    if scale == 0:
        return math.inf, False
    root = scale * math.sqrt(max(0.0, (theta / scale) ** 2 - (a.slope / scale) * (b.slope / scale)))
    gamma = math.copysign(root, b.step - a.step)
    denominator = 2.0 * gamma - a.slope + b.slope
    return ((gamma - a.slope + theta) / denominator if denominator else math.inf), root > 0


def _secant(a: _Point, b: _Point) -> float:
    """Return the step at which the line through both slopes is zero."""
    return a.step + a.slope / (a.slope - b.slope) * (b.step - a.step)


def _interpolate(
    best: _Point, other: _Point, trial: _Point, bracketed: bool, limits: tuple[float, float]
) -> tuple[float, bool]:
    """Choose the next step, and tell whether a minimum is now bracketed; section 4 of the reference.

    Args:
        best: The end of the interval with the lower value.
        other: Its other end.
        trial: The point evaluated last.
        bracketed: Whether the interval is known to hold a minimum.
        limits: Range of an extrapolated step.
    """
    if trial.value > best.value:  # higher: a minimum lies between
        cubic = best.step + _cubic(best, trial)[0] * (trial.step - best.step)
        chord = (best.value - trial.value) / (trial.step - best.step)
        quadratic = best.step + 0.5 * best.slope / (chord + best.slope) * (trial.step - best.step)
        nearer = abs(cubic - best.step) < abs(quadratic - best.step)
        return (cubic if nearer else 0.5 * (cubic + quadratic)), True
    if trial.slope * best.slope < 0:  # lower, slopes of opposite sign: a minimum lies between
        cubic = trial.step + _cubic(trial, best)[0] * (best.step - trial.step)
        secant = _secant(trial, best)
        return max(cubic, secant, key=lambda step: abs(step - trial.step)), True
    extreme = limits[1] if trial.step > best.step else limits[0]
    if abs(trial.slope) < abs(best.slope):  # lower, flatter: extrapolate
        place, exists = _cubic(trial, best)
        cubic = trial.step + place * (best.step - trial.step) if exists and place < 0 else extreme
        secant = _secant(trial, best)
        if not bracketed:
            step = max(cubic, secant, key=lambda step: abs(step - trial.step))
            return min(max(step, limits[0]), limits[1]), False
        step = min(cubic, secant, key=lambda step: abs(step - trial.step))
        most = trial.step + _SHRINK * (other.step - trial.step)
        return (min(most, step) if trial.step > best.step else max(most, step)), True
    if bracketed:  # lower, not flatter: the minimum lies towards the other end
        return trial.step + _cubic(trial, other)[0] * (other.step - trial.step), True
    return extreme, False
