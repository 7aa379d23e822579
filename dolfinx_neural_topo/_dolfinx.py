"""The few lines that depend on the version of DOLFINx (0.9 to 0.11), or reach below its Python interface."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from typing import Any

import basix.ufl
import dolfinx.fem.petsc as fem_petsc
import dolfinx.jit
import ffcx.options
import numpy as np
import ufl
from dolfinx import fem
from dolfinx.graph import adjacencylist
from dolfinx.io.utils import distribute_entity_data
from dolfinx.mesh import (
    GhostMode,
    Mesh,
    MeshTags,
    compute_midpoints,
    create_cell_partitioner,
    create_mesh,
    meshtags_from_entities,
)
from petsc4py import PETSc
from scipy.spatial import cKDTree


def unknown_options(form_compiler: Iterable[str], jit: Iterable[str]) -> str | None:
    """Return what is wrong with names of options of `fem.form`, or None; DOLFINx ignores unknown ones."""
    for name, given, known in (
        ("form_compiler_options", form_compiler, ffcx.options.FFCX_DEFAULT_OPTIONS),
        ("jit_options", jit, dolfinx.jit.DOLFINX_DEFAULT_JIT_OPTIONS),
    ):
        for each in given:
            if each not in known:
                return f"{name} must be ones that fem.form knows, got {each!r}; it knows {', '.join(known)}"
    return None


def share(functions: Iterable[Any]) -> None:
    """Copy the owners' values of functions to the ghosts: who wrote them may have left that out.

    Args:
        functions: Functions of Python or C++, in the same order on all ranks.

    Note: Collective.
    """
    for function in functions:
        function.x.scatter_forward()


def create_matrix(a: fem.Form) -> PETSc.Mat:
    """Create an empty matrix with the sparsity of a compiled bilinear form.

    Note: Collective.
    """
    return fem_petsc.create_matrix(a)


def assemble_matrix(A: PETSc.Mat, a: fem.Form, bcs: Sequence[fem.DirichletBC], diagonal: float = 1.0) -> None:
    """Assemble a bilinear form into a matrix, with a multiple of the identity for `bcs`.

    Note: Collective.
    """
    A.zeroEntries()
    fem_petsc.assemble_matrix(A, a, bcs, diagonal)  # type: ignore[arg-type]  # a dispatcher, typed as its first case
    A.assemble()


def wrap_vector(u: fem.Function) -> PETSc.Vec:
    """Create a ghosted PETSc vector on the memory of a function's degrees of freedom.

    The caller owns the vector and keeps `u` alive as long as it. Values written through NumPy are announced
    to PETSc by `vec.stateIncrease()`, because PETSc caches norms.

    Note: Collective.
    """
    dofmap = u.function_space.dofmap
    index_map, block_size = dofmap.index_map, dofmap.index_map_bs
    size = (block_size * index_map.size_local, block_size * index_map.size_global)
    ghosts = index_map.ghosts.astype(PETSc.IntType)
    return PETSc.Vec().createGhostWithArray(
        ghosts, u.x.array, size=size, bsize=block_size, comm=u.function_space.mesh.comm
    )


def contains_space(V: fem.FunctionSpace, bc: fem.DirichletBC) -> bool:
    """Return whether a Dirichlet condition constrains V or a subspace of it."""
    return bool(V._cpp_object.contains(bc.function_space))


def same_mesh(V: fem.FunctionSpace, W: fem.FunctionSpace) -> bool:
    """Return whether two spaces live on the same mesh object."""
    return V.mesh.ufl_domain() == W.mesh.ufl_domain()


def cell_types(mesh) -> list[str]:
    """Return the names of all cell types in a mesh."""
    return [kind.name for kind in mesh.topology.entity_types[mesh.topology.dim]]


def geometry_nodes(mesh) -> np.ndarray:
    """Return the geometry nodes of each local cell of a mesh of one cell type, ghosts included.

    Returns:
        Local numbers of nodes, shape (num_local_cells, nodes of a cell), int32.
    """
    dofmaps = getattr(mesh.geometry, "dofmaps", None)  # a list since 0.11, for several cell types
    return np.asarray(dofmaps[0] if isinstance(dofmaps, list) else mesh.geometry.dofmap)


def original_cells(mesh) -> np.ndarray:
    """Return the number of each local cell that no partition changes, ghosts included.

    It is the place in the mesh's input. A submesh has none: its cells are counted by their midpoints.

    Returns:
        Numbers from 0, shape (num_local_cells,), int64.

    Note: Collective on a submesh.
    """
    try:
        return np.asarray(mesh.topology.original_cell_index)
    except RuntimeError:
        pass
    dim, cells = mesh.topology.dim, mesh.topology.index_map(mesh.topology.dim)
    local = np.arange(cells.size_local + cells.num_ghosts, dtype=np.int32)
    points = compute_midpoints(mesh, dim, local)
    everywhere = np.concatenate(mesh.comm.allgather(points[: cells.size_local]))
    rounded = np.round(everywhere / max(float(np.ptp(everywhere, axis=0).max()), 1e-300), 9)
    number = np.empty(len(everywhere), dtype=np.int64)
    number[np.lexsort(rounded.T)] = np.arange(len(everywhere))
    return number[cKDTree(everywhere).query(points)[1]] if len(points) else np.empty(0, dtype=np.int64)


def dof_points(V: fem.FunctionSpace) -> np.ndarray | None:
    """Return where the owned (blocks of) degrees of freedom of V are values at points, or None.

    Returns:
        Points, shape (number of owned blocks, 3).
    """
    try:
        return V.tabulate_dof_coordinates()[: V.dofmap.index_map.size_local]
    except RuntimeError:  # moments over edges, faces or cells
        return None


def owned_cells(function: fem.Function) -> np.ndarray:
    """Return a view of a DG0 function on owned cells, shape (num_owned_cells,).

    That of a function of k fields, in DG0 of shape (k,), has shape (k, num_owned_cells).
    """
    dofmap = function.function_space.dofmap
    size, block = dofmap.index_map.size_local, dofmap.index_map_bs
    return function.x.array[: size * block].reshape(size, *function.ufl_shape).T


def dg0_cells(space: fem.FunctionSpace) -> np.ndarray:
    """Return the local cell of each local degree of freedom of a DG0 space, ghosts included.

    Returns:
        Cell indices, shape (num_local_cells,), int32.
    """
    dof_of_cell = space.dofmap.list[:, 0]
    cell_of_dof = np.empty_like(dof_of_cell)
    cell_of_dof[dof_of_cell] = np.arange(dof_of_cell.size, dtype=dof_of_cell.dtype)
    return cell_of_dof


def distribute_mesh(
    comm, name: str, degree: int, points: np.ndarray, cells: np.ndarray, ghost_mode: GhostMode
) -> Mesh:
    """Distribute a mesh that rank 0 holds; the other ranks give arrays without rows.

    Args:
        comm: Communicator.
        name: DOLFINx's name of the cells.
        degree: Degree of the geometry.
        points: Coordinates of nodes, shape `(n, gdim)`.
        cells: Nodes of the cells in DOLFINx's order.
        ghost_mode: Which cells of other ranks a rank sees.

    Note: Collective.
    """
    element = basix.ufl.element("P", name, degree, basix.LagrangeVariant.equispaced, shape=(points.shape[1],))
    several = "max_facet_to_cell_links" in inspect.signature(create_mesh).parameters  # since 0.10
    partitioner = create_cell_partitioner(ghost_mode, *([2] if several else []))
    return create_mesh(comm, cells=cells, x=points, e=ufl.Mesh(element), partitioner=partitioner)


def distribute_tags(mesh: Mesh, dimension: int, entities: np.ndarray, values: np.ndarray) -> MeshTags:
    """Distribute tags of entities that rank 0 holds, by the input numbers of their nodes in DOLFINx's order.

    Note: Collective.
    """
    local, values = distribute_entity_data(mesh, dimension, entities, values.astype(np.int32))
    mesh.topology.create_connectivity(dimension, 0)
    mesh.topology.create_connectivity(dimension, mesh.topology.dim)
    return meshtags_from_entities(mesh, dimension, adjacencylist(local), values.astype(np.int32, copy=False))
