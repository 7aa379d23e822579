"""Filter radius and thresholds that keep members and gaps above given widths."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dolfinx_neural_topo.errors import InputError

ETA = 0.5
"""Threshold of the blueprint."""

REFERENCE_DELTA = 0.2
"""Distance of the other thresholds for the larger of the two widths, which thereby sets the radius."""

_POINTS = 4001


class LengthScale(NamedTuple):
    """What a three-field projection needs for given least widths.

    Attributes:
        radius: Radius of the cone filter, in the mesh's unit of length.
        delta_eroded: Distance of the eroded threshold above that of the blueprint.
        delta_dilated: Distance of the dilated threshold below it.
    """

    radius: float
    delta_eroded: float
    delta_dilated: float


def length_scale(min_member: float | None, min_gap: float | None, dim: int) -> LengthScale:
    """Return the parameters that keep members and gaps above the given widths.

    A straight bar of 0-1 design density, just wide enough for its eroded image to survive, has a blueprint of
    some width: the least one there is. With the cone filter in one dimension it is 2 radius sqrt(delta) at
    the threshold 1/2 (Qian and Sigmund); here it is computed for the cone of `dim` dimensions. For gaps
    the same holds with the dilated threshold. The larger width gets delta = 0.2 and so sets the radius.

    Args:
        min_member: Least width of members, in the mesh's unit of length; None for no demand.
        min_gap: Least width of gaps and holes, likewise.
        dim: Number of space dimensions.

    Raises:
        InputError: A width is not positive and finite, or both are None.

    References:
        Qian and Sigmund, Topological design of electromechanical actuators with robustness toward over- and
        under-etching, Computer Methods in Applied Mechanics and Engineering 253 (2013);
        Trillet, Duysinx and Fernandez, Analytical relationships for imposing minimum length scale in the
        robust topology optimization formulation, Structural and Multidisciplinary Optimization 64 (2021).
    """
    widths = [width for width in (min_member, min_gap) if width is not None]
    for name, width in (("min_member", min_member), ("min_gap", min_gap)):
        if width is not None and not 0.0 < width < np.inf:
            raise InputError(f"{name} must be positive and finite, a length in the mesh's unit, got {width}")
    if not widths:
        raise InputError("min_member or min_gap must be given, got None for both")
    radius = max(widths) / least_width(REFERENCE_DELTA, dim)
    deltas = [
        REFERENCE_DELTA if width is None else _delta_for(width / radius, dim)
        for width in (min_member, min_gap)
    ]
    return LengthScale(radius, *deltas)


def least_width(delta: float, dim: int) -> float:
    """Return the least width of a bar's blueprint relative to the filter radius.

    Args:
        delta: Distance of the eroded threshold from that of the blueprint, 1/2; in (0, 0.5).
        dim: Number of space dimensions.
    """
    x, below = _cone_below(dim)

    def filtered(s: Any, half: Any) -> Any:
        return np.interp(s + half, x, below) - np.interp(s - half, x, below)

    halves = np.linspace(0.0, 1.0, _POINTS)
    half = float(np.interp(ETA + delta, filtered(0.0, halves), halves))  # of the thinnest bar
    s = np.linspace(0.0, 2.0, _POINTS)
    return 2.0 * float(np.interp(-ETA, -filtered(s, half), s))


def _delta_for(width: float, dim: int) -> float:
    """Return the delta at which the least width relative to the radius is `width`."""
    low, high = 0.0, REFERENCE_DELTA
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if least_width(middle, dim) < width else (low, middle)
    return high


def _cone_below(dim: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return points across a bar, in radii, and the share of the filter's weight below each of them."""
    x = np.linspace(-1.0, 1.0, _POINTS)
    u = np.maximum(np.abs(x), 1e-12)
    root = np.sqrt(np.maximum(0.0, 1.0 - u**2))
    weight = {
        1: 1.0 - u,
        2: root - u**2 * np.arcsinh(root / u),  # the cone summed along a line at distance u
        3: (1.0 - u**2) / 2.0 - (1.0 - u**3) / 3.0,  # over a plane
    }[dim]
    sums = np.concatenate([[0.0], np.cumsum(0.5 * (weight[1:] + weight[:-1]))])
    return x, sums / sums[-1]
