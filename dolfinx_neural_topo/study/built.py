"""Any method of a study, followed by the last stage that makes its design buildable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from dolfinx_neural_topo.density.cut import cut
from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.optimize.buildable import EVALUATIONS, make_buildable
from dolfinx_neural_topo.optimize.multistart import distance
from dolfinx_neural_topo.study.job import Job, Outcome
from dolfinx_neural_topo.tasks.build import build

BUILT = "-built"
"""End of the name of a method with that stage."""

CHECKS = 10
"""Evaluations kept for checks of the cut and its repair."""


def built(optimize: Callable[[Job], Outcome]) -> Callable[[Job], Outcome]:
    """Return the method with the last stage, whose cost is part of the budget.

    The record is that of the 0-1 design; there is none before the end, so that its history is infinite up to
    there.
    """

    def run(job: Job) -> Outcome:
        fields = 1 if job.task.physics in ("elasticity", "heat") else 3  # solves an evaluation
        stage = job.alternatives * (fields * EVALUATIONS + CHECKS)
        if job.budget <= stage:
            designs = (
                f"{job.alternatives} buildable designs" if job.alternatives > 1 else "a buildable design"
            )
            raise InputError(
                f"evaluations must be more than {stage}, which the last stage of {designs} takes, "
                f"got {job.budget}"
            )
        grey = optimize(replace(job, reserved=stage))
        return grey if grey.interrupted or grey.unsaved else _finish(job, grey)

    return run


def _finish(job: Job, grey: Outcome) -> Outcome:
    """Make the design of an outcome, and its alternatives, buildable. Note: Collective."""
    with build(job.task, job.comm, solver=job.solver) as task:
        images = [each.rho_design for each in grey.alternatives] or [grey.rho_design]
        values = [each.objective for each in grey.alternatives] or [grey.compliance]
        made = [
            make_buildable(task.design, task.grid.to_cells(image), exact_volume=True, progress=job.progress)
            for image in images
        ]
        order = sorted(range(len(made)), key=lambda k: (made[k].reason != "", made[k].value))
        best = made[order[0]]
        cuts = [cut(task.domain, each.rho) for each in made]
        alternatives = tuple(
            replace(
                grey.alternatives[k],
                objective=made[k].value,
                volume=made[k].volume,
                rho_design=task.grid.to_image(made[k].rho_design),
                rho=task.grid.to_image(made[k].rho),
                distance=distance(task.domain, cuts[k], cuts[order[0]]),
            )
            for k in order[: len(grey.alternatives)]
        )
        evaluations = sum(each.evaluations for each in made)
        return Outcome(
            rho_design=task.grid.to_image(best.rho_design),
            rho=task.grid.to_image(best.rho),
            compliance=best.value,
            volume=best.volume,
            evaluations=grey.evaluations + evaluations,
            equivalent_evaluations=grey.equivalent_evaluations + evaluations,
            solves=grey.solves + sum(each.solves for each in made),
            history=[*[np.inf] * (len(grey.history) + sum(len(each.history) for each in made)), best.value],
            reason=best.reason or "The cut is one piece that carries every load.",
            built={**best.summary(), "grey": values[order[0]]},
            alternatives=alternatives,
        )
