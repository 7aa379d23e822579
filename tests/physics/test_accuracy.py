"""The states are right: manufactured solutions, patch test, closed forms, published numbers."""

import numpy as np
import physics_problems as problems
import pytest
import ufl
from dolfinx import fem
from dolfinx.mesh import exterior_facet_indices
from mpi4py import MPI

from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.physics import (
    Compliance,
    StateProblem,
    elasticity,
    heat,
    nodal_load,
    random_density,
    simp,
    stokes,
)


def error(form) -> float:
    comm = form.ufl_domains()[0].ufl_cargo().comm
    return float(np.sqrt(comm.allreduce(fem.assemble_scalar(fem.form(form)), op=MPI.SUM)))


def rates(build, sizes):
    """Return the observed L2 and H1 orders of build(n) -> (u, exact solution in UFL)."""
    errors = []
    for n in sizes:
        u, exact = build(n)
        e = u - exact
        errors.append([error(ufl.inner(e, e) * ufl.dx), error(ufl.inner(ufl.grad(e), ufl.grad(e)) * ufl.dx)])
    errors = np.array(errors)
    return np.log2(errors[:-1] / errors[1:])


def outside(x):
    return np.isclose(x[0], 0) | np.isclose(x[0], 1) | np.isclose(x[1], 0) | np.isclose(x[1], 1)


def outside_3d(x):
    return outside(x) | np.isclose(x[2], 0) | np.isclose(x[2], 1)


@pytest.mark.parametrize("cell", ["triangle", "quadrilateral"])
def test_heat_converges_with_variable_conductivity_and_boundary_values(cell):
    def build(n):
        domain = problems.box(cell, (n, n), size=(1, 1))
        V, rho = fem.functionspace(domain, ("Lagrange", 1)), problems.density(domain)
        x = ufl.SpatialCoordinate(domain)
        exact = ufl.sin(2 * x[0]) * ufl.exp(x[1])
        k = simp(rho) * (1 + x[0])
        L = -ufl.div(k * ufl.grad(exact)) * ufl.TestFunction(V) * ufl.dx
        boundary = fem.Function(V)
        boundary.interpolate(lambda x: np.sin(2 * x[0]) * np.exp(x[1]))
        bcs = [fem.dirichletbc(boundary, fem.locate_dofs_geometrical(V, outside))]
        a = heat.bilinear_form(V, k, quadrature_degree=4)
        with StateProblem((a, L), rho, bcs=bcs, petsc_options_prefix="mms_") as state:
            state.solve()
        return state.u, exact

    l2, h1 = rates(build, [8, 16, 32]).T
    assert (l2 > 1.9).all() and (h1 > 0.9).all(), (l2, h1)


@pytest.mark.parametrize("model", ["plane_stress", "plane_strain"])
def test_elasticity_converges_in_the_plane(model):
    def build(n):
        domain = problems.box("quadrilateral", (n, n), size=(1, 1))
        V, rho = problems.vector_space(domain), problems.density(domain)
        x = ufl.SpatialCoordinate(domain)
        exact = ufl.as_vector(
            [ufl.sin(ufl.pi * x[0]) * ufl.sin(ufl.pi * x[1]), x[0] * (1 - x[0]) * x[1] * (1 - x[1])]
        )
        L = -ufl.dot(ufl.div(elasticity.stress(exact, simp(rho), model=model)), ufl.TestFunction(V)) * ufl.dx
        a = elasticity.bilinear_form(V, simp(rho), model=model)
        with StateProblem((a, L), rho, bcs=[problems.fix(V, outside)], petsc_options_prefix="mms_") as state:
            state.solve()
        return state.u, exact

    l2, h1 = rates(build, [8, 16, 32]).T
    assert (l2 > 1.9).all() and (h1 > 0.9).all(), (l2, h1)


@pytest.mark.parametrize("solver", ["direct", "amg"])
def test_elasticity_converges_in_space(solver):
    def build(n):
        domain = problems.box("hexahedron", (n, n, n), size=(1, 1, 1))
        V, rho = problems.vector_space(domain), problems.density(domain)
        x = ufl.SpatialCoordinate(domain)
        bump = ufl.sin(ufl.pi * x[0]) * ufl.sin(ufl.pi * x[1]) * ufl.sin(ufl.pi * x[2])
        exact = bump * ufl.as_vector([1.0, -2.0, 0.5])
        L = -ufl.dot(ufl.div(elasticity.stress(exact, simp(rho))), ufl.TestFunction(V))
        L *= ufl.dx(metadata={"quadrature_degree": 4})
        a = elasticity.bilinear_form(V, simp(rho))
        bcs = [problems.fix(V, outside_3d)]
        with StateProblem((a, L), rho, bcs=bcs, petsc_options_prefix="mms_", solver=solver) as state:
            state.solve()
        return state.u, exact

    l2, h1 = rates(build, [4, 8, 16]).T
    assert l2[-1] > 1.9 and h1[-1] > 0.9, (l2, h1)


def test_stokes_brinkman_converges_at_third_order():
    def build(n):
        domain = problems.box("triangle", (n, n), size=(1, 1))
        W, rho = stokes.taylor_hood(domain), problems.density(domain)
        V, _ = W.sub(0).collapse()
        Q, _ = W.sub(1).collapse()
        x = ufl.SpatialCoordinate(domain)
        s = ufl.sin(ufl.pi * x[0]) ** 2 * ufl.sin(ufl.pi * x[1]) ** 2
        u = ufl.as_vector([s.dx(1), -s.dx(0)])
        p = ufl.cos(ufl.pi * x[0]) * x[1]
        alpha = stokes.brinkman(rho, alpha_max=50.0)
        force = -ufl.div(ufl.grad(u)) + alpha * u + ufl.grad(p)
        v, _ = ufl.TestFunctions(W)
        L = ufl.dot(force, v) * ufl.dx(metadata={"quadrature_degree": 6})
        walls = fem.locate_dofs_geometrical((W.sub(0), V), outside)
        corner = fem.locate_dofs_geometrical((W.sub(1), Q), lambda x: np.isclose(x[0] + x[1], 0))
        pin = fem.Function(Q)
        pin.x.array[:] = 0.0
        bcs = [
            fem.dirichletbc(fem.Function(V), walls, W.sub(0)),
            fem.dirichletbc(pin, corner, W.sub(1)),
        ]
        a = stokes.bilinear_form(W, alpha)
        with StateProblem((a, L), rho, bcs=bcs, petsc_options_prefix="mms_") as state:
            state.solve()
        return ufl.split(state.u)[0], u

    l2, h1 = rates(build, [8, 16, 32]).T
    assert l2[-1] > 2.8 and h1[-1] > 1.9, (l2, h1)


@pytest.mark.parametrize("cell", problems.CELLS)
def test_patch_test(cell):
    """Linear boundary values give the linear displacement exactly, on a distorted mesh of one material."""
    domain = problems.box(cell, (4, 3) if cell in ("triangle", "quadrilateral") else (3, 3, 3))
    x = domain.geometry.x
    inside = np.ones(len(x), dtype=bool)
    for axis in range(domain.geometry.dim):
        top = domain.comm.allreduce(x[:, axis].max(initial=-np.inf), op=MPI.MAX)
        inside &= (x[:, axis] > 1e-9) & (x[:, axis] < top - 1e-9)
    x[inside, 0] += 0.2 * np.sin(3 * x[inside, 0] + 5 * x[inside, 1])
    V, rho = problems.vector_space(domain), problems.density(domain)
    slope = np.array([[0.1, 0.2, -0.1], [0.05, -0.3, 0.2], [0.15, 0.1, 0.4]])[: domain.geometry.dim]
    boundary = fem.Function(V)
    boundary.interpolate(lambda x: slope @ x)
    domain.topology.create_connectivity(domain.topology.dim - 1, domain.topology.dim)
    dofs = fem.locate_dofs_topological(V, domain.topology.dim - 1, exterior_facet_indices(domain.topology))
    a = elasticity.bilinear_form(V, simp(rho))
    bcs = [fem.dirichletbc(boundary, dofs)]
    with StateProblem((a, None), rho, bcs=bcs, petsc_options_prefix="patch_") as state:
        state.solve()
    assert np.abs(state.u.x.array - boundary.x.array).max() < 1e-13


def test_element_stiffness_of_the_unit_square():
    """The Q1 matrix in plane stress equals the closed form (Andreassen et al. 2011, eq. 8 and top88.m)."""
    nu = 0.3
    domain = problems.box("quadrilateral", (1, 1), MPI.COMM_SELF)
    V, rho = problems.vector_space(domain), problems.density(domain)
    rho.x.array[:] = 1.0
    form = fem.form(elasticity.bilinear_form(V, simp(rho), nu))
    K = fem.assemble_matrix(form).to_dense()
    entries = np.array([
        1 / 2 - nu / 6, 1 / 8 + nu / 8, -1 / 4 - nu / 12, -1 / 8 + 3 * nu / 8,
        -1 / 4 + nu / 12, -1 / 8 - nu / 8, nu / 6, 1 / 8 - 3 * nu / 8,
    ]) / (1 - nu**2)  # fmt: skip
    rows = "01234567 10765432 27056341 36507214 45670123 54321076 63412705 72143650"
    pattern = np.array([[int(entry) for entry in row] for row in rows.split()])
    corners = [[0, 0], [1, 0], [1, 1], [0, 1]]
    x = V.tabulate_dof_coordinates()
    node = [int(np.flatnonzero(np.isclose(x[:, :2], corner).all(axis=1))[0]) for corner in corners]
    dofs = np.array([[2 * n, 2 * n + 1] for n in node]).ravel()
    assert np.abs(K[np.ix_(dofs, dofs)] - entries[pattern]).max() < 1e-14


@pytest.mark.ranks
@pytest.mark.parametrize(("shape", "expected"), [((96, 32), 1020.58152067)])
def test_compliance_of_the_uniform_mbb_beam(shape, expected):
    """mbb_beam_96x32_0.5, c_uniform, of tests/data/reference_physics.csv (its filter keeps constants)."""
    W, H = shape
    domain = problems.box("quadrilateral", shape)
    V, rho = problems.vector_space(domain), problems.density(domain)
    bcs = [
        problems.fix_component(V, 0, problems.left),
        problems.fix_component(V, 1, lambda x: np.isclose(x[0], W) & np.isclose(x[1], 0)),
    ]
    load = nodal_load(V, [[0.0, H]], [[0.0, -1.0]])
    a = elasticity.bilinear_form(V, simp(rho))
    with StateProblem((a, None), rho, bcs=bcs, nodal_loads=load, petsc_options_prefix="mbb_") as state:
        value = Compliance(state).value(np.full(state.num_owned_cells, 0.5))
    assert value == pytest.approx(expected, rel=1e-9)


def test_von_mises_of_simple_states():
    domain = problems.box("hexahedron", (1, 1, 1))
    sigma = ufl.as_tensor([[2.0, 0, 0], [0, 0, 0], [0, 0, 0]])
    shear = ufl.as_tensor([[0, 1.5, 0], [1.5, 0, 0], [0, 0, 0]])
    flat = ufl.as_tensor([[3.0, 0], [0, 0.0]])
    values = [
        (elasticity.von_mises(sigma), 2.0),
        (elasticity.von_mises(shear), 1.5 * np.sqrt(3)),
        (elasticity.von_mises(flat), 3.0),
        (elasticity.von_mises(flat, nu=0.5, model="plane_strain"), 3.0 * np.sqrt(3) / 2),
    ]
    for expression, expected in values:
        total = domain.comm.allreduce(fem.assemble_scalar(fem.form(expression * ufl.dx(domain))), op=MPI.SUM)
        assert total == pytest.approx(expected, rel=1e-12)
    with pytest.raises(InputError, match=r"sigma must be a stress, 2 x 2 or 3 x 3, got shape \(3,\)"):
        elasticity.von_mises(ufl.as_vector([1.0, 0.0, 0.0]))


@pytest.mark.usefixtures("one_mesh")
def test_small_strain_is_the_limit_of_finite_strain():
    """At a small load the neo-Hookean beam bends as the linear one in plane strain."""
    with problems.large_beam() as large:
        small = 1e-6
        for constant in large.state.equation.residual.constants():
            if constant.value.ndim:  # the load, not the exponent of SIMP
                constant.value[:] *= small / 2e-3
        large.state.rho.x.array[:] = 1.0
        large.state.solve()
        with problems.cantilever(model="plane_strain", prefix="limit_") as linear:
            linear.state.rho.x.array[:] = 1.0
            linear.state.solve()
            scaled = large.state.u.x.array / small
            assert np.abs(scaled - linear.state.u.x.array).max() < 1e-3 * np.abs(linear.state.u.x.array).max()


@pytest.mark.parametrize(
    ("cell", "model", "stretch"),
    [
        ("quadrilateral", "plane_stress", 1.0),
        ("triangle", "plane_strain", 1.3),  # 1 + nu: the third direction cannot expand
        ("tetrahedron", "3d", 1.0),
    ],
)
def test_a_free_body_expands_with_its_temperature(cell, model, stretch):
    domain = problems.box(cell)
    V, rho, dim = problems.vector_space(domain), problems.density(domain), domain.geometry.dim
    E, expansion = simp(rho), fem.Constant(domain, 1e-3)
    equation = (
        elasticity.bilinear_form(V, E, 0.3, model),
        elasticity.thermal_load(V, E, expansion, 0.3, model),
    )
    planes = [problems.fix_component(V, i, lambda x, i=i: np.isclose(x[i], 0.0)) for i in range(dim)]
    with StateProblem(equation, rho, bcs=planes, petsc_options_prefix="warm_") as state:
        state.solve()
        x = V.tabulate_dof_coordinates()[:, :dim]
        assert np.allclose(state.u.x.array.reshape(-1, dim), 1e-3 * stretch * x, atol=1e-12)
    with pytest.raises(InputError, match="model must be one of"):
        elasticity.thermal_load(V, E, expansion, 0.3, "3d" if dim == 2 else "plane_stress")


def test_a_plane_wave_passes_and_power_is_conserved():
    with problems.wave() as problem:
        state, share = problem.state, problem.functional
        x = state.V.tabulate_dof_coordinates()[:, 0]
        assert share.value(np.zeros(state.num_owned_cells)) == pytest.approx(0.5, rel=1e-3)
        exact = np.column_stack([np.cos(2 * np.pi * x), np.sin(2 * np.pi * x)])
        assert abs(state.u.x.array.reshape(-1, 2) - exact).max() < 5e-3
        state.solve(random_density(state.rho.function_space, 0.0, 1.0))
        u, ds = state.u, problems.tagged_ds(state.mesh, problems.left, lambda x: np.isclose(x[0], 2.0))
        back = u - ufl.as_vector([1.0, 0.0])
        powers = [error(ufl.dot(w, w) * ds(tag)) ** 2 for w, tag in ((u, 2), (back, 1))]
        assert sum(powers) == pytest.approx(1.0, rel=1e-9) and min(powers) > 1e-3


@pytest.mark.parametrize("shear", [False, True])
def test_elastic_waves_pass_and_power_is_conserved(shear):
    with problems.elastic_wave(shear) as problem:
        state, converted, kind = problem.state, problem.functional, int(shear)
        x = state.V.tabulate_dof_coordinates()[:, 0]
        assert converted.value(np.zeros(state.num_owned_cells)) == pytest.approx(0.0, abs=1e-20)
        exact = np.zeros((len(x), 4))
        exact[:, kind], exact[:, kind + 2] = np.cos(2 * np.pi * x), np.sin(2 * np.pi * x)
        assert abs(state.u.x.array.reshape(-1, 4) - exact).max() < 5e-3
        state.solve(random_density(state.rho.function_space, 0.0, 1.0))
        ds = problems.tagged_ds(state.mesh, problems.left, lambda x: np.isclose(x[0], 2.0))
        incoming = ufl.as_vector([float(i == kind) for i in range(4)])
        roots = ufl.as_matrix(np.diag(np.sqrt([*problems.SPEEDS, *problems.SPEEDS])).tolist())
        powers = [
            error(ufl.dot(roots * w, roots * w) * ds(tag)) ** 2 / (0.5 * problems.SPEEDS[kind])
            for w, tag in ((state.u, 2), (state.u - incoming, 1))
        ]
        assert sum(powers) == pytest.approx(1.0, rel=1e-9) and min(powers) > 1e-3
        assert converted.value() > 1e-3
