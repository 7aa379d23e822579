"""The cells of a three-dimensional mesh, split at the midpoints of edges and faces and at their centres."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import basix
import numpy as np
from dolfinx import fem, la
from dolfinx import mesh as dmesh

from dolfinx_neural_topo._dolfinx import geometry_nodes
from dolfinx_neural_topo.io.gather import finite_by_cell

_CHUNK = 1 << 14  # cells that are split at a time


@dataclass(frozen=True)
class Points:
    """Midpoints of all entities of a mesh, vertices first and cells last, between which edges run.

    Attributes:
        number: Numbers that all ranks agree on, shape (n,).
        x: Coordinates, shape (n, 3).
        rho: Mean density of the cells around each, shape (n,).
        of_cells: Points of each local cell, by dimension of the entity, each of shape (cells, entities).
        owned: Number of owned cells, which come first.
    """

    number: np.ndarray
    x: np.ndarray
    rho: np.ndarray
    of_cells: list[np.ndarray]
    owned: int


def midpoints(density: fem.Function) -> Points:
    """Average the density of the adjacent cells at each entity. Note: Collective."""
    mesh = density.function_space.mesh
    topology = mesh.topology
    values = finite_by_cell(density)
    reference = _reference(topology.cell_name())
    vertices = mesh.geometry.x[geometry_nodes(mesh)[:, : len(reference[0])]]  # first in the order of nodes
    numbers, x, rho, of_cells = [], [], [], []
    first_local = first_global = 0
    for dim, entities in enumerate(reference):
        topology.create_connectivity(3, dim)
        index_map = topology.index_map(dim)
        num = index_map.size_local + index_map.num_ghosts
        places = np.asarray(topology.connectivity(3, dim).array).reshape(-1, len(entities))
        numbers.append(first_global + index_map.local_to_global(np.arange(num, dtype=np.int32)))
        middle = np.zeros((num, 3))
        middle[places] = np.stack([vertices[:, list(corners)].mean(axis=1) for corners in entities], axis=1)
        x.append(middle)
        mean = la.vector(index_map, 2)  # sum of densities and number of cells
        sums = mean.array.reshape(-1, 2)
        np.add.at(sums[:, 0], places[: len(values)], values[:, None])
        np.add.at(sums[:, 1], places[: len(values)], 1.0)
        mean.scatter_reverse(la.InsertMode.add)  # cells of other ranks add their part
        mean.scatter_forward()
        rho.append(sums[:, 0] / np.maximum(sums[:, 1], 1.0))
        of_cells.append(first_local + places)
        first_local, first_global = first_local + num, first_global + index_map.size_global
    return Points(np.concatenate(numbers), np.concatenate(x), np.concatenate(rho), of_cells, len(values))


@lru_cache
def _reference(cell: str) -> list[list[list[int]]]:
    """Vertices of each entity of the reference cell, by dimension."""
    return basix.topology(basix.CellType[cell])


@lru_cache
def _flags(cell: str) -> np.ndarray:
    """Edges of each facet, each with its two vertices: shape (facets, pairs, 2)."""
    _, edges, facets, _ = _reference(cell)
    return np.array(
        [
            [(e, v) for e, edge in enumerate(edges) if set(edge) <= set(facet) for v in edge]
            for facet in facets
        ]
    )


def _cell_name(points: Points) -> str:
    return "tetrahedron" if points.of_cells[0].shape[1] == 4 else "hexahedron"


def tetrahedra(points: Points, level: float | None = None) -> Iterator[np.ndarray]:
    """Yield the tetrahedra of the owned cells that the level crosses (without one: of all), shape (n, 4)."""
    vertices, edges, facets, cells = (places[: points.owned] for places in points.of_cells)
    wanted: np.ndarray = np.arange(points.owned)
    if level is not None:
        rho = points.rho[np.hstack([vertices, edges, facets, cells])]
        wanted = np.flatnonzero(
            (rho.min(axis=1, initial=1.0) < level) & (rho.max(axis=1, initial=0.0) >= level)
        )
    flags = _flags(_cell_name(points))
    for start in range(0, len(wanted), _CHUNK):
        some = wanted[start : start + _CHUNK]
        e, v = edges[some][:, flags[..., 0]], vertices[some][:, flags[..., 1]]
        c = np.broadcast_to(cells[some][:, :, None], e.shape)
        f = np.broadcast_to(facets[some][:, :, None], e.shape)
        yield np.stack([c, f, e, v], axis=-1).reshape(-1, 4)


def boundary_triangles(
    mesh: dmesh.Mesh, points: Points, mirror: Sequence[tuple[int, float]]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the triangles of the domain's boundary on this rank, and a point inside the domain for each.

    Boundary on a symmetry plane is left out: the design goes on behind it.
    """
    vertices, edges, facets, cells = points.of_cells
    mesh.topology.create_connectivity(2, 3)
    exterior = dmesh.exterior_facet_indices(mesh.topology)
    to_cell = mesh.topology.connectivity(2, 3)
    owners = np.array([to_cell.links(facet)[0] for facet in exterior], dtype=np.int64)
    before = [mesh.topology.index_map(dim) for dim in (0, 1)]
    faces = exterior + sum(index_map.size_local + index_map.num_ghosts for index_map in before)
    flags = _flags(_cell_name(points))[np.argmax(facets[owners] == faces[:, None], axis=1)]
    rows = owners[:, None]
    e, v = edges[rows, flags[..., 0]], vertices[rows, flags[..., 1]]
    keep = np.ones(len(faces), dtype=bool)
    tolerance = 1e-8 * _extent(mesh)
    for axis, position in mirror:
        keep &= ~np.all(np.abs(points.x[v][..., axis] - position) < tolerance, axis=1)
    triangles = np.stack([np.broadcast_to(faces[:, None], e.shape), e, v], axis=-1)[keep]
    inside = np.repeat(points.x[cells[owners[keep], 0]], triangles.shape[1], axis=0)
    return triangles.reshape(-1, 3), inside


def _extent(mesh: dmesh.Mesh) -> float:
    """Largest absolute coordinate of this rank's part, a scale for comparing coordinates."""
    return float(np.abs(mesh.geometry.x).max(initial=0.0)) or 1.0
