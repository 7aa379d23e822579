"""Least widths of members and of gaps, measured on a 0-1 design on any mesh."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from dolfinx import mesh as dmesh
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from dolfinx_neural_topo._communication import exchange, max_replicated
from dolfinx_neural_topo._dolfinx import geometry_nodes
from dolfinx_neural_topo.density.domain import DesignDomain, bounding_box

Points = NDArray[np.float64]
Bools = NDArray[np.bool_]

STEPS = 8
"""Steps of the least cell's size in which radii are tried."""

_CORNER, _TIP = np.sqrt(2.0), 4.0
"""How far from a ball's centre a corner may be, and a tip at the edge of the domain, in radii."""

_FIRST_REACH = 8.0  # cells; doubled until the least width is found


def least_member(domain: DesignDomain, solid: Bools) -> float:
    """Return the least width of the material, in the mesh's unit of length.

    The largest w such that balls of diameter w inside the material reach all of it, but for corners up to a
    right angle, steps of one cell, and the tips of members that meet the edge of the domain at 30 degrees or
    more. Beyond that edge there is void, beyond a symmetry plane the mirror image. A member that runs along
    the edge is not taken for a tip: its width comes out right or up to twice too large.

    Args:
        domain: Design domain.
        solid: True in solid cells, owned, shape (num_owned_cells,).

    Returns:
        The width, to about half a cell on grids and a cell on other meshes; inf where no cell is solid.

    References:
        Hildebrand, Rueegsegger, A new method for the model-independent assessment of thickness in
        three-dimensional images, Journal of Microscopy 185 (1997).

    Note: Collective.
    """
    sizes = _sizes_around(domain)
    at_void = _least_width(domain, solid, sizes, _edge(domain))
    return min(at_void, _least_width(domain, solid, sizes, _NO_EDGE))  # a rim would pass as a tip at the edge


def least_gap(domain: DesignDomain, solid: Bools) -> float:
    """Return the least width of the gaps and holes between solid cells; otherwise as `least_member`.

    The edge of the domain bounds no gap: there a gap is open.
    """
    return _least_width(domain, ~solid, _sizes_around(domain), _NO_EDGE)


class _Edge(NamedTuple):
    """Points of the edge of the domain: midpoints and corners of facets, shape (n, 3)."""

    middles: Points
    corners: Points


_NO_EDGE = _Edge(np.empty((0, 3)), np.empty((0, 3)))


def _least_width(domain: DesignDomain, inside: Bools, sizes: NDArray, edge: _Edge) -> float:
    """Return the least width of a set of cells that ends at other cells and at the edge.

    A ball has room up to the nearest middle of a facet of other cells; none at a corner of theirs. (Corners
    count for no more than that: those of single cells reach far into a smooth design on a rough mesh.)
    """
    cell = float(max_replicated(domain.comm, sizes.max(initial=0.0)))
    low, high = bounding_box(domain.comm, domain.mesh.geometry.x)
    reach, largest = _FIRST_REACH * cell, float(np.linalg.norm(high - low))
    middles = np.vstack([_facets(domain, ~inside), edge.middles])
    corners = np.vstack([_corners(domain, ~inside), edge.corners])
    points = domain.midpoints[inside]
    centres = np.vstack([points, _corners(domain, inside)])
    if not max_replicated(domain.comm, float(len(centres) > 0)) * max_replicated(
        domain.comm, float(len(middles) > 0)
    ):
        return np.inf
    while True:
        room = _distance(domain, centres, middles, reach)
        room[_distance(domain, centres, corners, reach) < 1e-6 * cell] = 0.0
        at_edge = _distance(domain, points, edge.middles, reach)
        balls = np.column_stack([centres, room])
        level = _covered_up_to(domain, points, sizes[inside], at_edge, balls, reach)
        if level < reach - 2.0 * cell or reach > largest:
            return 2.0 * level
        reach *= 2.0


def _covered_up_to(
    domain: DesignDomain, points: Points, sizes: NDArray, at_edge: NDArray, balls: Points, reach: float
) -> float:
    """Return the largest radius at which balls that have the room cover all points.

    Args:
        domain: Design domain.
        points: What is to be covered, midpoints of cells.
        sizes: Of the largest cells around them; half of one is allowed for steps.
        at_edge: Distance of each point from the edge of the domain.
        balls: Rows of a centre and the room around it.
        reach: Radii from here on are not looked at.
    """
    extremes = max_replicated(domain.comm, [sizes.max(initial=0.0), -sizes.min(initial=np.inf)])
    cell, step = extremes * [1.0, -1.0 / STEPS]
    balls = _near(domain, balls, _TIP * reach + cell)
    low, high = 0, int((reach - cell) / step)
    while low < high:
        middle = (low + high + 1) // 2
        radius = middle * step
        factor = np.where(at_edge < 2.0 * radius + 0.5 * sizes, _TIP, _CORNER)
        centres = balls[balls[:, 3] >= radius * (1.0 - 1e-9), :3]
        far = _nearest(points, centres) > factor * radius + 0.5 * sizes * (1.0 + 1e-9)
        if max_replicated(domain.comm, float(far.any())) > 0.0:
            high = middle - 1
        else:
            low = middle
    return low * step


def _distance(domain: DesignDomain, points: Points, others: Points, reach: float) -> NDArray:
    """Return the distance of points from the nearest of `others` of all ranks, at most `reach`."""
    return np.minimum(_nearest(points, _near(domain, others, reach)), reach)


def _nearest(points: Points, others: Points) -> NDArray:
    if len(others) == 0:
        return np.full(len(points), np.inf)
    return cKDTree(others).query(points)[0]


def _near(domain: DesignDomain, rows: Points, reach: float) -> Points:
    """Return the rows (x, y, z, ...) of all ranks near this rank's cells, and their mirror images."""
    x = domain.images(rows[:, :3])
    rows = np.hstack([x, np.resize(rows[:, 3:], (len(x), rows.shape[1] - 3))])
    own = domain.midpoints
    box = np.array([own.min(axis=0, initial=np.inf) - reach, own.max(axis=0, initial=-np.inf) + reach])
    boxes = domain.comm.allgather(box)
    return np.concatenate(
        exchange(domain.comm, [rows[((x >= low) & (x <= high)).all(axis=1)] for low, high in boxes])
    )


def _corners(domain: DesignDomain, cells: Bools) -> Points:
    """Return the corners of owned cells, shape (n, 3)."""
    used = geometry_nodes(domain.mesh)[: domain.num_owned_cells][cells[domain.cell_dofs]]
    return domain.mesh.geometry.x[np.unique(used)]


def _facets(domain: DesignDomain, cells: Bools) -> Points:
    """Return the midpoints of the facets of owned cells, shape (n, 3)."""
    topology = domain.mesh.topology
    dim = topology.dim
    topology.create_connectivity(dim, dim - 1)
    to_facets = topology.connectivity(dim, dim - 1)
    chosen = np.flatnonzero(cells[domain.cell_dofs])
    facets = np.unique(to_facets.array.reshape(to_facets.num_nodes, -1)[chosen])
    return dmesh.compute_midpoints(domain.mesh, dim - 1, facets).reshape(-1, 3)


def _edge(domain: DesignDomain) -> _Edge:
    """Return the edge of the domain, but for where it goes on: symmetry planes and periodic sides."""
    mesh, topology = domain.mesh, domain.mesh.topology
    dim = topology.dim
    topology.create_connectivity(dim - 1, dim)
    facets = dmesh.exterior_facet_indices(topology)
    middle = dmesh.compute_midpoints(mesh, dim - 1, facets).reshape(-1, 3)
    tolerance = 1e-9 * max(1.0, float(np.abs(mesh.geometry.x).max(initial=0.0)))
    outer = np.ones(len(facets), dtype=bool)
    for plane in domain.symmetry:
        outer &= np.abs(plane.distance(middle)) > tolerance
    for corner in domain.bounding_box():
        for axis in domain.periodic:
            outer &= np.abs(middle[:, axis] - corner[axis]) > tolerance
    if not outer.any():
        return _NO_EDGE
    nodes = np.unique(dmesh.entities_to_geometry(mesh, dim - 1, facets[outer]))
    return _Edge(middle[outer], np.asarray(mesh.geometry.x[nodes], dtype=np.float64))


def _sizes_around(domain: DesignDomain) -> NDArray:
    """Return the size of the largest cell near each owned one, of the 9 (in 3D 27) nearest."""
    rows = np.column_stack([domain.midpoints, domain.cell_sizes()])
    reach = 3.0 * float(max_replicated(domain.comm, rows[:, 3].max(initial=0.0)))
    rows = _near(domain, rows, reach)
    if len(rows) == 0:
        return np.empty(0)
    around = cKDTree(rows[:, :3]).query(domain.midpoints, min(len(rows), 3**domain.mesh.topology.dim))[1]
    return rows[around, 3].max(axis=1)
