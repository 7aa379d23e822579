"""Gmsh meshes with their physical groups by name, checked before anything is built on them."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ufl
from dolfinx.mesh import Mesh, MeshTags
from mpi4py import MPI

from dolfinx_neural_topo import _dolfinx
from dolfinx_neural_topo.errors import InputError, agree
from dolfinx_neural_topo.io._ranks import require

# gmsh's numbers of the straight-sided cells this package works on, with their corners in cyclic order
_CELLS = {2: "triangles", 3: "quadrilaterals", 4: "tetrahedra", 5: "hexahedra"}
# each corner of a hexahedron and its three neighbours, right-handed
_HEXAHEDRON = (
    *((0, 1, 3, 4), (1, 2, 0, 5), (2, 3, 1, 6), (3, 0, 2, 7)),
    *((4, 7, 5, 0), (5, 4, 6, 1), (6, 5, 7, 2), (7, 6, 4, 3)),
)
# the start of the only kind of file that gmsh does not run as a script
_HEADER = re.compile(rb"\$MeshFormat\r?\n(2\.2|4\.1) [01] \d+\s")


@dataclass(frozen=True)
class TaggedMesh:
    """A distributed mesh whose cells and facets are found by the names given to them in gmsh.

    Attributes:
        mesh: The mesh.
        cell_tags: Tag of each cell.
        facet_tags: Tag of each facet that is in a group.
        cell_groups: Name of a physical group of cells to its tag.
        facet_groups: Name of a physical group of facets to its tag.
    """

    mesh: Mesh
    cell_tags: MeshTags
    facet_tags: MeshTags
    cell_groups: dict[str, int]
    facet_groups: dict[str, int]

    def cells(self, name: str) -> np.ndarray:
        """Return the local cells (ghosts included) of a group, shape `(n,)`, int32.

        Raises:
            InputError: No such group.
        """
        return self.cell_tags.find(_tag(self.cell_groups, name, "cells"))

    def owned_cells(self, name: str) -> np.ndarray:
        """Return for each owned cell whether it is in the group, shape `(owned cells,)`, bool.

        Raises:
            InputError: No such group.
        """
        inside = np.zeros(self.mesh.topology.index_map(self.mesh.topology.dim).size_local, dtype=bool)
        cells = self.cells(name)
        inside[cells[cells < len(inside)]] = True
        return inside

    def facets(self, name: str) -> np.ndarray:
        """Return the local facets of a group, as `locate_dofs_topological` takes them, shape `(n,)`, int32.

        Raises:
            InputError: No such group.
        """
        return self.facet_tags.find(_tag(self.facet_groups, name, "facets"))

    def ds(self, name: str) -> ufl.Measure:
        """Return the integration measure over the exterior facets of a group.

        Raises:
            InputError: No such group.
        """
        tag = _tag(self.facet_groups, name, "facets")
        return ufl.Measure("ds", domain=self.mesh, subdomain_data=self.facet_tags)(tag)


def _tag(groups: dict[str, int], name: str, kind: str) -> int:
    """Look a group up."""
    if name not in groups:
        present = ", ".join(map(repr, groups)) or "none"
        raise InputError(f"the mesh has no group of {kind} named {name!r}; it has {present}")
    return groups[name]


def read_mesh(path: str | Path, comm: MPI.Comm = MPI.COMM_WORLD) -> TaggedMesh:
    """Read a .msh file of a plane domain (all z equal) or of a volume.

    Args:
        path: File that gmsh wrote. Every cell must be in exactly one physical group; facets where wanted.
        comm: Ranks to distribute the mesh over. Rank 0 reads.

    Returns:
        Mesh and groups. A group without a name in gmsh is found under its number ("3").

    Raises:
        FileNotFoundError: No such file.
        ImportError: The gmsh module is missing.
        InputError: No cells in a physical group, cells in none or in two, mixed, unsupported, flat or
            inverted cells, or a curved surface.

    Note: Collective.
    """
    path = Path(path)
    agree(comm, None if comm.rank or path.is_file() else f"no mesh file {path.absolute()}", FileNotFoundError)
    require(comm, "gmsh", "read_mesh")
    import gmsh

    started = comm.rank == 0 and not gmsh.isInitialized()
    if started:
        # leaves the handling of Ctrl-C to Python; a file of options can run commands, so none is read
        gmsh.initialize(readConfigFiles=False, interruptible=False)
    try:
        problem, groups, gdim = _open(gmsh, path) if comm.rank == 0 else (None, None, 0)
        agree(comm, problem)
        groups, gdim = comm.bcast((groups, gdim), root=0)
        mesh, cell_tags, facet_tags = _dolfinx.mesh_from_gmsh(
            gmsh.model if comm.rank == 0 else None, comm, gdim
        )
    finally:
        if started:
            gmsh.finalize()
    return TaggedMesh(mesh, cell_tags, facet_tags, groups[0], groups[1])


def _open(gmsh: Any, path: Path) -> tuple[str | None, Any, int]:
    """Load a file into gmsh on this rank; return a problem or None, the groups and the dimension."""
    content = path.read_bytes()
    if not _HEADER.match(content):
        return f"{path} is not a mesh file of version 2.2 or 4.1 (gmsh: `Mesh.MshFileVersion`)", None, 0
    gmsh.option.setNumber("General.Terminal", 0)
    gmsh.model.add("mesh")
    # gmsh runs what is not a mesh as a script, chooses by the ending, and runs NAME.msh.opt beside NAME.msh:
    # it is given the bytes that were checked, in a folder that holds nothing else
    with tempfile.TemporaryDirectory() as folder:
        private = Path(folder) / "mesh.msh"
        private.write_bytes(content)
        try:
            gmsh.merge(str(private))
        except Exception as error:  # gmsh raises bare Exception
            return f"{path} is not a mesh that gmsh can read: {error}", None, 0
    model = gmsh.model
    dimension = max((dim for dim, _ in model.getEntities() if len(model.mesh.getElements(dim)[0])), default=0)
    if dimension < 2:
        return f"{path} holds neither triangles, quadrilaterals, tetrahedra nor hexahedra", None, 0
    _, coordinates, _ = model.mesh.getNodes()
    if dimension == 2 and np.ptp(np.reshape(coordinates, (-1, 3))[:, 2]) > 0.0:
        return f"{path} is a surface in space; expected a plane one (all z equal) or a volume", None, 0
    problem = _wrong_cells(model, dimension) or _wrong_groups(model, dimension)
    groups = tuple(
        {model.getPhysicalName(dim, tag) or str(tag): tag for dim, tag in model.getPhysicalGroups(wanted)}
        for wanted in (dimension, dimension - 1)
    )
    return problem and f"{path}: {problem}", groups, dimension


def _wrong_groups(model: Any, dimension: int) -> str | None:
    """Find cells that are in no physical group, or in two."""
    groups = model.getPhysicalGroups(dimension)
    if not groups:
        return "no cells are in a physical group; add one (gmsh: `Physical Surface` or `Physical Volume`)"
    counts: dict[int, int] = {tag: 0 for _, tag in model.getEntities(dimension)}
    for _, group in groups:
        for entity in model.getEntitiesForPhysicalGroup(dimension, group):
            counts[entity] += 1
    for verdict, wrong in (
        ("in no physical group, so they would be left out", [e for e, n in counts.items() if n == 0]),
        (
            "in more than one physical group, so they would be there twice",
            [e for e, n in counts.items() if n > 1],
        ),
    ):
        cells = sum(len(tags) for entity in wrong for tags in model.mesh.getElements(dimension, entity)[1])
        if cells:
            return f"{cells} cells are {verdict}; put each into exactly one"
    return None


def _wrong_cells(model: Any, dimension: int) -> str | None:
    """Find mixed, unsupported, flat or inverted cells."""
    kinds, tags, _ = model.mesh.getElements(dimension)
    if len(kinds) > 1:
        names = " and ".join(_CELLS.get(kind, f"cells of gmsh type {kind}") for kind in kinds)
        return f"mixed cells ({names}); mesh with one kind (gmsh: with or without `Recombine` everywhere)"
    if kinds[0] not in _CELLS:
        return f"cells of gmsh type {kinds[0]}; expected straight-sided {', '.join(_CELLS.values())}"
    coordinates, signs = _corner_jacobians(model, dimension, kinds[0])
    extent = np.ptp(coordinates, axis=0).max()
    flat = np.abs(signs).min(axis=1) <= 1e-14 * extent**dimension
    if flat.any():
        return f"{flat.sum()} of {len(tags[0])} cells have no volume at a corner; remesh"
    turned = signs.min(axis=1) < 0
    if turned.any():
        return f"{turned.sum()} of {len(tags[0])} cells are inverted or self-intersecting; remesh"
    return None


def _corner_jacobians(model: Any, dimension: int, kind: int) -> tuple[np.ndarray, np.ndarray]:
    """Return node coordinates, and the signed size of the parallelepiped at each corner of each cell.

    In the plane the sign of a whole surface is taken relative to its majority: gmsh may turn surfaces as a
    whole.
    """
    tags, coordinates, _ = model.mesh.getNodes()
    coordinates = np.reshape(coordinates, (-1, 3))
    row = np.empty(int(tags.max()) + 1, dtype=np.int64)
    row[tags.astype(np.int64)] = np.arange(len(tags))
    neighbours = {
        2: ((0, 1, 2),),
        3: ((0, 1, 3), (1, 2, 0), (2, 3, 1), (3, 0, 2)),
        4: ((0, 1, 2, 3),),
        5: _HEXAHEDRON,
    }[kind]
    sizes = []
    for _, entity in model.getEntities(dimension):
        _, _, nodes = model.mesh.getElements(dimension, entity)
        if not nodes:
            continue
        corners = coordinates[row[nodes[0].astype(np.int64)]].reshape(
            -1, model.mesh.getElementProperties(kind)[3], 3
        )
        size = np.stack([_spanned(corners, *corner) for corner in neighbours], axis=1)
        if dimension == 2:
            size *= np.sign(np.median(size)) or 1.0
        sizes.append(size)
    return coordinates, np.concatenate(sizes)


def _spanned(corners: np.ndarray, at: int, *ends: int) -> np.ndarray:
    """Signed volume (3 ends) or xy-area (2 ends) spanned by the edges from one corner of each cell."""
    edges = np.stack([corners[:, end] - corners[:, at] for end in ends], axis=1)
    if len(ends) == 3:
        return np.linalg.det(edges)
    return edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0]
