"""A cut made one piece: loose material is dropped, loaded pieces are joined, loads get material."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from dolfinx_neural_topo._communication import max_replicated, sum_replicated
from dolfinx_neural_topo.density import DesignDomain
from dolfinx_neural_topo.density.cut import cut
from dolfinx_neural_topo.density.pieces import pieces
from dolfinx_neural_topo.optimize.method import Array
from dolfinx_neural_topo.physics.attachment import Attachments

Bools = NDArray[np.bool_]

_ROUNDS = 12  # of repair; each changes a few cells, and what takes their place may need repair again
_FREE_ROUNDS = 6  # after these it may only be cells beside the largest piece
_SOLID = 0.5


def mend(
    domain: DesignDomain,
    rho: Array,
    density: Array,
    attachments: Attachments,
    *,
    worth: Array,
    width: float,
    **limits: Any,
) -> Array:
    """Change as few cells of a cut as it takes to get one piece that carries every load.

    Loose material that carries no load is dropped, loaded nodes in void get their cells, and a piece that
    carries a load of its own (or passive solid cells) is joined to the largest one by a bar on the straight
    line between the two. Cells at the surface pay for what is added, those of least worth first. What takes
    the place of dropped material may be loose again; after some rounds only cells beside the largest piece
    may.

    Args:
        domain: Design domain.
        rho: The cut, owned values.
        density: What orders the cells that take the place of dropped ones.
        attachments: Loads and supports.
        worth: What solid cells are worth to the objective; only their order counts.
        width: Width of bars that join pieces.
        limits: Volume, manufacturing stages and exact volume, as for `cut`.

    Returns:
        The cut, owned values, still in several pieces where the volume is too small for one.

    Note: Collective.
    """
    first = attachments.holding(rho > _SOLID) & domain.design
    never = np.zeros_like(first)
    order = _by_worth(domain, attachments, rho, density, worth)
    for number in range(_ROUNDS):
        labels, count = pieces(domain, rho > _SOLID)
        main = _largest(domain, labels, count)
        add, drop = _changes(domain, attachments, labels, count, main, width)
        add &= domain.design & ~first
        loose, drop = drop & domain.design, drop & domain.design & ~never & ~first
        some, left = max_replicated(domain.comm, [float((add | drop).any()), float(loose.any())])
        if not some and not left:
            break
        if not some:  # a bar, or cells at a load, that the largest piece can do without
            drop, first = loose, first & ~loose
        first |= add
        never = (never | drop) & ~first
        closed = never
        if number >= _FREE_ROUNDS:  # there may be no end of small islands
            closed = never | ((labels < 0) & ~attachments.beside(labels == main) & ~first)
        rho = cut(domain, order, first=first, never=closed, **limits)
    return rho


def _by_worth(
    domain: DesignDomain, attachments: Attachments, rho: Array, density: Array, worth: Array
) -> Array:
    """Return an order of the cells: void ones by density, then the surface by worth, then the inside."""
    solid = rho > _SOLID
    low, high = max_replicated(
        domain.comm,
        [(-worth[solid]).max(initial=-np.inf), worth[solid].max(initial=-np.inf)],
    )
    relative = (worth + low) / (high + low) if high + low > 0.0 else np.zeros_like(worth)
    at_surface = solid & attachments.beside(~solid)
    return np.where(at_surface, 2.0 + relative, np.where(solid, 4.0, np.minimum(density, 1.0)))


def largest_piece(domain: DesignDomain, rho: Array) -> tuple[Bools, int]:
    """Return the cells of the largest piece of a cut, owned, and the number of pieces. Note: Collective."""
    labels, count = pieces(domain, rho > _SOLID)
    return labels == _largest(domain, labels, count) if count else labels >= 0, count


def is_whole(domain: DesignDomain, rho: Array, attachments: Attachments) -> bool:
    """Return whether a cut is one piece that carries every load, or need not be. Note: Collective."""
    if attachments.void_carries:
        return True
    main, count = largest_piece(domain, rho)
    return count == 1 and attachments.carries(main)


def _largest(domain: DesignDomain, labels: NDArray[np.int64], count: int) -> int:
    """Return the piece of the largest volume, the first in canonical order of equal ones."""
    inside = labels >= 0
    volumes = np.bincount(labels[inside], weights=domain.cell_volumes[inside], minlength=count)
    volumes = sum_replicated(domain.comm, volumes)
    return int(np.argmax(volumes > (1.0 - 1e-9) * volumes.max(initial=0.0))) if count else -1


def _changes(
    domain: DesignDomain,
    attachments: Attachments,
    labels: NDArray[np.int64],
    count: int,
    main: int,
    width: float,
) -> tuple[Bools, Bools]:
    """Return the cells to add and those to drop, owned. Note: Collective."""
    add = attachments.missing(labels >= 0) & ~domain.void
    drop = np.zeros_like(add)
    for piece in range(count):
        if piece == main:
            continue
        cells = labels == piece
        passive = max_replicated(domain.comm, float((cells & domain.solid).any())) > 0.0
        if attachments.loads_alone(cells, labels == main) or passive:
            add |= _bar(domain, cells, labels == main, width)
        else:
            drop |= cells
    return add, drop


def _bar(domain: DesignDomain, piece: Bools, main: Bools, width: float) -> Bools:
    """Return the owned cells on the shortest line from a piece to the main one, with the ends. Collective."""
    comm, midpoints = domain.comm, domain.midpoints
    points = np.concatenate(comm.allgather(midpoints[piece]))
    numbers = np.concatenate(comm.allgather(domain.canonical_index[piece]))
    mine = np.flatnonzero(main)
    best = (np.inf, -1, -1, None, None)
    if len(mine):
        distance, nearest = cKDTree(points).query(midpoints[mine])
        close = np.flatnonzero(distance <= distance.min() * (1.0 + 1e-9))
        k = close[np.argmin(domain.canonical_index[mine[close]])]
        start, end = points[nearest[k]], midpoints[mine[k]]
        number = int(domain.canonical_index[mine[k]])
        best = (float(distance[k]), number, int(numbers[nearest[k]]), start, end)
    _, _, _, start, end = min(comm.allgather(best), key=lambda each: (round(each[0], 9), *each[1:3]))
    along = end - start
    t = np.clip((midpoints - start) @ along / (along @ along), 0.0, 1.0)
    away = np.linalg.norm(midpoints - start - t[:, None] * along, axis=1)
    return away <= 0.5 * width
