"""Any method of a study, followed by the last stage that makes its design buildable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.optimize.buildable import EVALUATIONS, make_buildable
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
        rest = job.key.budget - fields * EVALUATIONS - CHECKS
        if rest < 1:
            raise InputError(
                f"evaluations must be more than {fields * EVALUATIONS + CHECKS}, which the last stage of a "
                f"buildable design takes, got {job.key.budget}"
            )
        grey = optimize(replace(job, key=job.key._replace(budget=rest), last_stage=True))
        return grey if grey.interrupted or grey.unsaved else _finish(job, grey)

    return run


def _finish(job: Job, grey: Outcome) -> Outcome:
    """Make the design of an outcome buildable. Note: Collective."""
    with build(job.task, job.comm, solver=job.solver) as task:
        found = task.grid.to_cells(grey.rho_design)
        result = make_buildable(task.design, found, exact_volume=True, progress=job.progress)
        before = len(grey.history) + len(result.history)
        return Outcome(
            rho_design=task.grid.to_image(result.rho_design),
            rho=task.grid.to_image(result.rho),
            compliance=result.value,
            volume=result.volume,
            evaluations=grey.evaluations + result.evaluations,
            equivalent_evaluations=grey.equivalent_evaluations + result.evaluations,
            solves=grey.solves + result.solves,
            history=[*[np.inf] * before, result.value],
            reason=result.reason or "The cut is one piece that carries every load.",
            built={**result.summary(), "grey": grey.compliance},
        )
