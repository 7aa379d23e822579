"""Tables of a report: rows of text, ready for HTML or CSV."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import geometric_mean, median

import numpy as np
import numpy.typing as npt

from dolfinx_neural_topo.study import statistics
from dolfinx_neural_topo.study.published import PAPER_METHODS, best_known, published
from dolfinx_neural_topo.study.store import Record
from dolfinx_neural_topo.tasks import get_task

SMALL = 2**15
"""Tasks of fewer cells are small, as in the paper."""


@dataclass(frozen=True)
class TextTable:
    """A caption, a header and rows of text."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def compared(values: statistics.Table) -> list[str]:
    """Return the columns that cover at least half of the tasks; others would leave too few in common."""
    names = sorted({name for row in values.values() for name in row})
    return [name for name in names if 2 * sum(name in row for row in values.values()) >= len(values)]


def split_by_size(values: statistics.Table) -> dict[str, statistics.Table]:
    """Return the tasks below and from `SMALL` cells; classes without tasks are left out."""
    sizes = {task: get_task(task).num_cells for task in values}
    classes = {
        "small tasks": {task: row for task, row in values.items() if sizes[task] < SMALL},
        "large tasks": {task: row for task, row in values.items() if sizes[task] >= SMALL},
    }
    return {title: rows for title, rows in classes.items() if rows}


def by_task(records: Iterable[Record]) -> TextTable:
    """Typical and best compliance of each method on each task, the published values beside them."""
    groups = statistics.groups(records)
    names = sorted({name for by_column in groups.values() for name in by_column})
    paper = {kind: published(kind) for kind in ("typical", "best")}
    rows = []
    for task, by_column in groups.items():
        row = [task]
        for name in names:
            row.append(_compliance(by_column[name]) if name in by_column else "")
            row += _published(paper, task, name)
        rows.append(row)
    header = ["task"]
    for name in names:
        header.append(name)
        header += [f"{name}, published"] if statistics.method_of(name) in PAPER_METHODS else []
    caption = (
        "Compliance of each method: median over seeds [lowest to highest] / best of all seeds and starts."
        " * marks designs whose physical volume exceeds the limit, with the best compliance at exactly "
        "the allowed volume behind. Published: typical / best of the paper's ensemble, at 1000 "
        "evaluations."
    )
    return TextTable(caption, header, rows)


def _compliance(runs: Sequence[Record]) -> str:
    values = [run["compliance"] for run in runs]
    text = f"{statistics.typical(runs):.6g}"
    if len(values) > 1:
        text += f" [{min(values):.6g} to {max(values):.6g}] / {min(values):.6g}"
    if any(run["volume_exceeded"] for run in runs):
        text += f" * {statistics.best(runs, 'exact_volume_compliance'):.6g}"
    return text


def _published(paper: Mapping[str, Mapping[str, Mapping[str, float]]], task: str, column: str) -> list[str]:
    method = statistics.method_of(column)
    if method not in PAPER_METHODS:
        return []
    values = [paper[kind][task][method] for kind in ("typical", "best") if task in paper[kind]]
    return [" / ".join(f"{value:.6g}" for value in values)]


def summary(records: Sequence[Record], quantity: str, title: str) -> TextTable:
    """Mean relative error to the best method and wins, beside the paper's methods on the same tasks."""
    rows = []
    for kind in ("typical", "best"):
        for size, values in split_by_size(statistics.table(records, kind, quantity)).items():
            names = compared(values)
            errors = statistics.relative_errors(values, names)
            common = [task for task, row in values.items() if all(name in row for name in names)]
            theirs = {task: dict(published(kind)[task]) for task in common if task in published(kind)}
            paper = (
                statistics.relative_errors(theirs, PAPER_METHODS) if len(theirs) == len(common) > 0 else {}
            )
            for name in names:
                row = [
                    f"{kind}, {size} ({len(common)})",
                    name,
                    *_score(errors, name),
                    *_score(paper, statistics.method_of(name)),
                ]
                rows.append(row)
    header = [
        "kind",
        "method",
        "mean error",
        "median",
        f"within {statistics.WIN:.1%}",
        "published mean",
        "published median",
        "published within",
    ]
    caption = (
        f"{title}: relative error to the best of the methods listed, over the tasks that all of them have "
        f"(their number in brackets), and on how many tasks a method is within {statistics.WIN:.1%} of the"
        " best. Published: the same statistics of the paper's four methods among themselves, on the same "
        "tasks."
    )
    return TextTable(caption, header, rows)


def _score(errors: Mapping[str, npt.NDArray[np.float64]], name: str) -> list[str]:
    if name not in errors or not len(errors[name]):
        return ["", "", ""]
    values = list(errors[name])
    wins = sum(value <= statistics.WIN for value in values)
    return [f"{sum(values) / len(values):.4f}", f"{median(values):.4f}", str(wins)]


def against_published(records: Sequence[Record]) -> TextTable:
    """Typical compliances over the lowest published ones, the paper's typical runs in the same measure."""
    paper = published("typical")
    by_column = _by_column(records)
    rows = []
    for size, values in split_by_size(statistics.table(records, "typical")).items():
        names = compared(values)
        lowest = {task: best_known(task) for task, row in values.items() if all(n in row for n in names)}
        common = {task: value for task, value in lowest.items() if value is not None}
        for name in names if common else ():
            method, theirs, own = statistics.method_of(name), "", ""
            ratios = [values[task][name] / value for task, value in common.items()]
            spent = median(run["equivalent_evaluations"] for run in by_column[name] if run["task"] in common)
            if method in PAPER_METHODS:
                theirs = (
                    f"{geometric_mean(paper[task][method] / value for task, value in common.items()):.4f}"
                )
                own = f"{geometric_mean(values[task][name] / paper[task][method] for task in common):.4f}"
            row = [
                f"{size} ({len(common)})",
                name,
                f"{spent:.0f}",
                f"{geometric_mean(ratios):.4f}",
                f"{max(ratios):.3f}",
                str(sum(ratio <= 1.01 for ratio in ratios)),
                str(sum(ratio < 1.0 for ratio in ratios)),
                *(theirs, own),
            ]
            rows.append(row)
    header = ["tasks", "method", "spent a run", "over best published", "worst", "within 1 %", "below"]
    header += ["published, typical", "over own published"]
    caption = (
        "Typical compliance (median over seeds) over the lowest of the paper's 408 runs of the same task "
        "(four methods, 102 starts, 1000 evaluations each): geometric mean, largest, number of tasks at most "
        "1.01 and below 1. Spent: evaluations of a run weighted by cells, median. Published, typical: the "
        "paper's typical run of the method in the same measure; over own published: ours over that run, "
        "geometric mean."
    )
    return TextTable(caption, header, rows)


def cost(records: Sequence[Record]) -> TextTable:
    """What each method spent, all seeds counted."""
    rows = []
    for name, runs in _by_column(records).items():
        tasks = {run["task"] for run in runs}
        seconds = [run["seconds"] for run in runs]
        equivalent = sum(run["equivalent_evaluations"] for run in runs)
        rows.append(
            [
                name,
                str(len(tasks)),
                f"{len(runs) / len(tasks):.1f}",
                str(sum(run["evaluations"] for run in runs)),
                f"{equivalent:.0f}",
                str(sum(run["solves"] for run in runs)),
                f"{equivalent / len(tasks):.0f}",
                f"{sum(seconds):.0f}",
                f"{sum(seconds) / len(tasks):.1f}",
                f"{median(seconds):.1f}",
            ]
        )
    header = ["method", "tasks", "runs a task", "evaluations", "weighted by cells", "solves"]
    header += ["weighted a design", "seconds", "seconds a design", "seconds a run (median)"]
    return TextTable(
        "Cost, all seeds and starts counted: a design is the best of a task's runs.", header, rows
    )


def quality(records: Sequence[Record]) -> TextTable:
    """What an independent analysis says of the final designs of each method."""
    rows = []
    for name, runs in _by_column(records).items():
        analyses = [run["analysis"] for run in runs]
        pieces = [analysis["components"] for analysis in analyses]
        solid = [
            analysis["threshold_compliance"] / run["compliance"]
            for analysis, run in zip(analyses, runs, strict=True)
        ]
        differs = [
            abs(analysis["compliance"] / run["compliance"] - 1)
            for analysis, run in zip(analyses, runs, strict=True)
        ]
        exact = [run["exact_volume_compliance"] / run["compliance"] for run in runs]
        rows.append(
            [
                name,
                f"{median(analysis['greyness'] for analysis in analyses):.3f}",
                f"{sum(piece == 1 for piece in pieces)} of {len(pieces)}",
                f"{median(pieces):g}",
                f"{median(solid):.3f}",
                f"{sum(value < 2.0 for value in solid)} of {len(solid)}",
                f"{sum(run['volume_exceeded'] for run in runs)} of {len(runs)}",
                f"{median(exact):.5f}",
                f"{max(differs):.1e}",
            ]
        )
    header = ["method", "greyness", "in one piece", "pieces", "0-1 / grey", "0-1 below twice grey"]
    header += ["volume exceeded", "exact volume / own", "largest difference"]
    caption = (
        "Final designs analysed anew: greyness 4 rho (1 - rho); pieces of the design thresholded at "
        "exactly the allowed volume; its compliance over that of the grey design (medians; a cut bar "
        "makes it huge); designs above the allowed physical volume, and compliance at exactly that volume"
        " over their own; largest relative difference between the compliance reported and the one "
        "analysed."
    )
    return TextTable(caption, header, rows)


def _by_column(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Return the finished runs of each column, over all tasks."""
    found: dict[str, list[Record]] = {}
    for by_column in statistics.groups(records).values():
        for name, runs in by_column.items():
            found.setdefault(name, []).extend(runs)
    return dict(sorted(found.items()))
