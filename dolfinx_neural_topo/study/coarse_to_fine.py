"""The cheap rival without a network: densities on coarse grids, enlarged, finished on the task's own grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from dolfinx_neural_topo import optimize
from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.study.job import Job, Outcome, starting_at
from dolfinx_neural_topo.tasks.build import build
from dolfinx_neural_topo.tasks.coarse import coarsen

LEVELS = ((4, 0.3), (2, 0.3))
"""Coarsening factors and the part of the budget spent there; the rest is spent on the task's own grid."""

SMALLEST_RADIUS = 1.5
"""Filter radius in cells of a coarse grid, where the true one would be smaller."""

FILTER_RADIUS = 2.0

CLIP = 1e-3
"""Distance from 0 and 1 that enlarged densities keep, so that the next level can move them."""


def coarse_to_fine(job: Job) -> Outcome:
    """Optimize by MMA on ever finer grids, each from the enlarged design of the one before.

    Levels that the task's size does not allow are left out. Each level obeys the physical volume of its own
    grid.

    Note: Collective.
    """
    evaluations, weighted, solves = 0, 0.0, 0
    rho_design = None
    for factor, share in (*LEVELS, (1, 1.0)):
        try:
            task = coarsen(job.task, factor)
        except InputError:  # this level does not exist for this size
            continue
        budget = job.budget - evaluations if factor == 1 else int(share * job.budget)
        if budget == 0:
            continue
        radius = max(FILTER_RADIUS / factor, SMALLEST_RADIUS)
        with build(task, job.comm, filter_radius=radius, constrain="physical") as built:
            if rho_design is None:
                logits = job.start_logits(task.image_shape)
            else:
                inside = np.clip(enlarge(rho_design, task.image_shape), CLIP, 1.0 - CLIP)
                logits = np.log(inside / (1.0 - inside))
            variables = built.design if logits is None else starting_at(built, logits)
            result = optimize.minimize(variables, optimize.MMA(), **job.options(budget, f"-{factor}"))
            outcome = Outcome.of(result, built)
        rho_design = outcome.rho_design
        evaluations += outcome.evaluations
        weighted += outcome.evaluations * task.num_cells / job.task.num_cells
        solves += outcome.solves
        if outcome.interrupted or outcome.unsaved:
            break
    on_coarse_grids = [np.inf] * (evaluations - len(outcome.history))
    return replace(
        outcome,
        evaluations=evaluations,
        equivalent_evaluations=weighted,
        solves=solves,
        history=on_coarse_grids + outcome.history,
    )


def enlarge(image: npt.NDArray[np.float64], shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Repeat pixels so that an image gets a shape whose sides are multiples of its own."""
    for axis, cells in enumerate(shape):
        image = np.repeat(image, cells // image.shape[axis], axis=axis)
    return image
