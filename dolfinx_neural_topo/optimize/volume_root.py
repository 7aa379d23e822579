"""The multiplier of the volume constraint, for methods that hold the volume themselves."""

from __future__ import annotations

from collections.abc import Callable

from scipy.optimize import brentq

from dolfinx_neural_topo.optimize.method import Array, Variables, total

LOG_RANGE = 700.0  # exp of it is still finite


def volume_constraint(variables: Variables, x: Array, at: Array, there: float, slope: Array) -> float:
    """Return the volume constraint g at `x`, the same bits on all ranks.

    It is what `variables.volume_constraint(x)` says where there is such a method (a `Design`, projected or
    not), else it is taken to be linear in x.

    Args:
        variables: The variables.
        x: Where it is wanted.
        at: Where it is known.
        there: Its value there.
        slope: Its gradient there.

    Note: Collective.
    """
    exact = getattr(variables, "volume_constraint", None)
    if exact is not None:
        return exact(x)
    return there + float(total(variables.comm, slope @ (x - at)))


def increasing_root(function: Callable[[float], float]) -> float:
    """Return the root of an increasing function, or the end of the range nearest to it if there is none.

    The bracket grows from 0 by doubled steps, so that the usual case needs two or three evaluations before
    Brent's method, which then takes about ten to full precision.
    """
    step, left, right = 1.0, 0.0, 0.0
    if function(0.0) > 0:
        while function(left) > 0 and left > -LOG_RANGE:
            left, right, step = max(left - step, -LOG_RANGE), left, 2 * step
    else:
        while function(right) < 0 and right < LOG_RANGE:
            left, right, step = right, min(right + step, LOG_RANGE), 2 * step
    if function(left) > 0:
        return left
    if function(right) < 0:
        return right
    return brentq(function, left, right, xtol=1e-14, rtol=1e-15, maxiter=200)
