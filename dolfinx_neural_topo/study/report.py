"""The paper's tables and figures from whatever is in a store: PNG, CSV and one self-contained page."""

from __future__ import annotations

import base64
import csv
import html
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from string import Template

import numpy as np
import numpy.typing as npt
from mpi4py import MPI

from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.io._ranks import require
from dolfinx_neural_topo.study import listing, statistics, tables
from dolfinx_neural_topo.study.methods import get_method
from dolfinx_neural_topo.study.store import Key, Record, Store
from dolfinx_neural_topo.study.tables import TextTable
from dolfinx_neural_topo.tasks import get_task

_NEEDED = (
    *("neural", "compliance", "volume", "volume_exceeded", "exact_volume_compliance", "analysis", "cells"),
    *("evaluations", "equivalent_evaluations", "solves", "seconds", "history", "provenance"),
)

PER_FIGURE = 12
"""Tasks in one figure of curves or designs."""


def report(store: Store, out: str | Path, methods: Sequence[str] | None = None) -> Path:
    """Write tables (CSV), figures (PNG) and `report.html`, which holds all of them.

    Args:
        store: Store of a study, finished or not.
        out: Folder, made if it does not exist.
        methods: Report these only: errors are relative to the best of the methods in a report.

    Returns:
        Path of the page.

    Raises:
        InputError: There is no finished run (of a method named) in the store, or a method is unknown.
        ImportError: matplotlib is missing.
    """
    require(MPI.COMM_SELF, "matplotlib", "report")
    records = store.records()
    if methods is not None:
        wanted = [get_method(name).name for name in methods]
        records = [record for record in records if record["method"] in wanted]
    if not statistics.finished(records):
        named = "" if methods is None else f" of {', '.join(methods)}"
        raise InputError(f"{store.path} holds no finished run{named}; run `study --out {store.folder}` first")
    for record in statistics.finished(records):
        lacking = [name for name in _NEEDED if name not in record]
        if lacking:
            raise InputError(
                f"{store.path}: the record of {Key.of(record).folder} lacks {', '.join(lacking)}"
            )
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    sections = [
        ("Summary", _summary(records, out)),
        ("Tasks", _table(tables.by_task(records), out / "tasks.csv")),
        ("Cost", _table(tables.cost(records), out / "cost.csv")),
        ("Designs judged anew", _table(tables.quality(records), out / "quality.csv")),
        ("Convergence", _convergence(records, out)),
        ("Designs", _gallery(records, store, out)),
        ("Runs", _runs(records, out)),
    ]
    body = "\n".join(f"<h2>{title}</h2>\n{content}" for title, content in sections)
    page = Template(resources.files(__package__).joinpath("page.html").read_text())
    path = out / "report.html"
    path.write_text(page.substitute(title="Topology optimization study", body=body))
    return path


def _summary(records: Sequence[Record], out: Path) -> str:
    """Distance from the published runs; averages and wins among the methods, and Figure 4."""
    from dolfinx_neural_topo.study import figures

    own = tables.summary(records, "compliance", "Compliance as each method reports it")
    exact = tables.summary(records, "exact_volume_compliance", "Compliance at exactly the allowed volume")
    panels = {}
    for kind, title in (("typical", "single run"), ("best", "best of ensemble")):
        for size, values in tables.split_by_size(statistics.table(records, kind)).items():
            errors = statistics.relative_errors(values, tables.compared(values))
            if len(errors) > 1 and all(len(error) for error in errors.values()):
                panels[f"{size}, {title}"] = errors
    drawn = (
        _figure(figures.error_distribution(panels, out / "errors.png"), "Distribution of errors.")
        if panels
        else ""
    )
    published = tables.against_published(records)
    parts = [_table(published, out / "published.csv")] if published.rows else []
    parts += [_table(own, out / "summary.csv"), _table(exact, out / "summary_exact_volume.csv"), drawn]
    return "".join(parts)


def _convergence(records: Sequence[Record], out: Path) -> str:
    from dolfinx_neural_topo.study import figures

    parts = [
        _figure(
            figures.convergence(part, out / f"convergence_{number}.png"),
            "Lowest objective so far over evaluations, those on coarser grids weighted by cells; "
            "medians thick, seeds thin.",
        )
        for number, part in enumerate(_parts(statistics.groups(records)), start=1)
    ]
    return "\n".join(parts)


def _gallery(records: Sequence[Record], store: Store, out: Path) -> str:
    from dolfinx_neural_topo.study import figures

    def picture(record: Record) -> npt.NDArray[np.float64] | None:
        return mirrored_picture(store, record)

    parts = [
        _figure(
            figures.gallery(part, picture, out / f"gallery_{number}.png"),
            "Best design of each method, mirrored at symmetry planes; * physical volume above the limit.",
        )
        for number, part in enumerate(_parts(statistics.groups(records)), start=1)
    ]
    return "\n".join(parts)


def mirrored_picture(store: Store, record: Record) -> npt.NDArray[np.float64] | None:
    """Return a run's picture completed at its symmetry planes, grey levels in [0, 1]; None if missing."""
    from matplotlib.image import imread

    path = store.pictures / f"{Key.of(record).folder}.png"
    if not path.exists():
        return None
    image = imread(path)
    grey = image if image.ndim == 2 else image[..., 0]
    left, right = get_task(record["task"]).mirror
    if left:
        grey = np.hstack([grey[:, ::-1], grey])
    if right:
        grey = np.hstack([grey, grey[:, ::-1]])
    return grey


def _parts(groups: Mapping[str, dict[str, list[Record]]]) -> list[dict[str, dict[str, list[Record]]]]:
    tasks = list(groups)
    starts = range(0, len(tasks), PER_FIGURE)
    return [{task: groups[task] for task in tasks[start : start + PER_FIGURE]} for start in starts]


def _runs(records: Sequence[Record], out: Path) -> str:
    parts = [_table(listing.environment_table(records), out / "environments.csv")]
    parts.append(
        f"<details><summary>All runs</summary>{_table(listing.runs(records), out / 'runs.csv')}</details>"
    )
    failed = listing.failures(records)
    if failed.rows:
        parts.append(_table(failed, out / "failures.csv"))
    return "\n".join(parts)


def _table(table: TextTable, path: Path) -> str:
    """Write a table as CSV and return it as HTML."""
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([table.header, *table.rows])
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in table.header)
    rows = "\n".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in table.rows)
    caption = html.escape(table.caption)
    return f'<div class="scroll"><table><caption>{caption}</caption><tr>{head}</tr>\n{rows}</table></div>\n'


def _cell(text: str) -> str:
    kind = ' class="text"' if "\n" in text else ""
    return f"<td{kind}>{html.escape(text)}</td>"


def _figure(path: Path, caption: str) -> str:
    """Return a picture as HTML that needs no other file."""
    data = base64.b64encode(path.read_bytes()).decode()
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{html.escape(caption)}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>\n"
    )
