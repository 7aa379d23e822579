"""A cut made one piece: loose material is dropped, loaded pieces are joined, loads get material."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from dolfinx_neural_topo._communication import max_replicated, sum_replicated
from dolfinx_neural_topo.density import DesignDomain
from dolfinx_neural_topo.density.chain import Chain, Stage
from dolfinx_neural_topo.density.cut import cut, made
from dolfinx_neural_topo.density.pieces import joints, pieces
from dolfinx_neural_topo.optimize.method import Array
from dolfinx_neural_topo.physics.attachment import Attachments

Bools = NDArray[np.bool_]

_ROUNDS = 12  # of adding and dropping, and of this and trimming one after the other
_TRIMS = 50  # of trying which cells can go: where members are thin, each round finds one that cannot
_SOLID = 0.5


def mend(
    domain: DesignDomain,
    rho: Array,
    density: Array,
    attachments: Attachments,
    *,
    worth: Callable[[Array], Array],
    width: float,
    **limits: Any,
) -> Array:
    """Change as few cells of a cut as it takes to get one piece that carries every load.

    First it is made whole, whatever the volume: loaded nodes in void get their cells, pieces that meet at a
    corner are joined there, loose material that carries no load is dropped, and a piece that still carries a
    load of its own (or passive solid cells) is joined to the largest one by a bar on the straight line
    between the two. Then cells at the surface pay for what was added, those of least worth first, unless
    they hold it together; or dense ones beside it take the place of what was dropped.

    Args:
        domain: Design domain.
        rho: The cut, owned values.
        density: What orders the cells that take the place of dropped ones.
        attachments: Loads and supports.
        worth: Returns what the solid cells of a cut are worth to the objective; only their order counts. It
            is asked once, for the cut made whole: without its joints it may carry nothing.
        width: Width of bars that join pieces.
        limits: Volume, manufacturing stages and exact volume, as for `cut`.

    Returns:
        The cut, owned values, still in several pieces where the volume is too small for one.

    Note: Collective.
    """
    first = attachments.holding(rho > _SOLID) & domain.design
    manufacturing = limits.get("manufacturing", ())
    whole = _join(domain, rho, density, attachments, width, manufacturing)
    values = worth(whole)
    for _ in range(_ROUNDS):  # manufacturing may undo what was joined
        first = (whole > _SOLID) & (first | (rho <= _SOLID))
        order = _by_worth(domain, attachments, whole, density, values)
        before, rho = rho, _trim(domain, whole, order, attachments, first, **limits)
        if is_whole(domain, rho, attachments) or not _any(domain, rho != before):
            break
        whole = _join(domain, rho, density, attachments, width, manufacturing)
    return rho


def _join(
    domain: DesignDomain,
    rho: Array,
    density: Array,
    attachments: Attachments,
    width: float,
    manufacturing: Sequence[Stage],
) -> Array:
    """Return a cut made one piece that carries every load, of any volume. Note: Collective."""
    air = np.zeros_like(domain.design)  # cells at a corner that could not be made there
    for _ in range(_ROUNDS):
        labels, count = pieces(domain, rho > _SOLID)
        corners = joints(domain, labels, count, np.where(air, 0.0, density))
        add, drop = corners, np.zeros_like(corners)
        if not _any(domain, corners):
            add, drop = _changes(domain, attachments, labels, count, width)
        add, drop = _lines(add, manufacturing) & domain.design & (labels < 0), drop & domain.design
        if not _any(domain, add | drop):
            break
        joined = np.where(drop, 0.0, np.where(add, 1.0, rho))
        lost = corners & ~air & (made(domain, joined, manufacturing) < _SOLID)
        if _any(domain, lost):  # another cell may do
            air |= lost
        else:
            rho = joined
    return rho


def _means(manufacturing: Sequence[Stage]) -> list[Stage]:
    """Return the stages that make all cells of a line alike: the linear ones."""
    return [stage for stage in manufacturing if hasattr(stage, "apply_transpose")]


def _lines(cells: Bools, manufacturing: Sequence[Stage]) -> Bools:
    """Return the marked cells and those of their lines, where stages make lines alike. Note: Collective."""
    return Chain(_means(manufacturing)).apply(cells.astype(np.float64)) > 0.0


def _trim(
    domain: DesignDomain, whole: Array, order: Array, attachments: Attachments, first: Bools, **limits: Any
) -> Array:
    """Return a cut of the allowed volume out of one that is whole, and stays so.

    Args:
        domain: Design domain.
        whole: The cut, of any volume.
        order: Of its cells, as `_by_worth` makes it.
        attachments: Loads and supports.
        first: Cells that stay.
        limits: As for `cut`.
    """
    solid, first, never = whole > _SOLID, first.copy(), np.zeros_like(first)
    reach, manufacturing = solid, limits.get("manufacturing", ())
    limits["manufacturing"] = _means(manufacturing)  # lines go as a whole
    for _ in range(_TRIMS):
        reach = attachments.beside(reach)
        rho = cut(domain, order, first=first, never=never | ~reach, **limits)
        stays = made(domain, rho, manufacturing) > _SOLID
        loose = (rho > _SOLID) & ~(largest_piece(domain, rho)[0] & stays)
        held = solid & (rho <= _SOLID) & attachments.beside(loose) & domain.design
        more = loose & ~solid
        if not _any(domain, held | more):
            break
        first, never = first | held, never | more
    return made(domain, rho, manufacturing)


def _any(domain: DesignDomain, cells: Bools) -> bool:
    """Return whether a cell of any rank is marked. Note: Collective."""
    return bool(max_replicated(domain.comm, float(cells.any())) > 0.0)


def _by_worth(
    domain: DesignDomain, attachments: Attachments, rho: Array, density: Array, worth: Array
) -> Array:
    """Return an order of the cells: void ones by density, then the surface by worth, then the inside.

    Of the surface, thin members and what they are fixed to come last: one cell less may sever them.
    """
    solid = rho > _SOLID
    low, high = max_replicated(
        domain.comm,
        [(-worth[solid]).max(initial=-np.inf), worth[solid].max(initial=-np.inf)],
    )
    relative = (worth + low) / (high + low) if high + low > 0.0 else np.zeros_like(worth)
    inside = solid & ~attachments.beside(~solid)
    thin = attachments.beside(solid & ~attachments.beside(inside))
    at_surface = np.where(thin, 3.0, 2.0) + relative
    return np.where(inside, 5.0, np.where(solid, at_surface, np.minimum(density, 1.0)))


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
    width: float,
) -> tuple[Bools, Bools]:
    """Return the cells to add and those to drop, owned. Note: Collective."""
    main = _largest(domain, labels, count)
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
