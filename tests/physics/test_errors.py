"""Bad input is named, on all ranks, and so is every way in which a solve can fail."""

import basix.ufl
import numpy as np
import physics_problems as problems
import pytest
import ufl
from dolfinx import fem, mesh
from mpi4py import MPI
from petsc4py import PETSc

from dolfinx_neural_topo.errors import InputError, SolverError
from dolfinx_neural_topo.physics import (
    Compliance,
    ReducedFunctional,
    StateProblem,
    elasticity,
    heat,
    mechanism,
    nodal_load,
    simp,
    taylor_test,
)

LAST = MPI.COMM_WORLD.size - 1


class Parts:
    """Pieces of a heat problem, to be put together wrongly."""

    def __init__(self):
        self.domain = problems.box()
        self.V = fem.functionspace(self.domain, ("Lagrange", 1))
        self.rho = problems.density(self.domain)
        self.bcs = [problems.fix(self.V, problems.left)]
        self.a = heat.bilinear_form(self.V, simp(self.rho))
        self.L = heat.source(self.V, fem.Constant(self.domain, 1.0))

    def state(self, equation=None, rho=None, **options):
        options = {"bcs": self.bcs, "petsc_options_prefix": "bad_", **options}
        return StateProblem(equation or (self.a, self.L), rho or self.rho, **options)


@pytest.fixture
def parts():
    return Parts()


def test_density_from_another_mesh(parts):
    with pytest.raises(InputError, match="rho must live on the mesh of the state"):
        other = problems.density(problems.box())
        parts.state((heat.bilinear_form(parts.V, simp(other)), parts.L), other)


@pytest.mark.parametrize("element", [("Lagrange", 1), ("DG", 1), ("DG", 1, (2,))])
def test_density_not_in_dg0(parts, element):
    with pytest.raises(InputError, match="DG0"):
        parts.state(rho=fem.Function(fem.functionspace(parts.domain, element)))


def test_density_not_a_function(parts):
    with pytest.raises(InputError, match=r"rho must be a dolfinx.fem.Function, got 0.5"):
        StateProblem((parts.a, parts.L), 0.5, petsc_options_prefix="bad_")


def test_equation_without_density(parts):
    with pytest.raises(InputError, match="contain the density"):
        parts.state((heat.bilinear_form(parts.V, 1.0), parts.L))
    u = fem.Function(parts.V)
    F = ufl.dot(ufl.grad(u), ufl.grad(ufl.TestFunction(parts.V))) * ufl.dx
    with pytest.raises(InputError, match="contain the density rho"):
        parts.state(F, u=u)


def test_residual_without_state(parts):
    v = ufl.TestFunction(parts.V)
    with pytest.raises(InputError, match="contain the state u"):
        parts.state(parts.rho * v * ufl.dx, u=fem.Function(parts.V))
    with pytest.raises(InputError, match="needs its state"):
        parts.state(parts.rho * v * ufl.dx)


@pytest.mark.parametrize("equation", [3.0, (1.0, 2.0), "a == L", ()])
def test_equation_of_another_kind(parts, equation):
    with pytest.raises(InputError, match="equation must be"):
        StateProblem(equation, parts.rho, petsc_options_prefix="bad_")


def test_forms_of_wrong_rank(parts):
    with pytest.raises(InputError, match="one test function"):
        parts.state(parts.a, u=fem.Function(parts.V))
    with pytest.raises(InputError, match="a must be bilinear"):
        parts.state((parts.L, parts.L))
    with pytest.raises(InputError, match="L of load case 1 must be a linear form"):
        parts.state((parts.a, [parts.L, parts.a]))
    with pytest.raises(InputError, match="L must hold one linear form for each load case, got none"):
        parts.state((parts.a, []))
    W = fem.functionspace(parts.domain, ("Lagrange", 2))
    with pytest.raises(InputError, match="two spaces"):
        parts.state((parts.rho * ufl.TrialFunction(W) * ufl.TestFunction(parts.V) * ufl.dx, parts.L))
    with pytest.raises(InputError, match="L of load case 0 must use the test space"):
        parts.state((parts.a, ufl.TestFunction(W) * ufl.dx))
    with pytest.raises(InputError, match="u must live on the space"):
        parts.state(u=fem.Function(W))
    with pytest.raises(InputError, match="one function for each of 1 load cases, got 2"):
        parts.state(u=[fem.Function(parts.V), fem.Function(parts.V)])


@pytest.mark.ranks
def test_forms_that_are_not_linear_in_their_arguments(parts):
    """UFL's error for them is no Exception: on several ranks DOLFINx's compiler waited forever."""
    rho, a, L = parts.rho, parts.a, parts.L
    u, v = ufl.TrialFunction(parts.V), ufl.TestFunction(parts.V)
    for wrong in ((rho * ufl.sqrt(u) * v * ufl.dx, L), (a + L, L), (a, v**2 * ufl.dx)):
        with pytest.raises(InputError, match="must be linear in its test and trial function"):
            parts.state(wrong)
    parts.state((a + rho * (ufl.inner(u, v) + u * v) * ufl.dx, L)).destroy()


@pytest.mark.ranks
def test_a_step_in_the_state_is_nonlinear(parts):
    u, v = fem.Function(parts.V), ufl.TestFunction(parts.V)
    F = ufl.action(parts.a, u) + (0.01 * ufl.sign(u) - 1.0) * v * ufl.dx
    with parts.state(F, u=u) as state:
        assert not state.equation.linear
        assert (taylor_test(ReducedFunctional(u * ufl.dx, state), step=2e-3) > 1.9).all()
        root = ReducedFunctional(ufl.sqrt(u) * ufl.ds, state)  # u = 0 where it is held
        with pytest.raises(InputError, match="a functional must have a derivative at the state"):
            root.value_and_gradient()


def test_conditions_on_another_space(parts):
    other = problems.fix(fem.functionspace(parts.domain, ("Lagrange", 2)), problems.left)
    with pytest.raises(InputError, match=r"bcs\[0\] must constrain"):
        parts.state(bcs=[other])
    with pytest.raises(InputError, match=r"way out: bcs=\[\.\.\.\]"):
        parts.state(bcs=parts.bcs[0])
    with pytest.raises(InputError, match=r"bcs\[1\] must be a dolfinx.fem.DirichletBC, got 1"):
        parts.state(bcs=[*parts.bcs, 1])


def test_nodal_loads_that_do_not_fit(parts):
    with pytest.raises(InputError, match=r"nodal_loads\[0\]"):
        parts.state(nodal_loads=[fem.Function(fem.functionspace(parts.domain, ("Lagrange", 2)))])
    with pytest.raises(InputError, match="one entry for each load case, got 2 for 1"):
        parts.state((parts.a, [parts.L]), nodal_loads=[None, None])


@pytest.mark.parametrize("prefix", ["", "no_underscore_at_end", "1_", "a b_", "-x_", None, 3])
def test_malformed_prefix(parts, prefix):
    with pytest.raises(InputError, match="petsc_options_prefix must be"):
        parts.state(petsc_options_prefix=prefix)


def test_missing_prefix(parts):
    with pytest.raises(TypeError, match="petsc_options_prefix"):
        StateProblem((parts.a, parts.L), parts.rho)


def test_prefix_that_differs_between_ranks(parts):
    if parts.domain.comm.size == 1:
        parts.state(petsc_options_prefix="rank0_").destroy()
        return
    with pytest.raises(InputError, match="same on all ranks"):
        parts.state(petsc_options_prefix=f"rank{parts.domain.comm.rank}_")


def test_complex_petsc(parts, monkeypatch):
    monkeypatch.setattr(PETSc, "ScalarType", np.complex128)
    with pytest.raises(InputError, match="real scalars"):
        parts.state()


def test_unknown_preset(parts):
    with (
        parts.state(solver="magic") as state,
        pytest.raises(InputError, match=r"one of \[.*'amg'.*got 'magic'"),
    ):
        state.solve()


def test_meshes_that_are_not_supported():
    interval = mesh.create_unit_interval(MPI.COMM_WORLD, 8)
    with pytest.raises(InputError, match=r"cells of a type in .* got interval"):
        StateProblem(None, problems.density(interval), petsc_options_prefix="bad_")
    x = (
        np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 1]])
        if MPI.COMM_WORLD.rank == 0
        else np.zeros((0, 3))
    )
    cells = np.array([[0, 1, 2], [0, 2, 3]]) if MPI.COMM_WORLD.rank == 0 else np.zeros((0, 3), dtype=np.int64)
    element = basix.ufl.element("Lagrange", "triangle", 1, shape=(3,))
    shell = create_mesh(cells, x, element)
    with pytest.raises(InputError, match="fill its space"):
        StateProblem(None, problems.density(shell), petsc_options_prefix="bad_")


def create_mesh(cells, x, element):
    named = {"comm": MPI.COMM_WORLD, "cells": cells, "x": x, "e": ufl.Mesh(element)}
    return mesh.create_mesh(**named)  # by name: DOLFINx 0.10 has changed the order


def test_mesh_of_mixed_cells(parts, monkeypatch):
    monkeypatch.setattr("dolfinx_neural_topo._dolfinx.cell_types", lambda mesh: ["triangle", "quadrilateral"])
    with pytest.raises(InputError, match="cells of one type"):
        parts.state()


def test_density_values(parts):
    with parts.state() as state:
        rho = np.full(state.num_owned_cells, 0.5)
        state.solve(rho)
        if state.comm.rank == LAST:
            rho[0] = np.nan
        with pytest.raises(InputError, match="got NaN or infinity in 1 cells"):
            state.solve(rho)
        wrong = np.ones(3 + state.num_owned_cells * (state.comm.rank == LAST) - 3 * (state.comm.rank == LAST))
        if state.comm.size > 1 or wrong.shape != rho.shape:
            with pytest.raises(InputError, match="rho must have shape"):
                state.solve(wrong)
        with pytest.raises(InputError, match="rho must have shape"):
            state.solve(rho[:, None])


def test_loads_that_are_nothing_or_not_finite(parts):
    with (
        parts.state((parts.a, None)) as state,
        pytest.raises(InputError, match="load of case 0 must not be zero"),
    ):
        state.solve()
    load = fem.Function(parts.V)
    load.x.array[:] = np.inf if parts.domain.comm.rank == LAST else 0.0
    load.x.scatter_forward()
    with (
        parts.state((parts.a, [parts.L, None]), nodal_loads=[None, load]) as state,
        pytest.raises(InputError, match="load of case 1 must be finite"),
    ):
        state.solve()


def test_zero_load_of_a_nonlinear_problem():
    domain = problems.box()
    V, rho = problems.vector_space(domain), problems.density(domain)
    from dolfinx_neural_topo.physics import hyperelasticity

    u = fem.Function(V)
    F = hyperelasticity.residual(u, simp(rho))
    with (
        StateProblem(
            F, rho, u=u, bcs=[problems.fix(V, problems.left)], petsc_options_prefix="zero_"
        ) as state,
        pytest.raises(InputError, match="load must not be zero"),
    ):
        state.solve()


@pytest.mark.parametrize("cell", ["quadrilateral", "tetrahedron"])
@pytest.mark.parametrize("solver", ["direct", "amg"])
def test_a_structure_left_free(cell, solver):
    domain = problems.box(cell)
    V, rho = problems.vector_space(domain), problems.density(domain)
    equation = elasticity.bilinear_form(V, simp(rho)), problems.traction(V, [0, -1, 0][: domain.geometry.dim])
    rail = [problems.fix_component(V, i, problems.left) for i in range(domain.geometry.dim) if i != 1]
    options = {"petsc_options_prefix": "free_", "solver": solver}
    with (
        StateProblem(equation, rho, **options) as state,
        pytest.raises(SolverError, match=r"leave a motion free \((translation|rotation)"),
    ):
        state.solve()
    with (
        StateProblem(equation, rho, bcs=rail, **options) as state,
        pytest.raises(SolverError, match=r"translation in y"),
    ):
        state.solve()


def test_pressure_and_temperature_left_free(parts):
    from dolfinx_neural_topo.physics import stokes

    with parts.state(bcs=[]) as state, pytest.raises(SolverError, match=r"free \(constant\)"):
        state.solve()
    W = stokes.taylor_hood(parts.domain)
    V, _ = W.sub(0).collapse()
    everywhere = fem.locate_dofs_geometrical(
        (W.sub(0), V), lambda x: np.isclose(x[0] * (8 - x[0]), 0) | np.isclose(x[1] * (4 - x[1]), 0)
    )
    bcs = [fem.dirichletbc(fem.Function(V), everywhere, W.sub(0))]
    a = stokes.bilinear_form(W, stokes.brinkman(parts.rho))
    with (
        parts.state((a, stokes.body_force(W, ufl.SpatialCoordinate(parts.domain))), bcs=bcs) as state,
        pytest.raises(SolverError, match="constant of component 0 of part 1"),
    ):
        state.solve()


def test_moduli_that_are_nan_or_zero(parts):
    E0 = fem.Constant(parts.domain, 1.0)
    with parts.state((heat.bilinear_form(parts.V, simp(parts.rho, E0=E0)), parts.L)) as state:
        state.solve()
        E0.value = np.nan
        with pytest.raises(SolverError, match="NaN"):
            state.solve()
        E0.value = 1.0
        state.solve()
    void = heat.bilinear_form(parts.V, simp(parts.rho, E_min=0.0))
    for solver in ("direct", "amg"):
        with parts.state((void, parts.L), solver=solver) as state:
            with pytest.raises(SolverError, match=r"singular|definite|NaN"):
                state.solve(np.zeros(state.num_owned_cells))
            state.solve(np.ones(state.num_owned_cells))
            assert np.isfinite(state.u.x.array).all()


def test_a_heated_piece_held_by_void_alone_is_solved(parts):
    cells = parts.rho.function_space.tabulate_dof_coordinates()[: parts.rho.x.index_map.size_local]
    piece = np.where(cells[:, 0] > 4.0, 1.0, 0.0)
    works, residuals = [], []
    for E_min in (1e-7, 1e-10, 1e-13):
        a = heat.bilinear_form(parts.V, simp(parts.rho, E_min=E_min))
        with parts.state((a, parts.L), solver="direct") as state:
            if E_min == 1e-13:  # rounding leaves too little of the answer
                with pytest.raises(SolverError, match="left a true residual"):
                    state.solve(piece)
                break
            works.append(E_min * Compliance(state).value(piece))
            residuals.append(state._operator.solver.residual)
    assert residuals[0] < 1e-5 < residuals[1]
    assert works[1] == pytest.approx(works[0], rel=1e-3)


def test_amg_refuses_what_it_cannot_solve(parts):
    u, v = ufl.TrialFunction(parts.V), ufl.TestFunction(parts.V)
    convection = parts.a + u.dx(0) * v * ufl.dx
    with (
        parts.state((convection, parts.L), solver="amg") as state,
        pytest.raises(InputError, match="not symmetric"),
    ):
        state.solve()
    helmholtz = parts.a - 50.0 * u * v * ufl.dx
    with (
        parts.state((helmholtz, parts.L), solver="amg") as state,
        pytest.raises(InputError, match="indefinite"),
    ):
        state.solve()


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_an_equation_without_a_zero_state_says_the_way_out(shift):
    domain = problems.box()
    V, rho = fem.functionspace(domain, ("Lagrange", 1)), problems.density(domain)
    w, v, bcs = fem.Function(V), ufl.TestFunction(V), [problems.fix(V, problems.left, 1.0 - shift)]
    w.x.array[:] = 1.0 - shift
    u = w + shift
    F = rho**3 * ufl.dot(ufl.grad(u), ufl.grad(v)) * ufl.dx + (ufl.ln(u) - rho) * v * ufl.dx
    with StateProblem(F, rho, u=w, bcs=bcs, petsc_options_prefix="ln_") as state:
        J = ReducedFunctional(u**2 * ufl.dx, state)
        if shift:
            assert (taylor_test(J) > 1.9).all()
        else:
            with pytest.raises(SolverError, match="w with u = 1 \\+ w"):
                J.value()


def test_newton_that_fails_leaves_the_state_as_it_was():
    with problems.large_beam(petsc_options={"snes_max_it": 3}) as problem:
        problem.state.equation.residual.constants()[-1].value[:] *= 1e-3
        problem.state.solve()
        before = problem.state.u.x.array.copy()
        problem.state.equation.residual.constants()[-1].value[:] *= 1e6
        with pytest.raises(SolverError, match="Newton's method 'large_' failed with DIVERGED"):
            problem.state.solve()
        assert np.array_equal(before, problem.state.u.x.array)


def test_the_closed_form_is_refused_where_it_is_wrong(parts):
    u, v = ufl.TrialFunction(parts.V), ufl.TestFunction(parts.V)
    convection = parts.a + u.dx(0) * v * ufl.dx, parts.L
    with parts.state(convection) as state, pytest.raises(InputError, match="symmetric"):
        Compliance(state)
    warm = [problems.fix(parts.V, problems.left, 1.0)]
    with parts.state(bcs=warm) as state, pytest.raises(InputError, match="zero Dirichlet values"):
        Compliance(state)
    with problems.large_beam() as problem, pytest.raises(InputError, match="linear equation"):
        Compliance(problem.state)
    with parts.state() as state, pytest.raises(InputError, match="weights"):
        Compliance(state, weights=[1.0, 2.0])


def test_the_closed_form_notices_later_changes(parts):
    wind = fem.Constant(parts.domain, 0.0)
    u, v = ufl.TrialFunction(parts.V), ufl.TestFunction(parts.V)
    with parts.state((parts.a + wind * u.dx(0) * v * ufl.dx, parts.L)) as state:
        compliance = Compliance(state)
        compliance.value()
        wind.value = 1.0
        with pytest.raises(InputError, match="symmetric"):
            compliance.value()
        mean = ReducedFunctional(state.u * ufl.dx, state)
        assert (taylor_test(mean) > 1.9).all()  # now by LU, with its transpose
        wind.value = 0.0
        compliance.value()
        parts.bcs[0].g.x.array[:] = 1.0
        with pytest.raises(InputError, match="zero Dirichlet values"):
            compliance.value()


def test_functionals(parts):
    with parts.state() as state:
        with pytest.raises(InputError, match="without test or trial functions"):
            ReducedFunctional(parts.L, state)
        with pytest.raises(InputError, match="must depend on a state"):
            ReducedFunctional(fem.Constant(parts.domain, 1.0) * ufl.dx, state)
        with pytest.raises(InputError, match="J must be positive"):
            ReducedFunctional(-state.u * ufl.dx, state, power=0.5).value()


def test_elasticity_arguments():
    domain = problems.box()
    V, rho = problems.vector_space(domain), problems.density(domain)
    with pytest.raises(InputError, match="model must be one of"):
        elasticity.bilinear_form(V, simp(rho), model="3d")
    with pytest.raises(InputError, match="nu must lie in"):
        elasticity.bilinear_form(V, simp(rho), nu=0.5, model="plane_strain")
    with pytest.raises(InputError, match="V must have 2 components, got 1"):
        elasticity.bilinear_form(fem.functionspace(domain, ("Lagrange", 1)), simp(rho))


def test_ports():
    domain = problems.box()
    V = problems.vector_space(domain)
    ds = problems.right_tag(domain)
    with pytest.raises(InputError, match="direction must have 2 components"):
        mechanism.Port(V, ds, [0.0, 0.0])
    with pytest.raises(InputError, match="zero area"):
        mechanism.Port(V, problems.tagged_ds(domain, problems.left)(7), [1.0, 0.0])
    assert mechanism.Port(V, ds, [3.0, 4.0]).area == pytest.approx(4.0)


def test_nodal_loads():
    domain = problems.box()
    V = problems.vector_space(domain)
    load = nodal_load(V, [[8.0, 4.0], [3.0, 2.0], [8.0, 4.0]], [[1.0, 2.0], [0.5, 0.0], [0.25, 0.0]])
    owned = load.x.array[: 2 * V.dofmap.index_map.size_local].reshape(-1, 2)
    total = domain.comm.allreduce(owned.sum(axis=0), op=MPI.SUM)
    assert np.array_equal(total, [1.75, 2.0])
    assert domain.comm.allreduce(np.count_nonzero(owned.any(axis=1)), op=MPI.SUM) == 2
    none = nodal_load(V, np.zeros((0, 2)), np.zeros((0, 2)))
    assert not none.x.array.any()
    with pytest.raises(InputError, match=r"points\[1\] must be a node of V, but 0 nodes lie at \[0.5, 0.0\]"):
        nodal_load(V, [[0.0, 0.0], [0.5, 0.0]], [[1.0, 0.0], [1.0, 0.0]])
    with pytest.raises(InputError, match="values must have shape"):
        nodal_load(V, [[0.0, 0.0]], [1.0])
    with pytest.raises(InputError, match="points must have shape"):
        nodal_load(V, [[0.0]], [[1.0, 0.0]])
    with pytest.raises(InputError, match="finite"):
        nodal_load(V, [[0.0, 0.0]], [[np.nan, 0.0]])


@pytest.mark.parametrize("name", ["bcs", "nodal_loads", "rho", "states", "equation"])
def test_what_an_equation_was_made_from_cannot_be_exchanged(parts, name):
    state = parts.state()
    with pytest.raises(InputError, match=f"{name} of a StateProblem cannot be exchanged.*way out: a new"):
        setattr(state, name, getattr(state, name))
    state.solve(np.full(state.num_owned_cells, 0.5))  # counts its solves
    assert state.num_solves == 1
    state.destroy()
