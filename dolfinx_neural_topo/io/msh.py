"""Gmsh meshes with their physical groups by name, checked before anything is built on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from dolfinx.mesh import GhostMode
from mpi4py import MPI

from dolfinx_neural_topo import _dolfinx
from dolfinx_neural_topo._files import as_path
from dolfinx_neural_topo.errors import InputError, agree, collective
from dolfinx_neural_topo.io._cells import CELLS, FACET, count_sides, number_rows, orientations, permutation
from dolfinx_neural_topo.io.groups import Tags, by_name, overlay
from dolfinx_neural_topo.io.msh_file import ELEMENTS, MshFile, parse_msh
from dolfinx_neural_topo.io.tagged import TaggedMesh

_PLANE = 1e-10  # of the extent: how far nodes of a plane mesh may be from their plane

_Members = list[tuple[np.ndarray, tuple[int, ...]]]


@collective
def read_mesh(
    path: str | Path, comm: MPI.Comm = MPI.COMM_WORLD, *, ghost_mode: GhostMode = GhostMode.shared_facet
) -> TaggedMesh:
    """Read a .msh file (version 2.2 or 4.1) of a plane domain (all z equal) or of a volume.

    The file is data and nothing else: gmsh is not needed, and nothing in it is run.

    Args:
        path: File that gmsh wrote: one kind of cells, of first or second order. Cells and facets may be in
            several physical groups, or in none.
        comm: Ranks to distribute the mesh over. Rank 0 reads.
        ghost_mode: Cells of other ranks that a rank sees; integrals over interior facets (`ufl.dS`) need
            shared facets.

    Returns:
        Mesh and groups. A group without a name in gmsh is found under its number ("3").

    Raises:
        FileNotFoundError: No such file.
        InputError: Not such a file, or damaged; mixed, unsupported, flat, inverted or overlapping cells; or a
            curved surface.

    Note: Collective.
    """
    return read_by(load_msh, path, comm, ghost_mode)


def read_by(
    load: Callable[[Path], Loaded], path: str | Path, comm: MPI.Comm, ghost_mode: GhostMode
) -> TaggedMesh:
    """Let rank 0 load a file, and distribute the mesh or the error. Note: Collective."""
    path = as_path(path)
    if not isinstance(comm, MPI.Comm):
        raise InputError(f"comm must be an MPI communicator, got {comm!r}")
    if not isinstance(ghost_mode, GhostMode):
        raise InputError(f"ghost_mode must be a dolfinx.mesh.GhostMode, got {ghost_mode!r}")
    agree(comm, None if comm.rank or path.is_file() else f"no mesh file {path.absolute()}", FileNotFoundError)
    loaded = problem = None
    if comm.rank == 0:
        try:
            loaded = load(path)
        except InputError as error:
            problem = f"{path}: {error}"
        except OSError as error:
            problem = f"{path} cannot be read: {error.strerror}"
    agree(comm, problem)
    return _distribute(comm, loaded, ghost_mode)


@dataclass(frozen=True)
class Loaded:
    """What rank 0 read: nodes in gmsh's order, and one tag an entity."""

    kind: int
    points: np.ndarray
    cells: np.ndarray
    cell_values: np.ndarray
    facets: np.ndarray
    facet_values: np.ndarray
    groups: tuple[dict[str, Tags], dict[str, Tags], dict[str, str], frozenset[str]]


def _distribute(comm: MPI.Comm, loaded: Loaded | None, ghost_mode: GhostMode) -> TaggedMesh:
    """Distribute what rank 0 read."""
    kind, groups = comm.bcast(loaded and (loaded.kind, loaded.groups), root=0)
    dimension, width, _ = ELEMENTS[kind]
    if loaded is None:
        nothing = np.empty(0, dtype=np.int32)
        cells, facets = (np.empty((0, n), dtype=np.int64) for n in (width, ELEMENTS[FACET[kind]][1]))
        loaded = Loaded(kind, np.empty((0, dimension)), cells, nothing, facets, nothing, groups)
    cells = np.ascontiguousarray(loaded.cells[:, permutation(kind)])
    facets = np.ascontiguousarray(loaded.facets[:, permutation(FACET[kind])])
    mesh = _dolfinx.distribute_mesh(comm, *CELLS[kind], loaded.points, cells, ghost_mode)
    cell_tags = _dolfinx.distribute_tags(mesh, mesh.topology.dim, cells, loaded.cell_values)
    facet_tags = _dolfinx.distribute_tags(mesh, mesh.topology.dim - 1, facets, loaded.facet_values)
    cell_tags.name, facet_tags.name = "cell_tags", "facet_tags"
    return TaggedMesh(mesh, cell_tags, facet_tags, *groups)


def load_msh(path: Path) -> Loaded:
    """Read and check a file.

    Raises:
        InputError: See `read_mesh`.
        OSError: The file cannot be read.
    """
    return check_file(parse_msh(path.read_bytes()))


def check_file(file: MshFile) -> Loaded:
    """Check what a file says, and find its groups.

    Raises:
        InputError: See `read_mesh`.
    """
    kind = _kind_of_cells(file)
    dimension = ELEMENTS[kind][0]
    nodes, members = _merge(file, kind)
    if np.any(nodes < 0):
        raise InputError("damaged: cells have nodes that are not in the file")
    used, cells = np.unique(nodes, return_inverse=True)
    cells = cells.reshape(nodes.shape)
    points = _in_its_plane(file.coordinates[used], dimension)
    sign = orientations(kind, points, cells)
    cell_values, tags = overlay(len(cells), members)
    cell_groups = by_name(tags, dimension, file.names)
    if np.any(cell_values == 0):
        cell_groups[""] = 0

    nodes, members = _merge(file, FACET[kind])
    facets = np.searchsorted(used, nodes)
    at_cells = np.all(np.isin(nodes, used), axis=1)
    sides = np.zeros(len(facets), dtype=np.int64)
    sides[at_cells] = count_sides(kind, cells, sign, facets[at_cells])
    facet_values, tags = overlay(len(facets), members)
    facet_groups, unusable, inside = _whole_groups(
        by_name(tags, dimension - 1, file.names), facet_values, sides
    )
    found = (sides > 0) & (facet_values > 0)
    groups = (cell_groups, facet_groups, unusable, inside)
    return Loaded(kind, points, cells, cell_values, facets[found], facet_values[found], groups)


def _kind_of_cells(file: MshFile) -> int:
    """Return gmsh's number of the one kind of cells in a file."""
    kinds = [kind for kind, blocks in file.elements.items() if any(len(nodes) for nodes, _ in blocks)]
    dimension = max((ELEMENTS[kind][0] for kind in kinds), default=0)
    if dimension < 2:
        raise InputError("neither triangles, quadrilaterals, tetrahedra nor hexahedra")
    kinds = sorted(kind for kind in kinds if ELEMENTS[kind][0] == dimension)
    names = [ELEMENTS[kind][2] for kind in kinds]
    if len(kinds) > 1:
        raise InputError(
            f"mixed cells ({' and '.join(names)}, gmsh types {', '.join(map(str, kinds))}); mesh with one "
            "kind (gmsh: with or without `Recombine` everywhere)"
        )
    if kinds[0] not in CELLS:
        raise InputError(
            f"{names[0]} of {ELEMENTS[kinds[0]][1]} nodes, cells of gmsh type {kinds[0]}; expected "
            "triangles, quadrilaterals, tetrahedra or hexahedra, of first or complete second order "
            "(gmsh: `Mesh.ElementOrder`, `Mesh.SecondOrderIncomplete = 0`)"
        )
    return kinds[0]


def _merge(file: MshFile, kind: int) -> tuple[np.ndarray, _Members]:
    """Return the elements of a kind, each once, by rows of `file.node_tags` (-1 for none), and their groups.

    An element that is in several groups is several times in a file of version 2.2.
    """
    blocks = file.elements.get(kind, [])
    tags = np.concatenate([np.empty((0, ELEMENTS[kind][1]), dtype=np.int64), *(nodes for nodes, _ in blocks)])
    order = np.argsort(file.node_tags, kind="stable")
    at = np.searchsorted(file.node_tags, tags, sorter=order)
    row = order[np.minimum(at, len(order) - 1)]
    row = np.where(file.node_tags[row] == tags, row, -1)
    number = number_rows(row + 1)
    keep = np.sort(np.unique(number, return_index=True)[1])
    place = np.empty(len(keep), dtype=np.int64)
    place[number[keep]] = np.arange(len(keep))
    ends = np.cumsum([len(nodes) for nodes, _ in blocks])[:-1]
    return row[keep], [
        (rows, groups) for rows, (_, groups) in zip(np.split(place[number], ends), blocks, strict=False)
    ]


def _in_its_plane(coordinates: np.ndarray, dimension: int) -> np.ndarray:
    """Return the coordinates of the nodes of cells, without the third of a plane mesh."""
    if not np.all(np.isfinite(coordinates)):
        raise InputError(
            f"{np.sum(~np.isfinite(coordinates).all(axis=1))} nodes have coordinates that are not finite"
        )
    if dimension == 3:
        return coordinates
    extent = np.ptp(coordinates, axis=0)
    if extent[2] > _PLANE * extent.max():
        raise InputError("a surface in space; expected a plane one (all z equal) or a volume")
    return coordinates[:, :2]


def _whole_groups(
    groups: dict[str, Tags], values: np.ndarray, sides: np.ndarray
) -> tuple[dict[str, Tags], dict[str, str], frozenset[str]]:
    """Tell the groups of which all facets belong to cells, why others do not, and which lie between cells."""
    whole, unusable, inside = {}, {}, []
    for name, tags in groups.items():
        here = sides[np.isin(values, tags)]
        if np.all(here > 0):
            whole[name] = tags
            inside += [name] * bool(np.all(here == 2))
        else:
            unusable[name] = f"{np.sum(here == 0)} of its {len(here)} facets belong to no cell of the mesh"
    return whole, unusable, frozenset(inside)
