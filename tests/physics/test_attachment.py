"""Loaded and supported nodes, and the cells that hold them."""

import dolfinx
import numpy as np
import pytest
import ufl
from dolfinx import fem
from mpi4py import MPI

from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.physics import StateProblem, nodal_load, simp
from dolfinx_neural_topo.physics.attachment import Attachment

comm = MPI.COMM_WORLD


def plate(make_loads, right=None):
    """Heat conduction on 8 x 4 squares, cold at the left edge; `make_loads(V, v)` gives L and nodal loads.

    The right edge has a temperature of its own if `right` is given.
    """
    mesh = dolfinx.mesh.create_rectangle(
        comm, [(0.0, 0.0), (8.0, 4.0)], [8, 4], dolfinx.mesh.CellType.quadrilateral
    )
    rho = fem.Function(fem.functionspace(mesh, ("DG", 0)))
    V = fem.functionspace(mesh, ("Lagrange", 1))
    u, v = ufl.TrialFunction(V), ufl.TestFunction(V)
    a = simp(rho, penalty=3.0) * ufl.dot(ufl.grad(u), ufl.grad(v)) * ufl.dx
    cold = fem.locate_dofs_geometrical(V, lambda x: np.isclose(x[0], 0.0))
    L, nodal = make_loads(V, v)
    bcs = [fem.dirichletbc(0.0, cold, V)]
    if right is not None:
        bcs.append(fem.dirichletbc(right, fem.locate_dofs_geometrical(V, lambda x: np.isclose(x[0], 8.0)), V))
    state = StateProblem((a, L), rho, bcs=bcs, nodal_loads=nodal, petsc_options_prefix="attachment_")
    midpoints = dolfinx.mesh.compute_midpoints(mesh, 2, np.arange(state.num_owned_cells, dtype=np.int32))
    x = np.empty_like(midpoints)
    x[rho.function_space.dofmap.list[: state.num_owned_cells, 0]] = midpoints
    return state, x


def count(state, nodes):
    """Number of nodes of all ranks."""
    return comm.allreduce(int(nodes[: state.V.dofmap.index_map.size_local].sum()))


def top(V, v):
    """Inflow through the right half of the upper edge."""
    mesh = V.mesh
    facets = dolfinx.mesh.locate_entities_boundary(
        mesh, 1, lambda x: np.isclose(x[1], 4.0) & (x[0] > 4.0 - 1e-9)
    )
    tags = dolfinx.mesh.meshtags(mesh, 1, np.sort(facets), np.full(len(facets), 1, dtype=np.int32))
    return v * ufl.Measure("ds", mesh, subdomain_data=tags)(1), None


CASES = {
    "node": (lambda V, v: (None, nodal_load(V, [(8.0, 2.0)], [1.0])), 1),
    "supported node": (lambda V, v: (v * ufl.dx, nodal_load(V, [(0.0, 2.0)], [1.0])), 0),
    "facets": (top, 5),
    "cells": (lambda V, v: (v * ufl.dx, None), 0),
    "everywhere": (
        lambda V, v: (None, nodal_load(V, [(i, j) for i in range(9) for j in range(5)], np.ones(45))),
        0,
    ),
}


@pytest.mark.parametrize("kind", CASES)
def test_loaded_nodes(kind):
    make_loads, expected = CASES[kind]
    state, _ = plate(make_loads)
    attachment = Attachment(state)
    assert count(state, attachment.loaded) == expected
    assert count(state, attachment.supported) == 5
    state.destroy()


def test_cells_hold_the_load_and_rest_on_a_support():
    state, x = plate(CASES["node"][0])
    attachment = Attachment(state)
    bar, rest = np.abs(x[:, 1] - 1.5) < 0.1, x[:, 0] > 4.0
    assert attachment.carries(bar)
    assert not attachment.carries(bar & rest)  # hangs in the air
    assert not attachment.carries(bar & ~rest)  # does not reach the load
    assert count(state, attachment.touched(bar)) == 18
    near = attachment.cells_at(attachment.loaded)
    assert comm.allreduce(int(near.sum())) == 2
    assert np.all(x[near, 0] > 7.0)
    with pytest.raises(InputError, match=r"a load acts at \(8, 2\)"):
        attachment.require(bar & ~rest, "a test")
    state.destroy()


@pytest.mark.ranks
@pytest.mark.parametrize("source", [0.0, 1.0])
def test_values_that_act_alone_need_a_way_from_one_to_the_other(source):
    """Two plates of different temperature: material at one alone leads nothing; with a source it does."""
    state, x = plate(lambda V, v: (fem.Constant(V.mesh, source) * v * ufl.dx, None), right=60.0)
    attachment, bar = Attachment(state), np.abs(x[:, 1] - 1.5) < 0.1
    assert attachment.carries(bar)
    assert attachment.carries(bar & (x[:, 0] < 4.0)) == (source > 0.0)
    assert not attachment.carries(bar & (np.abs(x[:, 0] - 4.0) < 2.0))
    state.destroy()
