"""Neural multi-start and its controls on the tasks, with the same task on coarser grids as cheap physics."""

from __future__ import annotations

from collections.abc import Callable

from dolfinx import fem
from mpi4py import MPI

from dolfinx_neural_topo.bridge import PixelTransfer
from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.optimize.multistart import Levels, multistart
from dolfinx_neural_topo.study.job import Job, Outcome
from dolfinx_neural_topo.tasks.build import BuiltTask, build
from dolfinx_neural_topo.tasks.coarse import coarsen
from dolfinx_neural_topo.tasks.sketch import Task

FACTORS = (2, 4, 8)
"""How much larger the cells of the coarser grids are, where the task's size allows."""


class TaskLevels(Levels):
    """A task with the physics of coarser grids.

    Attributes:
        built: The task on its own grid.

    Note: Collective.
    """

    def __init__(self, task: Task, comm: MPI.Comm):
        self.built = _build(task, comm, 1)
        coarser = [_build(coarse, comm, factor) for factor, coarse in _coarser(task)]
        problems = [self.built, *coarser]
        super().__init__(
            self.built.design,
            [problem.functional for problem in coarser],
            [problem.penalty for problem in problems],
            PixelTransfer(self.built.grid),
            close=lambda: [problem.destroy() for problem in problems],
        )
