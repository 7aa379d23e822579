"""From a task to meshes, forms and a design: everything an optimizer needs, on any number of ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from dolfinx import fem
from dolfinx import mesh as dmesh
from mpi4py import MPI

from dolfinx_neural_topo.density import CellGrid, ConeFilter, Design, DesignDomain
from dolfinx_neural_topo.physics import Compliance, StateProblem, elasticity, simp
from dolfinx_neural_topo.tasks.sketch import Task, Y

POISSON_RATIO = 0.3


@dataclass(frozen=True)
class BuiltTask:
    """A task ready for optimization.

    Attributes:
        task: The task.
        design: Functional, filter and volume constraint: variables for `minimize`.
        grid: Pixels of the design and the cells that fill them.
        domain: Design cells and their volumes.
        state: The state problem.
        functional: The objective as a function of the physical density.
    """

    task: Task
    design: Design
    grid: CellGrid
    domain: DesignDomain
    state: StateProblem
    functional: Any

    @property
    def comm(self) -> MPI.Comm:
        """Communicator."""
        return self.domain.comm

    def destroy(self) -> None:
        """Free the PETSc objects; a second call does nothing.

        Note: Collective.
        """
        self.state.destroy()

    def __enter__(self) -> BuiltTask:
        return self

    def __exit__(self, *error: object) -> None:
        self.destroy()


def build(
    task: Task,
    comm: MPI.Comm = MPI.COMM_WORLD,
    *,
    penalty: float | fem.Constant = 3.0,
    filter_radius: float = 2.0,
    constrain: str = "physical",
    petsc_options_prefix: str = "task_",
    solver: str | None = None,
) -> BuiltTask:
    """Build the mesh, the state problem and the design of a task.

    Args:
        task: The task.
        comm: Communicator of the mesh.
        penalty: Exponent of SIMP; a `fem.Constant` can change later.
        filter_radius: Radius of the cone filter in cells.
        constrain: "physical" holds the volume after the filter, "design" before it (as the paper's network
            does).
        petsc_options_prefix: Prefix of the solver's PETSc options.
        solver: Preset of the linear solver; chosen by size if None.

    Returns:
        The built task; `destroy` it, or use it in a `with` statement.

    Note: Collective.
    """
    mesh = create_mesh(task, comm)
    rho = fem.Function(fem.functionspace(mesh, ("DG", 0)), name="rho")
    grid = CellGrid(mesh, task.image_shape)
    void = None if task.void is None else grid.to_cells(task.void)
    domain = DesignDomain(rho, volume_fraction=task.volume_fraction, void=void)
    state = _elasticity(task, rho, penalty, petsc_options_prefix=petsc_options_prefix, solver=solver)
    functional = Compliance(state)
    design = Design(functional, domain, filter=ConeFilter(domain, filter_radius), constrain=constrain)
    return BuiltTask(task, design, grid, domain, state, functional)


def create_mesh(task: Task, comm: MPI.Comm) -> dmesh.Mesh:
    """Create the task's grid of unit squares or cubes.

    Note: Collective.
    """
    corners = [np.zeros(task.dim), np.array(task.shape, dtype=np.float64)]
    if task.dim == 2:
        return dmesh.create_rectangle(comm, corners, task.shape, dmesh.CellType.quadrilateral)
    return dmesh.create_box(comm, corners, task.shape, dmesh.CellType.hexahedron)


def _elasticity(task: Task, rho: fem.Function, penalty: float | fem.Constant, **options: Any) -> StateProblem:
    """Linear elasticity of unit thickness with nodal loads."""
    mesh = rho.function_space.mesh
    V = fem.functionspace(mesh, ("Lagrange", 1, (task.dim,)))
    model = "plane_stress" if task.dim == 2 else "3d"
    a = elasticity.bilinear_form(V, simp(rho, penalty=penalty), POISSON_RATIO, model=model)
    return StateProblem((a, None), rho, bcs=supports(task, V), nodal_loads=[loads(task, V)], **options)


def supports(task: Task, V: fem.FunctionSpace) -> list[fem.DirichletBC]:
    """Return zero Dirichlet conditions on a first-order Lagrange space, one for each supported component."""
    zero = np.zeros((), dtype=np.float64)
    conditions = []
    for component in range(V.dofmap.index_map_bs):
        nodes = task.fixed[task.fixed[:, -1] == component, :-1]
        _, dofs = _find(task, V, nodes)
        unrolled = (dofs * V.dofmap.index_map_bs + component).astype(np.int32)
        if len(nodes):
            space = V if V.dofmap.index_map_bs == 1 else V.sub(component)
            conditions.append(fem.dirichletbc(zero, unrolled, space))
    return conditions


def loads(task: Task, V: fem.FunctionSpace) -> fem.Function:
    """Return the nodal loads as a function whose degrees of freedom are forces, ghosts included."""
    load = fem.Function(V, name="load")
    forces = load.x.array.reshape(-1, V.dofmap.index_map_bs)
    row, dofs = _find(task, V, task.load_at[:, :-1])
    np.add.at(forces, (dofs, task.load_at[row, -1]), task.load[row])
    return load


def _find(
    task: Task, V: fem.FunctionSpace, nodes: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Find grid nodes among this rank's degrees of freedom, ghosts included.

    Args:
        task: The task.
        V: First-order Lagrange space.
        nodes: Rows (i, j[, k]), shape (n, dim).

    Returns:
        Rows of `nodes` that are on this rank and their blocks of degrees of freedom, each of shape (m,).
    """
    index = np.rint(V.tabulate_dof_coordinates()[:, : task.dim]).astype(np.int64)
    index[:, Y] = task.shape[Y] - index[:, Y]
    sizes = tuple(cells + 1 for cells in task.shape)
    here = np.ravel_multi_index(tuple(index.T), sizes)
    wanted = np.ravel_multi_index(tuple(nodes.T), sizes)
    order = np.argsort(here)
    place = np.minimum(np.searchsorted(here, wanted, sorter=order), len(here) - 1)
    row = np.flatnonzero(here[order[place]] == wanted) if len(here) else np.empty(0, dtype=np.int64)
    return row, order[place[row]] if len(here) else row
