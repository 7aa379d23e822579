"""States in time: closed forms, gradients against those of all steps at once, memory, refusals."""

from itertools import pairwise

import basix.ufl
import numpy as np
import physics_problems as problems
import pytest
import ufl
from dolfinx import fem, la
from mpi4py import MPI

from dolfinx_neural_topo import ConeFilter, Design, DesignDomain, make_buildable, minimize_multistart
from dolfinx_neural_topo.errors import InputError, SolverError
from dolfinx_neural_topo.optimize import MMA, minimize
from dolfinx_neural_topo.physics import (
    ReducedFunctional,
    StateProblem,
    TransientFunctional,
    TransientProblem,
    heat,
    random_density,
    simp,
    taylor_test,
)
from dolfinx_neural_topo.physics.algebra import num_solves, problems_of, settle


def flow(rho, T, T_old, dt, theta=0.5, power=0.1, extra=None):
    """Return the residual of a step of heat flow."""
    v, middle = ufl.TestFunction(T.function_space), theta * T + (1.0 - theta) * T_old
    F = (0.5 + rho) * (T - T_old) / dt * v * ufl.dx - power * (1.0 + rho) * v * ufl.dx
    F += simp(rho, E_min=1e-2) * ufl.dot(ufl.grad(middle), ufl.grad(v)) * ufl.dx
    return F if extra is None else F + extra * v * ufl.dx


def heated(domain=None, *, steps=4, dt=0.5, prefix="heated_", initial=0.2, extra=None, **options):
    """Return a plate, warm at the beginning, that is heated and cooled at its left."""
    domain = problems.box() if domain is None else domain
    V, rho = fem.functionspace(domain, ("Lagrange", 1)), problems.density(domain)
    T, T_old = fem.Function(V, name="T"), fem.Function(V, name="T_old")
    T_old.interpolate(lambda x: initial * (1.0 + x[1]))
    F = flow(rho, T, T_old, dt, extra=extra(T, T_old) if extra else None)
    options = {"bcs": [problems.fix(V, problems.left, 0.1)], "num_steps": steps, **options}
    return TransientProblem(F, rho, u=T, u_old=T_old, petsc_options_prefix=prefix, **options)


def mean_square(problem, **options):
    u, old, rho = problem.u, problem.u_old, problem.rho
    return TransientFunctional(u**2 * ufl.dx + rho * u * old * ufl.ds, problem, **options)


@pytest.mark.parametrize(("theta", "order"), [(1.0, 1), (0.5, 2)])
def test_a_mode_of_heat_decays_at_its_rate(theta, order):
    errors = []
    for steps in (8, 16, 32):
        domain = problems.box("quadrilateral", (8, 1), size=(1.0, 1.0 / 8))
        V, rho = fem.functionspace(domain, ("Lagrange", 3)), problems.density(domain)
        T, T_old, v = fem.Function(V), fem.Function(V), ufl.TestFunction(V)
        T_old.interpolate(lambda x: np.sin(np.pi * x[0]))
        middle, dt = theta * T + (1.0 - theta) * T_old, fem.Constant(domain, 0.2 / steps)
        F = (T - T_old) / dt * v * ufl.dx + rho * ufl.dot(ufl.grad(middle), ufl.grad(v)) * ufl.dx
        ends = problems.fix(V, lambda x: np.isclose(x[0], 0.0) | np.isclose(x[0], 1.0))
        with TransientProblem(
            F, rho, u=T, u_old=T_old, num_steps=steps, bcs=[ends], petsc_options_prefix="decay_"
        ) as problem:
            problem.solve(np.full(problem.num_owned_cells, 0.8))
            amplitude = (
                2.0
                * 8.0
                * domain.comm.allreduce(
                    fem.assemble_scalar(
                        fem.form(T * ufl.sin(np.pi * ufl.SpatialCoordinate(domain)[0]) * ufl.dx)
                    )
                )
            )
            errors.append(abs(amplitude / np.exp(-0.8 * np.pi**2 * 0.2) - 1.0))
            assert problem.num_factorizations == 1 and problem.num_solves == steps
    assert np.log2(errors[1] / errors[2]) == pytest.approx(order, abs=0.1)
    assert errors[2] < (0.04 if order == 1 else 5e-4)


@pytest.mark.ranks
def test_gradients_have_second_order():
    with heated() as problem:
        J, norm = mean_square(problem), TransientFunctional(problem.u**8 * ufl.dx, problem, power=1 / 8)
        for functional in (J, 0.1 * J + norm):
            assert (taylor_test(functional, step=5e-3, num_steps=3) > 1.9).all(), functional.name
        assert problem.num_factorizations < problem.num_solves / 3
        assert problems_of(J) == (problem,) and num_solves(J) == problem.num_solves and not settle(J)
    with heated(problems.box("tetrahedron"), steps=2) as problem:
        assert (taylor_test(mean_square(problem), step=5e-3, num_steps=3) > 1.9).all()


@pytest.mark.ranks
def test_a_nonlinear_step_has_second_order():
    with heated(steps=3, keep_every=2, initial=1.0, extra=lambda T, T_old: T**3 * T_old) as problem:
        assert not problem.equation.linear
        assert (taylor_test(mean_square(problem), step=5e-3, num_steps=3) > 1.9).all()


@pytest.mark.ranks
def test_constants_change_from_step_to_step():
    domain = problems.box()
    dt, wall, last = (fem.Constant(domain, 1.0) for _ in range(3))
    V, rho = fem.functionspace(domain, ("Lagrange", 1)), problems.density(domain)
    T, T_old = fem.Function(V), fem.Function(V)
    dofs = fem.locate_dofs_geometrical(V, problems.left)
    histories = {dt: [0.2, 0.2, 0.5, 1.0], wall: [0.0, 0.0, 1.0, 0.5], last: [0, 0, 0, 1]}
    F = flow(rho, T, T_old, dt, power=fem.Constant(domain, 0.0))
    with TransientProblem(
        F,
        rho,
        u=T,
        u_old=T_old,
        histories=histories,
        bcs=[fem.dirichletbc(wall, dofs, V)],
        petsc_options_prefix="changing_",
    ) as problem:
        J = TransientFunctional(last * T**2 * ufl.dx, problem)
        assert (taylor_test(J, step=5e-3) > 1.9).all()
        seen = [(step, float(dt.value), la.norm(problem.u.x)) for step in problem.replay()]
        assert [each[:2] for each in seen] == [(1, 0.2), (2, 0.2), (3, 0.5), (4, 1.0)]
        assert seen[0][2] == seen[1][2] == 0.0 < seen[2][2], "nothing is warm before the wall is"
        ends = ReducedFunctional(T**2 * ufl.dx, problem).value()
        assert J.value() == pytest.approx(ends, rel=1e-12)
        with pytest.raises(InputError, match=r"must be a TransientFunctional for its gradient; way out"):
            ReducedFunctional(T**2 * ufl.dx, problem).value_and_gradient()


def test_all_steps_at_once_have_the_same_gradient():
    domain, steps, dt = problems.box(), 3, 0.5
    with heated(domain, steps=steps) as problem:
        density = random_density(problem.rho.function_space, 0.3, 0.9)
        value, gradient = mean_square(problem).value_and_gradient(density)
        start = fem.Function(problem.V)
        start.x.array[:] = problem.initial
    rho = problems.density(domain)
    P1 = basix.ufl.element("Lagrange", domain.basix_cell(), 1)
    W = fem.functionspace(domain, basix.ufl.mixed_element([P1] * steps))
    u = fem.Function(W)
    parts, tests = (start, *ufl.split(u)), ufl.TestFunctions(W)
    F, bcs = 0, []
    for n, v in enumerate(tests):
        old, T = parts[n], parts[n + 1]
        F += (0.5 + rho) * (T - old) / dt * v * ufl.dx - 0.1 * (1.0 + rho) * v * ufl.dx
        F += simp(rho, E_min=1e-2) * ufl.dot(ufl.grad(0.5 * (T + old)), ufl.grad(v)) * ufl.dx
        V, _ = W.sub(n).collapse()
        wall = fem.Function(V)
        wall.x.array[:] = 0.1
        dofs = fem.locate_dofs_geometrical((W.sub(n), V), problems.left)
        bcs.append(fem.dirichletbc(wall, dofs, W.sub(n)))
    with StateProblem(F, rho, u=u, bcs=bcs, petsc_options_prefix="monolithic_") as problem:
        J = sum(T**2 * ufl.dx + rho * T * old * ufl.ds for old, T in pairwise(parts))
        expected, slope = ReducedFunctional(J, problem).value_and_gradient(density)
    assert value == pytest.approx(expected, rel=1e-9)
    assert np.allclose(gradient, slope, rtol=1e-8, atol=1e-9 * abs(slope).max())


def test_states_computed_again_are_the_same():
    domain, results = problems.box(), {}
    for keep_every in (1, 3, 7, 50):
        with heated(domain, steps=7, keep_every=keep_every) as problem:
            density = random_density(problem.rho.function_space, 0.3, 0.9)
            J = mean_square(problem)
            value, gradient = J.value_and_gradient(density)
            solves = problem.num_solves
            problem.solve(density)
            assert problem.num_solves == solves, "nothing has changed"
            assert J.value() == pytest.approx(value, rel=1e-14)
            results[keep_every] = value, gradient, solves
    assert [results[k][2] for k in (1, 3, 7, 50)] == [7, 7 + 4, 7 + 6, 7 + 6]
    for value, gradient, _ in results.values():
        assert value == pytest.approx(results[1][0], rel=1e-12)
        assert np.allclose(gradient, results[1][1], rtol=1e-10, atol=1e-12 * abs(gradient).max())


def test_inputs_are_noticed_and_failures_forgotten():
    domain = problems.box()
    power = fem.Constant(domain, 0.0)
    with heated(domain, keep_every=2, extra=lambda T, T_old: power) as problem:
        J = mean_square(problem)
        first = J.value()
        power.value = -0.1
        second = J.value()
        assert second > first
        power.value = np.nan
        with pytest.raises(InputError, match="must be finite"):
            J.value()
        power.value = -0.1
        assert J.value() == pytest.approx(second, rel=1e-12)
        for step in problem.replay():
            if step == 2:
                break
        solves = problem.num_solves
        assert J.value() == pytest.approx(second, rel=1e-12)
        assert problem.num_solves - solves in (2, 3), "states between those kept, not all"
    with pytest.raises(InputError, match="was destroyed"):
        problem.solve()
    with (
        heated(problems.box(), extra=lambda T, T_old: 1e3 * (1.0 + T**2)) as problem,
        pytest.raises(SolverError),
    ):
        problem.solve()


def test_serial_equals_parallel():
    with heated() as problem:
        density = random_density(problem.rho.function_space, 0.3, 0.9)
        value, gradient = mean_square(problem).value_and_gradient(density)
        cells = problem.mesh.topology.original_cell_index[: len(gradient)]
    with heated(problems.box(comm=MPI.COMM_SELF), prefix="alone_") as problem:
        density = random_density(problem.rho.function_space, 0.3, 0.9)
        expected, slope = mean_square(problem).value_and_gradient(density)
        order = np.argsort(problem.mesh.topology.original_cell_index)
    assert value == pytest.approx(expected, rel=1e-10)
    assert np.allclose(gradient, slope[order][cells], rtol=1e-9, atol=1e-10 * abs(slope).max())


def test_everything_above_works_on_it():
    def objective(domain):
        problem = heated(domain, steps=3, dt=1000.0, prefix="above_")
        return TransientFunctional(problem.u**4 * ufl.dx, problem, power=0.25)

    J = objective(problems.box("quadrilateral", (16, 8)))
    (problem,) = J.problems
    domain = DesignDomain(problem.rho, volume_fraction=0.5)
    design = Design(J, domain, filter=ConeFilter(domain, 1.5))
    result = minimize(design, MMA(), evaluations=12)
    assert result.objective < 0.9 * result.history.objective[0]
    built = make_buildable(design, result, evaluations=10)
    assert built.value == pytest.approx(J.value(built.rho), rel=1e-8) and built.components == 1
    found = minimize_multistart(design, objective, budget=55)
    assert found.objective < 0.9 * result.history.objective[0]
    problem.destroy()


def test_wrong_problems_are_refused():
    domain = problems.box("quadrilateral", (2, 1))
    V, rho = fem.functionspace(domain, ("Lagrange", 1)), problems.density(domain)
    T, old, other = fem.Function(V), fem.Function(V), fem.Function(problems.vector_space(domain))
    time, F = fem.Constant(domain, 0.0), flow(rho, T, old, 0.5)
    a = heat.bilinear_form(V, simp(rho))
    good = {"u": T, "u_old": old, "num_steps": 3, "petsc_options_prefix": "wrong_"}
    for form, options, says in (
        ((a, None), {}, "equation must be a (residual F|ufl.form.Form)"),
        (a, {}, "equation must be a (residual F|ufl.form.Form)"),
        (F, {"u_old": T}, "u_old must be another fem.Function on the space of u"),
        (F, {"u_old": other}, "u_old must be another fem.Function on the space of u"),
        (F, {"u": None}, "u must be a dolfinx.fem.Function, got None"),
        (flow(rho, T, T, 0.5), {}, "equation must contain the state before"),
        (F, {"num_steps": None}, "num_steps must be given where there are no histories"),
        (F, {"num_steps": 0}, "num_steps must be positive, got 0"),
        (F, {"keep_every": 0}, "keep_every must be positive, got 0"),
        (F, {"histories": [1.0]}, r"histories must be a mapping or None, got \[1.0\]"),
        (F, {"histories": {rho: [1.0] * 3}}, "histories must have fem.Constants as keys, got Function"),
        (F, {"histories": {time: [1.0] * 4}}, r"a history must have the shape \(3\), .* got \(4,\)"),
        (F, {"histories": {time: [[1.0]] * 3}}, "a history must have the shape"),
        (F, {"histories": {time: 1.0}}, "a history must have the shape"),
        (F, {"histories": {time: "often"}}, "a history must be an array of numbers, got 'often'"),
        (F, {"histories": {time: [0.0, 1.0, np.nan]}}, "a history must be finite"),
    ):
        with pytest.raises(InputError, match=says):
            TransientProblem(form, rho, **{**good, **options})
    if domain.comm.size > 1:
        with pytest.raises(InputError, match="histories must be the same on all ranks"):
            TransientProblem(F, rho, **good, histories={time: [domain.comm.rank, 0.0, 0.0]})
    W = problems.vector_space(domain)
    w, w_old, v = fem.Function(W), fem.Function(W), ufl.TestFunction(W)
    F = rho * ufl.dot(w - w_old, v) * ufl.dx + w_old.sub(0) * v[1] * ufl.dx
    with pytest.raises(InputError, match=r"is a part of a state in time; way out: ufl\.split"):
        TransientProblem(F, rho, u=w, u_old=w_old, num_steps=2, petsc_options_prefix="wrong_")


def test_wrong_functionals_and_chains_are_refused():
    with heated() as problem, heated(problem.mesh, prefix="other_") as other, problems.heat_sink() as sink:
        v = ufl.TestFunction(problem.V)
        for J, says in (
            (problem.u * v * ufl.dx, "J must be a (UFL form without test|ufl.form.Form)"),
            (3.0, "J must be a (UFL form without test|ufl.form.Form)"),
            (fem.Constant(problem.mesh, 1.0) * ufl.dx(problem.mesh), "J must depend on the state"),
            (problem.u * other.u * ufl.dx, "J must hold states of one problem, got one of 'other_' too"),
        ):
            with pytest.raises(InputError, match=says):
                TransientFunctional(J, problem)
        with pytest.raises(InputError, match="problem must be a TransientProblem, got StateProblem"):
            TransientFunctional(sink.state.u * ufl.dx, sink.state)
        with pytest.raises(InputError, match="J must be positive where power is not 1"):
            TransientFunctional(-(problem.u**2) * ufl.dx, problem, power=0.5).value()
        T, T_old = fem.Function(problem.V), fem.Function(problem.V)
        with pytest.raises(InputError, match="must hold no state of another problem, got one of 'heated_'"):
            TransientProblem(
                flow(problem.rho, T, T_old, 0.5, extra=problem.u),
                problem.rho,
                u=T,
                u_old=T_old,
                num_steps=2,
                petsc_options_prefix="second_",
            )
        a = heat.bilinear_form(problem.V, simp(problem.rho))
        for fed in (problem.u, problem.u_old):
            with StateProblem(
                (a, fed * v * ufl.dx), problem.rho, bcs=problem.bcs, petsc_options_prefix="fed_"
            ) as child:
                J = ReducedFunctional(child.u * ufl.dx, child)
                assert J.value() > 0.0 and child.chain == (problem, child)
                with pytest.raises(InputError, match="a state that a last state feeds has no gradient"):
                    J.value_and_gradient()
