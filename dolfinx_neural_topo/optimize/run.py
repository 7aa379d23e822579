"""One run of `minimize`: the loop, what it has found so far, and its checkpoints."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np

from dolfinx_neural_topo.density.design import Evaluation
from dolfinx_neural_topo.errors import (
    CheckpointError,
    Interrupted,
    ReplicationError,
    SolverError,
    attempt,
)
from dolfinx_neural_topo.optimize.checkpoint import Checkpoint, Snapshot
from dolfinx_neural_topo.optimize.continuation import Continuation
from dolfinx_neural_topo.optimize.interrupts import Interrupts
from dolfinx_neural_topo.optimize.method import Array, Method, Variables
from dolfinx_neural_topo.optimize.ordering import CanonicalOrder
from dolfinx_neural_topo.optimize.progress import Progress
from dolfinx_neural_topo.optimize.result import Candidate, History, Result
from dolfinx_neural_topo.optimize.step import Step

MAX_FAILURES = 8
"""Failed evaluations in a row after which a run ends; each lets the method shrink its step."""


class Run:
    """State of one run of `minimize`, and its loop."""

    callbacks: tuple[Callable[[Step], str | None], ...]
    progress: Progress

    def __init__(
        self,
        variables: Variables,
        method: Method,
        evaluations: int,
        seconds: float | None,
        continuations: tuple[Continuation, ...],
        stop: Callable[[History], str | None] | None,
    ):
        self.variables = variables
        self.method = method
        self.budget = evaluations
        self.limit = seconds
        self.continuations = continuations
        self.stop = stop
        self.history = History()
        self.best: Candidate | None = None
        self.last: Candidate | None = None
        self.failures = 0
        self.failure = ""
        self.stage = 0
        self.seconds = dict.fromkeys(("evaluate", "method", "callbacks", "checkpoint"), 0.0)
        self.earlier_solves = -variables.num_solves
        self.checkpoint: Checkpoint | None = None
        self.every = 0
        self.saved = 0
        self.reason: str | None = None
        self.interrupted = self.unsaved = False
        self._set_stage(0)  # before the method asks for the initial design, which may depend on it

    # --- the loop ------------------------------------------------------------------------------------

    def loop(self, interrupts: Interrupts) -> None:
        """Evaluate until there is a reason to stop."""
        self._set_stage(len(self.history))
        while not self._agree_to_stop(interrupts):
            self._advance_continuation()
            with self._timed("method"):
                x = self.method.ask()
            with self._timed("evaluate"):
                evaluation = self._evaluate(x)
            self._record(x, evaluation)
            with self._timed("callbacks"):
                _, error = attempt(self.variables.comm, partial(self._call_back, x, evaluation))
            with self._timed("method"):
                self.method.tell(x, evaluation)  # may overwrite x
            if error is not None:
                if self.checkpoint is not None:
                    self._save()
                raise error
            if self.checkpoint is not None and len(self.history) % self.every == 0:
                self._save()
        if self.checkpoint is not None and self.saved != len(self.history):
            self._save()
        self.progress.finish(str(self.reason))

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        self.seconds[stage] += time.perf_counter() - begin

    def _agree_to_stop(self, interrupts: Interrupts) -> bool:
        """Set the reason to stop, if any, the same on all ranks."""
        mine = (interrupts.caught, self.reason or self._own_reason())
        everyone = self.variables.comm.allgather(mine)
        caught = next((name for name, _ in everyone if name), None)
        self.reason = next((reason for _, reason in everyone if reason), None)
        if caught is not None:
            self.interrupted = True
            self.reason = f"Interrupted by {caught}."
        return self.reason is not None

    def _own_reason(self) -> str | None:
        done = len(self.history)
        if self.failures >= MAX_FAILURES:
            return f"The last {self.failures} evaluations failed: {self.failure}"
        if self.method.finished is not None:
            return self.method.finished
        if done >= self.budget:
            return f"The budget of {self.budget} evaluations is used up."
        if self.limit is not None and sum(self.seconds.values()) >= self.limit:
            return f"The budget of {self.limit:g} seconds is used up."
        if self.stop is not None and all(done >= c.evaluations[-1] for c in self.continuations):
            return self.stop(self.history)
        return None

    def _set_stage(self, number: int) -> None:
        """Set all continuations as they are for evaluation `number` (from 1; 0 counts as 1)."""
        for continuation in self.continuations:
            continuation.apply(max(0, number - 1))

    def _advance_continuation(self) -> None:
        starting = [c for c in self.continuations if c.changes_at(len(self.history))]
        for continuation in starting:
            continuation.apply(len(self.history))
        if any(continuation.changes_objective for continuation in starting):
            self.stage += 1
            with self._timed("method"):
                self.method.objective_changed()

    # --- one evaluation ------------------------------------------------------------------------------

    def _evaluate(self, x: Array, gradient: bool = True) -> Evaluation:
        """Evaluate at `x`; a failure of any kind becomes an infinite value without gradient, on all ranks."""

        def finite() -> Evaluation:
            evaluation = self.variables.evaluate(x, gradient)
            _refuse_not_finite(evaluation)
            return evaluation

        evaluation, error = attempt(self.variables.comm, finite)
        if evaluation is not None:
            self.failures = 0
            return evaluation
        assert error is not None
        if isinstance(error, (Interrupted, ReplicationError)):
            raise error  # going back would not help
        self.failures += 1
        self.failure = str(error)
        if self.last is None:
            if not isinstance(error, SolverError):
                raise error
            raise SolverError(f"The start cannot be evaluated: {self.failure}") from error
        inf = np.full(len(self.last.constraints), math.inf)
        rho_design, rho = self.last.rho_design, self.last.rho
        return Evaluation(math.inf, None, inf, None, rho_design=rho_design, rho=rho, volume=math.nan)

    def _record(self, x: Array, evaluation: Evaluation) -> None:
        history, number = self.history, len(self.history) + 1
        history.objective.append(float(evaluation.value))
        history.volume.append(float(evaluation.volume))
        history.violation.append(float(np.max(evaluation.constraints, initial=0.0)))
        history.stage.append(self.stage)
        history.seconds.append(sum(self.seconds.values()))
        if evaluation.gradient is not None:
            self.last = Candidate.of(number, self.stage, x, evaluation)
            if self.last.better_than(self.best):
                self.best = self.last
        recent = history.seconds[-11:]
        each = (recent[-1] - recent[0]) / (len(recent) - 1) if len(recent) > 1 else recent[0]
        self.progress.update(number, evaluation.value, evaluation.volume, each, recent[-1])

    def _call_back(self, x: Array, evaluation: Evaluation) -> None:
        assert self.best is not None
        step = Step(len(self.history), x, evaluation, self.best, self.history, self.method)
        for callback in self.callbacks:
            reason = callback(step)
            self.reason = self.reason or reason

    # --- checkpoints ---------------------------------------------------------------------------------

    def use_checkpoint(self, path: str | os.PathLike[str], every: int) -> None:
        """Resume from `path` if it exists, and write there from now on."""
        variables, method = self.variables, self.method
        cells = CanonicalOrder(variables.comm, variables.cell_index)
        entries = CanonicalOrder(variables.comm, variables.canonical_index)

        def layout(section: str, name: str) -> CanonicalOrder | None:
            if section in ("best", "last"):
                return {"x": entries, "rho": cells, "rho_design": cells}.get(name)
            return entries if section == "method" and name in method.fields else None

        fingerprint = {"method": method.name, "number of variables": entries.size}
        self.checkpoint = Checkpoint(path, variables.comm, fingerprint, layout)
        self.every = every
        self.checkpoint.read(self._go_on_from)

    def _go_on_from(self, snapshot: Snapshot) -> str | None:
        """Take over a snapshot, or return why it belongs to another run."""
        problem = self._check_problem(snapshot)
        if problem is None:
            self._restore(snapshot)
        return problem

    def _check_problem(self, snapshot: Snapshot) -> str | None:
        """Evaluate the last design of a checkpoint: what defines the problem shows in its numbers."""
        last = Candidate(**snapshot["last"])

        def evaluate() -> Evaluation:
            self.variables.load_state_dict(snapshot["variables"])
            self._set_stage(last.number)
            return self.variables.evaluate(last.x, gradient=False)

        here, error = attempt(self.variables.comm, evaluate)
        return str(error) if here is None else last.difference(self.variables.comm, here)

    def _save(self) -> None:
        """Write a checkpoint; if that is impossible (disk full), the run ends."""
        assert self.checkpoint is not None
        self.saved = len(self.history)
        with self._timed("checkpoint"):
            try:
                self.checkpoint.write(self._snapshot())
            except CheckpointError as error:
                self.reason, self.unsaved = str(error), True

    def _snapshot(self) -> Snapshot:
        assert self.best is not None and self.last is not None
        return {
            "run": {
                "failures": self.failures,
                "failure": self.failure,
                "stage": self.stage,
                "seconds": self.seconds,
                "solves": self.earlier_solves + self.variables.num_solves,
            },
            "history": {name: np.array(values) for name, values in vars(self.history).items()},
            "best": vars(self.best),
            "last": vars(self.last),
            "method": self.method.state(),
            "variables": self.variables.state_dict(),
        }

    def _restore(self, snapshot: Snapshot) -> None:
        run = snapshot["run"]
        self.failures, self.failure, self.stage = run["failures"], run["failure"], run["stage"]
        self.seconds = run["seconds"]
        self.history = History(**{name: values.tolist() for name, values in snapshot["history"].items()})
        self.best, self.last = Candidate(**snapshot["best"]), Candidate(**snapshot["last"])
        if self.best.number == self.last.number:
            self.best = self.last
        self.saved = len(self.history)
        self.variables.load_state_dict(snapshot["variables"])
        self.method.restore(snapshot["method"])
        self.earlier_solves += run["solves"]

    def result(self) -> Result:
        """Return what was found, the best design evaluated again if the run was content with rough solves."""
        assert self.best is not None and self.last is not None
        if self.variables.settle():
            with self._timed("evaluate"):
                exact = self._evaluate(self.best.x, gradient=False)
            if math.isfinite(exact.value):
                self.best = Candidate.of(self.best.number, self.best.stage, self.best.x, exact)
            else:
                self.reason = f"{self.reason} The best design is that of a rough solve: {self.failure}"
        return Result(
            best=self.best,
            last=self.last,
            reason=str(self.reason),
            interrupted=self.interrupted,
            unsaved=self.unsaved,
            evaluations=len(self.history),
            solves=self.earlier_solves + self.variables.num_solves,
            seconds={**self.seconds, "total": sum(self.seconds.values())},
            history=self.history,
            method=self.method.name,
        )


def _refuse_not_finite(evaluation: Evaluation) -> None:
    """Raise where this rank's part of an evaluation is not finite."""
    if not (math.isfinite(evaluation.value) and np.all(np.isfinite(evaluation.constraints))):
        raise SolverError(
            f"objective {evaluation.value:g} or constraints {evaluation.constraints} are not finite."
        )
    if evaluation.gradient is None:
        return
    if not all(np.all(np.isfinite(each)) for each in (evaluation.gradient, *evaluation.constraint_gradients)):
        raise SolverError("a gradient is not finite.")
