"""A cut made better cell by cell: what is worth little at its surface moves to where it is worth more."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dolfinx_neural_topo._communication import max_replicated, sum_replicated
from dolfinx_neural_topo.density import ConeFilter, DesignDomain
from dolfinx_neural_topo.density.cut import cut
from dolfinx_neural_topo.optimize.buildable.fields import cell_size
from dolfinx_neural_topo.optimize.buildable.repair import Bools, largest_piece
from dolfinx_neural_topo.optimize.method import Array
from dolfinx_neural_topo.physics.attachment import Attachments

SHARE = 0.02
"""Part of the solid volume that the first exchange moves; each one that fails halves it."""

_RADIUS = 1.5  # cells, of the cone that spreads what solid cells are worth to void ones beside them


def exchange_cells(
    domain: DesignDomain,
    rho: Array,
    evaluate: Callable[[Array], tuple[float, Array]],
    attachments: Attachments,
    *,
    evaluations: int,
) -> tuple[Array, float, int]:
    """Exchange solid and void cells at the surface of a cut while its objective falls.

    A solid cell is worth what the objective would lose without it, by its gradient. A cone of three cells
    spreads that to the void cells beside it, as in evolutionary methods. Void cells of the highest worth
    then take the place of solid ones of the lowest, of the same volume. The cut stays in one piece where it
    has to be one, cells that hold loads stay, and what does not lower the objective is taken back.

    Args:
        domain: Design domain.
        rho: The cut, owned values; a cell in between stays as it is.
        evaluate: Takes a cut, returns objective and gradient on owned cells; inf and zeros if that fails.
        attachments: Loads and supports.
        evaluations: The most cuts that are evaluated, that of the start included.

    Returns:
        The cut, its objective, and the evaluations taken.

    References:
        Huang, Xie: Convergent and mesh-independent solutions for the bi-directional evolutionary structural
        optimization method, FEAD 43 (2007).

    Note: Collective.
    """
    spread = ConeFilter(domain, _RADIUS * cell_size(domain))
    stays = attachments.holding(rho > 0.5)
    value, gradient = evaluate(rho)
    count = 1
    smallest = -max_replicated(domain.comm, -domain.cell_volumes[domain.design].min(initial=np.inf))
    moved = SHARE * _volume(domain, domain.design & (rho > 0.5))
    while count < evaluations and moved >= smallest:
        worth = _normalized(domain, spread.apply(-gradient / domain.cell_volumes))
        new, held = _exchanged(domain, rho, worth, attachments, moved, stays)
        stays = stays | held
        if not max_replicated(domain.comm, float((new != rho).any())):
            moved *= 0.5
            continue
        trial, slope = np.inf, gradient
        main, pieces = largest_piece(domain, new)
        if attachments.void_carries or (pieces == 1 and attachments.carries(main)):
            trial, slope = evaluate(new)
            count += 1
        if trial < value:
            rho, value, gradient = new, trial, slope
        else:
            moved *= 0.5
    return rho, value, count


def _exchanged(
    domain: DesignDomain, rho: Array, worth: Array, attachments: Attachments, moved: float, stays: Bools
) -> tuple[Array, Bools]:
    """Return the cut after one exchange, and the cells that have to stay because they hold it together."""
    solid, void = rho >= 1.0, rho <= 0.0
    leaving = solid & domain.design & ~stays & attachments.beside(~solid)
    coming = void & domain.design & attachments.beside(solid)
    level = _balance(domain, worth, leaving, coming)
    leaving = _first(domain, 1.0 - worth, leaving & (worth < level), moved)
    held = np.zeros_like(leaving)
    if not attachments.void_carries:
        left = np.where(leaving, 0.0, rho)
        main, pieces = largest_piece(domain, left)
        if pieces > 1:
            held = leaving & attachments.beside((left > 0.5) & ~main)
            leaving &= ~held
    coming = _first(domain, worth, coming & (worth > level), _volume(domain, leaving))
    return np.where(leaving, 0.0, np.where(coming, 1.0, rho)), held


def _first(domain: DesignDomain, key: Array, among: Bools, volume: float) -> Bools:
    """Return those of the given cells that have the highest key and fill a volume."""
    return among & (cut(domain, key, volume=volume, never=~among) > 0.5)


def _balance(domain: DesignDomain, worth: Array, leaving: Bools, coming: Bools) -> float:
    """Return the worth below which as much could leave as could come above it."""
    low, high = 0.0, 1.0
    for _ in range(40):
        level = 0.5 * (low + high)
        enough = _volume(domain, leaving & (worth < level)) >= _volume(domain, coming & (worth > level))
        low, high = (low, level) if enough else (level, high)
    return high


def _normalized(domain: DesignDomain, worth: Array) -> Array:
    """Return values from 0 to 1 in the same order."""
    worth = worth.astype(np.float64)
    low, high = max_replicated(domain.comm, [(-worth).max(initial=-np.inf), worth.max(initial=-np.inf)]) * [
        -1.0,
        1.0,
    ]
    return np.clip((worth - low) / (high - low if high > low else 1.0), 0.0, 1.0)


def _volume(domain: DesignDomain, cells: Bools) -> float:
    return float(sum_replicated(domain.comm, domain.cell_volumes[cells].sum()))
