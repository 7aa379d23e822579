"""The faster assembly gives DOLFINx's matrix to rounding, and steps back for every form it does not fit."""

import basix.ufl
import numpy as np
import physics_problems as problems
import pytest
import ufl
from dolfinx import fem
from dolfinx.mesh import meshtags
from mpi4py import MPI

from dolfinx_neural_topo._dolfinx import assemble_matrix, create_matrix, geometry_nodes
from dolfinx_neural_topo._petsc import csr_values
from dolfinx_neural_topo.physics import StateProblem, elasticity, factor_assembly, random_density, simp
from dolfinx_neural_topo.physics.factor_assembly import BoxAssembly, CellAssembly, faster_assembly

comm = MPI.COMM_WORLD
TAYLOR = basix.ufl.element("P", "quadrilateral", 2, shape=(2,))
ALONE = pytest.mark.skipif(comm.size > 1, reason="in 2D it is there on one rank")


@pytest.fixture
def small_is_worth_while(monkeypatch):
    monkeypatch.setattr(factor_assembly, "SMALLEST", {2: 0, 3: 0})


def elastic(V, E, nu):
    """Linear elasticity with a Poisson ratio that may be any expression."""
    u, v = ufl.TrialFunction(V), ufl.TestFunction(V)
    strain, virtual = ufl.sym(ufl.grad(u)), ufl.sym(ufl.grad(v))
    volumetric = nu / (1.0 - 2.0 * nu) * ufl.tr(strain) * ufl.tr(virtual)
    return (
        E / (1.0 + nu) * (ufl.inner(strain, virtual) + volumetric) * ufl.dx(metadata={"quadrature_degree": 2})
    )


def rounding(state, seed=0):
    """Largest difference to DOLFINx's matrix in a column, relative to the largest entry there."""
    density = random_density(state.rho.function_space, 0.0, 1.0, seed=seed) ** 4
    state.rho.x.array[: density.size] = density
    state.rho.x.scatter_forward()
    fast = create_matrix(state._a)
    assemble_matrix(fast, state._a, state.bcs)
    exact = [values.copy() for values in csr_values(fast)]
    state._operator.shortcut.assemble(fast)
    difference = max(np.abs(a - b).max(initial=0.0) for a, b in zip(exact, csr_values(fast), strict=True))
    largest = fast.norm(3)
    fast.destroy()
    return comm.allreduce(difference, op=MPI.MAX) / largest


@pytest.mark.parametrize(
    ("cell", "shape", "size"),
    [
        pytest.param("quadrilateral", (12, 7), None, marks=ALONE),
        pytest.param("quadrilateral", (9, 4), (3.0, 5.0), marks=ALONE),
        pytest.param("triangle", (7, 5), "warped", marks=ALONE),
        ("hexahedron", (6, 5, 4), None),
        ("hexahedron", (5, 3, 4), (1.0, 2.0, 3.0)),
    ],
)
def test_the_matrix_is_the_same(cell, shape, size, small_is_worth_while, monkeypatch):
    domain = problems.box(cell, shape, size=None if size == "warped" else size)
    if size == "warped":
        domain.geometry.x[:, 0] = domain.geometry.x[:, 0] ** 1.3
    monkeypatch.setattr(problems, "box", lambda *_: domain)
    with problems.cantilever(cell) as problem:
        state = problem.state
        state.solve()
        assert state._operator.shortcut is not None
        assert rounding(state) < 1e-14


def test_components_fixed_alone_and_heat(small_is_worth_while):
    domain = problems.box("hexahedron", (6, 4, 4))
    V, rho = problems.vector_space(domain), problems.density(domain)
    bcs = [
        problems.fix_component(V, 0, problems.left),
        problems.fix_component(V, 2, lambda x: np.isclose(x[2], 4.0)),
        problems.fix_component(V, 1, lambda x: np.isclose(x[1], 0.0)),
    ]
    a = elasticity.bilinear_form(V, simp(rho))
    loaded = (a, problems.traction(V, [0.0, -1.0, 0.0]))
    with StateProblem(loaded, rho, bcs=bcs, petsc_options_prefix="roller_") as state:
        state.solve()
        assert rounding(state) < 1e-14
    W = fem.functionspace(domain, ("Lagrange", 1))
    heated = (problems.heat.bilinear_form(W, simp(rho)), problems.heat.source(W, fem.Constant(domain, 0.1)))
    with StateProblem(heated, rho, bcs=[problems.fix(W, problems.left)], petsc_options_prefix="h_") as state:
        state.solve()
        assert rounding(state) < 1e-14


def test_a_constant_that_changes_is_followed(small_is_worth_while):
    domain = problems.box("hexahedron", (6, 4, 4))
    V, rho = problems.vector_space(domain), problems.density(domain)
    penalty, ratio = fem.Constant(domain, 3.0), fem.Constant(domain, 0.3)
    a = elastic(V, simp(rho, penalty=penalty), ratio)
    loaded = (a, problems.traction(V, [0.0, -1.0, 0.0]))
    with StateProblem(loaded, rho, bcs=[problems.fix(V, problems.left)], petsc_options_prefix="c_") as state:
        values = []
        for penalty.value, ratio.value in ((3.0, 0.3), (1.5, 0.3), (1.5, 0.1)):
            state.solve()
            assert rounding(state) < 1e-14
            state.solve(np.full(state.num_owned_cells, 0.5))
            values.append(state.external_work().sum())
        assert len({round(comm.allreduce(value), 6) for value in values}) == 3


@pytest.mark.parametrize("cell", ["hexahedron", pytest.param("triangle", marks=ALONE)])
def test_element_matrices_are_measured_where_they_change_and_in_vain_once(
    cell, small_is_worth_while, monkeypatch
):
    measured = []
    for kind in (BoxAssembly, CellAssembly):
        monkeypatch.setattr(
            kind, "_measure", lambda self, A, do=kind._measure: measured.append(1) or do(self, A)
        )
    domain = problems.box(cell, (5, 4, 3) if cell == "hexahedron" else (5, 4))
    V, rho = problems.vector_space(domain), problems.density(domain)
    penalty, ratio = fem.Constant(domain, 3.0), fem.Constant(domain, 0.3)
    force = problems.traction(V, [0.0, -1.0, 0.0][: domain.geometry.dim])
    bcs, counts = [problems.fix(V, problems.left)], []
    equation = elastic(V, simp(rho, penalty=penalty), ratio), force
    with StateProblem(equation, rho, bcs=bcs, petsc_options_prefix="again_") as state:
        for penalty.value, ratio.value in ((3.0, 0.3), (1.5, 0.3), (1.5, 0.1)):
            state.solve()
            assert rounding(state) < 1e-14
            counts.append(len(measured))
    assert counts == [1, 1, 2]
    equation = elastic(V, simp(rho, penalty=penalty), 0.1 + 0.2 * rho), force
    with StateProblem(equation, rho, bcs=bcs, petsc_options_prefix="vain_") as state:
        for penalty.value in (3.0, 2.0):
            state.solve()
            assert state._operator.shortcut is None
    assert len(measured) == 3


@ALONE
@pytest.mark.filterwarnings("error")
def test_a_part_without_density_is_left_to_dolfinx_in_silence(small_is_worth_while):
    domain = problems.box("quadrilateral", (8, 4))
    V, rho = problems.vector_space(domain), problems.density(domain)
    cells = np.arange(32, dtype=np.int32)
    left = domain.geometry.x[geometry_nodes(domain)][:, :, 0].mean(axis=1) < 4.0
    dx = ufl.Measure("dx", domain, subdomain_data=meshtags(domain, 2, cells, left.astype(np.int32)))
    u, v = ufl.TrialFunction(V), ufl.TestFunction(V)
    product = ufl.inner(ufl.sym(ufl.grad(u)), ufl.sym(ufl.grad(v)))
    loaded = (simp(rho) * product * dx(1) + product * dx(0), problems.traction(V, [0.0, -1.0]))
    with StateProblem(loaded, rho, bcs=[problems.fix(V, problems.left)], petsc_options_prefix="p_") as state:
        state.solve()
        assert state._probing.shortcut is not None and state._operator.shortcut is None


def varying_ratio(V, rho):
    return elastic(V, simp(rho), 0.1 + 0.2 * rho)


def with_a_mass(V, rho):
    u, v = ufl.TrialFunction(V), ufl.TestFunction(V)
    return elasticity.bilinear_form(V, simp(rho)) + 0.1 * ufl.inner(u, v) * ufl.dx


def with_position(V, rho):
    x = ufl.SpatialCoordinate(V.mesh)
    return elasticity.bilinear_form(V, (1.0 + x[0]) * simp(rho))


@pytest.mark.parametrize("form", [varying_ratio, with_a_mass, with_position])
def test_other_forms_are_left_to_dolfinx(form, small_is_worth_while):
    domain = problems.box("hexahedron", (4, 3, 3))
    V, rho = problems.vector_space(domain), problems.density(domain)
    loaded = (form(V, rho), problems.traction(V, [0.0, -1.0, 0.0]))
    with StateProblem(loaded, rho, bcs=[problems.fix(V, problems.left)], petsc_options_prefix="o_") as state:
        state.solve(random_density(rho.function_space, 0.2, 0.9))
        assert state._probing.shortcut is not None and state._operator.shortcut is None


def test_it_is_not_tried_on_other_meshes_facets_and_small_problems(monkeypatch):
    def tried(cell, degree=1, facets=False):
        domain = problems.box(cell, (4, 3, 3) if cell in ("hexahedron", "tetrahedron") else (4, 3))
        V = problems.vector_space(domain, degree)
        u, v = ufl.TrialFunction(V), ufl.TestFunction(V)
        return faster_assembly(ufl.inner(u, v) * (ufl.dx + ufl.ds if facets else ufl.dx))

    assert tried("hexahedron") is None and tried("quadrilateral") is None
    monkeypatch.setattr(factor_assembly, "SMALLEST", {2: 0, 3: 0})
    flat = CellAssembly if comm.size == 1 else None
    assert tried("hexahedron") is BoxAssembly and tried("tetrahedron") is None
    assert tried("quadrilateral") is tried("triangle") is tried("quadrilateral", degree=2) is flat
    stokes = fem.functionspace(
        problems.box(), basix.ufl.mixed_element([TAYLOR, basix.ufl.element("P", "quadrilateral", 1)])
    )
    assert faster_assembly(ufl.inner(ufl.TrialFunction(stokes), ufl.TestFunction(stokes)) * ufl.dx) is None
    assert tried("hexahedron", facets=True) is tried("triangle", facets=True) is None


@ALONE
@pytest.mark.parametrize(("equation", "bound"), [("elasticity", 1.5e-11), ("heat", 7e-13)])
def test_rounding_does_not_add_up_over_a_grid(equation, bound, small_is_worth_while, monkeypatch):
    """Means over designs are 4e-12 and 1e-13; 3.4e-11 and 1.6e-12 where rows do not sum to zero."""
    domain = problems.box("quadrilateral", (160, 40))
    rho = problems.density(domain)
    density = random_density(rho.function_space, 0.2, 1.0)

    def works(prefix):
        if equation == "heat":
            V = fem.functionspace(domain, ("Lagrange", 1))
            heat = problems.heat
            pair = heat.bilinear_form(V, simp(rho)), heat.source(V, fem.Constant(domain, 1.0))
        else:
            V = problems.vector_space(domain)
            pair = elasticity.bilinear_form(V, simp(rho)), problems.traction(V, [0.0, -1.0])
        bcs, found = [problems.fix(V, problems.left)], []
        with StateProblem(pair, rho, bcs=bcs, petsc_options_prefix=prefix) as state:
            for factor in (1.0, 0.99, 0.98, 0.97):
                state.solve(factor * density)
                found.append(state.external_work().sum())
            return np.array(found), type(state._operator.shortcut)

    fast, kind = works("fast_")
    assert kind is CellAssembly
    monkeypatch.setattr(factor_assembly, "SMALLEST", {})
    exact, kind = works("slow_")
    assert kind is type(None)
    assert abs(np.mean(fast / exact - 1.0)) < bound


def test_cells_that_differ_are_refused(small_is_worth_while):
    domain = problems.box("quadrilateral", (8, 4))
    domain.geometry.x[:, 0] = domain.geometry.x[:, 0] ** 1.3
    V, rho = problems.vector_space(domain), problems.density(domain)
    a = elasticity.bilinear_form(V, simp(rho))
    form = fem.form(a)
    assembly = BoxAssembly(a, form, [], rho, fem.form)
    A = create_matrix(form)
    assert not assembly.learn(A)
    assert np.all(rho.x.array == 0.5)
    assembly.destroy()
    A.destroy()


def test_the_state_problem_uses_it(small_is_worth_while, monkeypatch):
    domain = problems.box("hexahedron", (8, 4, 4))
    monkeypatch.setattr(problems, "box", lambda *_: domain)  # two meshes may be distributed differently
    with problems.cantilever("hexahedron") as fast:
        rho = random_density(fast.state.rho.function_space, 0.1, 1.0)
        value, gradient = fast.functional.value_and_gradient(rho)
        monkeypatch.setattr(factor_assembly, "SMALLEST", {})
        with problems.cantilever("hexahedron", prefix="slow_") as slow:
            expected, exact = slow.functional.value_and_gradient(rho)
            assert slow.state._operator.shortcut is None
        assert fast.state._operator.shortcut is not None
        assert value == pytest.approx(expected, rel=1e-12)
        np.testing.assert_allclose(gradient, exact, rtol=1e-9)
