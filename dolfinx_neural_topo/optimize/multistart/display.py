"""One line on rank 0 about how far a multi-start run is."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import TextIO

from mpi4py import MPI

from dolfinx_neural_topo.optimize.multistart.found import Found
from dolfinx_neural_topo.optimize.multistart.schedule import FINISH_RESERVE, Schedule
from dolfinx_neural_topo.optimize.progress import Line, duration
from dolfinx_neural_topo.optimize.step import Step


class Display:
    """Show the stage, how many of its jobs are done, its best design, and about how long the run takes still.

    On a terminal one line is rewritten, after each evaluation; elsewhere it is one a minute or, if asked
    for, one per job. On several ranks it is the part of rank 0's group that is counted.

    Args:
        comm: Communicator of the run; only its rank 0 writes.
        schedule: What is planned.
        weight: Cells of a level relative to those of the full mesh.
        show: True or False; None for what is usual, see `Line`.
        stream: Where to write; standard error if None.
        alternatives: How many designs will be finished, if more than the last round keeps.
    """

    def __init__(
        self,
        comm: MPI.Comm,
        schedule: Schedule,
        weight: Callable[[int], float],
        show: bool | None = None,
        stream: TextIO | None = None,
        alternatives: int = 1,
    ):
        self._line = Line(comm, show, stream)
        self._schedule, self._weight = schedule, weight
        finish = schedule.rounds[-1]
        self._planned = schedule.cost(weight) + max(alternatives, finish.keep) * min(
            max(FINISH_RESERVE, finish.window), finish.evaluations
        )
        self._begin = time.perf_counter()
        self._spent, self._before, self._best = 0.0, 0.0, math.inf
        self._stage, self._jobs, self._done, self._level, self._groups = "", 0, 0, 0, 1

    def stage(self, number: int, jobs: int, groups: int) -> None:
        """Begin the starts (number 0) or a promotion: so many jobs, on so many groups of ranks."""
        rounds = len(self._schedule.rounds)
        names = ["starts", *(f"round {k} of {rounds}" for k in range(1, rounds)), "finish"]
        name = names[number] if number <= rounds else "alternatives"
        self._stage, self._jobs, self._groups = name, jobs, groups
        self._done, self._best = 0, math.inf

    def earlier(self, found: Sequence[Found]) -> None:
        """Count jobs that an interrupted run has done: they are done, and took no time now."""
        spent = sum(each.equivalent_evaluations for each in found) / self._groups
        self._spent, self._before = self._spent + spent, self._before + spent
        self._done = len(found) // self._groups
        self._best = min([self._best, *(each.objective for each in found)])

    def at(self, level: int) -> None:
        """Say on which level the evaluations that follow are."""
        self._level = level

    def evaluation(self, step: Step) -> None:
        """Count an evaluation."""
        self._spent += self._weight(self._level)
        if self._stage != "starts":  # those begin with another penalty
            self._best = min(self._best, step.best.objective)
        self._write(f", evaluation {step.number}", line=False)

    def job(self, objective: float) -> None:
        """Count a finished job."""
        self._done += 1
        self._best = min(self._best, objective)
        self._write("", line=True)

    def finish(self, sentence: str) -> None:
        """End the line and say how the run ended."""
        self._line.end(sentence)

    def _write(self, detail: str, *, line: bool) -> None:
        if self._line.all and not (line or self._line.terminal):
            return
        planned = max(self._planned / self._groups, self._spent)
        now = self._spent - self._before
        left = (time.perf_counter() - self._begin) * (planned - self._spent) / now if now > 0.0 else math.inf
        text = f"{self._stage}: {self._done * self._groups} of {self._jobs} done{detail}"
        text += f"  best so far {self._best:.6g}" if math.isfinite(self._best) else ""
        text += f"  about {duration(left)} left" if math.isfinite(left) else ""
        self._line.write(text)
