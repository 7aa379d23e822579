"""The mesh of a problem, with groups by name: of the file, the sides of a box, and parts of space."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from dolfinx import mesh as dmesh
from mpi4py import MPI

from dolfinx_neural_topo._checks import check_memory
from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.io import TaggedMesh, read_mesh, read_step, read_xdmf
from dolfinx_neural_topo.problem.description import SIDES, Group, Problem

MOST = 30
"""Groups that may be in use: each is a bit of an int32."""


def regions(problem: Problem, comm: MPI.Comm) -> list[TaggedMesh]:
    """Return the mesh of a problem, followed by the coarser ones of its file.

    Raises:
        InputError: A file cannot be read, or a group is not there; with the line.

    Note: Collective.
    """
    if problem.mesh.box is not None:
        sizes, cells = problem.mesh.box
        check_memory(comm, f"a box of {' x '.join(map(str, cells))} cells", math.prod(cells))
        corners: list[Any] = [np.zeros(len(sizes)), np.array(sizes)]
        if len(sizes) == 2:
            mesh = dmesh.create_rectangle(comm, corners, cells, dmesh.CellType.quadrilateral)
        else:
            mesh = dmesh.create_box(comm, corners, cells, dmesh.CellType.hexahedron)
        return [boxed(problem, mesh)]
    found = []
    if problem.mesh.sizes:
        (name,), colours = problem.mesh.files, {g.name: g.colour for g in problem.groups if g.colour}
        for size in problem.mesh.sizes:
            with problem.mesh.table.at("file"):
                path, unit = problem.folder / name, problem.mesh.unit
                part = read_step(path, comm, size=size, unit=unit, groups=colours)  # type: ignore[arg-type]
                found.append(_with_groups(problem, part))
        return found
    for k, name in enumerate(problem.mesh.files):
        with problem.mesh.table.at("coarser" if k else "file"):
            read = read_xdmf if Path(name).suffix.lower() == ".xdmf" else read_mesh
            found.append(_with_groups(problem, read(problem.folder / name, comm)))
    return found


def boxed(problem: Problem, mesh: dmesh.Mesh) -> TaggedMesh:
    """Return a grid with the names of its sides.

    Note: Collective.
    """
    assert problem.mesh.box is not None
    names = SIDES[mesh.topology.dim]
    sides: dict[str, Callable] = {}
    for axis, size in enumerate(problem.mesh.box[0]):
        for name, place in zip(names[2 * axis : 2 * axis + 2], (0.0, size), strict=True):
            sides[name] = lambda x, axis=axis, place=place, size=size: abs(x[axis] - place) < 1e-9 * size
    return _tagged(problem, mesh, sides, {})


def _with_groups(problem: Problem, file: TaggedMesh) -> TaggedMesh:
    """Add the parts of space to the groups of a mesh file."""
    described = {group.name for group in problem.groups if group.colour is None}
    if not described:
        return file
    taken = {*file.cell_groups, *file.facet_groups} & described
    if taken:
        raise InputError(f"groups of the file cannot be described anew: {', '.join(sorted(taken))}")
    return _tagged(problem, file.mesh, {}, {name: file for name in problem.names})


def _tagged(
    problem: Problem, mesh: dmesh.Mesh, sides: dict[str, Callable], file: dict[str, TaggedMesh]
) -> TaggedMesh:
    """Collect all groups that are in use, and tag the mesh with them."""
    dim = mesh.topology.dim
    mesh.topology.create_connectivity(dim - 1, dim)
    facets: dict[str, np.ndarray] = {}
    cells: dict[str, np.ndarray] = {}
    for group in problem.groups:
        if group.colour is not None:
            continue
        within = _within(group, mesh)
        facets[group.name] = dmesh.locate_entities_boundary(mesh, dim - 1, within)
        cells[group.name] = dmesh.locate_entities(mesh, dim, within)
    for name in problem.names - facets.keys():
        if name in sides:
            facets[name] = dmesh.locate_entities_boundary(mesh, dim - 1, sides[name])
        elif name in file:
            if name in file[name].facet_groups:
                facets[name] = file[name].facets(name)
            if name in file[name].cell_groups:
                cells[name] = file[name].cells(name)
    facet_tags, facet_groups = _tags(mesh, dim - 1, facets)
    cell_tags, cell_groups = _tags(mesh, dim, cells)
    return TaggedMesh(mesh, cell_tags, facet_tags, cell_groups, facet_groups)


def _within(group: Group, mesh: dmesh.Mesh) -> Callable[[np.ndarray], np.ndarray]:
    """Return the marker of what lies in a box, its surface included. Note: Collective."""
    dim = mesh.geometry.dim
    if len(group.lower) != dim:
        raise InputError(
            f"within of group {group.name!r} must be corners of {dim} numbers, got {len(group.lower)}"
        )
    lower, upper = np.array(group.lower)[:, None], np.array(group.upper)[:, None]
    slack = 1e-9 * mesh.comm.allreduce(float(np.abs(mesh.geometry.x).max(initial=0.0)), op=MPI.MAX)
    return lambda x: np.all((x[:dim] >= lower - slack) & (x[:dim] <= upper + slack), axis=0)


def _tags(mesh: dmesh.Mesh, dim: int, named: dict[str, np.ndarray]) -> tuple[dmesh.MeshTags, dict]:
    """Return tags in which each group is a bit, and the tags of each group that has an entity.

    Note: Collective.
    """
    if len(named) > MOST:
        raise InputError(f"at most {MOST} groups can be in use, got {len(named)}")
    entities = np.unique(np.concatenate([np.empty(0, dtype=np.int32), *named.values()])).astype(np.int32)
    bits = np.zeros(len(entities), dtype=np.int32)
    for k, name in enumerate(sorted(named)):
        bits[np.searchsorted(entities, named[name])] |= np.int32(1 << k)
    present = sorted(set().union(*mesh.comm.allgather(np.unique(bits).tolist())))
    groups = {name: tuple(b for b in present if b >> k & 1) for k, name in enumerate(sorted(named))}
    return dmesh.meshtags(mesh, dim, entities, bits), {name: tags for name, tags in groups.items() if tags}
