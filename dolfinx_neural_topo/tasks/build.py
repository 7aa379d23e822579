"""From a task to meshes, forms and a design: everything an optimizer needs, on any number of ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from dolfinx import fem
from dolfinx import mesh as dmesh
from mpi4py import MPI

from dolfinx_neural_topo.density import CellGrid, ConeFilter, Design, DesignDomain
from dolfinx_neural_topo.physics import StateProblem
from dolfinx_neural_topo.tasks.sketch import Task
from dolfinx_neural_topo.tasks.states import STATES


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
        self.functional.destroy()
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
    options = {"petsc_options_prefix": petsc_options_prefix, "solver": solver}
    state, functional = STATES[task.physics](task, rho, penalty, **options)
    design = Design(functional, domain, filter=ConeFilter(domain, filter_radius), constrain=constrain)
    return BuiltTask(task, design, grid, domain, state, functional)


def create_mesh(task: Task, comm: MPI.Comm, factor: int = 1) -> dmesh.Mesh:
    """Create the task's grid of unit squares or cubes, or of cells `factor` times as wide.

    Note: Collective.
    """
    corners: list[Any] = [np.zeros(task.dim), np.array(task.shape, dtype=np.float64)]
    counts = [cells // factor for cells in task.shape]
    if task.dim == 2:
        return dmesh.create_rectangle(comm, corners, counts, dmesh.CellType.quadrilateral)
    return dmesh.create_box(comm, corners, counts, dmesh.CellType.hexahedron)
