"""Equation, supports, loads and objective of a problem, on any mesh of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import ufl
from dolfinx import fem, la
from dolfinx import mesh as dmesh
from mpi4py import MPI

from dolfinx_neural_topo.errors import InputError, agree
from dolfinx_neural_topo.io import TaggedMesh
from dolfinx_neural_topo.physics import (
    Compliance,
    ReducedFunctional,
    StateProblem,
    elasticity,
    heat,
    nodal_load,
    simp,
)
from dolfinx_neural_topo.problem.description import AXES, SIDES, Load, Problem, Support
from dolfinx_neural_topo.problem.region import boxed


def state_problem(problem: Problem, where: TaggedMesh | dmesh.Mesh) -> StateProblem:
    """Return the state problem on a mesh of the problem, or on a coarser grid of its box.

    Raises:
        InputError: Something does not suit the mesh; with the line.

    Note: Collective.
    """
    region = where if isinstance(where, TaggedMesh) else boxed(problem, where)
    mesh, material = region.mesh, problem.material
    elastic = problem.equation == "elasticity"
    rho = fem.Function(fem.functionspace(mesh, ("DG", 0)), name="density")
    V = fem.functionspace(mesh, ("Lagrange", 1, (mesh.geometry.dim,)) if elastic else ("Lagrange", 1))
    E_min = material.void * material.solid
    modulus = simp(rho, penalty=material.penalty, E0=material.solid, E_min=E_min)
    if elastic:
        with material.table.at("model" if "model" in material.table else "nu"):
            a = elasticity.bilinear_form(V, modulus, material.nu, material.model)
    else:
        a = heat.bilinear_form(V, modulus)
    bcs = [bc for support in problem.supports for bc in _conditions(support, V, region)]
    cases: dict[str, list[Load]] = {}
    for load in problem.loads:
        cases.setdefault(load.case, []).append(load)
    forms = [_form(loads, V, region) for loads in cases.values()]
    nodal = [_nodal(loads, V) for loads in cases.values()]
    for loads, form, force in zip(cases.values(), forms, nodal, strict=True):
        _require_load(loads[0], form, force, bcs, V)
    state = StateProblem((a, forms), rho, bcs=bcs, nodal_loads=nodal, petsc_options_prefix="problem_")
    for name, u in zip(cases, state.states, strict=True):
        u.name = ("displacement" if elastic else "temperature") + f"_{name}" * bool(name)
    return state


def objective(problem: Problem, state: StateProblem) -> Any:
    """Return the objective of a problem.

    Note: Collective.
    """
    name = problem.design.objective
    if name == "compliance":
        return Compliance(state)
    volume = _integral(state.mesh, ufl.dx(state.mesh))
    if name == "volume":
        return ReducedFunctional(state.rho / volume * ufl.dx, state, name="volume")
    mean = sum(heat.average_temperature(T, volume) for T in state.states)
    return ReducedFunctional(mean, state, name="mean temperature")


def _integral(mesh: dmesh.Mesh, measure: ufl.Measure) -> float:
    one = fem.Constant(mesh, np.float64(1.0))
    return mesh.comm.allreduce(fem.assemble_scalar(fem.form(one * measure)), op=MPI.SUM)


def _conditions(support: Support, V: fem.FunctionSpace, region: TaggedMesh) -> list[fem.DirichletBC]:
    """Return the Dirichlet conditions of a support."""
    mesh, dim = region.mesh, region.mesh.topology.dim
    if support.on is not None:
        with support.table.at("on"):
            _exists(region, support.on)
            entities, entity_dim, key = region.facets(support.on), dim - 1, "on"
    else:
        with support.table.at("at"):
            entities, entity_dim, key = _vertices(mesh, support.at), 0, "at"
    mesh.topology.create_connectivity(entity_dim, dim)
    size = V.dofmap.index_map_bs
    if any(i >= size for i in support.components):
        raise support.table.error("fix", f"fix must hold some of {', '.join(AXES[:size])} on this mesh")
    found = []
    if len(support.components) in (0, size):  # all of them
        dofs = fem.locate_dofs_topological(V, entity_dim, entities)
        zero: Any = np.zeros(size) if size > 1 else 0.0
        found.append((dofs, fem.dirichletbc(zero, dofs, V)))
    else:
        for i in support.components:
            dofs = fem.locate_dofs_topological(V.sub(i), entity_dim, entities)
            found.append((dofs, fem.dirichletbc(np.array(0.0), dofs, V.sub(i))))
    total = mesh.comm.allreduce(sum(len(dofs) for dofs, _ in found))
    agree(mesh.comm, None if total else str(support.table.error(key, "nothing of the mesh is there")))
    return [bc for _, bc in found]


def _exists(region: TaggedMesh, name: str) -> None:
    """Raise for a group that has no facet, in words that say where one comes from."""
    if name not in region.facet_groups and name not in region.unusable:
        present = ", ".join(map(repr, sorted(region.facet_groups))) or "none"
        raise InputError(
            f"the mesh has no facets in a group named {name!r}, there are {present}; way out: name"
            f" a group of the mesh file or a side of the box ({', '.join(SIDES[region.mesh.topology.dim])}),"
            " or describe one by [[group]]"
        )


def _vertices(mesh: dmesh.Mesh, point: list[float] | None) -> np.ndarray:
    """Return the vertices at a point.

    Note: Collective.
    """
    assert point is not None
    if len(point) != mesh.geometry.dim:
        raise InputError(f"at must be {mesh.geometry.dim} numbers on this mesh, got {len(point)}")
    x = mesh.geometry.x
    extent = mesh.comm.allreduce(float(np.abs(x).max(initial=0.0)), op=MPI.MAX)
    place = np.array(point)[:, None]
    mesh.topology.create_connectivity(0, mesh.topology.dim)

    def near(x: np.ndarray) -> np.ndarray:
        return np.linalg.norm(x[: len(place)] - place, axis=0) < 1e-9 * extent

    found = dmesh.locate_entities(mesh, 0, near)
    total = mesh.comm.allreduce(len(found))
    agree(mesh.comm, None if total else f"at must be a vertex of the mesh, none is at {point}")
    return found


def _form(loads: list[Load], V: fem.FunctionSpace, region: TaggedMesh) -> ufl.Form | None:
    """Return the linear form of a load case, without what acts at points."""
    mesh, v = region.mesh, ufl.TestFunction(V)
    form = None
    for load in loads:
        if load.at is not None:
            continue
        values = load.total or load.density or []
        size = V.dofmap.index_map_bs
        if len(values) != size:
            raise load.table.error(
                "force", f"[[load]] needs {size} components on this mesh, got {len(values)}"
            )
        if load.on is None:
            measure = ufl.dx(mesh)
        else:
            with load.table.at("on"):
                _exists(region, load.on)
                measure = region.ds(load.on)
        scale = 1.0
        if load.total is not None:
            area = _integral(mesh, measure)
            if not area > 0.0:
                raise load.table.error("on", f"the group {load.on!r} has no area at the boundary")
            scale = 1.0 / area
        scaled = scale * np.array(values)
        factor = fem.Constant(mesh, scaled if size > 1 else np.float64(scaled[0]))
        term = (ufl.dot(factor, v) if size > 1 else factor * v) * measure
        form = term if form is None else form + term
    return form


def _require_load(
    load: Load,
    form: ufl.Form | None,
    force: fem.Function | None,
    bcs: list[fem.DirichletBC],
    V: fem.FunctionSpace,
) -> None:
    """Refuse a load case that is zero or not finite where the state is free. Note: Collective."""
    b = fem.Function(V)
    if form is not None:
        fem.assemble_vector(b.x.array, fem.form(form))
        b.x.scatter_reverse(la.InsertMode.add)
    if force is not None:
        b.x.array[:] += force.x.array
    for bc in bcs:
        bc.set(b.x.array, None, 0.0)
    owned = b.x.array[: V.dofmap.index_map.size_local * V.dofmap.index_map_bs]
    size = V.mesh.comm.allreduce(float(np.abs(owned).sum()), op=MPI.SUM)
    if not 0.0 < size < np.inf:
        key = next(name for name in ("force", "traction", "power", "flux", "source") if name in load.table)
        given = "zero" if size == 0.0 else "no finite number"
        raise load.table.error(key, f"{key} must act on what no support holds, got {given} there")


def _nodal(loads: list[Load], V: fem.FunctionSpace) -> fem.Function | None:
    """Return the forces of a load case at points, or None."""
    points = [load for load in loads if load.at is not None]
    if not points:
        return None
    for load in points:
        with load.table.at("at"):
            _vertices(V.mesh, load.at)
    with points[0].table.at("at"):
        return nodal_load(
            V, np.array([load.at for load in points]), np.array([load.total for load in points])
        )
