"""The shift b with mean sigmoid(z + b) = fraction, in few global reductions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from mpi4py import MPI
from scipy.special import expit, logit

from dolfinx_neural_topo._communication import sum_replicated
from dolfinx_neural_topo.errors import SolverError

_BINS = 2048
_FINE = 0.125
_SATURATED = 45.0  # sigmoid(-45) = 3e-20: below rounding beside any allowed volume fraction


def locate(
    comm: MPI.Comm, logits: np.ndarray, weights: np.ndarray, lowest: float, highest: float, fraction: float
) -> float:
    """Find b of sum_i w_i sigmoid(logits_i + b) = fraction * sum_i w_i to about 0.06, from histograms.

    One histogram of the logits over their range costs one reduction, whatever the number of bins, and
    locates b to half a bin; only logits within the sigmoid's reach of -b matter for the next, finer one.
    Logits of size 1e4 need two, of size 50 one.

    Args:
        comm: Communicator.
        logits: This rank's logits, finite, shape (n,).
        weights: Their weights, shape (n,).
        lowest: Least logit of all ranks.
        highest: Largest logit of all ranks.
        fraction: Mean to reach, in (0, 1).

    Returns:
        The shift b, the same on all ranks.

    Note: Collective.
    """
    shift = logit(fraction) - 0.5 * (lowest + highest)
    low, high = lowest, highest
    while high - low > _FINE:
        width = (1.0 + 1e-9) * (high - low) / _BINS  # so that the largest logit is inside
        bins = np.clip(np.floor((logits - low) / width), -1.0, _BINS).astype(np.int64) + 1
        masses = sum_replicated(comm, np.bincount(bins, weights=weights, minlength=_BINS + 2))
        centers = low + width * (np.arange(_BINS) + 0.5)
        shift = _histogram_root(masses, centers, shift, fraction)
        before = high - low
        low = max(lowest, -shift - width - _SATURATED)
        high = min(highest, -shift + width + _SATURATED)
        if width <= _FINE or high - low >= before:  # or floats of this size lie no closer
            break
    return shift


def _histogram_root(masses: np.ndarray, centers: np.ndarray, start: float, fraction: float) -> float:
    """Root for logits concentrated at bin centres; the first and last mass are saturated at 0 and 1."""
    total = masses.sum()
    inside, above = masses[1:-1], masses[-1]

    def mean(shift: float) -> tuple[float, float]:
        rho = expit(centers + shift)
        return (inside @ rho + above) / total, inside @ (rho * (1.0 - rho)) / total

    return newton(mean, start, fraction, tolerance=1e-13)


def newton(
    mean: Callable[[float], tuple[float, float]], shift: float, fraction: float, *, tolerance: float = 1e-12
) -> float:
    """Solve mean(b) = fraction for an increasing function with values in [0, 1].

    Newton's method on logit(mean(b)) = logit(fraction), which is linear in b when all logits are equal,
    kept inside the bracket known so far: by bisection, or by doubling steps while one end is open.

    Args:
        mean: Function b -> (mean, its derivative). The last call is at the returned shift.
        shift: First guess.
        fraction: Value to reach, in (0, 1).
        tolerance: Allowed |mean - fraction| relative to min(fraction, 1 - fraction).

    Returns:
        The shift. Where rounding forbids the tolerance (two neighbouring floats bracket the root), one of the
        two.

    Raises:
        SolverError: No root within 200 evaluations, as when `mean` is not increasing from 0 to 1.
    """
    allowed = tolerance * min(fraction, 1.0 - fraction)
    low, high, stride = -np.inf, np.inf, 1.0
    for _ in range(200):
        value, slope = mean(shift)
        if abs(value - fraction) <= allowed:
            return shift
        low, high = (shift, high) if value < fraction else (low, shift)
        proposal = np.nan
        if 0.0 < value < 1.0 and slope > 0.0:
            proposal = shift - (logit(value) - logit(fraction)) * value * (1.0 - value) / slope
        reach = 4.0 * stride
        if not (low < proposal < high and abs(proposal - shift) <= reach):
            if np.isfinite(high - low):
                proposal = 0.5 * (low + high)
            else:
                proposal = shift + (stride if value < fraction else -stride)
                stride *= 2.0
        if proposal in (low, high):
            return shift
        shift = proposal
    raise SolverError(
        f"no shift of the logits reaches the volume fraction {fraction:.6g}: the last try gave {value:.6g}; "
        "is the projection too steep (beta) for a density so uniform?",
        iterations=200,
        residual=abs(value - fraction),
    )
