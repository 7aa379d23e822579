"""SciPy's L-BFGS-B, the paper's optimizer: the baseline in pixels, and a reference for LBFGS."""

from __future__ import annotations

import math

import numpy as np
import scipy.optimize

from dolfinx_neural_topo.errors import InputError, checked
from dolfinx_neural_topo.optimize.method import Array
from dolfinx_neural_topo.optimize.threaded import Function, LibraryMethod


class SciPyLBFGSB(LibraryMethod):
    """SciPy's L-BFGS-B with bounds, its own stopping rules switched off.

    Works in float64 whatever the variables' type. For the weights of large networks `LBFGS` takes the same
    steps at a fraction of the time and memory.

    Args:
        memory: Number of pairs kept.

    Raises:
        InputError: If `memory` is not positive, or the variables have constraints.

    References:
        Zhu, Byrd, Lu, Nocedal: Algorithm 778: L-BFGS-B, ACM TOMS 23 (1997).

    Example:
        >>> logits = dnt.NeuralDesign(design, dnt.PixelLogits((8, 16)))
        >>> dnt.minimize(logits, dnt.SciPyLBFGSB(), evaluations=4).evaluations
        4
    """

    name = "SciPy L-BFGS-B"

    @checked
    def __init__(self, memory: int = 10):
        if memory < 1:
            raise InputError(f"memory must be at least 1, got {memory}")
        self.memory = memory

    def run(self, function: Function, x: Array, lower: Array | None, upper: Array | None) -> str:
        """Run SciPy; see `LibraryMethod.run`."""
        best, best_x = math.inf, x

        def value_and_gradient(x: Array) -> tuple[float, Array]:
            nonlocal best, best_x
            answer = function(x)
            if len(answer.constraints):
                given = len(answer.constraints)
                raise InputError(f"SciPyLBFGSB knows bounds but no constraints, got {given}; use OC or MMA")
            if not math.isfinite(answer.value):
                return _uphill(best, x - best_x)
            if answer.value < best:
                best, best_x = answer.value, x.copy()
            return answer.value, answer.gradient

        bounds = None
        if lower is not None or upper is not None:
            bounds = scipy.optimize.Bounds(
                -np.inf if lower is None else lower, np.inf if upper is None else upper
            )
        unlimited = 10**9
        options = {"maxcor": self.memory, "maxiter": unlimited, "maxfun": unlimited, "ftol": 0.0, "gtol": 0.0}
        result = scipy.optimize.minimize(
            value_and_gradient, x, jac=True, method="L-BFGS-B", bounds=bounds, options=options
        )
        return f"SciPy's L-BFGS-B ended: {result.message}"


def _uphill(value: float, step: Array) -> tuple[float, Array]:
    """Return value and gradient of a parabola that rises along `step` from `value` to about twice as much.

    SciPy's line search interpolates between finite numbers; this makes it go back from a failed evaluation.
    """
    rise = max(abs(value), 1.0)
    return value + rise, 2.0 * rise / max(float(step @ step), 1e-300) * step
