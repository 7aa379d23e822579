"""Command line: `python3 -m dolfinx_neural_topo tasks | run | study | report | profile`."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import textwrap
import traceback
from collections.abc import Callable, Sequence

if __name__ == "__main__":  # until `main` handles it, Ctrl-C ends the process without a word
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from mpi4py import MPI

from dolfinx_neural_topo._processes import die_with_parent, signals_interrupt
from dolfinx_neural_topo.errors import InputError, Interrupted, NeuralTopoError


class _Parser(argparse.ArgumentParser):
    """Speaks on rank 0 only; all ranks exit with the same status."""

    def _print_message(self, message: str, file=None) -> None:
        if MPI.COMM_WORLD.rank == 0:
            super()._print_message(message, file)


def _add_tasks(commands) -> None:
    parser = commands.add_parser("tasks", help="list tasks with size, volume fraction and category")
    parser.add_argument(
        "pattern", nargs="?", default="*", metavar="PATTERN", help="such as 'mbb_beam*' (all)"
    )
    parser.set_defaults(command=_tasks)


def _tasks(arguments: argparse.Namespace) -> None:
    from dolfinx_neural_topo.tasks import find_tasks, get_task

    lines = [f"{'task':<40}{'cells':>12}{'volume':>8}  {'equation':<12}category"]
    for task in map(get_task, find_tasks(arguments.pattern)):
        size = "x".join(map(str, task.shape))
        lines.append(
            f"{task.name:<40}{size:>12}{task.volume_fraction:>8g}  {task.physics:<12}{task.category}"
        )
    _print("\n".join(lines))


def _add_run(commands) -> None:
    from dolfinx_neural_topo.study.methods import METHODS

    width = max(map(len, METHODS)) + 4
    columns = shutil.get_terminal_size().columns
    listed = "\n".join(
        textwrap.fill(
            method.description,
            columns,
            initial_indent=f"  {name:<{width - 2}}",
            subsequent_indent=" " * width,
        )
        for name, method in METHODS.items()
    )
    parser = commands.add_parser(
        "run",
        help="design one task by one method",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"methods:\n{listed}",
    )
    parser.add_argument("task", metavar="TASK", help="listed name, or FAMILY_WxH_V for any size")
    parser.add_argument("--method", default="cnn-lbfgs", metavar="NAME", help="see below (%(default)s)")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the network's weights (%(default)s)"
    )
    parser.add_argument("--evaluations", type=int, default=200, metavar="N", help="budget (%(default)s)")
    parser.add_argument(
        "--start", metavar="uniform|network:SEED", help="for methods that start from a density (uniform)"
    )
    parser.add_argument(
        "--out", metavar="DIR", help="folder for result.json, density.npz, pictures, history.csv"
    )
    parser.add_argument("--json", action="store_true", help="end with the record as one line of JSON")
    _add_buildable(parser)
    parser.set_defaults(command=_run)


def _add_buildable(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--buildable",
        action="store_true",
        help="end in a design of solid and void in one piece; 60 of the evaluations go there",
    )


def _run(arguments: argparse.Namespace) -> int:
    from dolfinx_neural_topo.study.built import BUILT
    from dolfinx_neural_topo.study.run import describe, run, summary

    record = run(
        arguments.task,
        arguments.method + (BUILT if arguments.buildable else ""),
        seed=arguments.seed,
        evaluations=arguments.evaluations,
        start=arguments.start,
        out=arguments.out,
    )
    _print(json.dumps(summary(record), allow_nan=False) if arguments.json else describe(record))
    if record["status"] != "ok":
        return _fail(record["error"], FAILED)
    return 0


def _add_study(commands) -> None:
    parser = commands.add_parser("study", help="run many (task, method, seed); continues what is there")
    parser.add_argument("--tasks", default="*", metavar="PATTERN", help="patterns, separated by commas (all)")
    parser.add_argument(
        "--methods",
        nargs="+",
        default=["cnn-lbfgs", "mma", "oc", "pixel-lbfgs"],
        metavar="NAME",
        help="as for run (the paper's four: cnn-lbfgs mma oc pixel-lbfgs)",
    )
    _add_buildable(parser)
    parser.add_argument("--seeds", default="0", metavar="0-4", help="of the networks (%(default)s)")
    parser.add_argument(
        "--starts",
        nargs="+",
        default=["uniform"],
        metavar="START",
        help="of methods without a network: uniform, network (the untrained networks of the seeds), or both",
    )
    parser.add_argument("--evaluations", type=int, default=200, metavar="N", help="budget (%(default)s)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at a time (%(default)s)")
    parser.add_argument("--threads", type=int, metavar="N", help="of each rank (cores / jobs / ranks)")
    parser.add_argument("--ranks", type=int, default=1, metavar="N", help="mpirun -n N for big tasks")
    parser.add_argument(
        "--ranks-from",
        type=int,
        default=2**15,
        metavar="CELLS",
        help="size of a big task (%(default)s cells)",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the store")
    parser.set_defaults(command=_study)


def _study(arguments: argparse.Namespace) -> int:
    from dolfinx_neural_topo.study.built import BUILT
    from dolfinx_neural_topo.study.plan import parse_seeds, plan
    from dolfinx_neural_topo.study.store import Store
    from dolfinx_neural_topo.study.study import Workers, study

    if MPI.COMM_WORLD.size > 1:
        raise InputError("study starts its own processes: call it without mpirun, and give --ranks")
    seeds = parse_seeds(arguments.seeds)
    methods = [name + (BUILT if arguments.buildable else "") for name in arguments.methods]
    keys = plan(arguments.tasks, methods, seeds, arguments.evaluations, arguments.starts)
    workers = Workers(arguments.jobs, arguments.threads, arguments.ranks, arguments.ranks_from)
    records = study(keys, Store(arguments.out), workers)
    return int(any(record["status"] != "ok" for record in records))


def _add_report(commands) -> None:
    parser = commands.add_parser("report", help="tables, figures and one HTML page from a store")
    parser.add_argument("folder", metavar="DIR", help="folder of the store")
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="report these only (all in the store)")
    parser.add_argument("--out", metavar="DIR", help="folder of the report (DIR/report)")
    parser.set_defaults(command=_report)


def _report(arguments: argparse.Namespace) -> None:
    from pathlib import Path

    from dolfinx_neural_topo.study.report import report
    from dolfinx_neural_topo.study.store import Store

    out = Path(arguments.out) if arguments.out else Path(arguments.folder) / "report"
    if MPI.COMM_WORLD.rank == 0:
        _print(f"wrote {report(Store(arguments.folder), out, arguments.methods)}")


def _add_profile(commands) -> None:
    parser = commands.add_parser(
        "profile", help="what an evaluation costs, stage by stage, beside a bare assembly and solve"
    )
    parser.add_argument("task", metavar="TASK", help="listed name, or FAMILY_WxH_V for any size")
    parser.add_argument(
        "--method",
        default="evaluate",
        metavar="NAME",
        help="as for run, or 'evaluate': no network, no optimizer (%(default)s)",
    )
    parser.add_argument("--evaluations", type=int, default=12, metavar="N", help="how many (%(default)s)")
    parser.add_argument("--solver", metavar="NAME", help="direct, gmg or amg (chosen by size)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.set_defaults(command=_profile)


def _profile(arguments: argparse.Namespace) -> None:
    from dataclasses import asdict

    from dolfinx_neural_topo.study.profile import profile, table

    result = profile(
        arguments.task, arguments.method, evaluations=arguments.evaluations, solver=arguments.solver
    )
    _print(json.dumps(asdict(result), allow_nan=False) if arguments.json else table(result))


COMMANDS: tuple[Callable, ...] = (_add_tasks, _add_run, _add_study, _add_report, _add_profile)
"""One function a command, which adds its parser; its default `command` does the work."""


FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130
"""Exit statuses beside 0."""


def _fail(problem: object, status: int) -> int:
    """Say on rank 0 in a sentence what went wrong."""
    if MPI.COMM_WORLD.rank == 0:
        print(f"error: {problem}", file=sys.stderr, flush=True)
    return status


def _print(text: str) -> None:
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # PETSc's own handler would abort on `... | head`
    if MPI.COMM_WORLD.rank == 0:
        print(text, flush=True)


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
        return _fail(error, INTERRUPTED)
    except (NeuralTopoError, ImportError) as error:  # all ranks agree on them
        return _fail(error, BAD_INPUT)
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
    except Exception:
        if MPI.COMM_WORLD.size > 1:  # the other ranks may wait for this one
            traceback.print_exc()
            MPI.COMM_WORLD.Abort(1)
        raise


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the arguments; where one rank must leave, all do."""
    parser = _Parser(prog="python3 -m dolfinx_neural_topo", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
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
    return arguments


def _leave(problem: str, status: int) -> int:
    """Fail where this rank may be the only one that knows: the others may wait for it."""
    if MPI.COMM_WORLD.size > 1:
        print(f"error: {problem} (rank {MPI.COMM_WORLD.rank})", file=sys.stderr, flush=True)
        MPI.COMM_WORLD.Abort(status)
    return _fail(problem, status)


if __name__ == "__main__":
    sys.exit(main())
