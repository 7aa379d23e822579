"""Presets, options, multigrid on hard designs."""

import numpy as np
import physics_problems as problems
import pytest
import ufl
from dolfinx import fem
from petsc4py import PETSc

from dolfinx_neural_topo._communication import sum_replicated
from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.physics import (
    Compliance,
    ReducedFunctional,
    StateProblem,
    elasticity,
    heat,
    random_density,
    simp,
    solvers,
)
from dolfinx_neural_topo.physics.solvers import PRESETS, Traits, choose


def keys_under(prefix):
    return [key for key in PETSc.Options().getAll() if key.startswith(prefix)]


@pytest.mark.parametrize("solver", ["direct", "amg"])
def test_options_are_taken_out_again(solver):
    with problems.cantilever(
        solver=solver, petsc_options={"ksp_rtol": 1e-9, "ksp_error_if_not_converged": None}
    ) as problem:
        problem.functional.value_and_gradient()
        assert keys_under("cantilever_") == []


def test_petsc_options_override_the_preset():
    with problems.cantilever(
        petsc_options={"ksp_type": "cg", "pc_type": "jacobi", "ksp_rtol": 1e-12}
    ) as problem:
        value = problem.functional.value()
        ksp = problem.state._operator.solver.ksp
        assert (ksp.getType(), ksp.getPC().getType()) == ("cg", "jacobi")
        assert problem.state.iterations > 10
    with problems.cantilever() as problem:
        assert problem.functional.value() == pytest.approx(value, rel=1e-10)


def test_the_command_line_wins_and_stays():
    database = PETSc.Options()
    database["cantilever_ksp_rtol"] = 1e-6
    try:
        with problems.cantilever(solver="amg", petsc_options={"ksp_rtol": 1e-12}) as problem:
            problem.functional.value()
            assert problem.state._operator.solver.ksp.getTolerances()[0] == 1e-6
            assert keys_under("cantilever_") == ["cantilever_ksp_rtol"]
    finally:
        database.delValue("cantilever_ksp_rtol")


def test_newton_options():
    with problems.large_beam(petsc_options={"snes_max_it": 47}) as problem:
        problem.functional.value()
        assert problem.state._newton.snes.getTolerances()[3] == 47
        assert keys_under("large_") == []


def test_presets_by_kind_and_size(monkeypatch):
    with problems.cantilever("triangle") as problem:
        traits = problem.state._operator.traits
        assert traits.symmetric and traits.definite and not traits.mixed
        assert choose(None, traits).name == "direct"
        for limit in ("LARGEST_DIRECT", "LARGEST_DIRECT_ON_BOX"):
            monkeypatch.setattr(solvers, limit, {2: 10, 3: 10})
        assert choose(None, traits).name == "amg"
        saddle = Traits(traits.V, traits.bcs, True, False, True)
        assert choose(None, saddle).name == "direct"
        assert choose("direct", saddle).options["pc_type"] == "lu"
        with pytest.raises(InputError, match="indefinite"):
            PRESETS["amg"](saddle)
    with problems.convection() as problem:
        problem.state.solve()
        assert not problem.state.is_symmetric()
        assert problem.state._operator.solver.ksp.getPC().getType() == "lu"
    with problems.pipe() as problem:
        assert problem.state.is_symmetric()
        assert problem.state._operator.traits.mixed


def islands(state, sharpness=200.0):
    """A near-0/1 design with floating islands: a smooth field through a steep step."""
    space = state.rho.function_space
    x = space.tabulate_dof_coordinates()[: state.num_owned_cells]
    field = np.sin(1.3 * x[:, 0]) + np.cos(1.7 * x[:, 1]) + np.sin(1.1 * x[:, 2] + 0.5)
    return 1.0 / (1.0 + np.exp(-np.clip(sharpness * (field - 0.3), -500, 500)))


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["hexahedron", "tetrahedron", "quadrilateral"])
def test_multigrid_converges_on_islands(cell, monkeypatch):
    """Contrast 1e9 after a uniform start; the interpolation is rebuilt when iterations grow."""
    domain = problems.box(cell, (48, 24) if cell == "quadrilateral" else (16, 8, 8))
    monkeypatch.setattr(problems, "box", lambda *_: domain)  # two meshes may be distributed differently
    with (
        problems.cantilever(solver="amg") as problem,
        problems.cantilever(solver="direct", prefix="reference_") as reference,
    ):
        for rho in (
            np.full(problem.state.num_owned_cells, 0.4),
            islands(problem.state),
            islands(problem.state, 50.0),
        ):
            value, gradient = problem.functional.value_and_gradient(rho)
            expected, exact = reference.functional.value_and_gradient(rho)
            assert value == pytest.approx(expected, rel=1e-6)
            assert np.abs(gradient - exact).max(initial=0) <= 1e-4 * np.abs(exact).max(initial=0) + 1e-12
            assert problem.state.iterations < 300


def test_a_preconditioner_that_ages_is_rebuilt():
    with problems.cantilever(shape=(32, 16), solver="amg") as problem:
        state, operator = problem.state, problem.state._operator
        state.solve(np.full(state.num_owned_cells, 0.5))
        rebuilt = 0
        for k in range(1, 9):
            rho = islands(state, sharpness=5.0 * k)
            rebuilt += operator.solver.aged
            state.solve(rho)
            assert not operator.solver.stale
        assert rebuilt >= 1


def test_a_warm_start_costs_less():
    with problems.cantilever("hexahedron", shape=(8, 4, 4), solver="amg") as problem:
        rho = random_density(problem.state.rho.function_space, 0.3, 0.9)
        problem.state.solve(rho)
        cold = problem.state.iterations
        problem.state.solve(rho * (1 + 1e-6))
        assert problem.state.iterations < cold


@pytest.mark.parametrize("solver", ["direct", "amg"])
def test_an_option_that_nothing_reads_is_an_error(solver):
    given = {"ksp_tpye": "cg", "ksp_max_it": 500}
    with (
        problems.cantilever(solver=solver, petsc_options=given) as problem,
        pytest.raises(InputError, match="nothing in 'cantilever_' has read ksp_tpye;"),
    ):
        problem.functional.state.solve()
    with (
        problems.large_beam(petsc_options={"snes_max_it": 50, "snes_lag": 2}) as problem,
        pytest.raises(InputError, match="has read snes_lag;"),
    ):
        problem.functional.value()


UNITS = [1e-20, 1e-10, 1.0, 1e10, 1e20]


@pytest.mark.parametrize("solver", ["direct", "amg", "gmg"])
@pytest.mark.parametrize("cell", ["quadrilateral", "hexahedron"])
def test_results_in_other_units_are_the_same_results(cell, solver):
    domain = problems.box(cell)
    dim = domain.geometry.dim
    V, rho = problems.vector_space(domain), problems.density(domain)
    modulus, values = fem.Constant(domain, 1.0), []
    a = elasticity.bilinear_form(V, simp(rho, E0=modulus, E_min=1e-9 * modulus))
    L = problems.traction(V, [0.0, -1.0, 0.5][:dim])
    options = {"bcs": [problems.fix(V, problems.left)], "solver": solver}
    for unit in UNITS:
        modulus.value = unit
        with StateProblem((a, L), rho, petsc_options_prefix="units_", **options) as state:
            value, gradient = Compliance(state).value_and_gradient()
            values.append([unit * value, unit * sum_replicated(domain.comm, gradient @ gradient) ** 0.5])
    assert np.allclose(values, values[2], rtol=1e-4 if solver == "gmg" else 1e-6, atol=0.0)


def test_boundary_values_in_other_units():
    domain = problems.box()
    V, rho = fem.functionspace(domain, ("Lagrange", 1)), problems.density(domain)
    bcs = [problems.fix(V, problems.left, 1.0), problems.fix(V, lambda x: np.isclose(x[0], 8.0), -0.5)]
    unit, means = fem.Constant(domain, 1.0), []
    for unit.value in UNITS:
        a = heat.bilinear_form(V, unit * simp(rho, E_min=1e-3))
        with StateProblem((a, None), rho, bcs=bcs, petsc_options_prefix="units_") as state:
            means.append(ReducedFunctional(state.u * ufl.dx, state).value())
    assert np.allclose(means, 8.0, rtol=1e-9)


def test_von_mises_stress_in_other_units():
    domain = problems.box()
    u, unit = fem.Function(problems.vector_space(domain)), fem.Constant(domain, 1.0)
    stress = elasticity.von_mises(elasticity.stress(u, unit))
    total, slope = fem.form(stress * ufl.dx), fem.form(ufl.derivative(stress * ufl.dx, u))
    assert np.array_equal(fem.assemble_vector(slope).array, np.zeros_like(u.x.array))  # not NaN
    u.interpolate(lambda x: np.vstack([x[0] ** 2, x[0] * x[1]]))
    values = []
    for unit.value in UNITS:
        values.append(sum_replicated(domain.comm, fem.assemble_scalar(total)) / unit.value)
    assert np.allclose(values, values[2], rtol=1e-12, atol=0.0)
