"""Neural multi-start and its controls on the tasks, with the same task on coarser grids as cheap physics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from dolfinx import fem
from mpi4py import MPI

from dolfinx_neural_topo.density import CellGrid, ConeFilter, Design, DesignDomain
from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.optimize.multistart import Levels, minimize_multistart
from dolfinx_neural_topo.study.job import Job, Outcome
from dolfinx_neural_topo.tasks.build import create_mesh
from dolfinx_neural_topo.tasks.coarse import coarsen
from dolfinx_neural_topo.tasks.other import Patch
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

    Raises:
        InputError: The material of the task is not SIMP, for which coarser grids average the fine modulus.

    Note: Collective.
    """

    def __init__(self, task: Task, comm: MPI.Comm):
        if task.physics == "stokes":
            raise InputError(f"{task.name} has no SIMP material to average; use a method of one start")
        from dolfinx_neural_topo.bridge import PixelTransfer  # loads torch

        functional, penalty = _physics(task, comm, 1)
        rho = functional.state.rho
        self.grid = CellGrid(functional.state.mesh, task.image_shape)
        void = None if task.void is None else self.grid.to_cells(task.void)
        domain = DesignDomain(rho, volume_fraction=task.volume_fraction, void=void)
        design = Design(functional, domain, filter=ConeFilter(domain, FILTER_RADIUS))
        coarser = [_physics(task, comm, factor) for factor in _coarser(task)]
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


def _coarser(task: Task) -> Iterator[int]:
    """Yield the factors by which the cells of a task can be enlarged."""
    patches = [value for value in task.parameters.values() if isinstance(value, Patch)]
    for factor in FACTORS:
        try:
            coarsen(replace(task, parameters={}), factor)
        except InputError:
            return
        if any(end % factor for patch in patches for end in (patch.start, patch.end)):
            return
        yield factor


def _physics(task: Task, comm: MPI.Comm, factor: int) -> tuple[Any, fem.Constant]:
    """Return the functional of a task with cells enlarged by a factor, and its penalty."""
    mesh = create_mesh(replace(task, shape=tuple(cells // factor for cells in task.shape)), comm)
    rho = fem.Function(fem.functionspace(mesh, ("DG", 0)), name="rho")
    penalty = fem.Constant(mesh, np.float64(PENALTY))
    options = {"petsc_options_prefix": f"level{factor}_", "solver": None}
    if task.parameters:  # patches keep their place; supports act on those nodes that are left
        mesh.geometry.x[:] *= factor
        _, functional = STATES[task.physics](task, rho, penalty, **options)
    else:  # nodal loads and supports are found on unit cells
        coarse = task if factor == 1 else coarsen(task, factor)
        _, functional = STATES[task.physics](coarse, rho, penalty, **options)
        mesh.geometry.x[:] *= factor
    return functional, penalty


def multistart_by(parameterization: str) -> Callable[[Job], Outcome]:
    """Return the method of a study that uses a parameterization (see `minimize_multistart`).

    Its budget counts equivalent evaluations, those on coarser grids weighted by cells, and is what the run
    plans for, not a limit: see `minimize_multistart`. The record says what was spent.
    """

    def run(job: Job) -> Outcome:
        levels = TaskLevels(job.task, job.comm)
        checkpoint = None if job.folder is None else job.folder / f"checkpoint-{job.key.folder}"
        try:
            found = minimize_multistart(
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
