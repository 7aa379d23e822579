"""What a state problem refuses, said before anything collective runs on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from dolfinx import fem
from mpi4py import MPI

from dolfinx_neural_topo import _dolfinx
from dolfinx_neural_topo.errors import InputError, agree

CELLS = ("triangle", "quadrilateral", "tetrahedron", "hexahedron")


def check_density(rho: Any) -> MPI.Comm:
    """Return the communicator of a density after checking that it is one, on a mesh of a supported kind.

    Raises:
        InputError: Not a function, not in DG0, or on a mesh that is not supported.
    """
    if not isinstance(rho, fem.Function):
        raise InputError(f"rho must be a fem.Function in DG0, got {type(rho).__name__}")
    space = rho.function_space
    comm = space.mesh.comm
    agree(comm, _mesh_problem(space.mesh) or _space_problem(rho))
    return comm


def _space_problem(rho: fem.Function) -> str | None:
    space = rho.function_space
    layout, dim = space.dofmap.dof_layout, space.mesh.topology.dim
    one_inside = layout.num_dofs == 1 and len(layout.entity_dofs(dim, 0)) == 1
    if one_inside and len(rho.ufl_shape) <= 1:
        return None
    return (
        f"rho must live in DG0 (one number a cell, or k for k fields), got {space.ufl_element()}; way out: "
        'fem.Function(fem.functionspace(mesh, ("DG", 0))), or ("DG", 0, (k,))'
    )


def _mesh_problem(mesh: Any) -> str | None:
    kinds = _dolfinx.cell_types(mesh)
    if len(kinds) > 1:
        return f"the mesh must have cells of one type, got {kinds}; way out: use simplices"
    if kinds[0] not in CELLS:
        return f"the mesh must have cells of a type in {CELLS}, got {kinds[0]}"
    if mesh.geometry.x.dtype != np.float64:
        return f"the mesh must have coordinates in float64, got {mesh.geometry.x.dtype}"
    if mesh.geometry.dim != mesh.topology.dim:
        return (
            f"the mesh must fill its space, got cells of dimension {mesh.topology.dim} in dimension "
            f"{mesh.geometry.dim}; "
            "way out: read it with gdim=2 for a flat mesh"
        )
    return None


def check_conditions(V: fem.FunctionSpace, rho: fem.Function, bcs: Any, nodal_loads: Any) -> str | None:
    """Return what is wrong with boundary conditions and nodal loads on V, or None."""
    if not _dolfinx.same_mesh(V, rho.function_space):
        return "rho must live on the mesh of the state, got a density on another mesh"
    if isinstance(bcs, fem.DirichletBC) or not isinstance(bcs, Sequence):
        return f"bcs must be a sequence of fem.DirichletBC, got {type(bcs).__name__}; way out: bcs=[bc]"
    for i, bc in enumerate(bcs):
        if not isinstance(bc, fem.DirichletBC):
            return f"bcs[{i}] must be a fem.DirichletBC, got {type(bc).__name__}"
        if not _dolfinx.contains_space(V, bc):
            return f"bcs[{i}] must constrain the space of the state or a part of it, got another space"
    for i, load in enumerate(nodal_loads):
        if load is not None and not (isinstance(load, fem.Function) and load.function_space == V):
            return f"nodal_loads[{i}] must be None or a fem.Function on V, got {_describe(load)}"
    return None


def check_ghosts(V: fem.FunctionSpace, bcs: Sequence[fem.DirichletBC]) -> None:
    """Refuse degrees of freedom that are fixed on one rank and free on another.

    Raises:
        InputError: There are some, on any rank.

    Note: Collective.
    """
    marks = fem.Function(V)
    fixed = marks.x.array
    for bc in bcs:
        np.add.at(fixed, bc.dof_indices()[0], 1.0)
    here = fixed.copy()
    marks.x.scatter_forward()
    wrong = np.count_nonzero(here != fixed)
    agree(
        V.mesh.comm,
        f"bcs must fix the same degrees of freedom on all ranks, got {wrong} that this rank does "
        "not fix as their owner does; way out: all that fem.locate_dofs_... returns, those of ghosts too"
        if wrong
        else None,
    )


def _describe(thing: Any) -> str:
    return "a function on another space" if isinstance(thing, fem.Function) else type(thing).__name__
