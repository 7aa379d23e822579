"""The surface of a three-dimensional design: the isosurface of its density, closed at the domain's edge.

The density is averaged to the cell corners and taken linear on tetrahedra (a hexahedron is split into twelve
around its centre). The part of the domain where it exceeds the level is bounded by the isosurface and by the
covered part of the domain's boundary; both are cut along the same edges, which makes the whole watertight by
construction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from dolfinx import fem, la
from dolfinx import mesh as dmesh

from dolfinx_neural_topo._dolfinx import geometry_nodes
from dolfinx_neural_topo.errors import InputError, collective
from dolfinx_neural_topo.io._ranks import gather_rows
from dolfinx_neural_topo.io.gather import CORNERS, corner_nodes, global_nodes, values_by_cell

# faces of a hexahedron in VTK's corner order, each going round
_HEXAHEDRON_FACES = np.array(
    [(0, 3, 2, 1), (4, 5, 6, 7), (0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7)], dtype=np.int64
)
# an intersection keeps this distance from the ends of its edge (relative to the edge): corner values often
# equal the level exactly, and points that coincide in the 32-bit floats of an STL file would tear the surface
# open
_EDGE_MARGIN = 0.05


@dataclass(frozen=True)
class Surface:
    """Triangles with shared vertices.

    Attributes:
        points: Vertex coordinates, shape `(n, 3)`, in the mesh's length unit.
        triangles: Vertex numbers, shape `(m, 3)`, counter-clockwise as seen from outside.
    """

    points: np.ndarray
    triangles: np.ndarray

    @property
    def volume(self) -> float:
        """Enclosed volume (divergence theorem), in cubed length units; meaningful for a closed surface."""
        a, b, c = (self.points[self.triangles[:, k]] for k in range(3))
        return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6.0)

    @property
    def is_watertight(self) -> bool:
        """Whether every edge belongs to exactly two triangles that run along it in opposite directions."""
        directed = np.concatenate([self.triangles[:, [k, (k + 1) % 3]] for k in range(3)])
        if len(directed) == 0 or len(np.unique(directed, axis=0)) != len(directed):
            return False
        forward = np.unique(directed, axis=0)
        backward = np.unique(directed[:, ::-1], axis=0)
        return bool(np.array_equal(forward, backward))


@dataclass(frozen=True)
class _Corners:
    """Points between which edges run: numbers all ranks agree on, coordinates, density minus level."""

    number: np.ndarray
    x: np.ndarray
    phi: np.ndarray


@collective
def closed_surface(
    density: fem.Function, *, level: float = 0.5, mirror: Sequence[tuple[int, float]] = ()
) -> Surface | None:
    """Compute the closed surface of the part of the domain where the density exceeds `level`.

    Args:
        density: Scalar DG0 function on a mesh of tetrahedra or hexahedra; dimensionless, in [0, 1].
        level: Density of the surface, in (0, 1).
        mirror: Symmetry planes as (axis, position), one after the other: the design is completed there, and
            material that meets the plane is joined to its mirror image instead of being closed.

    Returns:
        The surface on rank 0; None on the other ranks.

    Raises:
        InputError: Wrong kind of function or mesh, or `level` outside (0, 1).

    Note: Collective. Only triangles travel, never the mesh.
    """
    mesh = density.function_space.mesh
    name = mesh.topology.cell_name()
    if name not in ("tetrahedron", "hexahedron"):
        raise InputError(f"density must live on tetrahedra or hexahedra to have a surface, got {name} cells")
    if not 0.0 < level < 1.0:
        raise InputError(f"level must lie in (0, 1), got {level}")
    corners, cells = _corner_density(density, level)
    boundary, inside = _boundary_triangles(mesh, corners, mirror)
    if name == "hexahedron":
        corners, cells = _split_hexahedra(mesh, corners, cells)
    keys, points = _join(_isosurface(corners, cells), _caps(corners, boundary, inside))
    gathered_keys = gather_rows(mesh.comm, keys)
    gathered_points = gather_rows(mesh.comm, points)
    if gathered_keys is None or gathered_points is None:
        return None
    _, first, vertex = np.unique(gathered_keys.reshape(-1, 2), axis=0, return_index=True, return_inverse=True)
    surface = Surface(gathered_points.reshape(-1, 3)[first], vertex.reshape(-1, 3))
    for axis, position in mirror:
        surface = _mirrored(surface, axis, position)
    return surface


def _corner_density(density: fem.Function, level: float) -> tuple[_Corners, np.ndarray]:
    """Average the density of the adjacent cells at each corner; return corners and cells of this rank."""
    mesh = density.function_space.mesh
    cells = corner_nodes(mesh)
    values = values_by_cell(density)
    space = fem.functionspace(mesh, ("Lagrange", 1))
    dofs = space.dofmap.list[: len(cells)][:, list(CORNERS[mesh.topology.cell_name()])]
    total, count = fem.Function(space), fem.Function(space)
    np.add.at(total.x.array, dofs, values[:, None])
    np.add.at(count.x.array, dofs, 1.0)
    for function in (total, count):  # cells of other ranks around a shared corner add their part
        function.x.scatter_reverse(la.InsertMode.add)
        function.x.scatter_forward()
    phi = np.zeros(len(mesh.geometry.x))
    phi[cells] = np.real(total.x.array[dofs]) / np.real(count.x.array[dofs]) - level
    return _Corners(global_nodes(mesh), mesh.geometry.x, phi), cells


def _split_hexahedra(mesh: dmesh.Mesh, corners: _Corners, cells: np.ndarray) -> tuple[_Corners, np.ndarray]:
    """Split each hexahedron into twelve tetrahedra: two a face, and the centre."""
    first_cell = mesh.topology.index_map(3).local_range[0]
    first_number = mesh.geometry.index_map().size_global
    centre = len(corners.x) + np.arange(len(cells))
    extended = _Corners(
        np.concatenate([corners.number, first_number + first_cell + np.arange(len(cells))]),
        np.concatenate([corners.x, corners.x[cells].mean(axis=1)]),
        np.concatenate([corners.phi, corners.phi[cells].mean(axis=1)]),
    )
    faces = _split_quadrilaterals(cells[:, _HEXAHEDRON_FACES].reshape(-1, 4), corners.number)
    apex = np.repeat(centre, 12)[:, None]
    return extended, np.hstack([faces, apex])


def _split_quadrilaterals(quadrilaterals: np.ndarray, number: np.ndarray) -> np.ndarray:
    """Cut along the diagonal at the corner of lowest number, the same from both sides and on all ranks."""
    start = np.argmin(number[quadrilaterals], axis=1)
    rows = np.arange(len(quadrilaterals))[:, None]
    turned = quadrilaterals[rows, (start[:, None] + np.arange(4)) % 4]
    return np.stack([turned[:, [0, 1, 2]], turned[:, [0, 2, 3]]], axis=1).reshape(-1, 3)


def _boundary_triangles(
    mesh: dmesh.Mesh, corners: _Corners, mirror: Sequence[tuple[int, float]]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the triangles of the domain's boundary on this rank, and a point inside the domain for each.

    Boundary on a symmetry plane is left out: the design goes on behind it.
    """
    mesh.topology.create_connectivity(2, 3)
    mesh.topology.create_connectivity(2, 0)
    mesh.topology.create_connectivity(3, 2)
    facets = dmesh.exterior_facet_indices(mesh.topology)
    nodes = np.asarray(dmesh.entities_to_geometry(mesh, 2, facets))
    nodes = nodes.reshape(len(facets), -1)
    quadrilateral = mesh.topology.cell_name() == "hexahedron"
    nodes = nodes[:, [0, 1, 3, 2]] if quadrilateral else nodes[:, :3]
    facet_to_cell = mesh.topology.connectivity(2, 3)
    owners = np.array([facet_to_cell.links(facet)[0] for facet in facets], dtype=np.int64)
    inside = corners.x[geometry_nodes(mesh)[owners]].mean(axis=1).reshape(-1, 3)
    keep = np.ones(len(facets), dtype=bool)
    tolerance = 1e-8 * _extent(mesh)
    for axis, position in mirror:
        keep &= ~np.all(np.abs(corners.x[nodes][..., axis] - position) < tolerance, axis=1)
    nodes, inside = nodes[keep], inside[keep]
    if quadrilateral:
        return _split_quadrilaterals(nodes, corners.number), np.repeat(inside, 2, axis=0)
    return nodes, inside


def _extent(mesh: dmesh.Mesh) -> float:
    """Largest absolute coordinate of this rank's part, a scale for comparing coordinates."""
    return float(np.abs(mesh.geometry.x).max(initial=0.0)) or 1.0


def _cut(corners: _Corners, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return keys `(n, 2)` and coordinates `(n, 3)` of the points where edges a-b cross the level.

    `a == b` stands for the corner itself.
    """
    swap = corners.number[a] > corners.number[b]
    low, high = np.where(swap, b, a), np.where(swap, a, b)
    difference = corners.phi[low] - corners.phi[high]
    t = corners.phi[low] / np.where(difference == 0.0, 1.0, difference)
    t = np.where(low == high, 0.0, np.clip(t, _EDGE_MARGIN, 1.0 - _EDGE_MARGIN))[:, None]
    keys = np.stack([corners.number[low], corners.number[high]], axis=1)
    return keys, (1.0 - t) * corners.x[low] + t * corners.x[high]


def _triangles(corners: _Corners, edges: Sequence[tuple[np.ndarray, np.ndarray]], outward: np.ndarray):
    """Return keys `(n, 3, 2)` and points `(n, 3, 3)` of triangles between three edges, facing `outward`."""
    cuts = [_cut(corners, a, b) for a, b in edges]
    keys = np.stack([key for key, _ in cuts], axis=1)
    points = np.stack([x for _, x in cuts], axis=1)
    normal = np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0])
    flip = np.einsum("ij,ij->i", normal, outward) < 0
    keys[flip] = keys[flip][:, ::-1]
    points[flip] = points[flip][:, ::-1]
    return keys, points


def _solid_first(corners: _Corners, simplices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sort the corners of each simplex, solid ones first; return them and the number of solid ones."""
    solid = corners.phi[simplices] >= 0.0
    order = np.argsort(~solid, axis=1, kind="stable")
    return np.take_along_axis(simplices, order, axis=1), solid.sum(axis=1)


def _isosurface(corners: _Corners, tetrahedra: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Marching tetrahedra: one triangle around a lone corner, two between two solid and two void corners."""
    ordered, count = _solid_first(corners, tetrahedra)
    parts = []
    for solid, cycles in (
        (1, [((0, 1), (0, 2), (0, 3))]),
        (3, [((3, 0), (3, 1), (3, 2))]),
        (2, [((0, 2), (0, 3), (1, 3)), ((0, 2), (1, 3), (1, 2))]),
    ):
        cells = ordered[count == solid]
        outward = corners.x[cells[:, solid:]].mean(axis=1) - corners.x[cells[:, :solid]].mean(axis=1)
        for cycle in cycles:
            parts.append(_triangles(corners, [(cells[:, a], cells[:, b]) for a, b in cycle], outward))
    return parts


def _caps(corners: _Corners, boundary: np.ndarray, inside: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Cover the part of the boundary triangles that is solid."""
    ordered, count = _solid_first(corners, boundary)
    outward = corners.x[boundary].mean(axis=1) - inside
    parts = []
    for solid, cycles in (
        (3, [((0, 0), (1, 1), (2, 2))]),
        (1, [((0, 0), (0, 1), (0, 2))]),
        (2, [((0, 0), (1, 1), (1, 2)), ((0, 0), (1, 2), (0, 2))]),
    ):
        faces, normals = ordered[count == solid], outward[count == solid]
        for cycle in cycles:
            parts.append(_triangles(corners, [(faces[:, a], faces[:, b]) for a, b in cycle], normals))
    return parts


def _join(*lists: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Concatenate triangles from several cases."""
    parts = [part for each in lists for part in each]
    return np.concatenate([keys for keys, _ in parts]), np.concatenate([points for _, points in parts])


def _mirrored(surface: Surface, axis: int, position: float) -> Surface:
    """Add the mirror image at the plane; vertices on the plane are shared."""
    points, triangles = surface.points, surface.triangles
    copy = points.copy()
    copy[:, axis] = 2.0 * position - points[:, axis]
    scale = np.abs(points).max(initial=0.0) or 1.0
    on_plane = np.abs(points[:, axis] - position) < 1e-8 * scale
    number = np.where(on_plane, np.arange(len(points)), len(points) + np.cumsum(~on_plane) - 1)
    return Surface(
        np.concatenate([points, copy[~on_plane]]), np.concatenate([triangles, number[triangles[:, ::-1]]])
    )
