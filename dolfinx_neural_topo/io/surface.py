"""The surface of a three-dimensional design: the isosurface of its density, closed at the domain's edge.

Each cell is split at the midpoints of its edges and faces and at its centre (a hexahedron into 48 tetrahedra,
a tetrahedron into 24). At each of these points the density is the mean of the cells around it, and linear
between them: cells that share a face stay joined, however thin the member. The part of the domain where it
exceeds the level is bounded by the isosurface and by the covered part of the domain's boundary; both are cut
along the same edges, which makes the whole watertight by construction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from dolfinx import fem
from dolfinx.mesh import Mesh
from mpi4py import MPI

from dolfinx_neural_topo._checks import check_number
from dolfinx_neural_topo._communication import max_replicated
from dolfinx_neural_topo.errors import InputError, collective
from dolfinx_neural_topo.io._midpoints import Points, boundary_triangles, midpoints, tetrahedra
from dolfinx_neural_topo.io._ranks import gather_rows
from dolfinx_neural_topo.io.gather import values_by_cell

# an intersection keeps this distance from the ends of its edge (relative to the edge): densities often equal
# the level exactly, and points that coincide in the 32-bit floats of an STL file would tear the surface open
_EDGE_MARGIN = 0.01
_HALVINGS = 10  # of the interval of levels in which that of the right volume is looked for
_SMALL = 1e-9  # rounding of a sum of volumes
_GREY = 0.05  # by how much the volume of the surface may exceed the material


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
    """Points with density minus level."""

    number: np.ndarray
    x: np.ndarray
    phi: np.ndarray


@collective
def closed_surface(
    density: fem.Function, *, level: float | None = None, mirror: Sequence[tuple[int, float]] = ()
) -> Surface | None:
    """Compute the closed surface of the part of the domain where the density exceeds `level`.

    Args:
        density: Scalar DG0 function on a mesh of tetrahedra or hexahedra; dimensionless, in [0, 1].
        level: Density of the surface, in (0, 1). By default that at which the surface encloses as much as the
            design has material: smoothing thins no member of a design of solid and void. What it encloses is
            `Surface.volume`.
        mirror: Symmetry planes as (axis, position), one after the other: the design is completed there, and
            material that meets the plane is joined to its mirror image instead of being closed.

    Returns:
        The surface on rank 0; None on the other ranks.

    Raises:
        InputError: Wrong kind of function or mesh, `level` outside (0, 1), a plane that cuts the domain, or
            so much grey that no surface encloses what the design has of material.

    Note: Collective. Only triangles travel, never the mesh.
    """
    mesh = density.function_space.mesh
    name = mesh.topology.cell_name()
    if name not in ("tetrahedron", "hexahedron"):
        raise InputError(f"density must live on tetrahedra or hexahedra to have a surface, got {name} cells")
    if level is not None and not 0.0 < level < 1.0:
        raise InputError(f"level must lie in (0, 1), got {level}")
    _check_mirror(mesh, mirror)
    points = midpoints(density)
    level = _level_of_material(mesh.comm, points, values_by_cell(density)) if level is None else level
    corners = _Corners(points.number, points.x, points.rho - level)
    parts = [part for cells in tetrahedra(points, level) for part in _isosurface(corners, cells)]
    keys, x = _join(parts, _caps(corners, *boundary_triangles(mesh, points, mirror)))
    gathered_keys = gather_rows(mesh.comm, keys)
    gathered_points = gather_rows(mesh.comm, x)
    if gathered_keys is None or gathered_points is None:
        return None
    _, first, vertex = np.unique(gathered_keys.reshape(-1, 2), axis=0, return_index=True, return_inverse=True)
    surface = Surface(gathered_points.reshape(-1, 3)[first], vertex.reshape(-1, 3))
    for axis, position in mirror:
        surface = _mirrored(surface, axis, position)
    return surface


def _check_mirror(mesh: Mesh, mirror: Sequence[tuple[int, float]]) -> None:
    """Refuse planes that cut the domain, or what mirrors before have made of it."""
    low = -max_replicated(mesh.comm, -mesh.geometry.x.min(axis=0, initial=np.inf))
    high = max_replicated(mesh.comm, mesh.geometry.x.max(axis=0, initial=-np.inf))
    margin = 1e-8 * float((high - low).max())
    for axis, position in mirror:
        if axis not in (0, 1, 2):
            raise InputError(f"mirror must hold pairs (axis, position) with axis 0, 1 or 2, got axis {axis}")
        if low[axis] + margin < check_number("mirror", position) < high[axis] - margin:
            raise InputError(
                f"mirror must hold planes at an end of the domain, which lies in [{low[axis]:g}, "
                f"{high[axis]:g}] along axis {axis}, got {position:g}"
            )
        ends = (low[axis], high[axis], 2 * position - low[axis], 2 * position - high[axis])
        low[axis], high[axis] = min(ends), max(ends)


def _level_of_material(comm: MPI.Comm, points: Points, values: np.ndarray) -> float:
    """Return the level, to 1/1024, whose surface encloses the volume of the material. Note: Collective."""
    sizes = np.concatenate([np.zeros(0), *(_volumes(points.x[t]) for t in tetrahedra(points))])
    per_cell = sizes.reshape(len(values), -1).sum(axis=1) if len(values) else np.zeros(0)
    material = comm.allreduce(float(per_cell @ values))

    def enclosed(level: float) -> float:
        crossed = 0.0
        for cells in tetrahedra(points, level):
            crossed += float(_volumes(points.x[cells]) @ _solid_part(points.rho[cells] - level))
        rho = points.rho[np.hstack([places[: points.owned] for places in points.of_cells])]
        return comm.allreduce(crossed + float(per_cell[rho.min(axis=1, initial=1.0) >= level].sum()))

    low, high, found = 0.0, 1.0, 0.0
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        volume = enclosed(middle)
        if volume >= (1.0 - _SMALL) * material:
            low, found = middle, volume
        else:
            high = middle
    if not 0.0 < found <= (1.0 + _GREY) * material:
        raise InputError(
            "density must be nearly solid and void to have a surface that encloses its material, got volume "
            f"{material:.4g} and no surface below {found:.4g}; make the design buildable, or give level"
        )
    return low


def _volumes(x: np.ndarray) -> np.ndarray:
    """Volumes of tetrahedra with corners x, shape (n, 4, 3)."""
    return np.abs(np.linalg.det(x[:, 1:] - x[:, :1])) / 6.0


def _solid_part(phi: np.ndarray) -> np.ndarray:
    """Part of each tetrahedron in which phi, linear with values of shape (n, 4), is positive."""
    phi = -np.sort(-phi, axis=1)
    solid = (phi >= 0.0).sum(axis=1)
    difference = phi[:, :, None] - phi[:, None, :]
    t = np.clip(
        phi[:, :, None] / np.where(difference == 0.0, 1.0, difference), _EDGE_MARGIN, 1.0 - _EDGE_MARGIN
    )
    ac, ad, bc, bd = t[:, 0, 2], t[:, 0, 3], t[:, 1, 2], t[:, 1, 3]
    lone = t[:, 0, 1] * ac * ad
    all_but_one = 1.0 - (1.0 - ad) * (1.0 - bd) * (1.0 - t[:, 2, 3])
    wedge = ac * ad + bc * bd * (1.0 - ac) + bd * ac * (1.0 - ad)
    return np.choose(solid, [np.zeros(len(phi)), lone, wedge, all_but_one, np.ones(len(phi))])


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
