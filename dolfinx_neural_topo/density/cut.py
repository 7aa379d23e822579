"""The cut of a density to solid and void: the densest cells, exactly as many as the volume allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from dolfinx_neural_topo._communication import max_replicated, sum_replicated
from dolfinx_neural_topo.density.chain import Chain, Stage
from dolfinx_neural_topo.density.domain import DesignDomain

_SLACK = 1e-9  # of the allowed volume: rounding of sums of cell volumes
_ROUNDS = 12  # of filling up with the next densest cells what could not be made


def cut(
    domain: DesignDomain,
    density: NDArray[np.float64],
    *,
    volume: float = np.inf,
    manufacturing: Sequence[Stage] = (),
    first: NDArray[np.bool_] | None = None,
    never: NDArray[np.bool_] | None = None,
    exact_volume: bool = False,
) -> NDArray[np.float64]:
    """Make the densest design cells solid, as many as the allowed volume holds, and the others void.

    Cells of equal density are taken in canonical order: the same field gives the same cut on any number of
    ranks. What manufacturing stages would not leave solid (a line of cells that is not whole, a cell without
    support) becomes void, and the next densest cells take its place.

    Args:
        domain: Design domain, whose passive cells keep their density.
        density: Owned values, shape (num_owned_cells,), at least 0.
        volume: Volume to fill with design cells, where it is less than the allowed one.
        manufacturing: Stages that must leave the cut as it is.
        first: Design cells that become solid before all others, bool, same shape; None for none.
        never: Design cells that stay void, likewise.
        exact_volume: Whether the next cell gets the density that makes the volume exact; otherwise it stays
            void.

    Returns:
        Owned values 0 and 1 (and one cell of all ranks in between), same shape.

    Note: Collective.
    """
    volume = min(volume, domain.target_volume)
    if not manufacturing:
        return _densest(domain, density, volume, first, never, exact_volume)
    chain, never = Chain(manufacturing), np.zeros_like(domain.design) if never is None else never
    highest = max_replicated(domain.comm, float(density.max(initial=0.0)))
    density = chain.apply(density / highest) if highest > 0.0 else density  # a line counts as a whole
    for _ in range(_ROUNDS):
        rho = _densest(domain, density, volume, first, never, exact_volume=False)
        left = made(domain, rho, manufacturing)
        lost = left < rho
        if not max_replicated(domain.comm, float(lost.any())):
            break
        never = never | lost
    return left


def made(
    domain: DesignDomain, rho: NDArray[np.float64], manufacturing: Sequence[Stage]
) -> NDArray[np.float64]:
    """Return what manufacturing stages leave solid of a cut: what rests on what went, goes.

    A stage that changes cuts that can be made (its front is wide) says by `kept` what it leaves of one.

    Note: Collective.
    """
    while manufacturing:
        left = rho
        for stage in manufacturing:
            left = getattr(stage, "kept", stage.apply)(left)
        left = np.where(domain.design & (left < 1.0 - _SLACK), 0.0, rho)
        if not max_replicated(domain.comm, float((left < rho).any())):
            break
        rho = left
    return rho


def _densest(
    domain: DesignDomain,
    density: NDArray[np.float64],
    target: float,
    first: NDArray[np.bool_] | None,
    never: NDArray[np.bool_] | None,
    exact_volume: bool,
) -> NDArray[np.float64]:
    free = domain.design if never is None else domain.design & ~never
    key = np.maximum(density, 0.0) + (0.0 if first is None else np.where(first, 1e6, 0.0))
    bits = key.view(np.int64)  # floats that are not negative are ordered as their bits are
    volumes = domain.cell_volumes
    most = target * (1.0 + _SLACK)

    def above(threshold: int) -> float:
        return float(sum_replicated(domain.comm, volumes[free & (bits >= threshold)].sum()))

    level = _lowest(lambda threshold: above(threshold) <= most, 0, int(np.float64(np.inf).view(np.int64)))
    solid = free & (bits >= level)
    filled = above(level)
    ties = free & (bits == level - 1)

    def before(number: int) -> float:
        return filled + float(sum_replicated(domain.comm, volumes[ties & (canonical < number)].sum()))

    canonical = domain.canonical_index
    last = _lowest(lambda number: before(number + 1) > most, 0, domain.num_global_cells)
    rho = domain.expand(0.0)
    rho[solid | (ties & (canonical < last))] = 1.0
    if exact_volume:
        between = ties & (canonical == last)
        rho[between] = np.clip((target - before(last)) / volumes[between], 0.0, 1.0)
    return rho


def _lowest(holds: Callable[[int], bool], low: int, high: int) -> int:
    """Return the lowest whole number in [low, high] at which a monotone condition holds, `high` if none."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low
