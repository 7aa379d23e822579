"""The state equation and objective of each kind of task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import ufl
from dolfinx import fem
from dolfinx import mesh as dmesh

from dolfinx_neural_topo.physics import (
    Compliance,
    ReducedFunctional,
    StateProblem,
    elasticity,
    heat,
    mechanism,
    simp,
    stokes,
)
from dolfinx_neural_topo.tasks.nodes import loads, supports
from dolfinx_neural_topo.tasks.other import Patch
from dolfinx_neural_topo.tasks.sketch import Task

POISSON_RATIO = 0.3
CONDUCTIVITY_MIN = 1e-3  # of void, relative to the solid
BRINKMAN_MAX, BRINKMAN_MIN = 2.5e4, 2.5e-4  # in units of viscosity / height^2 (Borrvall and Petersson)

Penalty = float | fem.Constant
State = tuple[StateProblem, Any]


def _elasticity(task: Task, rho: fem.Function, penalty: Penalty, **options: Any) -> State:
    """Compliance of linear elasticity, plane stress of unit thickness in 2D, with nodal loads."""
    V = fem.functionspace(rho.function_space.mesh, ("Lagrange", 1, (task.dim,)))
    a = elasticity.bilinear_form(V, simp(rho, penalty=penalty), POISSON_RATIO)
    state = StateProblem((a, None), rho, bcs=supports(task, V), nodal_loads=loads(task, V), **options)
    return state, Compliance(state)


def _heat(task: Task, rho: fem.Function, penalty: Penalty, **options: Any) -> State:
    """Thermal compliance of stationary conduction."""
    V = fem.functionspace(rho.function_space.mesh, ("Lagrange", 1))
    a = heat.bilinear_form(V, simp(rho, penalty=penalty, E_min=CONDUCTIVITY_MIN))
    state = StateProblem((a, None), rho, bcs=supports(task, V), nodal_loads=loads(task, V), **options)
    return state, Compliance(state, name="thermal compliance")


def _mechanism(task: Task, rho: fem.Function, penalty: Penalty, **options: Any) -> State:
    """Displacement of the output of a mechanism driven by a unit force at its input, with springs at both."""
    mesh = rho.function_space.mesh
    V = fem.functionspace(mesh, ("Lagrange", 1, (task.dim,)))
    ds = _tagged(task, mesh, [task.parameters["input"], task.parameters["output"]])
    to_the_right = (1.0, 0.0)
    ports = [mechanism.Port(V, ds(tag), to_the_right) for tag in (0, 1)]
    a = elasticity.bilinear_form(V, simp(rho, penalty=penalty), POISSON_RATIO)
    a += sum(port.spring(task.parameters["stiffness"]) for port in ports)
    state = StateProblem((a, ports[0].force(1.0)), rho, bcs=supports(task, V), **options)
    return state, ReducedFunctional(ports[1].displacement(state.u), state, name="output displacement")


def _stokes(task: Task, rho: fem.Function, penalty: Penalty, **options: Any) -> State:
    """Dissipated power of Stokes flow with given velocities on the whole boundary; without SIMP."""
    mesh = rho.function_space.mesh
    W = stokes.taylor_hood(mesh)
    scale = task.shape[1] ** -2.0
    alpha = stokes.brinkman(rho, alpha_max=scale * BRINKMAN_MAX, alpha_min=scale * BRINKMAN_MIN)
    V, _ = W.sub(0).collapse()
    Q, _ = W.sub(1).collapse()
    velocity = fem.Function(V)
    velocity.interpolate(lambda x: _boundary_velocity(task, x))
    mesh.topology.create_connectivity(1, 2)
    everywhere = dmesh.exterior_facet_indices(mesh.topology)
    walls = fem.locate_dofs_topological((W.sub(0), V), 1, everywhere)
    corner = fem.locate_dofs_geometrical((W.sub(1), Q), lambda x: np.hypot(x[0], x[1]) < 0.5)
    bcs = [fem.dirichletbc(velocity, walls, W.sub(0)), fem.dirichletbc(fem.Function(Q), corner, W.sub(1))]
    state = StateProblem((stokes.bilinear_form(W, alpha), None), rho, bcs=bcs, **options)
    return state, ReducedFunctional(stokes.dissipated_power(state.u, alpha), state, name="dissipated power")


STATES: dict[str, Callable[..., State]] = {
    "elasticity": _elasticity,
    "heat": _heat,
    "mechanism": _mechanism,
    "stokes": _stokes,
}
"""What builds the state problem and the objective, by `Task.physics`."""


def _on(task: Task, patch: Patch, x: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Tell which points, shape (3, n), lie on a patch."""
    width, height = task.shape
    across, where = {"left": (0, 0), "right": (0, width), "bottom": (1, 0), "top": (1, height)}[patch.edge]
    along = x[1 - across]
    return np.isclose(x[across], where) & (along > patch.start - 1e-6) & (along < patch.end + 1e-6)


def _tagged(task: Task, mesh: dmesh.Mesh, patches: list[Patch]) -> ufl.Measure:
    """Return the measure of the boundary, its patches numbered from 0."""
    facets = [
        dmesh.locate_entities_boundary(mesh, 1, lambda x, patch=patch: _on(task, patch, x))
        for patch in patches
    ]
    numbers = np.repeat(np.arange(len(patches), dtype=np.int32), [len(part) for part in facets])
    joined = np.concatenate(facets)
    order = np.argsort(joined)
    return ufl.Measure("ds", mesh, subdomain_data=dmesh.meshtags(mesh, 1, joined[order], numbers[order]))


def _boundary_velocity(task: Task, x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return parabolas at openings and zero elsewhere, shape (2, n)."""
    velocity = np.zeros((2, x.shape[1]))
    for patch in task.parameters["openings"]:
        axis = 0 if patch.edge in ("left", "right") else 1
        t = (x[1 - axis] - patch.start) / (patch.end - patch.start)
        velocity[axis] += np.where(_on(task, patch, x), 4 * patch.speed * t * (1 - t), 0.0)
    return velocity
