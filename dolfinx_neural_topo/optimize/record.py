"""What a run has found so far."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from dolfinx_neural_topo.density.evaluation import Evaluation
from dolfinx_neural_topo.optimize.method import Array
from dolfinx_neural_topo.optimize.result import Candidate, History


class Record:
    """What a run has found so far, and what it took: all of it goes into checkpoints.

    Attributes:
        history: One entry per evaluation.
        best: Best design, None before the first evaluation.
        last: Last design that could be evaluated, likewise.
        stage: Number of changes of the objective so far.
        failures: Failed evaluations in a row.
        failure: What the last of them said.
        seconds: Wall seconds of "evaluate", "method", "callbacks" and "checkpoint".

    Args:
        count: Returns the solves of the state so far.
    """

    def __init__(self, count: Callable[[], int]):
        self.history = History()
        self.best: Candidate | None = None
        self.last: Candidate | None = None
        self.stage = self.failures = 0
        self._count, self._earlier = count, -count()
        self.failure = ""
        self.seconds = dict.fromkeys(("evaluate", "method", "callbacks", "checkpoint"), 0.0)

    @property
    def elapsed(self) -> float:
        """Wall seconds so far."""
        return sum(self.seconds.values())

    @property
    def solves(self) -> int:
        """Solves of the state so far, those before a resumption included."""
        return self._earlier + self._count()

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Count the seconds of a block."""
        begin = time.perf_counter()
        yield
        self.seconds[what] += time.perf_counter() - begin

    def add(self, x: Array, evaluation: Evaluation) -> None:
        """Take one more evaluation."""
        history = self.history
        history.objective.append(float(evaluation.value))
        history.volume.append(float(evaluation.volume))
        history.violation.append(float(np.max(evaluation.constraints, initial=0.0)))
        history.stage.append(self.stage)
        history.seconds.append(self.elapsed)
        if evaluation.gradient is not None:
            self.last = Candidate.of(len(history), self.stage, x, evaluation)
            if self.last.better_than(self.best):
                self.best = self.last

    def sections(self) -> dict[str, dict[str, Any]]:
        """Return the sections of a checkpoint."""
        names = ("failures", "failure", "stage", "seconds", "solves")
        return {
            "run": {name: getattr(self, name) for name in names},
            "history": {name: np.array(values) for name, values in vars(self.history).items()},
            "best": vars(self.best),
            "last": vars(self.last),
        }

    def restore(self, sections: dict[str, dict[str, Any]]) -> None:
        """Take back what `sections` returned."""
        run, columns = sections["run"], sections["history"]
        length = sections["last"]["number"]  # evaluations after it have failed
        if {len(values) for values in columns.values()} != {len(columns["objective"])} or not (
            columns.keys() == vars(History()).keys() and len(columns["objective"]) >= length
        ):
            raise ValueError("the history does not have an entry for each evaluation")
        self.failures, self.failure, self.stage = run["failures"], run["failure"], run["stage"]
        self.seconds = run["seconds"]
        self._earlier += run["solves"]
        self.history = History(**{name: values.tolist() for name, values in columns.items()})
        self.best, self.last = Candidate(**sections["best"]), Candidate(**sections["last"])
        if self.best.number == self.last.number:
            self.best = self.last
