"""Least widths of members and of gaps, measured on a 0-1 design on any mesh."""

from __future__ import annotations

import numpy as np
from dolfinx import mesh as dmesh
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from dolfinx_neural_topo._communication import exchange, max_replicated
from dolfinx_neural_topo._dolfinx import geometry_nodes
from dolfinx_neural_topo.density.domain import DesignDomain, bounding_box

Points = NDArray[np.float64]
Bools = NDArray[np.bool_]

STEPS = 4
"""Steps of a cell's size in which widths are measured; their error is about half a cell."""

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
        The width, to half a cell; inf where no cell is solid, or all of the domain is.

    References:
        Hildebrand, Rueegsegger, A new method for the model-independent assessment of thickness in
        three-dimensional images, Journal of Microscopy 185 (1997).

    Note: Collective.
    """
    at_void = _least_width(domain, solid, _beyond_the_edge(domain))
    return min(
        at_void, _least_width(domain, solid, np.empty((0, 3)))
    )  # a rim would pass as a tip at the edge


def least_gap(domain: DesignDomain, solid: Bools) -> float:
    """Return the least width of the gaps and holes between solid cells; otherwise as `least_member`.

    The edge of the domain bounds no gap: there a gap is open.
    """
    return _least_width(domain, ~solid, np.empty((0, 3)))


def _least_width(domain: DesignDomain, inside: Bools, beyond: Points) -> float:
    """Return the least width of a set of cells, outside of which are the other cells and points `beyond`."""
    cell = float(max_replicated(domain.comm, domain.cell_sizes().max(initial=0.0)))
    low, high = bounding_box(domain.comm, domain.mesh.geometry.x)
    reach, largest = _FIRST_REACH * cell, float(np.linalg.norm(high - low))
    outside = np.vstack([domain.midpoints[~inside], beyond])
    points = domain.midpoints[inside]
    centres = np.vstack([points, _corners(domain, inside)])
    if not max_replicated(domain.comm, float(len(centres) > 0)) * max_replicated(
        domain.comm, float(len(outside) > 0)
    ):
        return np.inf
    while True:
        room = _distance(domain, centres, outside, reach) - 0.5 * cell
        at_edge = _distance(domain, points, beyond, reach)
        level = _covered_up_to(domain, points, at_edge, np.column_stack([centres, room]), reach, cell)
        if level < reach - cell or reach > largest:
            return 2.0 * level
        reach *= 2.0


def _covered_up_to(
    domain: DesignDomain, points: Points, at_edge: NDArray, balls: Points, reach: float, cell: float
) -> float:
    """Return the largest radius at which balls that have the room cover all points.

    Args:
        domain: Design domain.
        points: What is to be covered.
        at_edge: Distance of each point from the edge of the domain.
        balls: Rows of a centre and the room around it.
        reach: Radii from here on are not looked at.
        cell: Size of a cell.
    """
    balls = _near(domain, balls, _TIP * reach + cell)
    low, high = 0, int(STEPS * (reach / cell - 1.0))
    while low < high:
        middle = (low + high + 1) // 2
        radius = middle * cell / STEPS
        factor = np.where(at_edge < 2.0 * radius + cell, _TIP, _CORNER)
        centres = balls[balls[:, 3] >= radius * (1.0 - 1e-9), :3]
        far = _nearest(points, centres) > factor * radius + 0.5 * cell * (1.0 + 1e-9)
        if max_replicated(domain.comm, float(far.any())) > 0.0:
            high = middle - 1
        else:
            low = middle
    return low * cell / STEPS


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


def _beyond_the_edge(domain: DesignDomain) -> Points:
    """Return the mirror images of the cells at the domain's edge in their outer facets, shape (n, 3)."""
    mesh, topology = domain.mesh, domain.mesh.topology
    dim = topology.dim
    topology.create_connectivity(dim - 1, dim)
    facets = dmesh.exterior_facet_indices(topology)
    to_cells = topology.connectivity(dim - 1, dim)
    cells = np.array([to_cells.links(facet)[0] for facet in facets], dtype=np.int64)
    middle = dmesh.compute_midpoints(mesh, dim - 1, facets).reshape(-1, 3)
    inner = domain.midpoints[domain.cell_dofs[cells]] if len(cells) else np.empty((0, 3))
    tolerance = 1e-9 * max(1.0, float(np.abs(mesh.geometry.x).max(initial=0.0)))
    outer = np.ones(len(facets), dtype=bool)
    for plane in domain.symmetry:
        outer &= np.abs(plane.distance(middle)) > tolerance
    for corner in domain.bounding_box():
        for axis in domain.periodic:
            outer &= np.abs(middle[:, axis] - corner[axis]) > tolerance
    return 2.0 * middle[outer] - inner[outer]
