"""The few lines that depend on the version of DOLFINx (0.9 to 0.11), or reach below its Python interface."""

from __future__ import annotations

from collections.abc import Sequence

import dolfinx.fem.petsc as fem_petsc
import numpy as np
from dolfinx import fem
from dolfinx.mesh import meshtags
from petsc4py import PETSc


def create_matrix(a: fem.Form) -> PETSc.Mat:
    """Create an empty matrix with the sparsity of a compiled bilinear form.

    Note: Collective.
    """
    return fem_petsc.create_matrix(a)


def assemble_matrix(A: PETSc.Mat, a: fem.Form, bcs: Sequence[fem.DirichletBC]) -> None:
    """Assemble a bilinear form into a matrix, with rows and columns of `bcs` replaced by the identity.

    Note: Collective.
    """
    A.zeroEntries()
    fem_petsc.assemble_matrix(A, a, bcs)  # type: ignore[arg-type]  # a dispatcher, typed as its first case
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


def dg0_cells(space: fem.FunctionSpace) -> np.ndarray:
    """Return the local cell of each local degree of freedom of a DG0 space, ghosts included.

    Returns:
        Cell indices, shape (num_local_cells,), int32.
    """
    dof_of_cell = space.dofmap.list[:, 0]
    cell_of_dof = np.empty_like(dof_of_cell)
    cell_of_dof[dof_of_cell] = np.arange(dof_of_cell.size, dtype=dof_of_cell.dtype)
    return cell_of_dof


def mesh_from_gmsh(model, comm, gdim: int):
    """Distribute the mesh of a gmsh model that rank 0 holds (None elsewhere), with its physical groups.

    Returns:
        mesh, cell tags, facet tags; the tags are empty where the model has no group of that dimension.

    Note: Collective.
    """
    try:
        from dolfinx.io import gmsh as reader  # type: ignore[attr-defined]  # since 0.10
    except ImportError:
        from dolfinx.io import gmshio as reader
    data = reader.model_to_mesh(model, comm, 0, gdim=gdim)
    mesh, cell_tags, facet_tags = data[0], data[1], data[2]  # a tuple in all versions, of growing length
    if facet_tags is None:
        nothing = np.empty(0, dtype=np.int32)
        facet_tags = meshtags(mesh, mesh.topology.dim - 1, nothing, nothing)
    return mesh, cell_tags, facet_tags
