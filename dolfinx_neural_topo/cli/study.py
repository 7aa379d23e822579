"""Commands for many runs: `study`, `report`."""

from __future__ import annotations

import argparse

from mpi4py import MPI

from dolfinx_neural_topo.cli.console import say
from dolfinx_neural_topo.cli.tasks import add_buildable
from dolfinx_neural_topo.errors import InputError, together


def add_study(commands) -> None:
    """Add the parser of `study`."""
    parser = commands.add_parser("study", help="run many (task, method, seed); continues what is there")
    parser.add_argument("--tasks", default="*", metavar="PATTERN", help="patterns, separated by commas (all)")
    parser.add_argument(
        "--methods",
        nargs="+",
        default=["cnn-lbfgs", "mma", "oc", "pixel-lbfgs"],
        metavar="NAME",
        help="as for run (the paper's four: cnn-lbfgs mma oc pixel-lbfgs)",
    )
    add_buildable(parser)
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


def add_report(commands) -> None:
    """Add the parser of `report`."""
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

    def write() -> None:
        if MPI.COMM_WORLD.rank == 0:
            say(f"wrote {report(Store(arguments.folder), out, arguments.methods)}")

    together(MPI.COMM_WORLD, write)
