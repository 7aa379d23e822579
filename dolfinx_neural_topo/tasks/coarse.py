"""The same task on a coarser grid, for methods that go from coarse to fine."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.tasks.sketch import SMALLEST, Task


def coarsen(task: Task, factor: int) -> Task:
    """Return a task with cells `factor` times as large, in units of the new cells.

    A support goes to the nearest coarser node (towards the first one from the middle between two), a load to
    the corners of its coarser cell by the shape functions there, so that resultants and moments stay. A
    coarser cell is void where more than half of it is.

    Raises:
        InputError: The task has patches instead of nodal loads (mechanism, flow), a side is no multiple of
            `factor`, or fewer than 4 cells would be left along it.
    """
    if task.parameters:
        raise InputError(
            f"{task.name} cannot be coarsened: {', '.join(task.parameters)} have no coarser form"
        )
    if any(cells % factor or cells // factor < SMALLEST for cells in task.shape):
        raise InputError(
            f"{task.name} cannot be coarsened by {factor}: each side must be a multiple of it, "
            f"with at least {SMALLEST} coarser cells"
        )
    shape = tuple(cells // factor for cells in task.shape)
    fixed = task.fixed.copy()
    fixed[:, :-1] = -((-2 * fixed[:, :-1] + factor) // (2 * factor))
    load_at, load = _coarser_loads(task, factor, shape)
    void = None
    if task.void is not None:
        blocks = [n for cells in task.void.shape for n in (cells // factor, factor)]
        void = task.void.reshape(blocks).mean(axis=tuple(range(1, len(blocks), 2))) > 0.5
    return replace(task, shape=shape, fixed=np.unique(fixed, axis=0), load_at=load_at, load=load, void=void)


def _coarser_loads(
    task: Task, factor: int, shape: tuple[int, ...]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Share each load among the corners of its cell; sum what meets at a node."""
    position = task.load_at[:, :-1] / factor
    corner = np.minimum(np.floor(position).astype(np.int64), np.array(shape) - 1)
    upper = position - corner
    rows, values = [], []
    for offset in itertools.product((0, 1), repeat=task.dim):
        rows.append(np.column_stack([corner + offset, task.load_at[:, -1]]))
        values.append(task.load * np.prod(np.where(offset, upper, 1.0 - upper), axis=1))
    nodes, place = np.unique(np.concatenate(rows), axis=0, return_inverse=True)
    total = np.bincount(place.reshape(-1), weights=np.concatenate(values), minlength=len(nodes))
    return nodes[total != 0.0], total[total != 0.0]
