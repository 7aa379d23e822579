"""Neural multi-start and its controls on the tasks, with the same task on coarser grids as cheap physics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from dolfinx_neural_topo.optimize.multistart import minimize_multistart, preset
from dolfinx_neural_topo.study.job import Job, Outcome
from dolfinx_neural_topo.tasks.build import build
from dolfinx_neural_topo.tasks.coarse import meshes, problem


def multistart_by(parameterization: str) -> Callable[[Job], Outcome]:
    """Return the method of a study that uses a parameterization (see `minimize_multistart`).

    Its budget counts equivalent evaluations, those on coarser grids weighted by cells, and is what the run
    plans for, not a limit: see `minimize_multistart`. The record says what was spent.
    """

    def run(job: Job) -> Outcome:
        checkpoint = None if job.folder is None else job.folder / f"checkpoint-{job.key.folder}"
        with build(job.task, job.comm) as built:
            found = minimize_multistart(
                built.design,
                problem(job.task),
                meshes=meshes(job.task),
                schedule=preset(job.task.num_cells).unfinished() if job.last_stage else None,
                budget=job.key.budget,
                seed=job.key.seed,
                parameterization=parameterization,
                alternatives=job.alternatives,
                checkpoint=checkpoint,
                progress=job.progress,
            )
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
