"""Every gradient is that of its functional: the Taylor remainder vanishes at second order."""

import numpy as np
import physics_problems as problems
import pytest
import ufl
from dolfinx import fem, mesh

from dolfinx_neural_topo.physics import Compliance, ReducedFunctional, StateProblem, taylor_test

TIGHT = {"solver": "amg", "petsc_options": {"ksp_rtol": 1e-12}}

CASES = {
    "plane stress, quadrilaterals": (problems.cantilever, {}),
    "plane strain, triangles": (problems.cantilever, {"cell": "triangle", "model": "plane_strain"}),
    "hexahedra": (problems.cantilever, {"cell": "hexahedron"}),
    "tetrahedra": (problems.cantilever, {"cell": "tetrahedron"}),
    "iterative 2D": (problems.cantilever, TIGHT),
    "iterative hexahedra": (problems.cantilever, {"cell": "hexahedron", **TIGHT}),
    "iterative tetrahedra": (problems.cantilever, {"cell": "tetrahedron", **TIGHT}),
    "two load cases": (problems.two_loads, {}),
    "two load cases, hexahedra, iterative": (problems.two_loads, {"cell": "hexahedron", **TIGHT}),
    "two load cases, coupled": (problems.two_loads_mixed_functional, {}),
    "self-weight": (problems.self_weight, {}),
    "self-weight, iterative": (problems.self_weight, TIGHT),
    "mechanism": (problems.inverter, {}),
    "mechanism, tetrahedra": (problems.inverter, {"cell": "tetrahedron"}),
    "mechanism, iterative": (problems.inverter, TIGHT),
    "stress norm": (problems.stress_norm, {}),
    "stress norm, plane strain": (problems.stress_norm, {"model": "plane_strain"}),
    "stress norm, hexahedra": (problems.stress_norm, {"cell": "hexahedron"}),
    "heat": (problems.heat_sink, {}),
    "heat, tetrahedra, iterative": (problems.heat_sink, {"cell": "tetrahedron", **TIGHT}),
    "boundary values": (problems.hot_wall, {}),
    "boundary values, iterative": (problems.hot_wall, TIGHT),
    "convection": (problems.convection, {}),
    "Stokes": (problems.pipe, {}),
    "Stokes, triangles": (problems.pipe, {"cell": "triangle"}),
    "finite strain": (problems.large_beam, {}),
    "finite strain, tetrahedra": (problems.large_beam, {"cell": "tetrahedron"}),
    "finite strain, linear void": (problems.large_beam, {"gamma": True}),
    "finite strain, boundary values": (problems.large_beam_by_boundary, {}),
    "facets": (problems.on_facets, {}),
    "wave": (problems.wave, {}),
    "elastic wave": (problems.elastic_wave, {}),
}


@pytest.mark.ranks
@pytest.mark.parametrize("case", CASES)
def test_remainder_is_of_second_order(case):
    build, options = CASES[case]
    with build(**options) as problem:
        orders = taylor_test(problem.functional, step=1e-3 if "wave" in case else 5e-3)
    assert (orders > 1.9).all(), orders
    assert np.isfinite(orders).all(), "a functional that is linear in the density shows nothing"


NO_POLYNOMIALS = {
    "a quotient": lambda u, rho: 1 / (1 + u) * ufl.dx,
    "a softened maximum": lambda u, rho: ufl.ln(1 + ufl.exp(10 * (u - 0.5))) * ufl.dx,
    "facets and cells of several kinds": lambda u, rho: (
        rho / (1 + u) * ufl.dx + u**4 * ufl.dx + ufl.avg(rho) * ufl.exp(-ufl.avg(u)) * ufl.dS
    ),
}


@pytest.mark.ranks
@pytest.mark.parametrize("name", NO_POLYNOMIALS)
@pytest.mark.parametrize("nonlinear", [False, True])
def test_the_gradient_is_that_of_the_quadrature(name, nonlinear):
    """No polynomial is integrated exactly: value and gradient must be wrong by the same."""
    domain = problems.box("triangle", (6, 3), size=(2.0, 1.0))
    V, rho = fem.functionspace(domain, ("Lagrange", 1)), problems.density(domain)
    u, v = fem.Function(V), ufl.TestFunction(V)
    source = (2 - ufl.exp(u)) if nonlinear else 1.0
    F = (1e-2 + rho**3) * ufl.dot(ufl.grad(u), ufl.grad(v)) * ufl.dx - source * v * ufl.dx
    form = NO_POLYNOMIALS[name](u, rho)
    bcs = [problems.fix(V, problems.left)]
    with StateProblem(F, rho, u=u, bcs=bcs, petsc_options_prefix="quotient_") as state:
        J = ReducedFunctional(form, state)
        assert (taylor_test(J, step=1e-3) > 1.9).all()
        here = fem.assemble_scalar(fem.form(form))
        assert J.value() == pytest.approx(domain.comm.allreduce(here), rel=1e-12), "as DOLFINx has it"


@pytest.mark.ranks
def test_weights_of_load_cases_may_change():
    with problems.two_loads() as problem:
        compliance = problem.functional
        assert (taylor_test(compliance, step=5e-3) > 1.9).all()
        compliance.weights[:] = 0.2, 3.0
        assert (taylor_test(compliance, step=5e-3) > 1.9).all()


@pytest.mark.ranks
def test_equation_and_loads_may_have_tags_of_their_own():
    domain = problems.box()
    V, rho = fem.functionspace(domain, ("Lagrange", 1)), problems.density(domain)
    u, v = ufl.TrialFunction(V), ufl.TestFunction(V)
    cells = mesh.locate_entities(domain, 2, lambda x: x[0] > 3.99)
    tags = mesh.meshtags(domain, 2, cells, np.ones(len(cells), dtype=np.int32))
    there = ufl.Measure("dx", domain=domain, subdomain_data=tags)(1)
    a = rho**3 * ufl.dot(ufl.grad(u), ufl.grad(v)) * ufl.dx
    loads = [rho * v * there, v * problems.right_tag(domain) + rho**2 * v * ufl.dx]
    bcs = [problems.fix(V, problems.left)]
    with StateProblem((a, loads), rho, bcs=bcs, petsc_options_prefix="tags_") as state:
        assert (taylor_test(Compliance(state), step=2e-3) > 1.9).all()
        J = ReducedFunctional(state.states[0] * state.states[1] * ufl.dx, state)
        assert (taylor_test(J, step=2e-3) > 1.9).all()


def test_a_wrong_gradient_is_found():
    class Wrong:
        def __init__(self, functional):
            self.comm, self.state, self.value = functional.comm, functional.state, functional.value
            self.functional = functional

        def value_and_gradient(self, rho):
            value, gradient = self.functional.value_and_gradient(rho)
            return value, 1.01 * gradient

    with problems.cantilever() as problem:
        orders = taylor_test(Wrong(problem.functional), step=1e-4)
    assert orders[-1] < 1.2


def test_a_linear_functional_has_infinite_order():
    with problems.heat_sink() as problem:
        orders = taylor_test(ReducedFunctional(problem.state.rho * ufl.dx, problem.state))
    assert np.isinf(orders).all()


def test_the_density_is_back_afterwards():
    with problems.cantilever() as problem:
        rho = np.full(problem.state.num_owned_cells, 0.4)
        taylor_test(problem.functional, rho)
        assert np.array_equal(problem.state.rho.x.array[: rho.size], rho)
