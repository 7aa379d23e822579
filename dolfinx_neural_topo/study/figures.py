"""Figures of a report, after the paper's: convergence (3), distribution of errors (4), gallery (1 and 5)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from PIL import Image

from dolfinx_neural_topo.study.methods import METHODS
from dolfinx_neural_topo.study.statistics import method_of
from dolfinx_neural_topo.study.store import Record

Groups = Mapping[str, Mapping[str, Sequence[Record]]]
"""Finished runs by task, then by column."""

WIDEST_ERROR = 0.5  # end of the axis of relative errors


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG of 128 colours, a third of the size of one of all colours."""
    drawn = BytesIO()
    figure.savefig(drawn, dpi=110, bbox_inches="tight")
    with Image.open(drawn) as image:
        image.convert("RGB").quantize(128).save(path, optimize=True)
    return path


def error_distribution(panels: Mapping[str, Mapping[str, npt.NDArray[np.float64]]], path: Path) -> Path:
    """Draw the empirical distribution of relative errors, a panel each, a line a method.

    Args:
        panels: Title to method to relative errors.
        path: PNG file.
    """
    figure = Figure(figsize=(9.0, 3.4 * ((len(panels) + 1) // 2)), layout="constrained")
    axes = figure.subplots((len(panels) + 1) // 2, 2, squeeze=False)
    for ax, (title, errors) in zip(axes.flat, panels.items(), strict=False):
        for name, values in errors.items():
            shown = np.sort(values[values <= WIDEST_ERROR])
            steps = np.concatenate([[0.0], shown, [WIDEST_ERROR]])
            share = np.concatenate([np.arange(len(shown) + 1), [len(shown)]]) / len(values)
            ax.step(steps, share, where="post", label=name, **_line(name, errors))
        ax.set(title=title, xlim=(0.0, WIDEST_ERROR), ylim=(0.0, 1.0))
        ax.set(xlabel="error relative to the best method", ylabel="share of tasks")
        ax.grid(alpha=0.3)
        ax.legend(fontsize=8)
    for ax in axes.flat[len(panels) :]:
        ax.axis("off")
    return save(figure, path)


def convergence(groups: Groups, path: Path) -> Path:
    """Draw the lowest objective so far over what was spent; thin lines are seeds, thick ones their median.

    What a method spent on coarser grids, weighted by cells, comes before its curve.

    Args:
        groups: Runs to draw, a panel a task.
        path: PNG file.
    """
    rows = -(-len(groups) // 3)
    figure = Figure(figsize=(3 * 3.6, rows * 2.7), layout="constrained")
    panels = list(figure.subplots(rows, 3, squeeze=False).flat)
    for ax in panels[len(groups) :]:
        ax.axis("off")
    for ax, (task, by_column) in zip(panels, groups.items(), strict=False):
        final = []
        for name, runs in by_column.items():
            curves = [_curve(run) for run in runs]
            final += [curve[-1] for curve in curves]
            line = _line(name, by_column)
            for run, curve in zip(runs, curves, strict=True) if len(curves) > 1 else ():
                ax.plot(_spent(run)[: len(curve)], curve, **line, alpha=0.3, lw=0.7)
            shortest = min(map(len, curves))
            middle = np.median([curve[:shortest] for curve in curves], axis=0)
            spent = np.median([_spent(run)[:shortest] for run in runs], axis=0)
            ax.plot(spent, middle, **line, lw=1.6, label=name)
        low = min(final)
        ax.set_ylim(0.98 * low, max(1.6 * low, 1.05 * max(final)))
        ax.set_title(task, fontsize=8)
        ax.tick_params(labelsize=7)
        ax.grid(alpha=0.3)
    panels[0].legend(fontsize=7)
    return save(figure, path)


def _curve(run: Record) -> npt.NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in run["history"]], dtype=np.float64)


def _spent(run: Record) -> npt.NDArray[np.float64]:
    """Return evaluations weighted by cells, those on coarser grids included, at each entry of the history."""
    number = len(run["history"])
    return run["equivalent_evaluations"] - number + np.arange(1.0, number + 1.0)


def gallery(groups: Groups, picture: Callable[[Record], npt.NDArray[np.float64] | None], path: Path) -> Path:
    """Draw the best design of each method, a row a task, a column a method, with its compliance.

    Args:
        groups: Runs to draw.
        picture: Returns the (mirrored) picture of a run, 0 black and 1 white, or None where it is missing.
        path: PNG file.
    """
    names = sorted({name for by_column in groups.values() for name in by_column})
    figure = Figure(figsize=(2.3 * len(names), 1.9 * len(groups)), layout="constrained")
    axes = figure.subplots(len(groups), len(names), squeeze=False)
    for row, (task, by_column) in zip(axes, groups.items(), strict=True):
        for ax, name in zip(row, names, strict=True):
            ax.axis("off")
            if name not in by_column:
                continue
            best = min(by_column[name], key=lambda run: run["compliance"])
            image = picture(best)
            if image is not None:
                ax.imshow(image, cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")
            mark = "*" if best["volume_exceeded"] else ""
            ax.set_title(f"{name}\n{best['compliance']:.6g}{mark}", fontsize=7)
        row[0].text(
            -0.05, 0.5, task, transform=row[0].transAxes, rotation=90, fontsize=6, va="center", ha="right"
        )
    return save(figure, path)


def _line(column: str, columns: Collection[str]) -> dict[str, Any]:
    """Return how a column is drawn: a colour a method, the same in all figures, and dashes a budget."""
    method = method_of(column)
    budgets = sorted(name for name in columns if method_of(name) == method)
    order = list(METHODS)
    color = f"C{order.index(method) % 10}" if method in order else "black"
    return {"color": color, "linestyle": ("-", "--", ":", "-.")[budgets.index(column) % 4]}
