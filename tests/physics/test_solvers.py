"""Presets, options, multigrid on hard designs."""

import numpy as np
import physics_problems as problems
import pytest
from petsc4py import PETSc

from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.physics import random_density, solvers
from dolfinx_neural_topo.physics.solvers import PRESETS, Traits, choose


def keys_under(prefix):
    return [key for key in PETSc.Options().getAll() if key.startswith(prefix)]


@pytest.mark.parametrize("solver", ["direct", "amg"])
def test_options_are_taken_out_again(solver):
    with problems.cantilever(
        solver=solver, petsc_options={"ksp_rtol": 1e-9, "ksp_monitor_nothing": None}
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
    database["cantilever_ksp_rtol"] = 1e-3
    try:
        with problems.cantilever(solver="amg", petsc_options={"ksp_rtol": 1e-12}) as problem:
            problem.functional.value()
            assert problem.state._operator.solver.ksp.getTolerances()[0] == 1e-3
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
