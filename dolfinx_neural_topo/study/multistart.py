"""Neural multi-start and its controls on the tasks, with the same task on coarser grids as cheap physics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.optimize.multistart import Schedule, Starts, minimize_multistart
from dolfinx_neural_topo.optimize.multistart.schedule import FINISH
from dolfinx_neural_topo.study.job import Job, Outcome
from dolfinx_neural_topo.tasks.build import build
from dolfinx_neural_topo.tasks.coarse import meshes, problem

FULL_GRID = Schedule((Starts(1, level=0, evaluations=36, repair=2),), repair_level=0, rounds=(FINISH,))
"""Starts on the full grid alone, by the same ramp of the penalty; the best one is finished."""


def multistart_by(parameterization: str, schedule: Schedule | None = None) -> Callable[[Job], Outcome]:
    """Return the method of a study that uses a parameterization (see `minimize_multistart`).

    Its budget counts equivalent evaluations, those on coarser grids weighted by cells, and is what the run
    plans for, not a limit: see `minimize_multistart`. The record says what was spent.

    Args:
        parameterization: Of the starts.
        schedule: What is done, of which the budget decides the number of starts; the preset for the task's
            size if None.
    """

    def run(job: Job) -> Outcome:
        checkpoint = None if job.folder is None else job.folder / f"checkpoint-{job.key.folder}"
        with build(job.task, job.comm) as built:
            try:
                found = minimize_multistart(
                    built.design,
                    problem(job.task),
                    meshes=meshes(job.task),
                    schedule=schedule,
                    budget=job.budget,
                    seed=job.key.seed,
                    parameterization=parameterization,
                    alternatives=job.alternatives,
                    last_stage=job.reserved > 0,
                    checkpoint=checkpoint,
                    progress=job.progress,
                )
            except InputError as error:
                if not str(error).startswith("budget"):
                    raise
                name = (
                    f"evaluations without the {job.reserved} of the last stage"
                    if job.reserved
                    else "evaluations"
                )
                raise InputError(str(error).replace("budget", name, 1)) from error
            to_image = built.grid.to_image
            return Outcome(
                rho_design=to_image(found.rho_design),
                rho=to_image(found.rho),
                compliance=found.objective,
                volume=found.volume,
                evaluations=found.evaluations,
                equivalent_evaluations=found.equivalent_evaluations,
                solves=found.solves,
                history=found.history,
                reason=found.reason,
                unsaved=found.unsaved,
                alternatives=tuple(
                    replace(each, rho_design=to_image(each.rho_design), rho=to_image(each.rho))
                    for each in found.alternatives
                )
                if job.alternatives > 1
                else (),
            )

    return run
