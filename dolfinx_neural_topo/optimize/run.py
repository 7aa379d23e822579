"""One run of `minimize`: the loop, what makes it stop, and what it does about failures."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dolfinx_neural_topo._checks import all_finite
from dolfinx_neural_topo.density.evaluation import Evaluation
from dolfinx_neural_topo.errors import (
    InputError,
    Interrupted,
    ReplicationError,
    SolverError,
    attempt,
    together,
)
from dolfinx_neural_topo.optimize.continuation import Continuation
from dolfinx_neural_topo.optimize.interrupts import Interrupts
from dolfinx_neural_topo.optimize.method import Array, Method, Variables, persistence_of
from dolfinx_neural_topo.optimize.progress import Progress
from dolfinx_neural_topo.optimize.record import Record
from dolfinx_neural_topo.optimize.result import FEASIBLE, Candidate, History, Result
from dolfinx_neural_topo.optimize.saving import Saving
from dolfinx_neural_topo.optimize.step import Step

MAX_FAILURES = 8
"""Failed evaluations in a row after which a run ends; each lets the method shrink its step."""


class Run:
    """One run of `minimize`: its loop. What it finds is in `record`, its checkpoints are written by `saving`.

    Args:
        variables: As for `minimize`.
        method: Method, started by the run.
        evaluations: Budget of evaluations.
        seconds: Budget of wall seconds, or None.
        continuations: Continuations.
        stop: Early stop, or None.
        callbacks: Callbacks.
        progress: Shows how far the run is.
        checkpoint: File of its checkpoints, or None.
        every: Evaluations between them.

    Note: Collective.
    """

    def __init__(
        self,
        variables: Variables,
        method: Method,
        *,
        evaluations: int,
        seconds: float | None,
        continuations: tuple[Continuation, ...],
        stop: Callable[[History], str | None] | None,
        callbacks: Sequence[Callable[[Step], str | None]],
        progress: Progress,
        checkpoint: Path | None,
        every: int,
    ):
        self.variables, self.method = variables, method
        self.budget, self.limit, self.stop = evaluations, seconds, stop
        self.continuations, self.callbacks, self.progress = continuations, callbacks, progress
        self.persistence = persistence_of(variables)
        self.record = Record(lambda: self.persistence.num_solves)
        self.reason: str | None = None
        self.interrupted = False
        self._set_stage(0)  # before the method asks for the initial design, which may depend on it
        self.saving = Saving(checkpoint, every, variables, method, self.record)
        method.start(variables)
        self.saving.resume(self._set_stage)

    def loop(self, interrupts: Interrupts) -> None:
        """Evaluate until there is a reason to stop."""
        record = self.record
        self._set_stage(len(record.history))
        while not self._agree_to_stop(interrupts):
            self._advance_continuation()
            with record.timed("method"):
                x = self._ask()
            if x is None:
                break
            with record.timed("evaluate"):
                evaluation = self._evaluate(x)
            record.add(x, evaluation)
            self._show(evaluation)
            with record.timed("callbacks"):
                _, error = attempt(self.variables.comm, partial(self._call_back, x, evaluation))
            with record.timed("method"):
                self.method.tell(x, evaluation)  # may overwrite x
            self.saving.save(due=error is not None)
            if error is not None:
                raise error
        self.saving.save()
        self.reason = self.saving.problem or self.reason
        self.progress.finish(str(self.reason))

    def _ask(self) -> Array | None:
        """Return the next x, or None and set the reason where the method finds none but has a design."""
        try:
            return self.method.ask()
        except SolverError as error:  # on all ranks: methods decide by the same numbers
            if self.record.best is None:
                raise
            self.reason = f"{self.method.name} found no next design: {error}"
            return None

    def _agree_to_stop(self, interrupts: Interrupts) -> bool:
        """Set the reason to stop, if any, the same on all ranks."""
        own = together(self.variables.comm, self._own_reason, "stop")  # calls the user's rule
        mine = (interrupts.caught, self.saving.problem or self.reason or own)
        everyone = self.variables.comm.allgather(mine)
        caught = next((name for name, _ in everyone if name), None)
        self.reason = next((reason for _, reason in everyone if reason), None)
        if caught is not None:
            self.interrupted = True
            self.reason = f"Interrupted by {caught}."
        return self.reason is not None

    def _own_reason(self) -> str | None:
        record, done = self.record, len(self.record.history)
        if record.failures >= MAX_FAILURES:
            return f"The last {record.failures} evaluations failed: {record.failure}"
        if self.method.finished is not None:
            return self.method.finished
        if done >= self.budget:
            return f"The budget of {self.budget} evaluations is used up."
        if self.limit is not None and record.elapsed >= self.limit:
            return f"The budget of {self.limit:g} seconds is used up."
        if self.stop is not None and all(done > c.evaluations[-1] for c in self.continuations):
            return _sentence("stop", self.stop(record.history))
        return None

    def _set_stage(self, number: int) -> None:
        """Set all continuations as they are for evaluation `number` (from 1; 0 counts as 1)."""
        for continuation in self.continuations:
            continuation.apply(max(0, number - 1))

    def _advance_continuation(self) -> None:
        done = len(self.record.history)
        starting = [c for c in self.continuations if c.changes_at(done)]
        for continuation in starting:
            continuation.apply(done)
        if any(continuation.changes_objective for continuation in starting):
            self.record.stage += 1
            with self.record.timed("method"):
                self.method.objective_changed()

    def _evaluate(self, x: Array, gradient: bool = True) -> Evaluation:
        """Evaluate at `x`; a failure of any kind becomes an infinite value without gradient, on all ranks."""

        def finite() -> Evaluation:
            evaluation = self.variables.evaluate(x, gradient)
            _refuse_not_finite(evaluation)
            return evaluation

        evaluation, error = attempt(self.variables.comm, finite)
        record = self.record
        if evaluation is not None:
            record.failures = 0
            return evaluation
        assert error is not None
        if isinstance(error, (Interrupted, ReplicationError)):
            raise error  # going back would not help
        record.failures, record.failure = record.failures + 1, str(error)
        last = record.last
        if last is None:
            if not isinstance(error, SolverError):
                raise error
            raise SolverError(f"The start cannot be evaluated: {error}") from error
        inf = np.full(len(last.constraints), math.inf)
        return Evaluation(math.inf, None, inf, None, last.rho_design, last.rho, math.nan)

    def _show(self, evaluation: Evaluation) -> None:
        seconds = self.record.history.seconds
        recent = seconds[-11:]
        each = (recent[-1] - recent[0]) / (len(recent) - 1) if len(recent) > 1 else recent[0]
        best = evaluation.value if self.record.best is None else self.record.best.objective
        self.progress.update(len(seconds), evaluation.value, best, evaluation.volume, each, recent[-1])

    def _call_back(self, x: Array, evaluation: Evaluation) -> None:
        record = self.record
        assert record.best is not None
        seen = replace(evaluation, **{k: _read_only(v) for k, v in vars(evaluation).items()})
        step = Step(len(record.history), _read_only(x), seen, record.best, record.history, self.method)
        for callback in self.callbacks:
            reason = _sentence("a callback", callback(step))
            self.reason = self.reason or reason

    def result(self) -> Result:
        """Return what was found, the best design evaluated again if the run was content with rough solves."""
        record = self.record
        best, last = record.best, record.last
        assert best is not None and last is not None
        if self.persistence.settle():
            with record.timed("evaluate"):
                exact = self._evaluate(best.x, gradient=False)
            if math.isfinite(exact.value):
                best = Candidate.of(best.number, best.stage, best.x, exact)
            else:
                self.reason = f"{self.reason} The best design is that of a rough solve: {record.failure}"
        return Result(
            best=best,
            last=last,
            reason=f"{self.reason}{_violated(best, self.variables)}",
            interrupted=self.interrupted,
            unsaved=self.saving.problem is not None,
            evaluations=len(record.history),
            solves=record.solves,
            seconds={**record.seconds, "total": record.elapsed},
            history=record.history,
            method=self.method.name,
        )


def _violated(best: Candidate, variables: Variables) -> str:
    """Say by how much the best design violates a constraint, if it does."""
    if best.violation <= FEASIBLE:
        return ""
    worst = int(np.argmax(best.constraints))
    limits = getattr(getattr(variables, "design", variables), "constraints", None)
    name = ""
    if limits is not None:  # not variables of the user's own
        further = worst - (len(best.constraints) - len(limits))
        name = " (volume)" if further < 0 else f" ({getattr(limits[further][0], 'name', 'unnamed')})"
    return (
        f" No design obeys all constraints: the best one exceeds constraint {worst}{name} "
        f"by {best.violation:.2g} of its bound."
    )


def _sentence(who: str, answer: Any) -> str | None:
    """Return what a function of the user answered.

    Raises:
        InputError: It is neither a sentence nor None.
    """
    if not isinstance(answer, str | None):
        raise InputError(f"{who} must return None, or a sentence to end the run, got {answer!r:.80}")
    return answer


def _read_only(value: Any) -> Any:
    """Return an array as a view that cannot be written to; anything else as it is."""
    if not isinstance(value, np.ndarray):
        return value
    view = value.view()
    view.flags.writeable = False
    return view


def _refuse_not_finite(evaluation: Evaluation) -> None:
    """Raise where this rank's part of an evaluation is not finite."""
    if not (math.isfinite(evaluation.value) and np.all(np.isfinite(evaluation.constraints))):
        raise SolverError(
            f"objective {evaluation.value:g} or constraints {evaluation.constraints} are not finite."
        )
    if evaluation.gradient is None:
        return
    if not all(map(all_finite, (evaluation.gradient, *evaluation.constraint_gradients))):
        raise SolverError("a gradient is not finite.")
