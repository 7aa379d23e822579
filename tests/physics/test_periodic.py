"""States that repeat, and effective stiffness: laminates, shifted cells, gradients, refusals."""

from itertools import combinations_with_replacement

import basix.ufl
import numpy as np
import physics_problems as problems
import pytest
import ufl
from dolfinx import fem
from mpi4py import MPI

from dolfinx_neural_topo import ConeFilter, Design, DesignDomain, make_buildable, minimize_multistart
from dolfinx_neural_topo.errors import InputError, SolverError
from dolfinx_neural_topo.optimize import MMA, minimize
from dolfinx_neural_topo.physics import (
    ReducedFunctional,
    StateProblem,
    TransientFunctional,
    TransientProblem,
    elasticity,
    heat,
    homogenization,
    random_density,
    simp,
    taylor_test,
)


def cell(shape=(6, 6), kind="quadrilateral", comm=MPI.COMM_WORLD, prefix="cell_", **options):
    """Return the fluctuations of a cell of size one, and its modulus."""
    domain = problems.box(kind, shape, comm, size=(1.0,) * len(shape))
    V, rho = problems.vector_space(domain), problems.density(domain)
    E = simp(rho, E_min=1e-2)
    options = {"bcs": [homogenization.corners(V)], "periodic": True, **options}
    equation = elasticity.bilinear_form(V, E), homogenization.loads(V, E)
    return StateProblem(equation, rho, petsc_options_prefix=prefix, **options), E


def by_cell(problem, function):
    """Return a density by the midpoints of cells."""
    x = problem.rho.function_space.tabulate_dof_coordinates()[: problem.num_owned_cells]
    return function(x).astype(float)


def tensor(problem, E, density):
    """Return the effective stiffness in Voigt's notation."""
    num = len(problem.states)
    C = np.zeros((num, num))
    for i, j in combinations_with_replacement(range(num), 2):
        entry = ReducedFunctional(homogenization.stiffness(problem.states, E, i, j), problem)
        C[i, j] = C[j, i] = entry.value(density)
    return C


def test_a_laminate_has_its_closed_form():
    problem, E = cell()
    with problem:
        C = tensor(problem, E, by_cell(problem, lambda x: np.where(x[:, 0] < 0.5, 1.0, 0.4)))
        K = ReducedFunctional(homogenization.bulk_modulus(problem.states, E), problem).value()
    moduli, nu = np.array([1.0, 0.01 + 0.99 * 0.4**3]), 0.3
    stiff, shear = moduli / (1.0 - nu**2), moduli / (2.0 * (1.0 + nu))
    harmonic = 1.0 / np.mean(1.0 / stiff)  # across the layers
    along = np.mean(stiff * (1.0 - nu**2)) + nu**2 * harmonic
    expected = [
        [harmonic, nu * harmonic, 0.0],
        [nu * harmonic, along, 0.0],
        [0.0, 0.0, 1 / np.mean(1 / shear)],
    ]
    assert np.allclose(C, expected, atol=1e-12)
    assert pytest.approx(np.mean(C[:2, :2]), rel=1e-12) == K


def test_a_cell_may_begin_anywhere():
    tensors = []
    for shift in (0.0, 1.0 / 3.0):

        def inclusion(x, middle=np.array([0.31, 0.55]) - shift):  # noqa: B008
            distance = (x[:, :2] - middle + 0.5) % 1.0 - 0.5
            return np.where((abs(distance) < [0.2, 0.3]).all(axis=1), 1.0, 0.3)

        problem, E = cell(prefix=f"shift{round(10 * shift)}_")
        with problem:
            tensors.append(tensor(problem, E, by_cell(problem, inclusion)))
    assert np.allclose(*tensors, rtol=1e-11, atol=1e-12)


@pytest.mark.ranks
def test_gradients_have_second_order():
    problem, E = cell((4, 4))
    with problem:
        K = ReducedFunctional(homogenization.bulk_modulus(problem.states, E), problem)
        C12 = ReducedFunctional(homogenization.stiffness(problem.states, E, 0, 1), problem)
        for functional in (K, C12 / K):
            assert (taylor_test(functional, num_steps=3) > 1.9).all(), functional.name
    problem, E = cell((2, 2, 2), "tetrahedron")
    with problem:
        C = ReducedFunctional(homogenization.stiffness(problem.states, E, 3, 5), problem)
        assert (taylor_test(C, step=1e-3, num_steps=3) > 1.9).all()


@pytest.mark.ranks
def test_a_wind_around_a_ring_has_second_order():
    domain = problems.box("quadrilateral", (6, 3), size=(2.0, 1.0))
    V, rho = fem.functionspace(domain, ("Lagrange", 2)), problems.density(domain)
    T, T_old, v = fem.Function(V), fem.Function(V), ufl.TestFunction(V)
    T_old.interpolate(lambda x: np.sin(np.pi * x[0]))
    flow = simp(rho, E_min=1e-2) * ufl.dot(ufl.grad(T), ufl.grad(v)) + T.dx(0) * v
    with TransientProblem(
        (T - T_old) / 0.5 * v * ufl.dx + flow * ufl.dx,
        rho,
        u=T,
        u_old=T_old,
        num_steps=2,
        periodic=(0,),
        petsc_options_prefix="ring_",
    ) as problem:
        J = TransientFunctional(T**2 * ufl.dx + ufl.inner(ufl.grad(T), ufl.grad(T)) * ufl.dx, problem)
        assert (taylor_test(J, step=5e-3, num_steps=3) > 1.9).all()
        assert not problem.is_symmetric()
        mean = domain.comm.allreduce(fem.assemble_scalar(fem.form(T * ufl.dx)))
        assert abs(mean) < 1e-12, "what leaves at one end comes in at the other"


def test_serial_equals_parallel():
    problem, E = cell((5, 4))
    with problem:
        density = random_density(problem.rho.function_space, 0.1, 0.9)
        K = ReducedFunctional(homogenization.bulk_modulus(problem.states, E), problem)
        value, gradient = K.value_and_gradient(density)
        cells = problem.mesh.topology.original_cell_index[: len(gradient)]
        assert problem.num_factorizations == 1 and problem.residual < 1e-12
    problem, E = cell((5, 4), comm=MPI.COMM_SELF, prefix="alone_")
    with problem:
        density = random_density(problem.rho.function_space, 0.1, 0.9)
        K = ReducedFunctional(homogenization.bulk_modulus(problem.states, E), problem)
        expected, slope = K.value_and_gradient(density)
        order = np.argsort(problem.mesh.topology.original_cell_index)
    assert value == pytest.approx(expected, rel=1e-10)
    assert np.allclose(gradient, slope[order][cells], rtol=1e-9, atol=1e-10 * abs(slope).max())


@pytest.mark.parametrize("solver", ["amg", "gmg"])
def test_iterative_solvers_serve(solver):
    results = []
    for name in ("direct", solver):
        problem, E = cell((4, 4, 4), "hexahedron", prefix=f"{name}_", solver=name)
        with problem:
            density = random_density(problem.rho.function_space, 0.3, 0.9)
            K = ReducedFunctional(homogenization.bulk_modulus(problem.states, E), problem)
            results.append(K.value(density))
            results.append(K.value(0.5 * density))
    assert np.allclose(results[:2], results[2:], rtol=1e-6)


def test_everything_above_works_on_it():
    def objective(domain):
        V, rho = problems.vector_space(domain), problems.density(domain)
        E = simp(rho, E_min=1e-3)
        equation = elasticity.bilinear_form(V, E), homogenization.loads(V, E)
        problem = StateProblem(
            equation, rho, bcs=[homogenization.corners(V)], periodic=True, petsc_options_prefix="above_"
        )
        return 1.0 / ReducedFunctional(homogenization.stiffness(problem.states, E, 0, 0), problem)

    J = objective(problems.box("quadrilateral", (8, 8), size=(1.0, 1.0)))
    (problem,) = J.problems
    hole = by_cell(problem, lambda x: np.hypot(x[:, 0] - 0.5, x[:, 1] - 0.5) < 0.2) > 0.5
    domain = DesignDomain(problem.rho, volume_fraction=0.6, void=hole)
    design = Design(J, domain, filter=ConeFilter(domain, 0.15))
    result = minimize(design, MMA(), evaluations=12)
    assert result.objective < 0.8 * result.history.objective[0]
    built = make_buildable(design, result, evaluations=10)
    assert built.value == pytest.approx(J.value(built.rho), rel=1e-8)
    found = minimize_multistart(design, objective, budget=55)
    assert found.objective < 0.8 * result.history.objective[0]
    problem.destroy()


def test_wrong_cells_are_refused():
    for periodic in ("x", (2,), (0, 0), (-1,), 1.0, (True,), None):
        with pytest.raises(InputError, match=r"periodic(\[0\])? must be (True|a whole number)"):
            cell((2, 2), periodic=periodic)
    domain = problems.box("quadrilateral", (2, 2), size=(1.0, 1.0))
    V = problems.vector_space(domain)
    with pytest.raises(InputError, match="bcs must hold on opposite faces of a periodic problem alike"):
        one_corner(domain)
    with pytest.raises(InputError, match=r"a component of Voigt's notation must lie in 0 \.\.\. 2, got 3"):
        homogenization.unit_strain(domain, 3)
    with pytest.raises(InputError, match="states must be 3 fluctuations, got 1"):
        homogenization.stiffness([fem.Function(V)], 1.0, 0, 0)
    problem, _ = cell((2, 2), bcs=[])
    with problem, pytest.raises(SolverError, match=r"leave a motion free \(translation"):
        problem.solve()
    rho, v = problems.density(domain), ufl.TestFunction(V)
    a = elasticity.bilinear_form(V, simp(rho))
    moved = [problems.fix(V, lambda x: np.isclose(x[1], 0.0) | np.isclose(x[1], 1.0), 0.1)]
    options = {"periodic": True, "petsc_options_prefix": "wrong_"}
    problem = StateProblem((a, v[0] * ufl.dx), rho, bcs=moved, **options)
    with problem, pytest.raises(InputError, match="bcs of a periodic problem must have the value zero"):
        problem.solve()
    u = fem.Function(V)
    F = simp(rho) * (1 + u[0] ** 2) * ufl.inner(ufl.grad(u), ufl.grad(v)) * ufl.dx - v[0] * ufl.dx
    with pytest.raises(InputError, match="periodic needs a linear equation"):
        StateProblem(F, rho, u=u, **options)
    W = fem.functionspace(domain, problems.mixed_element(domain))
    (w, t), (z, s) = ufl.TrialFunctions(W), ufl.TestFunctions(W)
    mixed = rho * (ufl.dot(w, z) + t * s) * ufl.dx
    with pytest.raises(InputError, match="periodic needs a space of values at nodes"):
        StateProblem((mixed, s * ufl.dx), rho, **options)
    N = fem.functionspace(domain, basix.ufl.element("RTCE", domain.basix_cell(), 1))
    e, f = ufl.TrialFunction(N), ufl.TestFunction(N)
    with pytest.raises(InputError, match="periodic needs a space of values at nodes"):
        StateProblem((rho * ufl.dot(e, f) * ufl.dx, f[0] * ufl.dx), rho, **options)


def one_corner(domain):
    V, rho = problems.vector_space(domain), problems.density(domain)
    corner = problems.fix(V, lambda x: np.isclose(x[0], 0.0) & np.isclose(x[1], 0.0))
    E = simp(rho)
    equation = elasticity.bilinear_form(V, E), homogenization.loads(V, E)
    StateProblem(equation, rho, bcs=[corner], periodic=True, petsc_options_prefix="corner_")


@pytest.mark.parametrize("where", ["more", "moved"])
def test_faces_that_do_not_match_are_refused(where):
    domain = problems.box("triangle", (4, 4), size=(1.0, 1.0))
    x = domain.geometry.x
    if where == "moved":
        x[np.isclose(x[:, 0], 1.0) & np.isclose(x[:, 1], 0.5), 1] = 0.55
    else:
        x[np.isclose(x[:, 0], 1.0) & np.isclose(x[:, 1], 0.5), 0] = 0.95
    V, rho = fem.functionspace(domain, ("Lagrange", 1)), problems.density(domain)
    says = "got none that the node" if where == "moved" else "got 5 and 4 across axis 0"
    with pytest.raises(
        InputError, match=f"opposite faces of a periodic box must have the same nodes, {says}"
    ):
        StateProblem(
            (heat.bilinear_form(V, simp(rho)), heat.source(V, 1.0)),
            rho,
            periodic=True,
            petsc_options_prefix="uneven_",
        )
