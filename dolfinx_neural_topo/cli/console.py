"""What the commands share: speaking on rank 0 only, and exit statuses."""

from __future__ import annotations

import argparse
import signal
import sys

from mpi4py import MPI

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130
"""Exit statuses beside 0."""

STATUSES = """\
exit status:
  0    all went well
  1    a run failed, a file could not be written, or doctor misses something
  2    unusable input, or a run that could not end well
  130  a signal stopped it; the same command continues where it can
"""


class Parser(argparse.ArgumentParser):
    """Speaks on rank 0 only; all ranks exit with the same status."""

    def __init__(self, *args, **kwargs):
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **kwargs)

    def _print_message(self, message: str, file=None) -> None:
        if MPI.COMM_WORLD.rank == 0:
            super()._print_message(message, file)


def fail(problem: object, status: int) -> int:
    """Say on rank 0 in a sentence what went wrong; return the status."""
    if MPI.COMM_WORLD.rank == 0:
        print(f"error: {problem}", file=sys.stderr, flush=True)
    return status


def say(text: str) -> None:
    """Print on rank 0."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # PETSc's own handler would abort on `... | head`
    if MPI.COMM_WORLD.rank == 0:
        print(text, flush=True)
