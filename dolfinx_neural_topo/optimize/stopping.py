"""Rules that end a run early."""

from __future__ import annotations

from dolfinx_neural_topo.errors import InputError, checked
from dolfinx_neural_topo.optimize.result import History


class RelativeProgress:
    """Stop when the best feasible objective of the current stage gained too little over a window.

        (best before the window - best now) < tolerance * |best before the window|

    Args:
        tolerance: Relative gain that is asked for.
        window: Number of evaluations in which it must be made.

    Raises:
        InputError: If tolerance is not positive or window is below 1.
    """

    @checked
    def __init__(self, tolerance: float = 1e-3, window: int = 10):
        if not tolerance > 0:
            raise InputError(f"tolerance must be positive, got {tolerance}")
        if window < 1:
            raise InputError(f"window must be at least 1, got {window}")
        self.tolerance = tolerance
        self.window = window

    def __call__(self, history: History) -> str | None:
        """Return the reason to stop, a sentence, or None to go on."""
        if len(history) <= self.window or history.stage[-1 - self.window] != history.stage[-1]:
            return None
        values = history.running_minimum()
        before, now = values[-1 - self.window], values[-1]
        if before - now >= self.tolerance * abs(before) or now == float("inf"):
            return None
        return f"The objective gained less than {self.tolerance:g} of itself in {self.window} evaluations."
