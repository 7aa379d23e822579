"""Commands for one task: `tasks`, `run`, `profile`."""

from __future__ import annotations

import argparse
import json
import shutil
import textwrap
from pathlib import Path

from dolfinx_neural_topo.cli.console import FAILED, fail, say
from dolfinx_neural_topo.errors import InputError

METHOD, SEED, EVALUATIONS = "cnn-lbfgs", 0, 200
"""Of a task, where the command line does not say."""

RUN_EXAMPLES = """\
examples:
  dnt run hook.toml                         a problem in a file
  mpirun -n 4 dnt run hook.toml --out hook  on four ranks, results in hook
  dnt run mbb_beam_96x32_0.5 --method neural-multistart --buildable --out beam
"""


def add_tasks(commands) -> None:
    """Add the parser of `tasks`."""
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
    say("\n".join(lines))


def add_run(commands) -> None:
    """Add the parser of `run`."""
    parser = commands.add_parser(
        "run",
        help="design what a file describes, or one task by one method",
        epilog=f"{RUN_EXAMPLES}\nmethods:\n{_listed()}",
    )
    parser.add_argument(
        "task",
        metavar="TASK",
        help="FILE.toml, a problem in a file; or a listed task, FAMILY_WxH_V for any size",
    )
    parser.add_argument("--method", metavar="NAME", help=f"of a task, see below ({METHOD})")
    parser.add_argument("--seed", type=int, metavar="N", help=f"of the network's weights ({SEED})")
    parser.add_argument("--evaluations", type=int, metavar="N", help=f"budget ({EVALUATIONS})")
    parser.add_argument(
        "--start", metavar="uniform|network:SEED", help="for methods that start from a density (uniform)"
    )
    parser.add_argument(
        "--alternatives",
        type=int,
        metavar="N",
        help="of multi-start: finish N designs that differ, draw them side by side (1)",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="folder for result.json, density.npz, pictures, history.csv (of a file: its name without .toml)",
    )
    parser.add_argument("--json", action="store_true", help="end with the record as one line of JSON")
    add_buildable(parser)
    parser.set_defaults(command=_run)


def add_buildable(parser: argparse.ArgumentParser) -> None:
    """Add the option for the last stage."""
    parser.add_argument(
        "--buildable",
        action="store_true",
        help="end in a design of solid and void in one piece; 60 of the evaluations go there",
    )


def _listed() -> str:
    """Return the methods and what they are, as wide as the terminal."""
    try:
        from dolfinx_neural_topo.study.methods import METHODS
    except ImportError as error:  # `doctor` shall work without DOLFINx
        return f"  none: {error}; see `dnt doctor`"
    width = max(map(len, METHODS)) + 4
    columns = shutil.get_terminal_size().columns
    return "\n".join(
        textwrap.fill(
            method.description,
            columns,
            initial_indent=f"  {name:<{width - 2}}",
            subsequent_indent=" " * width,
        )
        for name, method in METHODS.items()
    )


def _run(arguments: argparse.Namespace) -> int:
    return _run_file(arguments) if arguments.task.endswith(".toml") else _run_task(arguments)


def _run_file(arguments: argparse.Namespace) -> int:
    from dolfinx_neural_topo.problem import run_file

    keys = {"method": "name", "seed": "seed", "evaluations": "evaluations"}
    instead = {name: f"write `{key}` into [method] of {arguments.task}" for name, key in keys.items()}
    instead["buildable"] = f"write a table [buildable] into {arguments.task}"
    for name in (*instead, "start", "alternatives"):
        if getattr(arguments, name) is not None and getattr(arguments, name) is not False:  # 0 is given too
            raise InputError(
                f"--{name} is for tasks; {instead.get(name, 'problem files have no such thing')}"
            )
    record, text = run_file(arguments.task, arguments.out)
    say(json.dumps(record, allow_nan=False) if arguments.json else text)
    return fail(record["error"], FAILED) if record["status"] != "ok" else 0


def _run_task(arguments: argparse.Namespace) -> int:
    _require_name(arguments.task, "; a problem file ends in .toml")
    from dolfinx_neural_topo.study.built import BUILT
    from dolfinx_neural_topo.study.run import describe, run, summary

    method = METHOD if arguments.method is None else arguments.method
    record = run(
        arguments.task,
        method.removesuffix(BUILT) + BUILT if arguments.buildable else method,
        seed=SEED if arguments.seed is None else arguments.seed,
        evaluations=EVALUATIONS if arguments.evaluations is None else arguments.evaluations,
        start=arguments.start,
        num_alternatives=1 if arguments.alternatives is None else arguments.alternatives,
        out=arguments.out,
    )
    kept = "none, since no --out was given" if arguments.out is None else f"{arguments.out}/"
    text = f"{describe(record)}\n  {'files':<10} {kept}"
    say(json.dumps(summary(record), allow_nan=False) if arguments.json else text)
    if record["status"] != "ok":
        return fail(record["error"], FAILED)
    return 0


def add_profile(commands) -> None:
    """Add the parser of `profile`."""
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
    parser.add_argument("--solver", choices=("direct", "gmg", "amg"), help="of the state (chosen by size)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.set_defaults(command=_profile)


def _require_name(task: str, way_out: str = "") -> None:
    """Refuse a file, as which no task is named."""
    if Path(task).is_file():
        raise InputError(f"TASK must be the name of a task, got the file {task}{way_out}")


def _profile(arguments: argparse.Namespace) -> None:
    from dataclasses import asdict

    from dolfinx_neural_topo.study.profile import profile, table

    _require_name(arguments.task)
    result = profile(
        arguments.task, arguments.method, evaluations=arguments.evaluations, solver=arguments.solver
    )
    say(json.dumps(asdict(result), allow_nan=False) if arguments.json else table(result))
