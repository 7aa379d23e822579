"""From arguments to a command and an exit status."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence

from mpi4py import MPI

from dolfinx_neural_topo._processes import die_with_parent, signals_interrupt
from dolfinx_neural_topo.cli.console import BAD_INPUT, FAILED, INTERRUPTED, STATUSES, Parser, fail
from dolfinx_neural_topo.cli.doctor import add_doctor
from dolfinx_neural_topo.cli.study import add_report, add_study
from dolfinx_neural_topo.cli.tasks import add_profile, add_run, add_tasks
from dolfinx_neural_topo.cli.versions import Version
from dolfinx_neural_topo.errors import InputError, Interrupted, NeuralTopoError

COMMANDS: tuple[Callable, ...] = (add_doctor, add_tasks, add_run, add_study, add_report, add_profile)
"""One function a command, which adds its parser; its default `command` does the work."""

EXAMPLES = """\
examples:
  dnt doctor                                is everything here that is needed?
  dnt run hook.toml                         your own part, described in a file
  mpirun -n 4 dnt run hook.toml --out hook  the same on four ranks
  dnt tasks 'mbb*'                          list tasks of the paper
  dnt run mbb_beam_96x32_0.5 --method oc    design one of them
  dnt study --tasks '*64x64*' --out store   many tasks, methods and seeds
  dnt report store                          tables and figures of a study
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments; those of the process if None.

    Returns:
        Exit status: 0; 1 for failed runs of a study and files that cannot be written; 2 for unusable input or
        a run that could not end well; 130 for what a signal stopped.

    Note: Collective for `run`.
    """
    if MPI.COMM_WORLD.size > 1:
        # a rank would wait for messages for ever when mpirun is killed; blocked in a library it hears no
        # gentler signal, and checkpoints survive this one
        die_with_parent(signal.SIGKILL)
    with signals_interrupt():
        return _main(argv)


def _main(argv: Sequence[str] | None) -> int:
    """Do what the arguments say, and turn errors into sentences."""
    try:
        arguments = _parse(argv)
        return arguments.command(arguments) or 0
    except Interrupted as error:
        return fail(error, INTERRUPTED)
    except (NeuralTopoError, ImportError) as error:  # all ranks agree on them
        return fail(error, BAD_INPUT)
    except BrokenPipeError:  # the reader of standard output is gone, as in `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt as error:
        return _leave(f"stopped by {error or 'a signal'}", INTERRUPTED)
    except (OSError, MemoryError) as error:
        name = getattr(error, "filename", None)
        where = f": {name}" if name else ""
        what = getattr(error, "strerror", None) or str(error) or "not enough memory"
        return _leave(f"{what}{where}", FAILED)
    except Exception:  # a fault of this package: shown, never swallowed
        if MPI.COMM_WORLD.size > 1:  # the other ranks may wait for this one
            traceback.print_exc()
            MPI.COMM_WORLD.Abort(1)
        raise


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the arguments; where one rank must leave, all do."""
    parser = Parser(
        prog="dnt",
        description="Topology optimization with DOLFINx (`python3 -m dolfinx_neural_topo` is the same).",
        epilog=f"{EXAMPLES}\n{STATUSES}",
    )
    parser.add_argument("--version", action=Version)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)
    for add in COMMANDS:
        add(commands)
    arguments, status = None, 0
    try:
        arguments = parser.parse_args(argv)
    except SystemExit as error:
        status = int(error.code or 0)
    everyone = MPI.COMM_WORLD.allgather((arguments is None, status))
    if arguments is None or any(leaves for leaves, _ in everyone):
        raise SystemExit(max(status for _, status in everyone))
    given = MPI.COMM_WORLD.allgather({k: v for k, v in vars(arguments).items() if k != "command"})
    for rank, theirs in enumerate(given):
        if theirs != given[0]:
            name = next(name for name in given[0] | theirs if given[0].get(name) != theirs.get(name))
            raise InputError(
                f"{name} must be the same on all ranks, got {given[0].get(name)!r} on rank 0 and "
                f"{theirs.get(name)!r} on rank {rank}"
            )
    return arguments


def _leave(problem: str, status: int) -> int:
    """Fail where this rank may be the only one that knows: the others may wait for it."""
    if MPI.COMM_WORLD.size > 1:
        print(f"error: {problem} (rank {MPI.COMM_WORLD.rank})", file=sys.stderr, flush=True)
        MPI.COMM_WORLD.Abort(status)
    return fail(problem, status)
