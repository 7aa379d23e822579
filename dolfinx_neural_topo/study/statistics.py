"""Typical and best values of each method, and their distance from the best of all, as the paper counts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from statistics import median

import numpy as np
import numpy.typing as npt

from dolfinx_neural_topo.study.store import Record

Table = dict[str, dict[str, float]]
"""Value by task, then by method."""

WIN = 0.005
"""Relative error up to which the paper counts a method among the best of a task."""


def finished(records: Iterable[Record]) -> list[Record]:
    """Return the records of runs that did not fail."""
    return [record for record in records if record["status"] == "ok"]


def column(record: Record, budgets: Mapping[str, set[int]]) -> str:
    """Return the column a record belongs to: its method, with the budget where a method has several."""
    method = record["method"]
    return method if len(budgets[method]) == 1 else f"{method} @{record['budget']}"


def method_of(column: str) -> str:
    """Return the method of a column."""
    return column.split(" @")[0]


def budgets(records: Iterable[Record]) -> dict[str, set[int]]:
    """Return the budgets each method was run with."""
    found: defaultdict[str, set[int]] = defaultdict(set)
    for record in records:
        found[record["method"]].add(record["budget"])
    return dict(found)


def groups(records: Iterable[Record]) -> dict[str, dict[str, list[Record]]]:
    """Return the finished runs by task, then by column."""
    records = finished(records)
    by_method = budgets(records)
    found: dict[str, dict[str, list[Record]]] = {}
    for record in records:
        found.setdefault(record["task"], {}).setdefault(column(record, by_method), []).append(record)
    return found


def typical(runs: Iterable[Record], quantity: str = "compliance") -> float:
    """Return what one run gives: the median over seeds, from the method's own start.

    Runs that start a method without a network from a network's design belong to the ensemble only; they count
    here where there are no others.
    """
    runs = list(runs)
    own = [run for run in runs if run["neural"] or run["start"] == "uniform"]
    return median(run[quantity] for run in own or runs)


def best(runs: Iterable[Record], quantity: str = "compliance") -> float:
    """Return the minimum over all seeds and starts."""
    return min(run[quantity] for run in runs)


def table(records: Iterable[Record], kind: str, quantity: str = "compliance") -> Table:
    """Return one value a task and method.

    Args:
        records: Records of a store; failed ones are left out.
        kind: "typical" or "best".
        quantity: Name of the number in the record: "compliance", or "exact_volume_compliance".
    """
    reduce = {"typical": typical, "best": best}[kind]
    return {
        task: {name: reduce(runs, quantity) for name, runs in by_column.items()}
        for task, by_column in groups(records).items()
    }


def relative_errors(values: Table, methods: Iterable[str]) -> dict[str, npt.NDArray[np.float64]]:
    """Return (value - lowest) / |lowest| of each method, on the tasks that all of them have.

    Returns:
        Method to errors, shape (number of common tasks,), in the order of the tasks.
    """
    methods = list(methods)
    common = [row for row in values.values() if all(name in row for name in methods)]
    lowest = np.array([min(row[name] for name in methods) for row in common])
    return {name: (np.array([row[name] for row in common]) - lowest) / np.abs(lowest) for name in methods}


def wins(errors: Mapping[str, npt.NDArray[np.float64]]) -> dict[str, int]:
    """Return on how many tasks each method is within `WIN` of the best."""
    return {name: int((values <= WIN).sum()) for name, values in errors.items()}
