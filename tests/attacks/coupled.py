"""States in states, and whatever DOLFINx allows: spaces, meshes, measures."""

from __future__ import annotations

import basix.ufl
import dolfinx
import numpy as np
import ufl
from dolfinx import fem, mesh

import dolfinx_neural_topo as dnt
from attacks.case import Topic, close, right
from attacks.world import CELLS, Plane, Plate, Quadratic, comm, density, left, minimize, rectangle

t = Topic("states in states")
SAYS = "state|solves? for|coefficient"


def slope(J, plane, again):
    """Compare a gradient with differences of a value that solves everything anew."""
    from dolfinx_neural_topo.physics import random_density

    x = random_density(plane.rho.function_space, 0.3, 0.8)
    d = random_density(plane.rho.function_space, -1.0, 1.0, 1)
    again(x)
    value, gradient = J.value_and_gradient(x)
    close(value, again(x), "value")
    h = 1e-5
    expected = (again(x + h * d) - again(x - h * d)) / (2 * h)
    close(comm.allreduce(float(gradient @ d)), expected, "slope", rel=1e-3)


def two_states():
    plane = Plane()
    A = plane.state()
    B = plane.state((plane.a, 5.0 * plane.L), petsc_options_prefix="b_")
    J = dnt.ReducedFunctional((A.u + B.u) * ufl.dx, A)
    value = J.value(plane.full())
    a = dnt.ReducedFunctional(A.u * ufl.dx, A).value(plane.full())
    b = dnt.ReducedFunctional(B.u * ufl.dx, B).value(plane.full())
    close(value, a + b, "sum of two states")


t.either("a functional of two states", SAYS, two_states)


def product_of_states():
    plane = Plane()
    A = plane.state()
    B = plane.state((plane.a, 5.0 * plane.L), petsc_options_prefix="b_")
    J = dnt.ReducedFunctional(A.u * B.u * ufl.dx, A)
    slope(J, plane, lambda x: (B.solve(x), J.value(x))[1])


t.either("a functional of the product of two states", SAYS, product_of_states)


def heated(where):
    plane = Plane()
    A = plane.state()
    equation = {
        "load": (plane.a, A.u * ufl.TestFunction(plane.V) * ufl.dx),
        "matrix": (
            plane.a + A.u**2 * ufl.TrialFunction(plane.V) * ufl.TestFunction(plane.V) * ufl.dx,
            plane.L,
        ),
    }[where]
    B = plane.state(equation, petsc_options_prefix="b_")
    J = dnt.ReducedFunctional(B.u**2 * ufl.dx, B)
    slope(J, plane, lambda x: (A.solve(x), J.value(x))[1])


t.either("a state as load of another one", SAYS, lambda: heated("load"))
t.either("a state in the matrix of another one", SAYS, lambda: heated("matrix"))


def boundary_from_state():
    plane = Plane()
    A = plane.state()
    bc = fem.dirichletbc(A.u, fem.locate_dofs_geometrical(plane.V, left))
    B = plane.state(bcs=[bc], petsc_options_prefix="b_")
    return dnt.ReducedFunctional(B.u * ufl.dx, B).value(plane.full())


t.refuse("a state as boundary value of another one", SAYS, boundary_from_state)


def load_from_state():
    plane = Plane()
    A = plane.state()
    B = plane.state((plane.a, None), nodal_loads=A.u, petsc_options_prefix="b_")
    return dnt.Compliance(B).value(plane.full())


t.refuse("a state as nodal load of another one", SAYS + "|nodal_loads", load_from_state)


def into_itself():
    plane = Plane()
    u = fem.Function(plane.V)
    state = plane.state((plane.a, u * ufl.TestFunction(plane.V) * ufl.dx + plane.L), u=u)
    return dnt.Compliance(state).value(plane.full())


t.refuse("a state in its own load", SAYS + r"|\bu\b", into_itself)


def same_function_twice():
    plane = Plane()
    u = fem.Function(plane.V)
    A = plane.state(u=u)
    B = plane.state((plane.a, 5.0 * plane.L), u=u, petsc_options_prefix="b_")
    JA, JB = dnt.Compliance(A), dnt.Compliance(B)
    first = JA.value(plane.full())
    JB.value(plane.full())
    value, gradient = JA.value_and_gradient(plane.full())
    expected = Plane()
    right = expected.compliance.value_and_gradient(expected.full())
    close(value, right[0], "value")
    close(first, right[0], "value")
    if not np.allclose(gradient, right[1], rtol=1e-8):
        close(float(np.abs(gradient).sum()), float(np.abs(right[1]).sum()), "gradient")


t.either("two problems that share the function of their state", SAYS + r"|\bu\b", same_function_twice)


def a_coefficient():
    """All other coefficients are constants, and changes of them are seen."""
    plane = Plane()
    f = fem.Function(plane.V)
    f.x.array[:] = 1.0
    state = plane.state((plane.a, f * ufl.TestFunction(plane.V) * ufl.dx))
    compliance = dnt.Compliance(state)
    one = compliance.value(plane.full())
    f.x.array[:] = 2.0
    close(compliance.value(plane.full()), 4.0 * one, "a changed coefficient")


t.accept("a coefficient that is no state, changed between solves", a_coefficient)


def after_destroy():
    plane = Plane()
    with plane.state() as A:
        A.solve(plane.full())
        u = A.u
    state = plane.state((plane.a, u * ufl.TestFunction(plane.V) * ufl.dx), petsc_options_prefix="b_")
    right(np.isfinite(dnt.Compliance(state).value(plane.full())), "compliance")


t.accept("the state of a problem that is gone is a constant", after_destroy)

# --- spaces and meshes ----------------------------------------------------------------------------

ANY = "space|mesh|element|cell|form|measure|supported"


def in_element(element, cell=CELLS.triangle):
    domain = rectangle(cell=cell)
    V, rho = fem.functionspace(domain, element), density(domain)
    u, v = ufl.TrialFunction(V), ufl.TestFunction(V)
    f = fem.Constant(domain, np.ones(2)) if u.ufl_shape else fem.Constant(domain, 1.0)
    a = (1.0 + rho) * ufl.inner(u, v) * ufl.dx
    state = dnt.StateProblem((a, ufl.inner(f, v) * ufl.dx), rho, petsc_options_prefix="e_")
    orders = dnt.taylor_test(dnt.Compliance(state))
    right((orders > 1.9).all(), f"orders {orders}")


for element in (("N1curl", 1), ("RT", 1), ("DG", 1), ("DG", 0), ("CR", 1), ("Lagrange", 2), ("Bubble", 3)):
    t.either(f"a state in {element}", ANY, lambda e=element: in_element(e))
t.either(
    "a state in a quadrature element",
    ANY,
    lambda: in_element(basix.ufl.quadrature_element("triangle", degree=2)),
)


def on_submesh():
    big = rectangle(12, 4)
    cells = mesh.locate_entities(big, 2, lambda x: x[0] <= 6.0 + 1e-9)
    plate = Plate(mesh.create_submesh(big, 2, cells)[0])
    close(plate.compliance.value(plate.full()), Plate().compliance.value(Plate().full()), "compliance")
    right(np.isfinite(minimize(plate.design()).objective), "minimize")


t.either("a design on a submesh", ANY, on_submesh)


def single_precision():
    corners = [np.zeros(2), np.array([6.0, 4.0])]
    domain = mesh.create_rectangle(comm, corners, [6, 4], CELLS.triangle, dtype=np.float32)
    rho = fem.Function(fem.functionspace(domain, ("DG", 0)), dtype=np.float32)
    V = fem.functionspace(domain, ("Lagrange", 1))
    v = ufl.TestFunction(V)
    a = (1.0 + rho) * ufl.TrialFunction(V) * v * ufl.dx
    state = dnt.StateProblem((a, v * ufl.dx), rho, petsc_options_prefix="s_")
    return dnt.Compliance(state).value(np.full(state.num_owned_cells, 0.5))


t.either("a mesh in single precision", "float32|precision|mesh|float64", single_precision)


def curved(then):
    """Triangles with six nodes."""
    x = np.array(
        [[0, 0], [1, 0], [0, 1], [0.5, 0.5], [0, 0.5], [0.5, 0], [1, 1], [1, 0.5], [0.5, 1]], dtype=float
    )
    cells = np.array([[0, 1, 2, 3, 4, 5], [6, 2, 1, 3, 7, 8]], dtype=np.int64)
    if comm.rank:
        x, cells = np.zeros((0, 2)), np.zeros((0, 6), dtype=np.int64)
    element = ufl.Mesh(basix.ufl.element("Lagrange", "triangle", 2, shape=(2,)))
    domain = mesh.create_mesh(comm=comm, cells=cells, x=x, e=element)
    return then(domain)


def solve_curved(domain):
    plane = Plane(domain)
    right((dnt.taylor_test(plane.compliance) > 1.9).all(), "Taylor order")


t.either("a mesh of second order", ANY, lambda: curved(solve_curved))
t.values(
    "StateProblem on",
    "mesh",
    lambda v: Plane(v()).state(),
    [
        lambda: mesh.create_unit_interval(comm, 4),
        lambda: mesh.create_unit_cube(comm, 2, 2, 2, CELLS.prism),
    ],
    says="mesh|cells",
)


def beside_tagged():
    """ufl.ds beside a measure with tags."""
    plane = Plane()
    domain, v = plane.mesh, ufl.TestFunction(plane.V)
    facets = mesh.locate_entities_boundary(domain, 1, lambda x: np.isclose(x[0], 6.0))
    some = mesh.meshtags(domain, 1, np.sort(facets), np.full(len(facets), 7, dtype=np.int32))
    ds = ufl.Measure("ds", domain=domain, subdomain_data=some)
    u = ufl.TrialFunction(plane.V)
    state = plane.state((plane.a + 0.1 * u * v * ufl.ds, v * ds(7)))
    right((dnt.taylor_test(dnt.Compliance(state)) > 1.9).all(), "Taylor order")
    J = dnt.ReducedFunctional(state.u * ds(7) + state.u * plane.rho * ufl.ds, state)
    right((dnt.taylor_test(J) > 1.9).all(), "Taylor order")


t.either("ufl.ds beside a measure with tags", ANY + "|ds", beside_tagged)


def perimeter(ghosts):
    domain = rectangle(cell=CELLS.triangle, ghost_mode=ghosts)
    plane = Plane(domain)
    P = dnt.ReducedFunctional(ufl.jump(plane.rho) ** 2 * ufl.dS, plane.state(), name="perimeter")
    half = np.where(plane.domain().midpoints[:, 0] < 3.0, 1.0, 0.0)
    close(P.value(half), 4.0, "length of the interface")


t.accept("a perimeter by dS, shared facets", lambda: perimeter(dolfinx.mesh.GhostMode.shared_facet))
t.either("a perimeter by dS, no ghosts", "dS|ghost|facet", lambda: perimeter(dolfinx.mesh.GhostMode.none))


def free_body(solver):
    """A second piece that is neither held nor loaded."""
    domain = rectangle()
    plate = Plate(domain)
    x = ufl.SpatialCoordinate(domain)
    here = ufl.conditional(ufl.lt(x[0], 3.0), 1.0, 0.0)
    v = ufl.TestFunction(plate.V)
    gap = 1e-30 + here * dnt.simp(plate.rho)
    u = ufl.TrialFunction(plate.V)
    a = gap * ufl.inner(ufl.sym(ufl.grad(u)), ufl.sym(ufl.grad(v))) * ufl.dx
    state = plate.state((a, here * v[1] * ufl.dx), solver=solver)
    return dnt.Compliance(state).value(plate.full())


t.either(
    "an unloaded piece without stiffness by direct", "free|singular|bcs|residual", lambda: free_body("direct")
)


def least_volume():
    plate = Plate()
    compliance = plate.compliance
    limit = 2.0 * compliance.value(plate.full(1.0))
    domain = plate.domain(volume_fraction=1.0)
    volume = dnt.ReducedFunctional(plate.rho * ufl.dx, compliance.state, name="volume")
    design = plate.design(volume, domain=domain, constraints=[(compliance, limit)])
    result = dnt.minimize(design, dnt.MMA(), evaluations=30, progress=False)
    right(compliance.value(result.rho) < 1.001 * limit and result.objective < 20.0, f"{result}")


t.accept("least volume under a limit of compliance, volume_fraction = 1", least_volume)


def own_on_any_mesh():
    domain = Plane().domain()
    right(np.isfinite(minimize(dnt.Design(Quadratic(domain), domain)).objective), "minimize")


t.accept("own functional, no filter", own_on_any_mesh)
