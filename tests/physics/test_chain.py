"""States that feed states: values, gradients through all of them, and what no chain can be."""

import numpy as np
import physics_problems as problems
import pytest
import ufl
from dolfinx import fem

from dolfinx_neural_topo import ConeFilter, Design, DesignDomain, make_buildable, minimize_multistart
from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.optimize import MMA, OC, minimize
from dolfinx_neural_topo.physics import (
    Compliance,
    ReducedFunctional,
    StateProblem,
    elasticity,
    heat,
    hyperelasticity,
    ramp,
    random_density,
    simp,
    taylor_test,
)
from dolfinx_neural_topo.physics.algebra import num_solves, problems_of

SOLVED = "that a state problem solves for, got"


def heated(domain, rho, prefix="first_", source=0.1):
    """Return the temperature problem of a plate cooled at its left."""
    T = fem.functionspace(domain, ("Lagrange", 1))
    equation = heat.bilinear_form(T, simp(rho, E_min=1e-3)), heat.source(T, source * (1.0 + rho))
    return StateProblem(equation, rho, bcs=[problems.fix(T, problems.left)], petsc_options_prefix=prefix)


def strained(rho, T, prefix="second_"):
    """Return the displacement of the plate, held at its left, that a temperature expands."""
    V = problems.vector_space(rho.function_space.mesh)
    v, E = ufl.TestFunction(V), simp(rho, E_min=1e-3)
    equation = elasticity.bilinear_form(V, E), E * T * ufl.div(v) * ufl.dx + problems.traction(V, [0.0, -0.1])
    return StateProblem(equation, rho, bcs=[problems.fix(V, problems.left)], petsc_options_prefix=prefix)


def bracket(domain):
    """Return heat, displacement and their density."""
    rho = problems.density(domain)
    first = heated(domain, rho)
    return first, strained(rho, first.u), rho


def squares(state):
    return ReducedFunctional(ufl.dot(state.u, state.u) * ufl.dx, state)


@pytest.mark.ranks
def test_heat_that_strains_has_second_order():
    first, second, rho = bracket(problems.box())
    with first, second:
        J = squares(second)
        both = ReducedFunctional((first.u * second.u[1] + rho * first.u**2) * ufl.dx, second)
        for functional in (
            J,
            Compliance(second),
            both,
            J + 0.5 * both,
            Compliance(second) * Compliance(first),
        ):
            assert (taylor_test(functional, step=5e-3) > 1.9).all(), functional.name
        assert problems_of(J) == J.problems == (first, second)
        assert num_solves(J) == first.num_solves + second.num_solves


@pytest.mark.ranks
def test_a_flow_that_cools_has_second_order():
    with problems.pipe() as problem:
        flow, rho = problem.state, problem.state.rho
        domain = rho.function_space.mesh
        velocity, _ = flow.u.split()  # a part of the state is the state
        T = fem.functionspace(domain, ("Lagrange", 1))
        t, s = ufl.TrialFunction(T), ufl.TestFunction(T)
        a = 0.2 * ufl.dot(ufl.grad(t), ufl.grad(s)) * ufl.dx + ufl.dot(velocity, ufl.grad(t)) * s * ufl.dx
        with StateProblem(
            (a, s * ufl.dx), rho, bcs=[problems.fix(T, problems.left)], petsc_options_prefix="cooled_"
        ) as cooled:
            J = ReducedFunctional((cooled.u**2 + velocity[0] * cooled.u) * ufl.dx, cooled)
            assert (taylor_test(J, step=5e-3) > 1.9).all()
            assert not cooled.is_symmetric()


@pytest.mark.ranks
def test_pressure_that_follows_the_design_has_second_order():
    """The pressure seeps through void and drains off in material; its gradient loads the structure."""
    domain = problems.box()
    rho, P = problems.density(domain), fem.functionspace(domain, ("Lagrange", 1))
    p, q = ufl.TrialFunction(P), ufl.TestFunction(P)
    seeps, drains = 1.0 - 0.999 * ramp(rho), 4.0 * rho**3
    darcy = (seeps * ufl.dot(ufl.grad(p), ufl.grad(q)) + drains * p * q) * ufl.dx
    edges = (lambda x: np.isclose(x[1], 0.0)), (lambda x: np.isclose(x[1], 4.0))
    bcs = [problems.fix(P, edge, value) for edge, value in zip(edges, (1.0, 0.0), strict=True)]
    with StateProblem((darcy, None), rho, bcs=bcs, petsc_options_prefix="seeps_") as pressure:
        V = problems.vector_space(domain)
        body = elasticity.bilinear_form(V, simp(rho, E_min=1e-3))
        push = -ufl.dot(ufl.grad(pressure.u), ufl.TestFunction(V)) * ufl.dx
        bcs = [problems.fix(V, problems.left)]
        with StateProblem((body, push), rho, bcs=bcs, petsc_options_prefix="pushed_") as pushed:
            for functional in (Compliance(pushed), squares(pushed)):
                assert (taylor_test(functional, step=5e-3) > 1.9).all(), functional.name
            force = ReducedFunctional(-ufl.grad(pressure.u)[1] * ufl.dx, pressure)
            assert force.value() == pytest.approx(8.0, rel=1e-10)  # pressure times length, for any design


@pytest.mark.ranks
def test_three_states_one_of_them_nonlinear_have_second_order():
    domain = problems.box()
    rho = problems.density(domain)
    V = problems.vector_space(domain)
    with heated(domain, rho, source=0.02) as first, strained(rho, first.u) as second:
        u, v = fem.Function(V), ufl.TestFunction(V)
        F = hyperelasticity.residual(u, simp(rho, E_min=1e-2) * (1.0 + first.u))
        F -= 1e-3 * ufl.dot(second.u, v) * ufl.dx
        bcs = [problems.fix(V, problems.left)]
        with StateProblem(F, rho, u=u, bcs=bcs, petsc_options_prefix="third_") as third:
            assert third.chain == (first, second, third)
            J = squares(third)
            assert (taylor_test(J, step=5e-3) > 1.9).all()
            before = [problem.num_solves for problem in third.chain]
            J.value()
            assert before == [problem.num_solves for problem in third.chain]


def test_a_sum_of_states_of_two_problems():
    domain = problems.box("triangle", (12, 12), size=(1.0, 1.0))
    rho, T = problems.density(domain), fem.functionspace(domain, ("Lagrange", 1))
    walls = (lambda x: np.isclose(x[0], 0.0)), (lambda x: np.isclose(x[1], 0.0))
    k, s = simp(rho, E_min=1e-3), ufl.TestFunction(T)
    A, B = (
        StateProblem(
            (heat.bilinear_form(T, k), fem.Constant(domain, f) * s * ufl.dx),
            rho,
            bcs=[problems.fix(T, wall)],
            petsc_options_prefix=prefix,
        )
        for f, wall, prefix in zip((1.0, 5.0), walls, ("a_", "b_"), strict=True)
    )
    with A, B:
        J = ReducedFunctional((A.u + B.u) * ufl.dx, A)
        assert J.value() == pytest.approx(15.861267881527, rel=1e-10)
        parts = [ReducedFunctional(state.u * ufl.dx, state).value() for state in (A, B)]
        assert J.value() == pytest.approx(sum(parts), rel=1e-12)
        assert (taylor_test(J) > 1.9).all()


def test_a_chain_is_the_coupled_problem():
    domain = problems.box()
    first, second, rho = bracket(domain)
    W = fem.functionspace(domain, problems.mixed_element(domain))
    (u, t), (v, s) = ufl.TrialFunctions(W), ufl.TestFunctions(W)
    E, k = simp(rho, E_min=1e-3), simp(rho, E_min=1e-3)
    a = ufl.inner(elasticity.stress(u, E), elasticity.strain(v)) * ufl.dx - E * t * ufl.div(v) * ufl.dx
    a += k * ufl.dot(ufl.grad(t), ufl.grad(s)) * ufl.dx
    L = 0.1 * (1.0 + rho) * s * ufl.dx + ufl.dot(ufl.as_vector([0.0, -0.1]), v) * problems.right_tag(domain)
    bcs = []
    for i in range(2):
        part, _ = W.sub(i).collapse()
        dofs = fem.locate_dofs_geometrical((W.sub(i), part), problems.left)
        bcs.append(fem.dirichletbc(fem.Function(part), dofs, W.sub(i)))
    density = random_density(rho.function_space, 0.3, 0.9)
    with first, second, StateProblem((a, L), rho, bcs=bcs, petsc_options_prefix="both_") as both:
        w, _ = ufl.split(both.u)
        expected, slope = ReducedFunctional(ufl.dot(w, w) * ufl.dx, both).value_and_gradient(density)
        value, gradient = squares(second).value_and_gradient(density)
    assert value == pytest.approx(expected, rel=1e-9)
    assert np.allclose(gradient, slope, rtol=1e-7, atol=1e-9 * abs(slope).max(initial=0.0))


def test_everything_above_works_on_a_chain():
    def problem(domain):
        rho = problems.density(domain)
        k = ramp(rho, E_min=1e-2)
        T = fem.functionspace(domain, ("Lagrange", 1))
        cold = [problems.fix(T, problems.left)]
        first = StateProblem(
            (heat.bilinear_form(T, k), heat.source(T, 0.001 * rho)),
            rho,
            bcs=cold,
            petsc_options_prefix="heat_",
        )
        return squares(strained(rho, first.u))

    J = problem(problems.box("quadrilateral", (16, 8), size=(8.0, 4.0)))
    domain = DesignDomain(J.state.rho, volume_fraction=0.5)
    design = Design(J, domain, filter=ConeFilter(domain, 1.0))
    result = minimize(design, MMA(), evaluations=12)
    assert result.objective < 0.7 * result.history.objective[0]
    built = make_buildable(design, result, evaluations=15)
    assert built.value == pytest.approx(J.value(built.rho), rel=1e-8)
    found = minimize_multistart(design, problem, budget=60)
    assert found.objective < 0.7 * result.history.objective[0]
    for state in J.problems:
        state.destroy()


def test_what_no_form_carries_is_refused():
    domain = problems.box()
    rho, V = problems.density(domain), problems.vector_space(domain)
    a, bcs = elasticity.bilinear_form(V, simp(rho)), [problems.fix(V, problems.left)]
    options = {"bcs": bcs, "petsc_options_prefix": "second_"}
    with (
        heated(domain, rho) as first,
        StateProblem((a, None), rho, nodal_loads=fem.Function(V), **options) as el,
    ):
        T = first.V
        warm = fem.dirichletbc(first.u, fem.locate_dofs_geometrical(T, problems.left))
        with pytest.raises(InputError, match=f"{SOLVED} .* of 'first_'.*Robin"):
            StateProblem((first.equation.a, None), rho, bcs=[warm], petsc_options_prefix="third_")
        with pytest.raises(InputError, match=SOLVED):
            StateProblem((first.equation.a, None), rho, u=first.u, petsc_options_prefix="third_")
        with pytest.raises(InputError, match=SOLVED):
            StateProblem((a, None), rho, nodal_loads=el.u, bcs=bcs, petsc_options_prefix="third_")


def test_another_density_is_refused():
    domain = problems.box()
    rho, other = problems.density(domain), problems.density(domain)
    with heated(domain, rho) as first, heated(domain, other, "third_") as third:
        with pytest.raises(InputError, match="equation holds a state of 'first_', which has another density"):
            strained(other, first.u)
        with pytest.raises(InputError, match="J holds a state of 'third_', which has another density"):
            ReducedFunctional((first.u + third.u) * ufl.dx, first)


def test_a_cycle_is_refused():
    domain = problems.box()
    rho, T = problems.density(domain), fem.functionspace(domain, ("Lagrange", 1))
    s, u = ufl.TestFunction(T), fem.Function(T, name="late")
    a, bcs = heat.bilinear_form(T, simp(rho)), [problems.fix(T, problems.left)]
    early = StateProblem((a, (1 + u) * s * ufl.dx), rho, bcs=bcs, petsc_options_prefix="early_")
    with early, pytest.raises(InputError, match="'late' is solved for here, but 'early_' was made before"):
        StateProblem((a, early.u * s * ufl.dx), rho, u=u, bcs=bcs, petsc_options_prefix="late_")
    J = ReducedFunctional(u * rho * ufl.dx, early)
    late = StateProblem((a, s * ufl.dx), rho, u=u, bcs=bcs, petsc_options_prefix="late_")
    with late, pytest.raises(InputError, match="'J' was made before 'late_'"):
        J.value()


def test_states_of_a_destroyed_problem_are_constants_from_then_on():
    domain = problems.box()
    first, second, rho = bracket(domain)
    first.solve(random_density(rho.function_space, 0.3, 0.9))
    first.destroy()
    with second, pytest.raises(InputError, match="'first_' was destroyed"):
        second.solve()
    with strained(rho, first.u, "fourth_") as fourth:
        assert fourth.chain == (fourth,)
        assert (taylor_test(squares(fourth)) > 1.9).all()


def test_optimality_criteria_refuse_gradients_of_both_signs():
    first, second, rho = bracket(problems.box())
    with first, second:
        design = Design(squares(second), DesignDomain(rho, volume_fraction=0.5))
        with pytest.raises(InputError, match=r"OC .* gradient of both signs .* MMA"):
            minimize(design, OC(), evaluations=5)


def test_a_linear_equation_of_its_own_state_is_refused():
    domain = problems.box()
    rho, T = problems.density(domain), fem.functionspace(domain, ("Lagrange", 1))
    u = fem.Function(T, name="T")
    with pytest.raises(InputError, match="must not hold its own state 'T'"):
        StateProblem(
            (heat.bilinear_form(T, simp(rho)), heat.source(T, u)), rho, u=u, petsc_options_prefix="own_"
        )


def test_the_gradient_of_a_step_in_time_is_refused():
    domain = problems.box()
    rho, T = problems.density(domain), fem.functionspace(domain, ("Lagrange", 1))
    t, s, old = ufl.TrialFunction(T), ufl.TestFunction(T), fem.Function(T, name="old")
    equation = heat.bilinear_form(T, simp(rho)) + t * s * ufl.dx, (old + 0.1) * s * ufl.dx
    with StateProblem(
        equation, rho, bcs=[problems.fix(T, problems.left)], petsc_options_prefix="time_"
    ) as state:
        J = ReducedFunctional(state.u * ufl.dx, state)
        assert (taylor_test(J) > 1.9).all()  # one step alone is right
        first = J.value()
        old.x.array[:] = state.u.x.array
        assert J.value() > first
        for functional in (J, ReducedFunctional(state.u**2 * ufl.dx, state)):
            with pytest.raises(InputError, match="'old' holds one"):
                taylor_test(functional)
        old.x.array[:] = 0.0
        assert (taylor_test(J) > 1.9).all()
