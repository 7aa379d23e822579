"""Small problems that the tests of this layer share: each builder returns a functional that owns nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import basix.ufl
import numpy as np
import ufl
from dolfinx import fem, mesh
from mpi4py import MPI

from dolfinx_neural_topo.physics import (
    Compliance,
    ReducedFunctional,
    StateProblem,
    elasticity,
    heat,
    hyperelasticity,
    mechanism,
    nodal_load,
    ramp,
    simp,
    stokes,
)

CELLS = {
    "triangle": mesh.CellType.triangle,
    "quadrilateral": mesh.CellType.quadrilateral,
    "tetrahedron": mesh.CellType.tetrahedron,
    "hexahedron": mesh.CellType.hexahedron,
}


@dataclass
class Problem:
    """A state problem with one functional."""

    state: StateProblem
    functional: Any

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.functional.destroy()
        self.state.destroy()


def box(cell: str = "quadrilateral", shape=None, comm=MPI.COMM_WORLD, size=None):
    """Return a mesh of a rectangle or box, of unit cells by default."""
    kind = CELLS[cell]
    if cell in ("triangle", "quadrilateral"):
        shape = shape or (8, 4)
        size = size or shape
        return mesh.create_rectangle(comm, [np.zeros(2), np.array(size, dtype=float)], shape, kind)
    shape = shape or (4, 2, 2)
    size = size or shape
    return mesh.create_box(comm, [np.zeros(3), np.array(size, dtype=float)], shape, kind)


def density(domain) -> fem.Function:
    rho = fem.Function(fem.functionspace(domain, ("DG", 0)), name="rho")
    rho.x.array[:] = 0.5
    return rho


def vector_space(domain, degree: int = 1):
    return fem.functionspace(domain, ("Lagrange", degree, (domain.geometry.dim,)))


def mixed_element(domain):
    """Return the element of a displacement and a temperature."""
    cell = domain.basix_cell()
    P1 = basix.ufl.element("Lagrange", cell, 1)
    return basix.ufl.mixed_element([basix.ufl.element("Lagrange", cell, 1, shape=(domain.geometry.dim,)), P1])


def fix(V, where, value: float = 0.0) -> fem.DirichletBC:
    """Return V = value (each component) where a marker of positions holds."""
    g = fem.Function(V)
    g.x.array[:] = value
    return fem.dirichletbc(g, fem.locate_dofs_geometrical(V, where))


def fix_component(V, component: int, where, value: float = 0.0) -> fem.DirichletBC:
    part, _ = V.sub(component).collapse()
    g = fem.Function(part)
    g.x.array[:] = value
    return fem.dirichletbc(g, fem.locate_dofs_geometrical((V.sub(component), part), where), V.sub(component))


def left(x):
    return np.isclose(x[0], 0.0)


def tagged_ds(domain, *markers):
    """Return ds with the boundary facets tagged 1, 2, ... where markers of positions hold."""
    dim = domain.topology.dim
    facets = [mesh.locate_entities_boundary(domain, dim - 1, marker) for marker in markers]
    values = np.concatenate([np.full(f.size, k + 1, dtype=np.int32) for k, f in enumerate(facets)])
    facets = np.concatenate(facets)
    order = np.argsort(facets)
    tags = mesh.meshtags(domain, dim - 1, facets[order], values[order])
    return ufl.Measure("ds", domain=domain, subdomain_data=tags)


def right_tag(domain):
    """Return ds on the facets at the greatest x."""
    length = domain.comm.allreduce(domain.geometry.x[:, 0].max(initial=-np.inf), op=MPI.MAX)
    return tagged_ds(domain, lambda x: np.isclose(x[0], length))(1)


def traction(V, vector):
    domain = V.mesh
    t = fem.Constant(domain, np.array(vector, dtype=float))
    return ufl.dot(t, ufl.TestFunction(V)) * right_tag(domain)


def cantilever(
    cell="quadrilateral", *, model=None, comm=MPI.COMM_WORLD, prefix="cantilever_", shape=None, **options
):
    """Compliance of a clamped beam with a traction at its end."""
    domain = box(cell, shape, comm)
    V, rho = vector_space(domain), density(domain)
    a = elasticity.bilinear_form(V, simp(rho), model=model)
    L = traction(V, [0.0, -1.0, 0.5][: domain.geometry.dim])
    state = StateProblem((a, L), rho, bcs=[fix(V, left)], petsc_options_prefix=prefix, **options)
    return Problem(state, Compliance(state))


def two_loads(cell="quadrilateral", **options):
    """Weighted compliance of two load cases, one by a form and one by a force at a node."""
    domain = box(cell)
    V, rho = vector_space(domain), density(domain)
    dim = domain.geometry.dim
    corner = [8.0, 4.0] if dim == 2 else [4.0, 2.0, 2.0]
    force = nodal_load(V, [corner], [[1.0] + [0.5] * (dim - 1)])
    L = traction(V, [0.0, -1.0, 0.5][:dim])
    a = elasticity.bilinear_form(V, simp(rho))
    state = StateProblem(
        (a, [L, None]),
        rho,
        bcs=[fix(V, left)],
        nodal_loads=[None, force],
        petsc_options_prefix="two_",
        **options,
    )
    return Problem(state, Compliance(state, weights=[1.0, 0.3]))


def two_loads_mixed_functional(**options):
    """A functional that couples both load cases and the density."""
    problem = two_loads(**options)
    problem.functional.destroy()
    u, w = problem.state.states
    J = ufl.dot(u, w) * ufl.dx + problem.state.rho**2 * ufl.dot(u, u) * ufl.dx
    return Problem(problem.state, ReducedFunctional(J, problem.state))


def self_weight(**options):
    """Compliance under the structure's own weight, which depends on the density."""
    domain = box()
    V, rho = vector_space(domain), density(domain)
    weight = fem.Constant(domain, np.array([0.1, -1.0]))
    a, L = elasticity.bilinear_form(V, ramp(rho)), elasticity.self_weight(V, rho, weight)
    state = StateProblem((a, L), rho, bcs=[fix(V, left)], petsc_options_prefix="weight_", **options)
    return Problem(state, Compliance(state))


def inverter(cell="quadrilateral", **options):
    """Output displacement of a mechanism: driven at the lower left, springs at both ends."""
    domain = box(cell)
    V, rho = vector_space(domain), density(domain)
    dim = domain.geometry.dim
    axis = [1.0] + [0.0] * (dim - 1)
    ds = tagged_ds(
        domain, lambda x: left(x) & (x[1] < 1.01), lambda x: np.isclose(x[0], 8.0 if dim == 2 else 4.0)
    )
    inlet = mechanism.Port(V, ds(1), axis)
    outlet = mechanism.Port(V, ds(2), [-a for a in axis])
    a = elasticity.bilinear_form(V, simp(rho)) + inlet.spring(0.1) + outlet.spring(0.05)
    fixed = fix(V, lambda x: left(x) & (x[1] > (2.99 if dim == 2 else 1.99)))
    state = StateProblem((a, inlet.force(1.0)), rho, bcs=[fixed], petsc_options_prefix="inverter_", **options)
    return Problem(state, ReducedFunctional(outlet.displacement(state.u), state))


def stress_norm(cell="quadrilateral", model=None, **options):
    """8-norm of the relaxed von Mises stress."""
    problem = cantilever(cell, model=model, prefix="stress_", **options)
    problem.functional.destroy()
    rho, u = problem.state.rho, problem.state.u
    sigma = elasticity.stress(u, 1.0, model=model)
    J = (ufl.sqrt(rho) * elasticity.von_mises(sigma, model=model)) ** 8 * ufl.dx(
        metadata={"quadrature_degree": 2}
    )
    return Problem(problem.state, ReducedFunctional(J, problem.state, power=1 / 8))


def heat_sink(cell="quadrilateral", **options):
    """Average temperature of a plate heated everywhere and cooled at one side."""
    domain = box(cell)
    V, rho = fem.functionspace(domain, ("Lagrange", 1)), density(domain)
    a, L = heat.bilinear_form(V, simp(rho, E_min=1e-3)), heat.source(V, fem.Constant(domain, 0.1))
    state = StateProblem((a, L), rho, bcs=[fix(V, left)], petsc_options_prefix="heat_", **options)
    return Problem(state, ReducedFunctional(heat.average_temperature(state.u, 32.0), state))


def hot_wall(**options):
    """Heat flow between walls of given temperatures: no load but the boundary values."""
    domain = box()
    V, rho = fem.functionspace(domain, ("Lagrange", 1)), density(domain)
    bcs = [fix(V, left, 1.0), fix(V, lambda x: np.isclose(x[0], 8.0), -0.5)]
    a = heat.bilinear_form(V, simp(rho, E_min=1e-3))
    state = StateProblem((a, None), rho, bcs=bcs, petsc_options_prefix="wall_", **options)
    J = simp(rho) * ufl.dot(ufl.grad(state.u), ufl.grad(state.u)) * ufl.dx + state.u**2 * ufl.dx
    return Problem(state, ReducedFunctional(J, state))


def convection(**options):
    """Temperature at the outlet of a flow: an operator that is not symmetric."""
    domain = box()
    V, rho = fem.functionspace(domain, ("Lagrange", 1)), density(domain)
    u, v = ufl.TrialFunction(V), ufl.TestFunction(V)
    wind = fem.Constant(domain, np.array([0.5, 0.2]))
    a = heat.bilinear_form(V, simp(rho)) + rho * ufl.dot(wind, ufl.grad(u)) * v * ufl.dx
    L = heat.source(V, 1.0 + rho)
    state = StateProblem((a, L), rho, bcs=[fix(V, left, 1.0)], petsc_options_prefix="wind_", **options)
    return Problem(state, ReducedFunctional(state.u**2 * right_tag(domain), state))


def pipe(cell="quadrilateral", **options):
    """Dissipated power of a flow between a parabolic inlet and an open outlet."""
    domain = box(cell, size=(2.0, 1.0))
    W, rho = stokes.taylor_hood(domain), density(domain)
    V, _ = W.sub(0).collapse()
    inflow, zero = fem.Function(V), fem.Function(V)
    inflow.interpolate(lambda x: np.vstack([x[1] * (1 - x[1]), np.zeros_like(x[0])]))
    wall = fem.locate_dofs_geometrical((W.sub(0), V), lambda x: np.isclose(x[1], 0) | np.isclose(x[1], 1))
    inlet = fem.locate_dofs_geometrical((W.sub(0), V), left)
    bcs = [fem.dirichletbc(inflow, inlet, W.sub(0)), fem.dirichletbc(zero, wall, W.sub(0))]
    alpha = stokes.brinkman(rho, alpha_max=100.0)
    state = StateProblem(
        (stokes.bilinear_form(W, alpha), None), rho, bcs=bcs, petsc_options_prefix="pipe_", **options
    )
    return Problem(state, ReducedFunctional(stokes.dissipated_power(state.u, alpha), state))


def large_beam(cell="quadrilateral", gamma=False, **options):
    """End displacement of a beam at finite strain."""
    domain = box(cell)
    V, rho = vector_space(domain), density(domain)
    u = fem.Function(V)
    share = hyperelasticity.solid_share(rho) if gamma else None
    F = hyperelasticity.residual(u, simp(rho, E_min=1e-4), gamma=share)
    F -= traction(V, [0.0, -2e-3, 0.0][: domain.geometry.dim])
    state = StateProblem(F, rho, u=u, bcs=[fix(V, left)], petsc_options_prefix="large_", **options)
    return Problem(state, ReducedFunctional(ufl.dot(u, u) * right_tag(domain) + rho * u[1] * ufl.dx, state))


def large_beam_by_boundary(**options):
    """Stored energy of a bar stretched by boundary values of 15 per cent and pulled at a node."""
    domain = box("triangle")
    V, rho = vector_space(domain), density(domain)
    u = fem.Function(V)
    bcs = [fix(V, left), fix_component(V, 0, lambda x: np.isclose(x[0], 8.0), 1.2)]
    pull = nodal_load(V, [[4.0, 4.0]], [[0.0, 1e-3]])
    E = simp(rho, E_min=1e-4)
    state = StateProblem(
        hyperelasticity.residual(u, E),
        rho,
        u=u,
        bcs=bcs,
        nodal_loads=pull,
        petsc_options_prefix="pull_",
        **options,
    )
    return Problem(state, ReducedFunctional(hyperelasticity.energy(u, E), state))


def on_facets(**options):
    """A functional over facets, whose density derivative reaches the cells of other ranks."""
    domain = box("triangle")
    domain = mesh_with_shared_facets(domain)
    V, rho = fem.functionspace(domain, ("Lagrange", 1)), density(domain)
    a, L = heat.bilinear_form(V, simp(rho, E_min=1e-3)), heat.source(V, fem.Constant(domain, 0.1))
    state = StateProblem((a, L), rho, bcs=[fix(V, left)], petsc_options_prefix="facet_", **options)
    J = ufl.jump(rho) ** 2 * ufl.avg(state.u) * ufl.dS + rho**2 * state.u * ufl.ds
    return Problem(state, ReducedFunctional(J, state))


def mesh_with_shared_facets(domain):
    size = [8.0, 4.0]
    return mesh.create_rectangle(
        domain.comm,
        [np.zeros(2), np.array(size)],
        (8, 4),
        mesh.CellType.triangle,
        ghost_mode=mesh.GhostMode.shared_facet,
    )


def wave(n=10, domain=None, **options):
    """Share of the power of a plane wave of length 1 that leaves a strip of length 2 through half of its end.

    The two components are real and imaginary part; the other ends absorb.
    """
    domain = domain or box("quadrilateral", (2 * n, n), size=(2.0, 1.0))
    V, rho = vector_space(domain, 2), density(domain)
    ends = (lambda x: np.isclose(x[0], 2) & (x[1] < 0.51)), (lambda x: np.isclose(x[0], 2) & (x[1] > 0.49))
    ds = tagged_ds(domain, left, *ends)
    k, (p, v) = 2.0 * np.pi, (ufl.TrialFunction(V), ufl.TestFunction(V))
    a = (ufl.inner(ufl.grad(p), ufl.grad(v)) - k**2 * (1.0 + rho) * ufl.dot(p, v)) * ufl.dx
    a += k * (p[1] * v[0] - p[0] * v[1]) * ds((1, 2, 3))
    state = StateProblem((a, -2.0 * k * v[1] * ds(1)), rho, petsc_options_prefix="wave_", **options)
    return Problem(state, ReducedFunctional(ufl.dot(state.u, state.u) * ds(2), state))


SPEEDS = np.sqrt(
    [0.7 / 0.52, 1.0 / 2.6]
)  # of pressure and shear waves in plane strain, for E = 1 and nu = 0.3


def elastic_wave(shear=False, n=10, **options):
    """Share of the power of an elastic wave of length 1 that leaves a strip of length 2 as the other kind.

    The four components are real and imaginary part of the displacement. The strip repeats across its height,
    and its ends absorb waves of both kinds that meet them squarely.
    """
    domain = box("quadrilateral", (2 * n, n // 2), size=(2.0, 0.5))
    V, rho = fem.functionspace(domain, ("Lagrange", 2, (4,))), density(domain)
    ds, kind, omega = tagged_ds(domain, left, lambda x: np.isclose(x[0], 2.0)), int(shear), 2.0 * np.pi
    omega *= SPEEDS[kind]
    trial, test = ufl.TrialFunction(V), ufl.TestFunction(V)
    (u_r, u_i), (v_r, v_i) = (
        (ufl.as_vector([w[0], w[1]]), ufl.as_vector([w[2], w[3]])) for w in (trial, test)
    )
    dashpot = ufl.as_matrix(np.diag(SPEEDS).tolist())
    a = -(omega**2) * (1.0 + rho) * ufl.dot(trial, test) * ufl.dx
    for u, v in ((u_r, v_r), (u_i, v_i)):
        sigma = elasticity.stress(u, 1.0 + rho, 0.3, "plane_strain")
        a += ufl.inner(sigma, elasticity.strain(v)) * ufl.dx
    a += omega * (ufl.dot(dashpot * u_i, v_r) - ufl.dot(dashpot * u_r, v_i)) * ds((1, 2))
    L = -2.0 * omega * SPEEDS[kind] * v_i[kind] * ds(1)
    state = StateProblem((a, L), rho, periodic=(1,), petsc_options_prefix="elastic_wave_", **options)
    other = 1 - kind
    share = SPEEDS[other] / SPEEDS[kind] * (state.u[other] ** 2 + state.u[other + 2] ** 2) / 0.5
    return Problem(state, ReducedFunctional(share * ds(2), state))
