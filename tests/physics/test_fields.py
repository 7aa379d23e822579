"""A density of k fields, one function in DG0 of shape (k,): values, and gradients of shape (k, cells)."""

from functools import partial

import numpy as np
import physics_problems as problems
import pytest
import ufl
from dolfinx import fem
from mpi4py import MPI

from dolfinx_neural_topo._dolfinx import dg0_cells, original_cells
from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.physics import (
    Compliance,
    EigenProblem,
    Eigenvalue,
    ReducedFunctional,
    StateProblem,
    TransientFunctional,
    TransientProblem,
    elasticity,
    mass,
    random_density,
    simp,
    taylor_test,
)


def fields(domain, k=2):
    return fem.Function(fem.functionspace(domain, ("DG", 0, (k,))), name="fields")


def modulus(rho):
    """Two materials: each counts where the other is not."""
    stiff, soft = rho
    return 1e-3 + stiff**3 * (1.0 - soft**3) + 0.3 * soft**3 * (1.0 - stiff**3)


def beam(law, comm=MPI.COMM_WORLD, prefix="fields_", rho=None, **options):
    domain = problems.box(comm=comm)
    V, rho = problems.vector_space(domain), fields(domain) if rho is None else rho(domain)
    equation = elasticity.bilinear_form(V, law(rho)), problems.traction(V, [0.0, -1.0])
    bcs = [problems.fix(V, problems.left)]
    return StateProblem(equation, rho, bcs=bcs, petsc_options_prefix=prefix, **options)


def materials():
    state = beam(modulus)
    return state, Compliance(state)


def stress_and_mass():
    """A functional with an adjoint, and with fields of its own."""
    state = beam(modulus)
    rho, u = state.rho, state.u
    J = (2.0 * rho[0] ** 2 + rho[1]) * ufl.inner(ufl.grad(u), ufl.grad(u)) * ufl.dx
    return state, ReducedFunctional(J, state, power=0.5) + Compliance(state) ** 2


def fibre():
    """Density, and angle of a fibre as a field from 0 to 1."""
    domain = problems.box("triangle")
    V, rho = problems.vector_space(domain), fields(domain)
    u, v = ufl.TrialFunction(V), ufl.TestFunction(V)
    angle = ufl.pi * (rho[1] - 0.5)
    along = ufl.as_vector([ufl.cos(angle), ufl.sin(angle)])
    stretch = [ufl.dot(along, elasticity.strain(w) * along) for w in (u, v)]
    a = simp(rho[0]) * (0.1 * ufl.inner(elasticity.strain(u), elasticity.strain(v)) + stretch[0] * stretch[1])
    equation = a * ufl.dx, problems.traction(V, [0.3, -1.0])
    bcs = [problems.fix(V, problems.left)]
    state = StateProblem(equation, rho, bcs=bcs, petsc_options_prefix="fibre_")
    return state, Compliance(state)


def warm_beam():
    """Heat through two materials, which strains them."""
    domain = problems.box()
    Q, V, rho = fem.functionspace(domain, ("Lagrange", 1)), problems.vector_space(domain), fields(domain)
    T, s = ufl.TrialFunction(Q), ufl.TestFunction(Q)
    a = (0.1 + rho[0] + 3.0 * rho[1] ** 2) * ufl.dot(ufl.grad(T), ufl.grad(s)) * ufl.dx
    cold = [problems.fix(Q, problems.left)]
    warm = StateProblem((a, 0.1 * s * ufl.dx), rho, bcs=cold, petsc_options_prefix="warm_")
    equation = elasticity.bilinear_form(V, modulus(rho)), elasticity.thermal_load(V, modulus(rho), warm.u)
    bcs = [problems.fix(V, problems.left)]
    state = StateProblem(equation, rho, bcs=bcs, petsc_options_prefix="bent_")
    return state, ReducedFunctional(ufl.dot(state.u, state.u) * ufl.dx, state)


def heating():
    domain = problems.box()
    Q, rho = fem.functionspace(domain, ("Lagrange", 1)), fields(domain)
    T, T_old, s = fem.Function(Q), fem.Function(Q), ufl.TestFunction(Q)
    F = ((0.5 + rho[1]) * (T - T_old) / 0.5 - 1.0) * s * ufl.dx
    F += simp(rho[0], E_min=1e-2) * ufl.dot(ufl.grad(T), ufl.grad(s)) * ufl.dx
    bcs = [problems.fix(Q, problems.left)]
    state = TransientProblem(F, rho, u=T, u_old=T_old, num_steps=3, bcs=bcs, petsc_options_prefix="heating_")
    return state, TransientFunctional(T**2 * ufl.dx, state)


def modes():
    domain = problems.box()
    V, rho = problems.vector_space(domain), fields(domain)
    u, v = ufl.TrialFunction(V), ufl.TestFunction(V)
    b = (mass(rho[0]) + 0.5 * mass(rho[1])) * ufl.dot(u, v) * ufl.dx
    a, bcs = elasticity.bilinear_form(V, modulus(rho)), [problems.fix(V, problems.left)]
    state = EigenProblem(a, b, rho, num=2, bcs=bcs, petsc_options_prefix="modes_")
    return state, Eigenvalue(state)


@pytest.mark.ranks
@pytest.mark.parametrize("build", [materials, stress_and_mass, fibre, warm_beam, heating, modes])
def test_remainder_is_of_second_order(build):
    state, functional = build()
    with state:
        orders = taylor_test(functional, step=5e-3)
        assert functional.value_and_gradient()[1].shape == (2, state.num_owned_cells)
    assert (orders > 1.9).all() and np.isfinite(orders).all(), orders


def test_one_of_two_fields_is_a_density_alone():
    def one(domain):
        return fem.Function(fem.functionspace(domain, ("DG", 0)))

    with beam(simp, rho=one, prefix="one_") as alone, beam(lambda rho: simp(rho[1])) as state:
        rho = random_density(state.rho.function_space, 0.2, 0.9)
        value, gradient = Compliance(state).value_and_gradient(rho)
        expected, expected_gradient = Compliance(alone).value_and_gradient(rho[1])
        assert value == pytest.approx(expected, rel=1e-12)
        np.testing.assert_allclose(gradient, [0.0 * rho[0], expected_gradient], rtol=1e-10)


@pytest.mark.ranks
def test_serial_equals_parallel():
    def run(comm, prefix):
        with beam(modulus, comm, prefix) as state:
            space = state.rho.function_space
            cells = original_cells(space.mesh)[dg0_cells(space)[: state.num_owned_cells]]
            value, gradient = Compliance(state).value_and_gradient(random_density(space, 0.2, 0.9))
            return value, cells, gradient

    expected, cells, gradient = run(MPI.COMM_SELF, "alone_")
    whole = np.empty_like(gradient)
    whole[:, cells] = gradient
    value, mine, gradient = run(MPI.COMM_WORLD, "fields_")
    assert value == pytest.approx(expected, rel=1e-9)
    np.testing.assert_allclose(gradient, whole[:, mine], rtol=1e-9)


def test_a_box_in_three_dimensions_is_assembled_by_dolfinx(monkeypatch):
    monkeypatch.setattr("dolfinx_neural_topo.physics.factor_assembly.SMALLEST", {3: 1})
    domain = problems.box("hexahedron")
    V, rho = problems.vector_space(domain), fields(domain)
    equation = elasticity.bilinear_form(V, modulus(rho)), problems.traction(V, [0.0, -1.0, 0.0])
    bcs = [problems.fix(V, problems.left)]
    with StateProblem(equation, rho, bcs=bcs, petsc_options_prefix="box_", solver="direct") as state:
        assert (taylor_test(Compliance(state), step=5e-3) > 1.9).all()


def test_what_is_no_density_of_fields():
    domain = problems.box()
    V = problems.vector_space(domain)
    tensor = fem.Function(fem.functionspace(domain, ("DG", 0, (2, 2))))
    with pytest.raises(InputError, match=r"rho must live in DG0 .*or k for k fields"):
        make = partial(StateProblem, bcs=[problems.fix(V, problems.left)], petsc_options_prefix="no_")
        make((elasticity.bilinear_form(V, simp(tensor[0, 0])), problems.traction(V, [0.0, -1.0])), tensor)
    with beam(modulus) as state:
        num = state.num_owned_cells
        with pytest.raises(InputError, match=r"rho must have shape \(2, \d+\)"):
            state.solve(np.full(num, 0.5))
        with pytest.raises(InputError, match=r"rho must lie in \[0, 1\], got 0 to 2"):
            state.solve(np.outer([0.0, 2.0], np.ones(num)))
