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
    nodal_load,
    random_density,
    simp,
    taylor_test,
)
from dolfinx_neural_topo.study import independent
from dolfinx_neural_topo.tasks.sketch import Task


def fields(domain, k=2):
    return fem.Function(fem.functionspace(domain, ("DG", 0, (k,))), name="fields")


def modulus(rho):
    """Two materials: each counts where the other is not."""
    stiff, soft = rho
    return 1e-3 + stiff**3 * (1.0 - soft**3) + 0.3 * soft**3 * (1.0 - stiff**3)


def beam(law, comm=MPI.COMM_WORLD, prefix="fields_", rho=None, domain=None, **options):
    domain = problems.box(comm=comm) if domain is None else domain
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

    domain = problems.box()
    with (
        beam(simp, rho=one, prefix="one_", domain=domain) as alone,
        beam(lambda rho: simp(rho[1]), domain=domain) as state,
    ):
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


@pytest.mark.ranks
def test_two_materials_as_numpy_and_scipy_have_them():
    """The compliance by another assembly and solver, and its gradient by differences of that one."""
    width, height = 12, 6
    wall = np.array([(0, j, k) for j in range(height + 1) for k in (0, 1)])
    end = np.array([(width, height // 2, 1)])
    task = Task("two_materials", (width, height), 0.4, fixed=wall, load_at=end, load=np.array([-1.0]))

    def densities(x, y):
        return np.array([0.3 + 0.25 * np.sin(0.9 * x + y), 0.4 + 0.35 * np.cos(0.5 * x - 1.3 * y)])

    def elsewhere(rho):  # the modulus of both materials as a power of one density, which is all it asks for
        E_min = independent.E_MIN
        return independent.compliance(task, ((modulus(rho) - E_min) / (1.0 - E_min)) ** (1.0 / 3.0))

    row, column = np.indices((height, width))
    rho = densities(column + 0.5, height - row - 0.5)
    expected = elsewhere(rho)

    domain = problems.box(shape=(width, height))
    V, density = problems.vector_space(domain), fields(domain)
    a = elasticity.bilinear_form(V, modulus(density), nu=0.3, model="plane_stress")
    equation, bcs = (a, problems.traction(V, [0.0, 0.0])), [problems.fix(V, problems.left)]
    force = nodal_load(V, [(width, height / 2)], [(0.0, -1.0)])
    middle = fields(domain)
    middle.interpolate(lambda x: x[:2])
    with StateProblem(equation, density, bcs=bcs, nodal_loads=force, petsc_options_prefix="fields_") as state:
        x, y = middle.x.array.reshape(-1, 2)[: state.num_owned_cells].T
        value, gradient = Compliance(state).value_and_gradient(densities(x, y))
    assert value == pytest.approx(expected, rel=1e-10)
    for at in range(0, len(x), 5):  # a few cells of each rank
        for material in range(2):
            change = np.zeros_like(rho)
            change[material, int(height - y[at]), int(x[at])] = 1e-4
            slope = (elsewhere(rho + change) - elsewhere(rho - change)) / 2e-4
            assert gradient[material, at] == pytest.approx(slope, rel=1e-5, abs=1e-6 * expected)


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
