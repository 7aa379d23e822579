"""Neural multi-start and its controls on the tasks, with the same task on coarser grids as cheap physics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from dolfinx import fem
from mpi4py import MPI

from dolfinx_neural_topo.density import CellGrid, ConeFilter, Design, DesignDomain
from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.optimize.multistart import Levels, multistart
from dolfinx_neural_topo.study.job import Job, Outcome
from dolfinx_neural_topo.tasks.build import create_mesh
from dolfinx_neural_topo.tasks.coarse import coarsen
from dolfinx_neural_topo.tasks.sketch import Task
from dolfinx_neural_topo.tasks.states import STATES

PENALTY, FILTER_RADIUS = 3.0, 2.0

FACTORS = (2, 4, 8)
"""How much larger the cells of the coarser grids are, where the task's size allows."""


class TaskLevels(Levels):
    """A task with the physics of its own grid and of coarser ones.

    Attributes:
        grid: Pixels of the task's own grid.

    Args:
        task: The task.
        comm: Communicator.

    Note: Collective.
    """

    def __init__(self, task: Task, comm: MPI.Comm):
        from dolfinx_neural_topo.bridge import PixelTransfer  # loads torch

        functional, penalty = _physics(task, comm, 1)
        rho = functional.state.rho
        self.grid = CellGrid(functional.state.mesh, task.image_shape)
        void = None if task.void is None else self.grid.to_cells(task.void)
        domain = DesignDomain(rho, volume_fraction=task.volume_fraction, void=void)
        design = Design(functional, domain, filter=ConeFilter(domain, FILTER_RADIUS))
        coarser = [_physics(coarse, comm, factor) for factor, coarse in _coarser(task)]
        self._functionals = [functional, *(functional for functional, _ in coarser)]
        super().__init__(
            design,
            self._functionals[1:],
            [penalty, *(penalty for _, penalty in coarser)],
            PixelTransfer(self.grid),
        )

    def destroy(self) -> None:
        """Free the state problems. Note: Collective."""
        for functional in self._functionals:
            functional.state.destroy()


def _coarser(task: Task) -> Iterator[tuple[int, Task]]:
    """Yield the factors that the task's size allows, and the coarser tasks."""
    for factor in FACTORS:
        try:
            yield factor, coarsen(task, factor)
        except InputError:
            return


def _physics(task: Task, comm: MPI.Comm, factor: int) -> tuple[Any, fem.Constant]:
    """Return the functional of a task whose cells have the edge `factor`, and its penalty."""
    mesh = create_mesh(task, comm)
    rho = fem.Function(fem.functionspace(mesh, ("DG", 0)), name="rho")
    penalty = fem.Constant(mesh, np.float64(PENALTY))
    _, functional = STATES[task.physics](
        task, rho, penalty, petsc_options_prefix=f"level{factor}_", solver=None
    )
    mesh.geometry.x[:] *= factor  # loads and supports are found on unit cells
    return functional, penalty


def multistart_by(parameterization: str) -> Callable[[Job], Outcome]:
    """Return the method of a study that uses a parameterization (see `multistart`).

    Its budget counts equivalent evaluations: those on coarser grids weighted by cells.
    """

    def run(job: Job) -> Outcome:
        levels = TaskLevels(job.task, job.comm)
        checkpoint = None if job.folder is None else job.folder / f"checkpoint-{job.key.folder}"
        try:
            found = multistart(
                levels,
                budget=job.key.budget,
                seed=job.key.seed,
                parameterization=parameterization,
                build=lambda comm: TaskLevels(job.task, comm),
                checkpoint=checkpoint,
            )
            return Outcome(
                rho_design=levels.grid.to_image(found.rho_design),
                rho=levels.grid.to_image(found.rho),
                compliance=found.objective,
                volume=found.volume,
                evaluations=found.evaluations,
                equivalent_evaluations=found.equivalent_evaluations,
                solves=found.solves,
                history=found.history,
                reason=found.reason,
            )
        finally:
            levels.destroy()

    return run
