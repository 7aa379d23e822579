"""Functions of which the owned values alone were written: their ghosts hold what the owners do."""

import numpy as np
import physics_problems as problems
import pytest
import ufl
from dolfinx import fem
from mpi4py import MPI

from dolfinx_neural_topo import io
from dolfinx_neural_topo.density import DesignDomain
from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.physics import (
    ReducedFunctional,
    StateProblem,
    TransientFunctional,
    TransientProblem,
    simp,
)

comm = MPI.COMM_WORLD
KINDS = ("load", "conductivity", "boundary", "functional")


class Field:
    """A function of the second coordinate on the nodes; `shared` tells whether ghosts are written too."""

    def __init__(self, V, shared):
        self.f, self.shared = fem.Function(V), shared
        self.num_owned = V.dofmap.index_map.size_local
        self.x = V.tabulate_dof_coordinates()[:, 1]
        self.write(1.0)

    def write(self, slope):
        here = slice(None) if self.shared else slice(self.num_owned)
        self.f.x.array[here] = 1.0 + slope * self.x[here]


def parts(kind, shared, mesh=None):
    mesh = problems.box() if mesh is None else mesh
    rho = problems.density(mesh)
    V = fem.functionspace(mesh, ("Lagrange", 1))
    field = Field(V, shared)
    f = {name: field.f if name == kind else fem.Constant(mesh, 1.0) for name in KINDS}
    dofs = fem.locate_dofs_geometrical(V, problems.left)
    at = fem.dirichletbc(field.f, dofs) if kind == "boundary" else fem.dirichletbc(0.0, dofs, V)
    return rho, V, field, f, at


@pytest.mark.ranks
@pytest.mark.parametrize("kind", KINDS)
def test_state_and_functional(kind):
    found = []
    for shared in (True, False):
        rho, V, field, f, at = parts(kind, shared)
        T, v = ufl.TrialFunction(V), ufl.TestFunction(V)
        a = f["conductivity"] * simp(rho) * ufl.inner(ufl.grad(T), ufl.grad(v)) * ufl.dx
        with StateProblem(
            (a, f["load"] * v * ufl.dx), rho, bcs=[at], petsc_options_prefix="shared_"
        ) as state:
            J = ReducedFunctional(f["functional"] * state.u * ufl.dx, state)
            half = np.full(state.num_owned_cells, 0.5)
            for slope in (1.0, 3.0):  # as it was made, and after a change
                field.write(slope)
                value, gradient = J.value_and_gradient(half)
                found.append((value, comm.allreduce(gradient @ gradient)))
    np.testing.assert_allclose(found[2:], found[:2], rtol=1e-10)
    assert found[0] != pytest.approx(found[1], rel=1e-3)


@pytest.mark.ranks
@pytest.mark.parametrize("kind", ("load", "functional"))
def test_steps_in_time(kind):
    found = []
    for shared in (True, False):
        rho, V, _, f, at = parts(kind, shared)
        T, T_old, v = fem.Function(V), fem.Function(V), ufl.TestFunction(V)
        F = (T - T_old) * v * ufl.dx + simp(rho) * ufl.inner(ufl.grad(T), ufl.grad(v)) * ufl.dx
        F -= f["load"] * v * ufl.dx
        with TransientProblem(
            F, rho, u=T, u_old=T_old, num_steps=2, bcs=[at], petsc_options_prefix="steps_"
        ) as problem:
            J = TransientFunctional(f["functional"] * T * ufl.dx, problem)
            value, gradient = J.value_and_gradient(np.full(problem.num_owned_cells, 0.5))
            found.append((value, J.value(), comm.allreduce(gradient @ gradient)))
    np.testing.assert_allclose(*found, rtol=1e-10)


@pytest.mark.ranks
def test_weights_of_volumes_and_means_of_cells():
    mesh, volumes, means = problems.box(), [], []
    for shared in (True, False):
        rho, _, field, _, _ = parts("load", shared, mesh)
        volumes.append(DesignDomain(rho, volume_fraction=0.5, weight=field.f).cell_volumes)
        field.write(3.0)
        means.append(io.cell_mean(field.f, mesh).x.array)
    np.testing.assert_allclose(*volumes, rtol=1e-12)
    np.testing.assert_allclose(*means, rtol=1e-12)


@pytest.mark.ranks
def test_conditions_on_owned_nodes_alone_are_refused():
    """Cells of this rank would take the ghosts of other ranks' conditions for free."""
    rho, V, _, _, _ = parts("load", True)
    T, v = ufl.TrialFunction(V), ufl.TestFunction(V)
    a = simp(rho) * ufl.inner(ufl.grad(T), ufl.grad(v)) * ufl.dx
    dofs = fem.locate_dofs_geometrical(V, lambda x: x[0] < 7.5)
    owned = dofs[dofs < V.dofmap.index_map.size_local]

    def make(at):
        bc = fem.dirichletbc(0.0, at, V)
        return StateProblem((a, v * ufl.dx), rho, bcs=[bc], petsc_options_prefix="owned_")

    make(dofs).destroy()
    if comm.size == 1:
        make(owned).destroy()
    else:
        with pytest.raises(InputError, match=r"bcs must fix the same .* got \d+ that .*those of ghosts too"):
            make(owned)
