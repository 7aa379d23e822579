"""A cut made better cell by cell: what is worth little at its surface moves to where it is worth more."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dolfinx_neural_topo._communication import max_replicated, sum_replicated
from dolfinx_neural_topo.density import ConeFilter, DesignDomain
from dolfinx_neural_topo.density.cut import cut
from dolfinx_neural_topo.optimize.buildable.fields import cell_size
from dolfinx_neural_topo.optimize.buildable.repair import Bools, is_whole, largest_piece
from dolfinx_neural_topo.optimize.method import Array
from dolfinx_neural_topo.physics.attachment import Attachments

SHARE = 0.02
"""Part of the solid volume that the first exchange moves; each one that fails halves it."""

GAIN = 0.01
"""Part of the objective that all exchanges together must gain; for less the surface stays as it was."""

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
    has to be one, cells that hold loads stay, and what does not lower the objective is taken back. So is
    everything where it gains less than 1 %: it makes the surface rougher.

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
    surface = _Surface(domain, rho, attachments)
    value, gradient = evaluate(rho)
    start, first, count = rho, value, 1
    moved = SHARE * surface.filled
    while count < evaluations and moved >= surface.smallest and np.isfinite(value):
        new = surface.exchanged(rho, surface.worth(gradient), moved)
        trial, slope = np.inf, gradient
        if max_replicated(domain.comm, float((new != rho).any())) and is_whole(domain, new, attachments):
            trial, slope = evaluate(new)
            count += 1
        if trial < value:
            rho, value, gradient = new, trial, slope
        else:
            moved *= 0.5
    return (rho, value, count) if first - value >= GAIN * abs(first) else (start, first, count)


class _Surface:
    """The surface of a cut, at which cells change places.

    Attributes:
        filled: Volume of the solid cells.
        smallest: Volume of the smallest design cell.
        stays: Solid cells that may not leave: those at loads, and those found to hold the cut together.
    """

    def __init__(self, domain: DesignDomain, rho: Array, attachments: Attachments):
        self._domain, self._attachments = domain, attachments
        self._spread = ConeFilter(domain, _RADIUS * cell_size(domain))
        volumes = domain.cell_volumes[domain.design]
        self.smallest = -float(max_replicated(domain.comm, (-volumes).max(initial=-np.inf)))
        self.filled = self._volume(rho >= 1.0)
        self.stays = attachments.holding(rho > 0.5)

    def worth(self, gradient: Array) -> Array:
        """Return what cells are worth, those beside solid ones included, from 0 to 1."""
        worth = self._spread.apply(-gradient / self._domain.cell_volumes).astype(np.float64)
        extremes = [(-worth).max(initial=-np.inf), worth.max(initial=-np.inf)]
        low, high = max_replicated(self._domain.comm, extremes) * [-1.0, 1.0]
        return np.clip((worth - low) / (high - low if high > low else 1.0), 0.0, 1.0)

    def exchanged(self, rho: Array, worth: Array, moved: float) -> Array:
        """Return a cut in which cells of at most a volume have changed places."""
        solid, free, beside = rho >= 1.0, self._domain.design, self._attachments.beside
        leaving = solid & free & ~self.stays & beside(~solid)
        coming = (rho <= 0.0) & free & beside(solid)
        level = self._balance(worth, leaving, coming)
        leaving = self._first(1.0 - worth, leaving & (worth < level), moved)
        if not self._attachments.void_carries:
            left = np.where(leaving, 0.0, rho)
            main, pieces = largest_piece(self._domain, left)
            if pieces > 1:
                held = leaving & beside((left > 0.5) & ~main)
                leaving &= ~held
                self.stays = self.stays | held
        room = self.filled - self._volume(solid & ~leaving)
        coming = self._first(worth, coming & (worth > level), room)
        return np.where(leaving, 0.0, np.where(coming, 1.0, rho))

    def _balance(self, worth: Array, leaving: Bools, coming: Bools) -> float:
        """Return the worth below which as much could leave as could come above it."""
        low, high = 0.0, 1.0
        for _ in range(40):
            level = 0.5 * (low + high)
            enough = self._volume(leaving & (worth < level)) >= self._volume(coming & (worth > level))
            low, high = (low, level) if enough else (level, high)
        return high

    def _first(self, key: Array, among: Bools, volume: float) -> Bools:
        """Return those of the given cells that have the highest key and fill a volume."""
        return among & (cut(self._domain, key, volume=volume, never=~among) > 0.5)

    def _volume(self, cells: Bools) -> float:
        return float(sum_replicated(self._domain.comm, self._domain.cell_volumes[cells].sum()))
