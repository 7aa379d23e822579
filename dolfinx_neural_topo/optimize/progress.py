"""One line on rank 0 about how far a run is."""

from __future__ import annotations

import math
import sys
from typing import TextIO

from mpi4py import MPI


class Progress:
    """Show evaluation, objective, physical volume, seconds each and time left.

    On a terminal one line is rewritten; elsewhere, if asked for, a line is written per evaluation.

    Args:
        comm: Communicator; only its rank 0 writes.
        evaluations: Evaluation budget.
        seconds: Time budget, or None.
        show: True or False; None shows it if the stream is a terminal.
        stream: Where to write; standard error if None.
    """

    def __init__(
        self,
        comm: MPI.Comm,
        evaluations: int,
        seconds: float | None = None,
        show: bool | None = None,
        stream: TextIO | None = None,
    ):
        self._stream = sys.stderr if stream is None else stream
        self._terminal = bool(getattr(self._stream, "isatty", lambda: False)())
        self._show = comm.rank == 0 and (self._terminal if show is None else show)
        self._evaluations = evaluations
        self._seconds = seconds

    def update(self, done: int, objective: float, volume: float, each: float, elapsed: float) -> None:
        """Show the state after `done` evaluations.

        Args:
            done: Evaluations done.
            objective: Objective of the last one.
            volume: Its physical volume fraction.
            each: Seconds per evaluation, a recent mean.
            elapsed: Seconds since the start of the run.
        """
        if not self._show:
            return
        left = each * (self._evaluations - done)
        if self._seconds is not None:
            left = min(left, self._seconds - elapsed)
        line = (
            f"evaluation {done}/{self._evaluations}  objective {objective:.6g}  volume {volume:.4f}  "
            f"{each:.3g} s each  {duration(left)} left"
        )
        self._stream.write(f"\r\033[K{line}" if self._terminal else f"{line}\n")
        self._stream.flush()

    def finish(self, sentence: str) -> None:
        """End the line and say how the run ended."""
        if self._show:
            self._stream.write(f"\n{sentence}\n" if self._terminal else f"{sentence}\n")
            self._stream.flush()


def duration(seconds: float) -> str:
    """Return seconds as h:mm:ss or m:ss."""
    whole = max(0, math.ceil(seconds))
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"
