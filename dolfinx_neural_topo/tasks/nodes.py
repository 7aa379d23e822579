"""Supports and nodal loads of a task on a first-order Lagrange space, found by grid index."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from dolfinx import fem

from dolfinx_neural_topo.tasks.sketch import Task, Y


def supports(task: Task, V: fem.FunctionSpace) -> list[fem.DirichletBC]:
    """Return zero Dirichlet conditions, one for each component that has supports.

    Args:
        task: The task.
        V: First-order Lagrange space on the task's mesh, as many components as the task has.

    Note: Collective.
    """
    block_size = V.dofmap.index_map_bs
    conditions = []
    for component in np.unique(task.fixed[:, -1]):
        _, blocks = _find(task, V, task.fixed[task.fixed[:, -1] == component, :-1])
        unrolled = np.sort(blocks * block_size + component).astype(
            np.int32
        )  # owned before ghosts, as DOLFINx needs
        space = V if block_size == 1 else V.sub(int(component))
        conditions.append(fem.dirichletbc(np.zeros((), dtype=np.float64), unrolled, space))
    return conditions


def loads(task: Task, V: fem.FunctionSpace) -> fem.Function:
    """Return the nodal loads: a function whose degrees of freedom are forces, on ghosts as on owners.

    Args:
        task: The task.
        V: As for `supports`.
    """
    load = fem.Function(V, name="load")
    forces = load.x.array.reshape(-1, V.dofmap.index_map_bs)
    row, blocks = _find(task, V, task.load_at[:, :-1])
    forces[blocks, task.load_at[row, -1]] = task.load[row]
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
    block = np.full(sizes, -1, dtype=np.int64)
    block[tuple(index.T)] = np.arange(len(index))
    found = block[tuple(nodes.T)]
    row = np.flatnonzero(found >= 0)
    return row, found[row]
