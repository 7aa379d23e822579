"""The same task on coarser grids, for methods that go from coarse to fine."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from dolfinx import fem
from dolfinx import mesh as dmesh
from mpi4py import MPI

from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.tasks.build import create_mesh
from dolfinx_neural_topo.tasks.other import Patch
from dolfinx_neural_topo.tasks.sketch import SMALLEST, Task
from dolfinx_neural_topo.tasks.states import STATES

FACTORS = (2, 4, 8)
"""How much larger the cells of coarser grids are, where a task's size allows."""


def problem(task: Task, *, penalty: float = 3.0) -> Callable[[dmesh.Mesh], Any]:
    """Return what makes the objective of a task on one of its `meshes`.

    Args:
        task: The task.
        penalty: Exponent of SIMP.

    Returns:
        Function of a mesh (collective), which returns the functional.
    """

    def functional(mesh: dmesh.Mesh) -> Any:
        num_cells = mesh.topology.index_map(task.dim).size_global
        factor = round((task.num_cells / num_cells) ** (1.0 / task.dim))
        rho = fem.Function(fem.functionspace(mesh, ("DG", 0)), name="rho")
        options = {"petsc_options_prefix": f"level{factor}_"}
        if task.parameters:  # patches keep their place; supports act on those nodes that are left
            return STATES[task.physics](task, rho, penalty, **options)[1]
        coarse = task if factor == 1 else coarsen(task, factor)
        mesh.geometry.x[:] /= factor  # nodal loads and supports are found on unit cells
        _, made = STATES[task.physics](coarse, rho, penalty, **options)
        mesh.geometry.x[:] *= factor
        return made

    return functional


def meshes(task: Task) -> Callable[[MPI.Comm], list[dmesh.Mesh]]:
    """Return what makes the grid of a task and those of larger cells that it can be put on.

    Returns:
        Function of a communicator (collective), which returns the meshes from fine to coarse.
    """
    patches = [value for value in task.parameters.values() if isinstance(value, Patch)]
    patches += task.parameters.get("openings", ())
    ends = [end for patch in patches for end in (patch.start, patch.end)]
    factors = list(
        itertools.takewhile(
            lambda factor: _can_be_coarsened(task, factor) and not any(end % factor for end in ends), FACTORS
        )
    )

    def made(comm: MPI.Comm) -> list[dmesh.Mesh]:
        return [create_mesh(task, comm, factor) for factor in (1, *factors)]

    return made


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
    if not _can_be_coarsened(task, factor):
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


def _can_be_coarsened(task: Task, factor: int) -> bool:
    return all(cells % factor == 0 and cells // factor >= SMALLEST for cells in task.shape)


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
