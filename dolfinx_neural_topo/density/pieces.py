"""Pieces of material: cells joined by facets, over all ranks."""

from __future__ import annotations

import numpy as np
import scipy.sparse
from dolfinx.mesh import compute_midpoints
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree
from scipy.spatial import cKDTree

from dolfinx_neural_topo._communication import exchange
from dolfinx_neural_topo.density.domain import DesignDomain
from dolfinx_neural_topo.physics.periodic import CLOSE

Ints = NDArray[np.int64]


def pieces(domain: DesignDomain, solid: NDArray[np.bool_]) -> tuple[Ints, int]:
    """Number the pieces of material: solid cells that share a facet (an edge in 2D) belong together.

    In a periodic domain a facet on one side is the one opposite to it. Ranks find their own pieces and tell
    each other which of them meet; no mesh is gathered.

    Args:
        domain: Design domain.
        solid: True in solid cells, owned, shape (num_owned_cells,).

    Returns:
        The piece of each owned cell, -1 in void, numbered from 0 by their first cells in canonical order; and
        how many there are.

    Note: Collective.
    """
    comm = domain.comm
    cells, facets = _sides(domain, solid)
    order = np.argsort(facets, kind="stable")
    cells, facets = cells[order], facets[order]
    own = _components(domain.num_owned_cells, _neighbours(facets, cells))
    _, own = np.unique(own[solid], return_inverse=True)
    counts = comm.allgather(int(own.max(initial=-1)) + 1)
    mine = np.full(domain.num_owned_cells, -1, dtype=np.int64)
    mine[solid] = sum(counts[: comm.rank]) + own
    whole = _components(sum(counts), _meetings(comm, facets, mine[cells]))
    first = np.full(int(whole.max(initial=-1)) + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, whole[mine[solid]], domain.canonical_index[solid])
    first = np.min(comm.allgather(first), axis=0)
    labels = np.full(domain.num_owned_cells, -1, dtype=np.int64)
    labels[solid] = np.argsort(np.argsort(first))[whole[mine[solid]]]
    return labels, len(first)


def joints(domain: DesignDomain, labels: Ints, count: int, density: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return void cells that join pieces where these meet at a corner (in 3D an edge) only.

    Solid cells that share a corner hold each other in finite elements, and are two pieces all the same. A
    void cell with facets on both makes them one. Only as many are returned as it takes, the densest ones.

    Args:
        domain: Design domain.
        labels: Piece of each owned cell, -1 in void, as `pieces` returns them.
        count: How many pieces there are.
        density: Owned values that order the cells, at least 0.

    Returns:
        True in cells to be filled, owned, shape (num_owned_cells,).

    Note: Collective.
    """
    comm, void = domain.comm, domain.design & (labels < 0)
    if count < 2:
        return np.zeros_like(void)
    cells, facets = _sides(domain, labels >= 0)
    solid = _sent(comm, np.stack([facets, labels[cells]], axis=1))
    solid = solid[np.argsort(solid[:, 0], kind="stable")]
    cells, facets = _sides(domain, void)
    sides = np.tile(np.arange(len(cells) // max(1, void.sum())), void.sum())
    keys = -np.maximum(density[cells], 0.0).view(np.int64)  # dense ones first
    open_sides = _sent(comm, np.stack([facets, domain.canonical_index[cells], sides, keys], axis=1))
    first = np.searchsorted(solid[:, 0], open_sides[:, 0])
    met = np.searchsorted(solid[:, 0], open_sides[:, 0], side="right") > first
    rows = _sent(comm, np.column_stack([open_sides[met, 1:], solid[first[met], 1]]))
    edges = np.concatenate(comm.allgather(_corners(rows[np.argsort(rows[:, 0], kind="stable")], domain)))
    edges = edges[np.lexsort((edges[:, 0], edges[:, 1]))]
    _, best = np.unique(edges[:, 2:], axis=0, return_index=True)
    graph = scipy.sparse.coo_matrix((best + 1.0, edges[best, 2:].T), shape=(count, count))
    chosen = edges[minimum_spanning_tree(graph).data.astype(np.int64) - 1, 0]
    return np.isin(domain.canonical_index, chosen)


def _corners(rows: Ints, domain: DesignDomain) -> Ints:
    """Return the pairs of pieces that meet at a corner of a void cell.

    Args:
        rows: Void cell, its side, its key and the piece there, shape (n, 4), sorted by cells.
        domain: Design domain.

    Returns:
        Void cell, its key and the two pieces, the lower one first, shape (m, 4).
    """
    name = domain.mesh.topology.cell_name()
    opposite = {"quadrilateral": 3, "hexahedron": 5}.get(name, -1)  # sum of the numbers of opposite sides
    found = [np.empty((0, 4), dtype=np.int64)]
    for shift in range(1, 6):
        one, other = rows[:-shift], rows[shift:]
        meet = (one[:, 0] == other[:, 0]) & (one[:, 3] != other[:, 3])
        meet &= one[:, 1] + other[:, 1] != opposite
        both = np.sort(np.stack([one[meet, 3], other[meet, 3]], axis=1), axis=1)
        found.append(np.column_stack([one[meet][:, [0, 2]], both]))
    return np.concatenate(found)


def _sent(comm, rows: Ints) -> Ints:
    """Send each row to the rank that its first number chooses; return what came here."""
    return np.concatenate(exchange(comm, [rows[rows[:, 0] % comm.size == q] for q in range(comm.size)]))


def _sides(domain: DesignDomain, solid: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """Return the owned solid cells (their numbers in DG0), and global numbers of their facets, in pairs."""
    topology = domain.mesh.topology
    dim = topology.dim
    topology.create_connectivity(dim, dim - 1)
    topology.create_connectivity(dim - 1, dim)
    to_facets = topology.connectivity(dim, dim - 1)
    dofs = domain.cell_dofs
    facets = to_facets.array[: to_facets.offsets[len(dofs)]].reshape(len(dofs), -1)
    used = solid[dofs]
    numbers = topology.index_map(dim - 1).local_to_global(facets.reshape(-1).astype(np.int32))
    for axis in domain.periodic:
        _join(domain, axis, facets.reshape(-1), numbers)
    numbers = numbers.reshape(facets.shape)[used].reshape(-1)
    return np.repeat(dofs[used].astype(np.int64), facets.shape[1] if len(dofs) else 1), numbers


def _join(domain: DesignDomain, axis: int, facets: NDArray[np.int32], numbers: Ints) -> None:
    """Give facets at the upper side of an axis the numbers of those opposite to them; changes `numbers`."""
    mesh, comm, (lower, upper) = domain.mesh, domain.comm, domain.bounding_box()
    middles = compute_midpoints(mesh, mesh.topology.dim - 1, facets)
    near = CLOSE * np.max(upper - lower)
    low, high = (np.flatnonzero(abs(middles[:, axis] - side[axis]) < near) for side in (lower, upper))
    middles[high, axis] = lower[axis]
    told = comm.allgather((middles[low], numbers[low]))
    points, there = (np.concatenate(part) for part in zip(*told, strict=True))
    if len(points) and len(high):
        distance, nearest = cKDTree(points).query(middles[high])
        met = distance < near
        numbers[high[met]] = there[nearest[met]]


def _neighbours(facets: Ints, values: Ints) -> Ints:
    """Return the pairs of values that stand at the same facet, from sorted facets; shape (n, 2)."""
    same = np.flatnonzero(facets[1:] == facets[:-1])
    return np.stack([values[same], values[same + 1]], axis=1)


def _meetings(comm, facets: Ints, pieces_of_ranks: Ints) -> Ints:
    """Return the pairs of pieces of different ranks that share a facet, on all ranks; shape (n, 2).

    Every facet with one owned solid cell is told to a rank that its number chooses, where both sides meet.
    """
    _, places, counts = np.unique(facets, return_index=True, return_counts=True)
    open_sides = places[counts == 1]
    rows = np.stack([facets[open_sides], pieces_of_ranks[open_sides]], axis=1)
    received = _sent(comm, rows)
    received = received[np.argsort(received[:, 0], kind="stable")]
    pairs = np.unique(_neighbours(received[:, 0], received[:, 1]), axis=0)
    return np.concatenate(comm.allgather(pairs))


def _components(count: int, pairs: Ints) -> Ints:
    """Return the component of each of `count` nodes of a graph."""
    graph = scipy.sparse.coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return connected_components(graph, directed=False)[1] if count else np.empty(0, dtype=np.int64)
