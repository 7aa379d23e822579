"""One line on rank 0 about how far a run is."""

from __future__ import annotations

import math
import sys
import time
from typing import TextIO

from mpi4py import MPI

PAUSE = 60.0
"""Seconds between the lines in a file: the log of a batch job shows that a run is alive."""


class Line:
    """How far something is: a line rewritten on a terminal; elsewhere one a minute, or all if asked for.

    Args:
        comm: Communicator; only its rank 0 writes.
        show: True or False; None for what is usual.
        stream: Where to write; standard error if None.

    Attributes:
        terminal: Whether the stream is a terminal.
        all: Whether each line is shown.
    """

    def __init__(self, comm: MPI.Comm, show: bool | None, stream: TextIO | None):
        self._stream = sys.stderr if stream is None else stream
        self.terminal = bool(getattr(self._stream, "isatty", lambda: False)())
        self.all = self.terminal or show is True
        self._active = comm.rank == 0 and show is not False
        self._written, self._shown = time.monotonic(), self.all

    def write(self, text: str) -> None:
        """Show a line, if it is time for one."""
        now = time.monotonic()
        if not self._active or not (self.all or now - self._written >= PAUSE):
            return
        self._written, self._shown = now, True
        self._stream.write(f"\r\033[K{text}" if self.terminal else f"{text}\n")
        self._stream.flush()

    def end(self, sentence: str) -> None:
        """End it with a sentence, where any line was shown."""
        if self._active and self._shown:
            self._stream.write(f"\n{sentence}\n" if self.terminal else f"{sentence}\n")
            self._stream.flush()


class Progress:
    """Show evaluation, objective, the best so far, physical volume, seconds each and time left.

    Args:
        comm: Communicator; only its rank 0 writes.
        evaluations: Evaluation budget.
        seconds: Time budget, or None.
        show: As for `Line`, which says when.
        stream: Likewise.
    """

    def __init__(
        self,
        comm: MPI.Comm,
        evaluations: int,
        seconds: float | None = None,
        show: bool | None = None,
        stream: TextIO | None = None,
    ):
        self._line = Line(comm, show, stream)
        self._evaluations = evaluations
        self._seconds = seconds

    def update(
        self, done: int, objective: float, best: float, volume: float, each: float, elapsed: float
    ) -> None:
        """Show the state after `done` evaluations.

        Args:
            done: Evaluations done.
            objective: Objective of the last one.
            best: Objective of the best one.
            volume: Its physical volume fraction.
            each: Seconds per evaluation, a recent mean.
            elapsed: Seconds since the start of the run.
        """
        left = each * (self._evaluations - done)
        if self._seconds is not None:
            left = min(left, self._seconds - elapsed)
        self._line.write(
            f"evaluation {done}/{self._evaluations}  objective {objective:.6g}, best {best:.6g}  "
            f"volume {volume:.4f}  {each:.3g} s each  {duration(left)} left"
        )

    def finish(self, sentence: str) -> None:
        """End the line and say how the run ended."""
        self._line.end(sentence)


def duration(seconds: float) -> str:
    """Return seconds as h:mm:ss or m:ss."""
    whole = max(0, math.ceil(seconds))
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"
