"""A state problem solves when it must, only then, and the same on any number of ranks."""

import resource
from pathlib import Path

import numpy as np
import physics_problems as problems
import pytest
import ufl
from dolfinx import fem
from dolfinx import mesh as dmesh
from mpi4py import MPI

from dolfinx_neural_topo._dolfinx import dg0_cells
from dolfinx_neural_topo.density import Design, DesignDomain
from dolfinx_neural_topo.errors import InputError, SolverError
from dolfinx_neural_topo.physics import (
    Compliance,
    ReducedFunctional,
    StateProblem,
    elasticity,
    heat,
    random_density,
    simp,
    taylor_test,
)
from dolfinx_neural_topo.physics.operator import Operator


def counts(state):
    return state.num_solves, state.num_adjoint_solves, state.num_factorizations


def test_functionals_share_one_solve():
    with problems.cantilever() as problem:
        state = problem.state
        J = ReducedFunctional(ufl.dot(state.u, state.u) * ufl.dx, state)
        rho = random_density(state.rho.function_space, 0.2, 0.9)
        problem.functional.value_and_gradient(rho)
        assert counts(state) == (1, 0, 1)
        J.value(rho)
        problem.functional.value(rho)
        assert counts(state) == (1, 0, 1)
        J.value_and_gradient(rho)
        assert counts(state) == (1, 1, 1)
        rho[:1] += 1e-3
        J.value(rho)
        assert counts(state) == (2, 1, 2)
        J.destroy()


def test_a_matrix_is_probed_once_until_a_constant_changes(monkeypatch):
    probes, probe = [], Operator.probe
    monkeypatch.setattr(Operator, "probe", lambda self: (probes.append(self), probe(self)))
    mesh = dmesh.create_unit_square(MPI.COMM_WORLD, 4, 4)
    rho = fem.Function(fem.functionspace(mesh, ("DG", 0)))
    V, scale = fem.functionspace(mesh, ("Lagrange", 1)), fem.Constant(mesh, 1.0)
    T, v = ufl.TrialFunction(V), ufl.TestFunction(V)
    cold = fem.dirichletbc(0.0, fem.locate_dofs_geometrical(V, lambda x: np.isclose(x[0], 0.0)), V)
    a = scale * (1e-3 + rho) * ufl.inner(ufl.grad(T), ufl.grad(v)) * ufl.dx
    with StateProblem((a, v * ufl.dx), rho, bcs=[cold], petsc_options_prefix="once_") as state:
        compliance = Compliance(state)  # looks whether the form is symmetric
        values = [compliance.value(np.full(state.num_owned_cells, density)) for density in (0.3, 0.6)]
        assert len(probes) == 1
        scale.value = 2.0
        assert compliance.value() == pytest.approx(0.5 * values[1], rel=1e-9)
        assert len(probes) == 2


def test_a_change_on_one_rank_is_a_change_on_all():
    with problems.cantilever() as problem:
        state = problem.state
        rho = np.full(state.num_owned_cells, 0.5)
        before = problem.functional.value(rho)
        if state.comm.rank == state.comm.size - 1:
            rho[0] = 0.9
        assert problem.functional.value(rho) < before
        assert state.num_solves == 2


@pytest.mark.usefixtures("one_mesh")
def test_load_cases_share_one_factorization():
    with problems.two_loads() as problem:
        value, _ = problem.functional.value_and_gradient()
        assert counts(problem.state) == (2, 0, 1)
        together = [u.x.array.copy() for u in problem.state.states]
    with problems.two_loads(petsc_options={"ksp_type": "cg", "ksp_rtol": 1e-13}) as problem:
        assert problem.functional.value() == pytest.approx(value, rel=1e-10)
        for u, expected in zip(problem.state.states, together, strict=True):
            assert np.allclose(u.x.array, expected, rtol=1e-8, atol=1e-8 * np.abs(expected).max())


@pytest.mark.usefixtures("one_mesh")
def test_load_cases_are_those_of_single_problems():
    with problems.two_loads() as both, problems.cantilever() as first:
        both.state.solve()
        first.state.solve()
        assert np.allclose(both.state.states[0].x.array, first.state.u.x.array, rtol=1e-10, atol=1e-10)


def test_constants_coefficients_boundary_values_and_loads_are_watched():
    domain = problems.box()
    V, rho = fem.functionspace(domain, ("Lagrange", 1)), problems.density(domain)
    penalty, power = fem.Constant(domain, 3.0), fem.Function(V)
    power.x.array[:] = 1.0
    bc = problems.fix(V, problems.left)
    nodal = fem.Function(V)
    equation = heat.bilinear_form(V, simp(rho, penalty=penalty)), heat.source(V, power)
    with StateProblem(equation, rho, bcs=[bc], nodal_loads=nodal, petsc_options_prefix="watch_") as state:
        mean = ReducedFunctional(heat.average_temperature(state.u, 32.0), state)
        values = [mean.value()]
        penalty.value = 1.0
        values.append(mean.value())
        assert counts(state) == (2, 0, 2)
        power.x.array[:] = 2.0
        values.append(mean.value())
        assert counts(state) == (3, 0, 2), "a new load needs no new factorization"
        bc.g.x.array[:] = 1.0
        values.append(mean.value())
        nodal.x.array[:] = 0.01
        values.append(mean.value())
        assert state.num_solves == 5
        mean.value()
        assert state.num_solves == 5
    # The exact ratios: E = 0.5^penalty, twice the power, boundary value 1 added.
    assert values[1] == pytest.approx(values[0] / 4, rel=1e-6)
    assert values[2] == pytest.approx(2 * values[1], rel=1e-10)
    assert values[3] == pytest.approx(values[2] + 1.0, rel=1e-10)
    assert values[4] > values[3]


@pytest.mark.ranks
@pytest.mark.parametrize(
    "cell, solver", [("triangle", None), ("quadrilateral", "gmg"), ("tetrahedron", "amg")]
)
def test_a_mesh_that_moves_is_a_new_problem(cell, solver):
    def build(domain, solver=solver):
        V, rho = fem.functionspace(domain, ("Lagrange", 1)), problems.density(domain)
        equation = heat.bilinear_form(V, simp(rho, E_min=1e-3)), heat.source(V, fem.Constant(domain, 0.1))
        options = {"bcs": [problems.fix(V, problems.left)], "solver": solver}
        state = StateProblem(equation, rho, petsc_options_prefix="moved_", **options)
        return state, ReducedFunctional(state.u**2 * ufl.dx, state), rho.function_space

    domain = problems.box(cell)
    state, J, space = build(domain)
    with state:
        design_domain = DesignDomain(space, volume_fraction=0.5)
        design = Design(J, design_domain)
        x = design.initial()
        before = design.evaluate(x).value
        domain.geometry.x[:, 0] *= 1.0 + 0.1 * domain.geometry.x[:, 0]
        domain.geometry.x[:, 1] *= 2.0
        value, gradient = J.value_and_gradient()
        fresh, same, _ = build(domain, "direct")
        with fresh:
            expected, slope = same.value_and_gradient()
        assert value == pytest.approx(expected, rel=1e-6) and value > 1.5 * before
        assert np.allclose(gradient, slope, rtol=1e-5, atol=1e-6 * abs(slope).max(initial=0.0))
        with pytest.raises(InputError, match="the mesh must stay as it was"):
            design.evaluate(x)


def test_a_residual_that_is_linear_is_solved_as_such():
    domain = problems.box()
    V, rho = problems.vector_space(domain), problems.density(domain)
    u, v = fem.Function(V), ufl.TestFunction(V)
    F = ufl.inner(elasticity.stress(u, simp(rho)), elasticity.strain(v)) * ufl.dx - problems.traction(
        V, [0, -1]
    )
    with (
        StateProblem(F, rho, u=u, bcs=[problems.fix(V, problems.left)], petsc_options_prefix="lin_") as state,
        problems.cantilever() as pair,
    ):
        assert state.equation.linear
        assert state.u is u
        value = Compliance(state).value(np.full(state.num_owned_cells, 0.5))
        assert value == pytest.approx(pair.functional.value(), rel=1e-10)


@pytest.mark.ranks
@pytest.mark.parametrize("build", [problems.heat_sink, problems.large_beam])
def test_a_state_that_somebody_wrote_into_is_solved_for_again(build):
    with build() as problem:
        state, J = problem.state, problem.functional
        value, gradient = J.value_and_gradient()
        before = counts(state)
        state.u.x.array[:] *= 0.5  # for a picture, or as another start
        again, slope = J.value_and_gradient()
        assert again == pytest.approx(value, rel=1e-8)
        assert np.allclose(slope, gradient, rtol=1e-6, atol=1e-7 * abs(gradient).max(initial=0.0))
        assert state.num_solves == before[0] + 1
        if state.equation.linear:
            assert state.num_factorizations == before[2], "the matrix is as it was"
        J.value()
        assert state.num_solves == before[0] + 1


@pytest.mark.ranks
def test_a_list_is_a_density():
    with problems.cantilever() as problem:
        rho = random_density(problem.state.rho.function_space, 0.3, 0.8)
        assert problem.functional.value(rho.tolist()) == problem.functional.value(rho)
        assert problem.functional.value(tuple(rho)) == problem.functional.value(rho)


def test_density_set_in_place_is_seen():
    with problems.cantilever() as problem:
        first = problem.functional.value()
        problem.state.rho.x.array[:] = 1.0
        assert problem.functional.value() == pytest.approx(first * 0.125, rel=1e-6)


def test_two_problems_on_one_density():
    """Asked for its last density, a problem keeps its state, but the function must hold that density."""
    with problems.cantilever() as problem:
        state = problem.state
        J = ReducedFunctional(state.rho * ufl.dx, state)
        rho = np.full(state.num_owned_cells, 0.5)
        expected = J.value(rho)
        state.rho.x.array[:] = 0.7  # as another problem would
        assert J.value(rho) == pytest.approx(expected, rel=1e-14)
        assert state.num_solves == 1


def test_value_only_needs_no_adjoint_and_nonlinear_reuses_the_jacobian():
    with problems.large_beam() as problem:
        problem.functional.value()
        assert problem.state.num_adjoint_solves == 0
        _, gradient = problem.functional.value_and_gradient()
        _, again = problem.functional.value_and_gradient()
        assert problem.state.num_solves == 1
        assert np.allclose(gradient, again, rtol=1e-12, atol=1e-15)


@pytest.mark.ranks
@pytest.mark.parametrize("strength", [1.0, 100.0])
def test_a_jacobian_that_is_symmetric_at_the_start_alone(strength):
    """Conductivity that grows with temperature: symmetric at T = 0, where the kind of matrix is found out."""
    mesh = dmesh.create_unit_square(MPI.COMM_WORLD, 16, 16)
    V = fem.functionspace(mesh, ("Lagrange", 1))
    T, v, rho = fem.Function(V), ufl.TestFunction(V), fem.Function(fem.functionspace(mesh, ("DG", 0)))
    left = dmesh.locate_entities_boundary(mesh, 1, lambda x: np.isclose(x[0], 0.0))
    bc = fem.dirichletbc(0.0, fem.locate_dofs_topological(V, 1, left), V)
    k = simp(rho, E_min=1e-2) * (1 + strength * T**2)
    F = k * ufl.dot(ufl.grad(T), ufl.grad(v)) * ufl.dx - 10 * v * ufl.dx
    rho.x.array[:] = 0.5
    with StateProblem(F, rho, u=T, bcs=[bc], petsc_options_prefix="warm_") as state:
        assert state.is_symmetric()
        assert (taylor_test(ReducedFunctional(T * ufl.dx, state), step=5e-3) > 1.9).all()
        assert not state.is_symmetric()


@pytest.mark.ranks
@pytest.mark.parametrize("start", [300.0, 1e3])
def test_a_start_far_away_does_not_loosen_the_solve(start):
    """Boundary values had the weight of the Jacobian at the start: a load of 1e8, a state wrong by 2 %."""
    domain = problems.box()
    V, rho = fem.functionspace(domain, ("Lagrange", 2)), problems.density(domain)
    v, values = ufl.TestFunction(V), []
    for begin in (0.0, start):
        u = fem.Function(V)
        u.x.array[:] = begin
        F = rho**3 * (1 + u**2) * ufl.dot(ufl.grad(u), ufl.grad(v)) * ufl.dx
        F += rho * u**4 * v * ufl.ds - (1 + rho) * v * ufl.dx
        bcs = [problems.fix(V, problems.left, 1.0)]
        with StateProblem(F, rho, u=u, bcs=bcs, petsc_options_prefix="far_") as state:
            values.append(ReducedFunctional(rho * u**2 * ufl.dx, state).value())
    assert values[1] == pytest.approx(values[0], rel=1e-8)


def test_after_a_failure_the_next_solve_starts_afresh():
    options = {"ksp_max_it": 2, "ksp_rtol": 1e-12}
    with problems.cantilever(solver="amg", petsc_options=options) as problem:
        with pytest.raises(SolverError, match="DIVERGED_MAX_IT") as caught:
            problem.functional.value()
        assert caught.value.iterations == 2 and caught.value.reason < 0 and caught.value.residual > 0
        problem.state._operator.solver.ksp.setTolerances(max_it=500)
        with problems.cantilever(prefix="other_") as direct:
            assert problem.functional.value() == pytest.approx(direct.functional.value(), rel=1e-9)


def test_a_load_that_was_nan_is_assembled_again():
    domain = problems.box()
    V, rho = fem.functionspace(domain, ("Lagrange", 1)), problems.density(domain)
    power = fem.Constant(domain, 1.0)
    equation = heat.bilinear_form(V, simp(rho)), heat.source(V, power)
    with StateProblem(
        equation, rho, bcs=[problems.fix(V, problems.left)], petsc_options_prefix="nan_"
    ) as state:
        J = ReducedFunctional(state.u * ufl.dx, state)
        expected = J.value()
        power.value = np.nan
        with pytest.raises(InputError, match="finite"):
            J.value()
        power.value = 1.0
        assert J.value() == pytest.approx(expected, rel=1e-12)


def test_looser_tolerance():
    with problems.cantilever("hexahedron", solver="amg", petsc_options={"ksp_rtol": 1e-12}) as problem:
        exact = problem.functional.value()
        tight = problem.state.iterations
        problem.state.rho.x.array[:] = 0.3
        problem.functional.value()
        problem.state.rtol = 1e-2
        problem.state.rho.x.array[:] = 0.5
        assert problem.functional.value() == pytest.approx(exact, rel=1e-2)
        assert problem.state.iterations < tight
        problem.state.rtol = 1e-12
        assert problem.functional.value() == pytest.approx(exact, rel=1e-11)
        with pytest.raises(InputError, match="rtol"):
            problem.state.rtol = 0.0


@pytest.mark.ranks
@pytest.mark.parametrize(
    "build",
    [problems.cantilever, problems.two_loads, problems.inverter, problems.pipe, problems.large_beam],
    ids=lambda build: build.__name__,
)
def test_serial_equals_parallel(build, monkeypatch):
    """The same driver on COMM_SELF and COMM_WORLD, compared by original cell index."""

    box = problems.box

    def run(comm):
        monkeypatch.setattr(
            problems, "box", lambda cell, shape=None, _=None, **kw: box(cell, shape, comm, **kw)
        )
        with build() as problem:
            space = problem.state.rho.function_space
            value, gradient = problem.functional.value_and_gradient(random_density(space, 0.3, 0.9))
        cells = space.mesh.topology.original_cell_index[dg0_cells(space)[: gradient.size]]
        return value, cells, gradient

    expected, cells, gradient = run(MPI.COMM_SELF)
    by_cell = np.empty_like(gradient)
    by_cell[cells] = gradient
    value, cells, gradient = run(MPI.COMM_WORLD)
    assert value == pytest.approx(expected, rel=1e-9)
    assert np.abs(gradient - by_cell[cells]).max(initial=0.0) <= 1e-9 * np.abs(by_cell).max()
    assert len(set(MPI.COMM_WORLD.allgather(value))) == 1, "all ranks hold the same bits"


def test_destroy_is_idempotent_and_final():
    problem = problems.cantilever()
    problem.functional.value()
    with problem.state:
        pass
    problem.state.destroy()
    with pytest.raises(InputError, match="destroyed"):
        problem.functional.value()


@pytest.mark.slow
@pytest.mark.parametrize("build", [problems.cantilever, problems.inverter], ids=lambda build: build.__name__)
def test_two_thousand_evaluations_leak_nothing(build):
    """The resident set after 400 evaluations stays within 1 MB (allocator noise) for 1600 more."""

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    with build() as problem:
        rho = np.full(problem.state.num_owned_cells, 0.5)
        sizes = []
        for k in range(2000):
            problem.functional.value_and_gradient(rho + 1e-4 * (k % 7))
            if k in (399, 1999):
                sizes.append(resident())
    assert problem.state.num_solves == 2000
    assert sizes[1] - sizes[0] < 1_000_000, sizes
