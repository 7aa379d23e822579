"""States that feed states: what one problem solves for is no constant of another."""

import physics_problems as problems
import pytest
import ufl
from dolfinx import fem

from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.physics import ReducedFunctional, StateProblem, elasticity, heat, simp, taylor_test

SOLVED = "that a state problem solves for, got"


def heated(domain, rho, prefix="first_"):
    """Return the temperature problem of a plate cooled at its left."""
    T = fem.functionspace(domain, ("Lagrange", 1))
    equation = heat.bilinear_form(T, simp(rho, E_min=1e-3)), heat.source(T, fem.Constant(domain, 0.1))
    return StateProblem(equation, rho, bcs=[problems.fix(T, problems.left)], petsc_options_prefix=prefix)


def test_a_state_of_another_problem_is_refused_by_name():
    domain = problems.box()
    rho, V = problems.density(domain), problems.vector_space(domain)
    v, bcs = ufl.TestFunction(V), [problems.fix(V, problems.left)]
    a = elasticity.bilinear_form(V, simp(rho))
    options = {"bcs": bcs, "petsc_options_prefix": "second_"}
    with heated(domain, rho) as first, heated(domain, rho, "third_") as third:
        for expansion in (first.u, 2.0 * ufl.exp(-first.u), ufl.grad(first.u)[0]):
            with pytest.raises(InputError, match=f"equation must not hold .* {SOLVED} .* of 'first_'"):
                StateProblem((a, expansion * ufl.div(v) * ufl.dx), rho, **options)
        with pytest.raises(InputError, match=f"J must not hold .* {SOLVED} 'u' of 'third_'"):
            ReducedFunctional((first.u + third.u) * ufl.dx, first)
        T = first.V
        warm = fem.dirichletbc(first.u, fem.locate_dofs_geometrical(T, problems.left))
        with pytest.raises(InputError, match=SOLVED):
            StateProblem((first.equation.a, None), rho, bcs=[warm], petsc_options_prefix="second_")
        with pytest.raises(InputError, match=SOLVED):
            StateProblem((first.equation.a, None), rho, u=first.u, petsc_options_prefix="second_")
    with StateProblem((a, first.u * ufl.div(v) * ufl.dx), rho, **options):
        pass  # nobody solves for it any more: a constant


def test_parts_of_a_state_are_the_state():
    with problems.pipe() as problem:
        W = problem.state.V
        velocity, _ = problem.state.u.split()
        T = fem.functionspace(W.mesh, ("Lagrange", 1))
        t, s = ufl.TrialFunction(T), ufl.TestFunction(T)
        a = heat.bilinear_form(T, simp(problem.state.rho)) + ufl.dot(velocity, ufl.grad(t)) * s * ufl.dx
        with pytest.raises(InputError, match=f"{SOLVED} 'u_0' of 'pipe_'"):
            StateProblem((a, s * ufl.dx), problem.state.rho, petsc_options_prefix="second_")


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
