"""The three kinds of jobs: a start, the promotion of a design, and a trial of the last stage."""

from __future__ import annotations

import math
from dataclasses import replace

from dolfinx_neural_topo.errors import SolverError
from dolfinx_neural_topo.optimize.buildable.sharpen import trial
from dolfinx_neural_topo.optimize.continuation import Continuation
from dolfinx_neural_topo.optimize.loop import minimize
from dolfinx_neural_topo.optimize.method import Array, Variables, persistence_of
from dolfinx_neural_topo.optimize.mma import MMA
from dolfinx_neural_topo.optimize.multistart.display import Display
from dolfinx_neural_topo.optimize.multistart.found import Found
from dolfinx_neural_topo.optimize.multistart.levels import Levels
from dolfinx_neural_topo.optimize.multistart.polish import Polish, Resumed, pack
from dolfinx_neural_topo.optimize.multistart.schedule import Round, Starts
from dolfinx_neural_topo.optimize.multistart.starts import Prepare
from dolfinx_neural_topo.optimize.ordering import CanonicalOrder
from dolfinx_neural_topo.optimize.result import FEASIBLE, Result
from dolfinx_neural_topo.optimize.starting_at import StartingAt
from dolfinx_neural_topo.optimize.stopping import RelativeProgress


def start(
    levels: Levels,
    before: Found,
    leg: Starts,
    repair_level: int,
    prepare: Prepare,
    seed: int,
    display: Display,
) -> Found:
    """Run a start, or a further leg of it, in its own parameters; then MMA from its densities.

    Args:
        levels: The problem.
        before: Nothing but the number of a new start, or what its leg before found, with vectors.
        leg: What to do.
        repair_level: Level of MMA.
        prepare: Parameterization.
        seed: Of this start.
        display: Where to show the evaluations.

    Returns:
        What was found, with infinite objective if the start could not be evaluated.

    Note: Collective.
    """
    final = levels.penalty
    design = levels.design(leg.level)
    display.at(leg.level)
    ramp = [(at, factor * final) for at, factor in leg.ramp if at < leg.evaluations]
    try:
        variables, method = prepare(design, levels.transfer, leg, seed)
        if before.arrays is not None:
            variables = StartingAt(variables, _order(variables).local(before.arrays["own"]))
        first = minimize(
            variables,
            method,
            evaluations=leg.evaluations,
            continuation=Continuation(levels, ramp, attribute="penalty"),
            callbacks=[display.evaluation],
            progress=False,
        )
        levels.penalty = final
        x = first.rho_design[design.domain.design]
        found = _mma(levels, before, Round(1, repair_level, leg.repair), Polish(), x, display)
    except SolverError as error:
        return Found(before.start, before.stage + 1, repair_level, reason=str(error), arrays={})
    finally:
        levels.penalty = final
    spent = first.evaluations * levels.weight(leg.level)
    arrays = dict(found.arrays or {})
    parameters = _order(variables).gather(first.x)
    if parameters is not None:  # on rank 0 only
        arrays["own"] = parameters
    return replace(
        found,
        evaluations=found.evaluations + first.evaluations,
        equivalent_evaluations=found.equivalent_evaluations + spent,
        solves=found.solves + first.solves,
        seconds=found.seconds + first.seconds["total"],
        arrays=arrays,
    )


def _order(variables: Variables) -> CanonicalOrder:
    return CanonicalOrder(variables.comm, persistence_of(variables).entries)


def promote(levels: Levels, before: Found, promotion: Round, display: Display) -> Found:
    """Give a design more evaluations of MMA, which goes on where it stopped if the level is the same.

    Args:
        levels: The problem.
        before: The design, with vectors.
        promotion: Level and budget.
        display: Where to show the evaluations.

    Note: Collective.
    """
    assert before.arrays is not None
    same = levels.existing(before.level) == levels.existing(promotion.level) and not before.trial
    method = Resumed(levels, before) if same else Polish()
    found = _mma(levels, before, promotion, method, levels.order.local(before.arrays["x"]), display)
    if same and before.objective < found.objective:
        arrays = None if found.arrays is None else found.arrays | {"x": before.arrays["x"]}
        return replace(found, objective=before.objective, volume=before.volume, arrays=arrays)
    return found


def compare(levels: Levels, before: Found, promotion: Round, display: Display) -> Found:
    """Find out what a design will be worth when it is built, and leave it as it is.

    Args:
        levels: The problem.
        before: The design, with vectors.
        promotion: Level, sharpness and budget of the trial.
        display: Where to show the evaluations.

    Note: Collective.
    """
    assert before.arrays is not None
    display.at(promotion.level)
    design = levels.design(promotion.level)
    rho_design = design.domain.expand(levels.order.local(before.arrays["x"]))
    arrays = {name: array for name, array in before.arrays.items() if name == "x"}
    try:
        result, evaluations = trial(
            design, rho_design, promotion.trial, promotion.evaluations, [display.evaluation]
        )
    except SolverError as error:
        stage, reason = before.stage + 1, str(error)
        return Found(before.start, stage, promotion.level, reason=reason, arrays=arrays, trial=True)
    return Found(
        before.start,
        before.stage + 1,
        promotion.level,
        objective=result.objective,
        volume=result.volume,
        evaluations=evaluations,
        equivalent_evaluations=evaluations * levels.weight(promotion.level),
        solves=result.solves,
        seconds=result.seconds["total"],
        reason=result.reason,
        arrays=arrays,
        trial=True,
    )


def _mma(levels: Levels, before: Found, promotion: Round, method: MMA, x: Array, display: Display) -> Found:
    """Run MMA from densities of owned design cells."""
    level = promotion.level
    display.at(level)
    result = minimize(
        StartingAt(levels.design(level), x),
        method,
        evaluations=promotion.evaluations,
        stop=None if promotion.tolerance is None else RelativeProgress(promotion.tolerance, promotion.window),
        callbacks=[display.evaluation],
        progress=False,
    )
    arrays, numbers = pack(levels, method, result.x)
    return Found(
        before.start,
        before.stage + 1,
        level,
        objective=result.objective,
        volume=result.volume,
        evaluations=result.evaluations,
        equivalent_evaluations=result.evaluations * levels.weight(level),
        solves=result.solves,
        seconds=result.seconds["total"],
        reason=result.reason,
        history=_allowed(result) if level == 0 else [],
        arrays=arrays,
        numbers=numbers,
    )


def _allowed(result: Result) -> list[float]:
    """Return the objectives of all evaluations, inf where the volume was exceeded."""
    history = result.history
    return [
        value if violation <= FEASIBLE else math.inf
        for value, violation in zip(history.objective, history.violation, strict=True)
    ]
