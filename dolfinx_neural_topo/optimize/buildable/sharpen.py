"""MMA on ever sharper projections of a design: the body of the last stage, and a short trial of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from dolfinx_neural_topo.density import Design
from dolfinx_neural_topo.density.projection import ThreeFieldProjection
from dolfinx_neural_topo.optimize.buildable.fields import less_is_worse, stage_filter
from dolfinx_neural_topo.optimize.continuation import Continuation
from dolfinx_neural_topo.optimize.loop import minimize
from dolfinx_neural_topo.optimize.method import Array
from dolfinx_neural_topo.optimize.mma import MMA
from dolfinx_neural_topo.optimize.result import Result
from dolfinx_neural_topo.optimize.starting_at import StartingAt

BETAS = (4.0, 6.0, 9.0, 13.5, 20.0, 30.0)
"""Sharpness of the projection. Where it rises by more at once, thin members break."""

MOVE = 0.08
"""Move limit of MMA."""

TRIAL_MOVE, TRIAL_DELTA = 0.15, 0.1
"""Move limit and erosion of a trial, which has fewer evaluations."""

_CLIP = 0.01  # the start keeps this distance from 0 and 1, so that MMA can move all cells


def sharpen(
    design: Design,
    rho_design: Array,
    betas: Sequence[float],
    counts: Sequence[int],
    *,
    move: float = MOVE,
    callbacks: Sequence[Callable[[Any], Any]] = (),
    progress: bool | None = False,
) -> Result:
    """Minimize from a design by so many evaluations at each sharpness.

    Args:
        design: With a `ThreeFieldProjection`, of which the eroded density is taken alone where that is the
            worst one.
        rho_design: Start, on owned cells.
        betas: Sharpness.
        counts: Evaluations at each.
        move: Move limit of MMA.
        callbacks: As for `minimize`.
        progress: As for `minimize`.

    Note: Collective.
    """
    projection = design.projection
    assert isinstance(projection, ThreeFieldProjection)
    projection.beta = betas[0]
    inside = np.clip(rho_design, _CLIP, 1.0 - _CLIP)
    start = design.logits.apply(np.log(inside / (1.0 - inside)))
    eroded = projection.eroded.apply(design.unprojected.apply(start))
    projection.eroded_alone = less_is_worse(design.functional, eroded)
    starts = [0, *accumulate(counts[:-1])]
    return minimize(
        StartingAt(design, start[design.domain.design]),
        MMA(move=move),
        evaluations=sum(counts),
        continuation=Continuation(projection, list(zip(starts, betas, strict=True)), attribute="beta"),
        callbacks=callbacks,
        progress=progress,
    )


def trial(
    design: Design,
    rho_design: Array,
    betas: Sequence[float],
    evaluations: int,
    callbacks: Sequence[Callable[[Any], Any]] = (),
) -> tuple[Result, int]:
    """Sharpen a design for a moment, to see what it will be worth when it is built.

    Args:
        design: The design problem, with the physics of any mesh.
        rho_design: Start, on owned cells.
        betas: Sharpness of the projection.
        evaluations: Budget, of which each sharpness gets the same part.
        callbacks: As for `minimize`.

    Returns:
        What was found, and how many evaluations of the objective that took.

    Note: Collective.
    """
    kernel, _ = stage_filter(design, None, None)
    projection = ThreeFieldProjection(betas[0], delta=TRIAL_DELTA)
    projected = Design(
        design.functional,
        design.domain,
        filter=kernel,
        manufacturing=design.manufacturing,
        projection=projection,
    )
    counts = [evaluations // len(betas)] * len(betas)
    result = sharpen(projected, rho_design, betas, counts, move=TRIAL_MOVE, callbacks=callbacks)
    return result, len(projection.realizations) * result.evaluations
