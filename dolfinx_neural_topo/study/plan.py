"""Which runs a study asks for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.study.methods import get_method
from dolfinx_neural_topo.study.store import Key, Record
from dolfinx_neural_topo.tasks import find_tasks, get_task

STARTS = ("uniform", "network")
"""Starts of methods without a network: the uniform density, or the untrained networks' designs."""

MOST_SEEDS = 10**6


def parse_seeds(text: str) -> list[int]:
    """Return the seeds named by "0-4", "3" or "0-2,7".

    Raises:
        InputError: Another form, or a range that runs backwards.
    """
    seeds: set[int] = set()
    if not isinstance(text, str):
        raise InputError(f"seeds must look like 0-4, 3 or 0-2,7, got {text!r}")
    for part in text.split(","):
        form = re.fullmatch(r"(\d{1,18})(?:-(\d{1,18}))?", part.strip())
        first, last = (int(form[1]), int(form[2] or form[1])) if form else (1, 0)
        if last < first:
            raise InputError(f"seeds must look like 0-4, 3 or 0-2,7, got {text!r}")
        if last - first >= MOST_SEEDS:
            raise InputError(f"seeds may be at most {MOST_SEEDS} in a row, got {text!r}")
        seeds.update(range(first, last + 1))
    return sorted(seeds)


def plan(
    tasks: str | Sequence[str],
    methods: Iterable[str],
    seeds: Iterable[int],
    evaluations: int,
    starts: Iterable[str] = ("uniform",),
) -> list[Key]:
    """Return the runs of a study, small tasks first.

    A neural method runs once a seed. Any other runs once from the uniform density, and with the start
    "network" once a seed from the design of the untrained network of that seed, as the paper's ensembles do.

    Raises:
        InputError: An unknown task, method or start, or a number of evaluations that is not positive.
    """
    starts = list(starts)
    for start in starts:
        if start not in STARTS:
            raise InputError(f"starts must be among {', '.join(STARTS)}, got {start!r}")
    if not isinstance(evaluations, int) or evaluations < 1:
        raise InputError(f"evaluations must be at least 1, got {evaluations!r}")
    for name, value in (("tasks", tasks), ("methods", methods)):
        if (
            not isinstance(value, str | Sequence)
            or not all(isinstance(each, str) for each in value)
            or not value
        ):
            raise InputError(f"{name} must be names, got {value!r}")
    seeds = list(seeds)
    names = sorted(find_tasks(tasks), key=lambda name: get_task(name).num_cells)
    keys: list[Key] = []
    for task in names:
        for method in map(get_method, methods if not isinstance(methods, str) else methods.split(",")):
            if method.neural:
                keys += [Key(task, method.name, seed, f"network:{seed}", evaluations) for seed in seeds]
                continue
            if "uniform" in starts:
                keys.append(Key(task, method.name, 0, "uniform", evaluations))
            if "network" in starts:
                keys += [Key(task, method.name, 0, f"network:{seed}", evaluations) for seed in seeds]
    return list(dict.fromkeys(keys))


def missing(keys: Iterable[Key], records: Iterable[Record]) -> list[Key]:
    """Return the runs that have no result yet; failed ones are tried again."""
    done = {Key.of(record) for record in records if record["status"] == "ok"}
    return [key for key in keys if key not in done]
