"""Meshes and spaces out of the ordinary: fewer cells than ranks, a submesh, elements without nodes."""

import numpy as np
import physics_problems as problems
import pytest
import ufl
from dolfinx import fem, mesh
from mpi4py import MPI

from dolfinx_neural_topo.density import Design, DesignDomain, HelmholtzFilter
from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.physics import (
    Compliance,
    ReducedFunctional,
    StateProblem,
    elasticity,
    nodal_load,
    random_density,
    simp,
    taylor_test,
)

SHAPES = {"triangle": (1, 1), "quadrilateral": (1, 1), "tetrahedron": (1, 1, 1), "hexahedron": (1, 1, 1)}


def values(comm, cell, solver):
    """Return compliance, norm of its gradient, objective after a filter, and order of another functional."""
    domain = problems.box(cell, SHAPES[cell], comm)
    dim = domain.geometry.dim
    V, rho = problems.vector_space(domain), problems.density(domain)
    force = nodal_load(V, [[1.0] * dim], [[0.0, -1.0, 0.5][:dim]])
    a = elasticity.bilinear_form(V, simp(rho))
    options = {"bcs": [problems.fix(V, problems.left)], "nodal_loads": force, "solver": solver}
    with StateProblem((a, None), rho, petsc_options_prefix="small_", **options) as state:
        C = Compliance(state)
        value, gradient = C.value_and_gradient()
        J = ReducedFunctional(ufl.dot(state.u, state.u) * ufl.dx, state)
        assert (taylor_test(J, step=2.5e-3) > 1.9).all()
        design_domain = DesignDomain(rho, volume_fraction=0.5)
        with HelmholtzFilter(design_domain, 0.5) as stage:
            design = Design(C, design_domain, filter=stage)
            objective = design.evaluate(design.initial()).value
    return [value, comm.allreduce(float(gradient @ gradient)), objective]


@pytest.mark.ranks
@pytest.mark.parametrize("cell", SHAPES)
@pytest.mark.parametrize("solver", ["direct", "amg", "gmg"])
def test_ranks_without_nodes_or_cells(cell, solver):
    if solver == "gmg" and cell in ("triangle", "tetrahedron"):
        solver = None
    parallel = values(MPI.COMM_WORLD, cell, solver)
    assert np.allclose(parallel, values(MPI.COMM_SELF, cell, solver), rtol=1e-6)


@pytest.mark.ranks
def test_a_submesh_is_a_mesh():
    results = []
    for comm in (MPI.COMM_WORLD, MPI.COMM_SELF):
        whole = problems.box("quadrilateral", (12, 4), comm)
        part = mesh.locate_entities(whole, 2, lambda x: x[0] < 8.001)
        domain = mesh.create_submesh(whole, 2, part)[0]
        V, rho = problems.vector_space(domain), problems.density(domain)
        equation = elasticity.bilinear_form(V, simp(rho)), problems.traction(V, [0.0, -1.0])
        bcs = [problems.fix(V, problems.left)]
        with StateProblem(equation, rho, bcs=bcs, petsc_options_prefix="part_") as state:
            assert (taylor_test(Compliance(state), step=5e-3) > 1.9).all()
            results.append(Compliance(state).value(random_density(rho.function_space, 0.3, 0.8)))
            index = DesignDomain(rho, volume_fraction=0.5).canonical_index
            assert np.array_equal(np.sort(np.concatenate(comm.allgather(index))), np.arange(32))
    assert results[0] == pytest.approx(results[1], rel=1e-9)


def test_elements_without_nodes():
    """Magnetic field of a current: edge elements."""
    domain = problems.box("triangle")
    V, rho = fem.functionspace(domain, ("N1curl", 1)), problems.density(domain)
    u, v = ufl.TrialFunction(V), ufl.TestFunction(V)
    curl = lambda w: w[1].dx(0) - w[0].dx(1)  # noqa: E731
    a = (simp(rho) * curl(u) * curl(v) + 0.1 * ufl.dot(u, v)) * ufl.dx
    with StateProblem((a, v[0] * ufl.dx), rho, petsc_options_prefix="edge_") as state:
        assert (taylor_test(ReducedFunctional(ufl.dot(state.u, state.u) * ufl.dx, state)) > 1.9).all()
    with pytest.raises(InputError, match="V must have nodes"):
        nodal_load(V, [[0.0, 0.0]], [1.0])


def test_what_the_layers_below_refuse_is_one_sentence():
    domain = problems.box()
    V, rho = fem.functionspace(domain, ("Lagrange", 1)), problems.density(domain)
    u, v = ufl.TrialFunction(V), ufl.TestFunction(V)
    a = simp(rho) * ufl.dot(ufl.grad(u), ufl.grad(v)) * ufl.dx + u * v * ufl.ds
    other = problems.box()
    foreign = fem.Constant(other, 1.0) * v * ufl.dx(domain) + v * ufl.dx(other)
    tagged = v * problems.right_tag(domain) + v * problems.tagged_ds(domain, problems.left)(1)
    for L in (foreign, tagged):
        with pytest.raises(InputError, match="a form of 'below_' cannot be compiled"):
            StateProblem((a, L), rho, petsc_options_prefix="below_")
    single = mesh.create_unit_square(MPI.COMM_WORLD, 2, 2, dtype=np.float32)
    density = fem.Function(fem.functionspace(single, ("DG", 0)), dtype=np.float32)
    with pytest.raises(InputError, match="coordinates in float64, got float32"):
        StateProblem((a, v * ufl.dx), density, petsc_options_prefix="below_")
