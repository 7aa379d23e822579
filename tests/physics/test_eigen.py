"""Natural frequencies and buckling: closed forms, gradients where eigenvalues meet, refusals."""

import sys

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
    Compliance,
    EigenProblem,
    Eigenvalue,
    ReducedFunctional,
    StateProblem,
    elasticity,
    heat,
    mass,
    random_density,
    simp,
    taylor_test,
)
from dolfinx_neural_topo.physics.algebra import num_solves, problems_of, settle


def around(x):
    return np.any([np.isclose(x[i], end) for i in range(2) for end in (0.0, 1.0)], axis=0)


def vibrating(domain, held=problems.left, num=6, tip=0.0, prefix="modes_", **options):
    """Return the modes of an elastic body, with a heavy right end."""
    V, rho = problems.vector_space(domain), problems.density(domain)
    u, v = ufl.TrialFunction(V), ufl.TestFunction(V)
    a = elasticity.bilinear_form(V, simp(rho, E_min=1e-6))
    b = mass(rho) * ufl.dot(u, v) * ufl.dx
    if tip:
        b += tip * ufl.dot(u, v) * problems.right_tag(domain)
    return EigenProblem(
        a, b, rho, num=num, bcs=[problems.fix(V, held)], petsc_options_prefix=prefix, **options
    )


def square(n=6, **options):
    """Return the modes of a square held all around, whose lowest two are equal by symmetry."""
    return vibrating(problems.box("quadrilateral", (n, n), size=(1.0, 1.0)), around, **options)


def column(domain, degree=2, num=3, sign=-1.0):
    """Return compression of a clamped column at its end, and the factors on it at which it buckles."""
    V, rho = problems.vector_space(domain, degree), problems.density(domain)
    held = [problems.fix(V, problems.left)]
    equation = elasticity.bilinear_form(V, simp(rho, E_min=1e-6)), problems.traction(V, [sign, 0.0])
    state = StateProblem(equation, rho, bcs=held, petsc_options_prefix="column_")
    sigma = elasticity.stress(state.u, simp(rho, E_min=0.0))
    b = elasticity.geometric_form(V, sigma)
    buckling = EigenProblem(equation[0], b, rho, num=num, bcs=held, petsc_options_prefix="buckling_")
    return state, buckling


def solid(problem):
    return np.ones(problem.num_owned_cells)


def waves(n=16, shift=1.0, prefix="waves_", degree=2, **options):
    """Return the shifted modes of a free membrane: a periodic unit square."""
    domain = problems.box("quadrilateral", (n, n), size=(1.0, 1.0))
    V, rho = fem.functionspace(domain, ("Lagrange", degree)), problems.density(domain)
    u, v = ufl.TrialFunction(V), ufl.TestFunction(V)
    b = mass(rho) * u * v * ufl.dx
    a = heat.bilinear_form(V, simp(rho, E_min=1e-2)) + shift * b
    return EigenProblem(a, b, rho, periodic=True, petsc_options_prefix=prefix, **options)


@pytest.mark.ranks
def test_a_periodic_square_has_its_closed_form():
    """One constant mode, and plane waves along both axes, then along diagonals: four times each."""
    with waves(num=9) as problem:
        problem.solve(solid(problem))
        expected = (2 * np.pi) ** 2 * np.repeat([0.0, 1.0, 2.0], [1, 4, 4])
        assert problem.eigenvalues - 1.0 == pytest.approx(expected, rel=1e-4, abs=1e-8)
        x = problem.V.tabulate_dof_coordinates()[: problem.V.dofmap.index_map.size_local]
        for mode in problem.states:
            there = MPI.COMM_WORLD.allgather((x, mode.x.array[: len(x)]))
            points, values = (np.concatenate(part) for part in zip(*there, strict=True))
            for axis in (0, 1):
                sides = [np.flatnonzero(np.isclose(points[:, axis], end)) for end in (0.0, 1.0)]
                low, high = (values[side[np.argsort(points[side, 1 - axis])]] for side in sides)
                assert np.array_equal(low, high) and len(low) == 33


@pytest.mark.ranks
def test_gradient_in_a_periodic_cell():
    with waves(6, num=6, degree=1) as problem:
        waves_of_one_length = Eigenvalue(problem, range(1, 5))
        assert (taylor_test(waves_of_one_length, step=3e-4) > 1.9).all()
        assert (taylor_test(waves_of_one_length, solid(problem) * 0.5, step=3e-4) > 1.9).all()


def test_all_modes_of_a_periodic_cell():
    with waves(3, num=9, degree=1) as problem:
        problem.solve(solid(problem))
        assert np.isfinite(problem.eigenvalues).all()
    with pytest.raises(InputError, match="free unknowns, 9, got 10"):
        waves(3, num=10, degree=1, prefix="more_")


def test_a_free_cell_needs_a_shift():
    with waves(4, shift=0.0, num=2) as problem, pytest.raises(SolverError, match="leave a motion free"):
        problem.solve(solid(problem))


def test_membrane_has_its_closed_form():
    domain = problems.box("triangle", (24, 24), size=(1.0, 1.0))
    V, rho = fem.functionspace(domain, ("Lagrange", 2)), problems.density(domain)
    u, v = ufl.TrialFunction(V), ufl.TestFunction(V)
    with EigenProblem(
        heat.bilinear_form(V, simp(rho)),
        mass(rho) * u * v * ufl.dx,
        rho,
        num=8,
        bcs=[problems.fix(V, around)],
        petsc_options_prefix="membrane_",
    ) as problem:
        problem.solve(solid(problem))
        exact = sorted(np.pi**2 * (i**2 + j**2) for i in range(1, 6) for j in range(1, 6))[:8]
        assert np.allclose(problem.eigenvalues, exact, rtol=1e-3)
        K, mode = problem.equation.a, problem.u
        energy = problem.comm.allreduce(fem.assemble_scalar(fem.form(ufl.action(ufl.action(K, mode), mode))))
        assert energy == pytest.approx(1.0, rel=1e-9)


def test_a_column_buckles_at_eulers_load():
    domain = problems.box("quadrilateral", (40, 2), size=(20.0, 1.0))
    state, buckling = column(domain)
    with state, buckling:
        factor = Eigenvalue(buckling, range(1))
        euler = np.pi**2 / (4 * 20.0**2) / 12
        assert factor.value(solid(state)) == pytest.approx(euler, rel=5e-3)
        assert problems_of(factor) == (state, buckling)
    state, buckling = column(domain, degree=1, sign=1.0)
    with state, buckling, pytest.raises(SolverError, match="a structure in tension hardly buckles"):
        buckling.solve(solid(state))


@pytest.mark.ranks
def test_gradients_have_second_order():
    with vibrating(problems.box()) as problem:
        lowest = Eigenvalue(problem)
        gap = Eigenvalue(problem, range(2, 6)) ** 0.5 - Eigenvalue(problem, range(2), power=16.0) ** 0.5
        for functional in (lowest, gap, 1.0 / lowest, Eigenvalue(problem, range(1))):
            assert (taylor_test(functional, step=5e-3) > 1.9).all(), functional.name
    with vibrating(problems.box("tetrahedron"), tip=0.5) as problem:
        assert (taylor_test(Eigenvalue(problem), step=5e-3) > 1.9).all()


@pytest.mark.ranks
def test_buckling_has_second_order_through_the_load():
    state, buckling = column(problems.box(), degree=1)
    with state, buckling:
        factor = Eigenvalue(buckling)
        assert (taylor_test(factor, step=5e-3) > 1.9).all()
        assert (taylor_test(Compliance(state) / factor, step=5e-3) > 1.9).all()
        assert state.num_adjoint_solves > 0


@pytest.mark.ranks
def test_the_mean_has_a_derivative_where_eigenvalues_meet():
    with square() as problem:
        uniform = np.full(problem.num_owned_cells, 0.6)
        d = random_density(problem.rho.function_space, -1.0, 1.0, 3)
        problem.solve(uniform)
        first, second, third = problem.eigenvalues[:3]
        assert second / first == pytest.approx(1.0, abs=1e-9) and third > 1.2 * first
        assert (taylor_test(Eigenvalue(problem), uniform, direction=d) > 1.9).all()
        assert (taylor_test(Eigenvalue(problem, range(2)), uniform, direction=d) > 1.9).all()
        alone = taylor_test(Eigenvalue(problem, range(1)), uniform, direction=d)
        assert (alone < 1.2).all(), "the crossing is none"


def test_no_equal_eigenvalue_is_missed():
    with square(12, num=12) as problem:
        problem.solve(solid(problem))
        found = problem.eigenvalues
    with square(12, num=30, prefix="more_") as problem:
        problem.solve(solid(problem))
        assert np.allclose(found, problem.eigenvalues[:12], rtol=1e-9)
        rayleigh = [
            fem.form(ufl.action(ufl.action(problem.equation.b, mode), mode)) for mode in problem.states[:12]
        ]
        values = [1.0 / problem.comm.allreduce(fem.assemble_scalar(form)) for form in rayleigh]
    assert np.allclose(values, found, rtol=1e-9)


def test_serial_equals_parallel():
    with vibrating(problems.box()) as problem:
        density = random_density(problem.rho.function_space, 0.0, 1.0)
        value, gradient = Eigenvalue(problem).value_and_gradient(density)
        cells = problem.mesh.topology.original_cell_index[: len(gradient)]
    alone = problems.box(comm=MPI.COMM_SELF)
    V, rho = problems.vector_space(alone), problems.density(alone)
    u, v = ufl.TrialFunction(V), ufl.TestFunction(V)
    with EigenProblem(
        elasticity.bilinear_form(V, simp(rho, E_min=1e-6)),
        mass(rho) * ufl.dot(u, v) * ufl.dx,
        rho,
        bcs=[problems.fix(V, problems.left)],
        petsc_options_prefix="alone_",
    ) as problem:
        density = random_density(rho.function_space, 0.0, 1.0)
        expected, slope = Eigenvalue(problem).value_and_gradient(density)
        order = np.argsort(alone.topology.original_cell_index)
    assert value == pytest.approx(expected, rel=1e-9)
    assert np.allclose(gradient, slope[order][cells], rtol=1e-8, atol=1e-9 * abs(slope).max())


def test_void_has_no_modes_of_its_own():
    with vibrating(problems.box("quadrilateral", (24, 6), size=(8.0, 2.0)), num=3) as problem:
        x = problem.rho.function_space.tabulate_dof_coordinates()[: problem.num_owned_cells]
        density = np.where(x[:, 1] < 1.0, 1.0, 0.01)
        problem.solve(density)
        found = problem.eigenvalues.copy()
    with vibrating(problems.box("quadrilateral", (24, 3), size=(8.0, 1.0)), num=3, prefix="half_") as problem:
        problem.solve(solid(problem))
        assert np.allclose(found, problem.eigenvalues, rtol=1e-2)


def test_a_tip_mass_alone_has_few_modes():
    domain = problems.box("quadrilateral", (4, 2), size=(4.0, 2.0))
    V, rho = problems.vector_space(domain), problems.density(domain)
    u, v = ufl.TrialFunction(V), ufl.TestFunction(V)
    b = ufl.dot(u, v) * problems.right_tag(domain)  # three nodes
    a, bcs = elasticity.bilinear_form(V, simp(rho)), [problems.fix(V, problems.left)]
    with EigenProblem(a, b, rho, num=9, bcs=bcs, petsc_options_prefix="tip_") as problem:
        lowest = Eigenvalue(problem)
        assert (taylor_test(lowest, step=5e-3) > 1.9).all()
        assert np.isfinite(problem.eigenvalues).sum() == 6
        with pytest.raises(SolverError, match="is infinite: 'tip_' has too few positive"):
            Eigenvalue(problem, range(7), power=8.0).value()
    problem = EigenProblem(a, -b, rho, bcs=bcs, petsc_options_prefix="tip_")
    with problem, pytest.raises(SolverError, match="'tip_' has no positive eigenvalue"):
        problem.solve()


def test_the_solve_is_shared_and_counted():
    with vibrating(problems.box()) as problem:
        lowest, other = Eigenvalue(problem), Eigenvalue(problem, range(2))
        density = random_density(problem.rho.function_space, 0.3, 0.9)
        lowest.value(density)
        other.value_and_gradient(density)
        assert problem.num_factorizations == 1 and num_solves(lowest) == 6
        lowest.value(0.9 * density)
        assert problem.num_factorizations == 2
        assert problems_of(lowest + other) == (problem,) and not settle(lowest)


def test_everything_above_works_on_it():
    def objective(domain):
        return 1.0 / Eigenvalue(vibrating(domain, num=3, tip=1.0))

    J = objective(problems.box("quadrilateral", (16, 8), size=(8.0, 4.0)))
    (problem,) = J.problems
    domain = DesignDomain(problem.rho, volume_fraction=0.5)
    design = Design(J, domain, filter=ConeFilter(domain, 1.0))
    result = minimize(design, MMA(), evaluations=12)
    assert result.objective < 0.7 * result.history.objective[0]
    built = make_buildable(design, result, evaluations=15)
    assert built.value == pytest.approx(J.value(built.rho), rel=1e-8) and built.components == 1
    found = minimize_multistart(design, objective, budget=60)
    assert found.objective < 0.7 * result.history.objective[0]
    problem.destroy()


def test_wrong_problems_are_refused(monkeypatch):
    domain = problems.box("quadrilateral", (2, 1))
    V, rho = problems.vector_space(domain), problems.density(domain)
    u, v = ufl.TrialFunction(V), ufl.TestFunction(V)
    a, b = elasticity.bilinear_form(V, simp(rho)), mass(rho) * ufl.dot(u, v) * ufl.dx
    options = {"bcs": [problems.fix(V, problems.left)], "petsc_options_prefix": "wrong_"}
    T = fem.functionspace(domain, ("Lagrange", 1))
    one, nothing = fem.Constant(domain, 1.0), fem.Constant(domain, 0.0)
    L = ufl.dot(ufl.as_vector([1.0, 0.0]), v) * ufl.dx
    for forms, num, says in (
        ((a, L), 6, "b must be a bilinear form"),
        ((a, 0.0 * b), 6, "b must be a bilinear form"),
        (("a", b), 6, "a must be a ufl.form.Form, got 'a'"),
        ((a, heat.bilinear_form(T, rho)), 6, "on one space, got several"),
        ((a, b), 9, "num must be at most the number of free unknowns, 8, got 9"),
        ((a, b), 0, "num must be a (positive|whole) number"),
        ((a, b), 2.5, "num must be a (positive|whole) number"),
        ((elasticity.bilinear_form(V, one), one * ufl.dot(u, v) * ufl.dx), 2, "must contain the density"),
    ):
        with pytest.raises(InputError, match=says):
            EigenProblem(*forms, rho, num=num, **options)
    for forms, says in (
        ((-a, b), "a of 'wrong_' must be symmetric and positive definite"),
        ((a, nothing * ufl.dot(u, v) * ufl.dx), "b of 'wrong_' must be finite and not zero"),
        ((a, b + rho * u[0] * v[1] * ufl.dx), "b of 'wrong_' must be symmetric"),
        ((a, (1.0 / (rho - rho)) * ufl.dot(u, v) * ufl.dx), "b of 'wrong_' must be finite and not zero"),
    ):
        with EigenProblem(*forms, rho, num=2, **options) as problem, pytest.raises(InputError, match=says):
            problem.solve()
    with pytest.raises(SolverError, match="leave a motion free"):
        EigenProblem(a, b, rho, num=2, petsc_options_prefix="wrong_").solve()
    moved = {**options, "bcs": [problems.fix(V, problems.left, 1.0)]}
    with EigenProblem(a, b, rho, num=2, **moved) as problem, pytest.raises(InputError, match="value zero"):
        problem.solve()
    monkeypatch.setitem(sys.modules, "slepc4py", None)
    with pytest.raises(InputError, match=r"need slepc4py, .* python3-slepc4py-real"):
        EigenProblem(a, b, rho, **options)


def test_wrong_functionals_are_refused():
    with vibrating(problems.box(), num=4) as problem:
        for group in (range(5), range(0), range(0, 4, 2), 2, [0, 1]):
            with pytest.raises(
                InputError, match=r"group must be a range( within 0 \.\.\. 4| or None, got .*)"
            ):
                Eigenvalue(problem, group)
        for power in (0.5, 0.0, np.nan, np.inf):
            with pytest.raises(InputError, match=r"power must be (finite|a number, got nan)"):
                Eigenvalue(problem, power=power)
        with pytest.raises(InputError, match="Compliance needs loads, got an eigenvalue problem"):
            Compliance(problem)
        J = ReducedFunctional(ufl.dot(problem.u, problem.u) * ufl.dx, problem)
        with pytest.raises(InputError, match="modes of 'modes_' have no adjoint"):
            J.value_and_gradient()
    with (
        problems.cantilever() as other,
        pytest.raises(InputError, match="must be an EigenProblem, got State"),
    ):
        Eigenvalue(other.state)


def test_an_option_that_slepc_does_not_know_is_refused():
    with vibrating(problems.box(), petsc_options={"eps_ncv": 20}) as problem:
        problem.solve()
    problem = vibrating(problems.box(), petsc_options={"eps_ncvv": 20})
    with problem, pytest.raises(InputError, match="nothing in 'modes_' has read eps_ncvv"):
        problem.solve()
