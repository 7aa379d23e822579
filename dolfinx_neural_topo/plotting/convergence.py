"""Objective against evaluations, for one or several runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from mpi4py import MPI

from dolfinx_neural_topo.errors import InputError, collective
from dolfinx_neural_topo.io._ranks import on_rank_zero, require
from dolfinx_neural_topo.plotting import _canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDE_RANGE = 10.0  # largest / smallest value beyond which a logarithmic axis reads better


@collective
def plot_convergence(
    target: str | Path | Axes,
    histories: Mapping[str, Sequence[float] | np.ndarray],
    *,
    best: bool = False,
    xlabel: str = "evaluation",
    ylabel: str = "objective",
    title: str | None = None,
    comm: MPI.Comm = MPI.COMM_WORLD,
) -> None:
    """Draw objective values over the number of evaluations.

    Positive values that span more than a factor of ten get a logarithmic axis.

    Args:
        target: Picture file to write, or Axes to draw into.
        histories: Name of a run to its objective value at each evaluation, shape (evaluations,); values that
            are not finite are left out of the line.
        best: Draw the running minimum, which is what a method would hand back if stopped there.
        xlabel: Text under the horizontal axis.
        ylabel: Text beside the vertical axis.
        title: Text above the picture.
        comm: Ranks that call this, of which rank 0 draws.

    Raises:
        InputError: No history, or one that is empty or not one-dimensional.
        ImportError: matplotlib is missing.

    Note: Collective.
    """
    curves = {name: np.asarray(values, dtype=np.float64) for name, values in histories.items()}
    if not curves:
        raise InputError("histories must hold at least one run, got none")
    for name, values in curves.items():
        if values.ndim != 1 or values.size == 0:
            raise InputError(f"histories[{name!r}] must be a sequence of numbers, got shape {values.shape}")
    require(comm, "matplotlib", "plot_convergence")

    def action() -> None:
        with _canvas.drawing(target, _empty_figure) as axes:
            _draw(axes, curves, best, xlabel, f"{ylabel}, best so far" if best else ylabel)
            if title is not None:
                axes.set_title(title, fontsize=10)

    on_rank_zero(comm, action)


def _empty_figure() -> Figure:
    figure = _canvas.new_figure(6.0, 4.0)
    figure.add_subplot()
    return figure


def _draw(axes: Axes, curves: Mapping[str, np.ndarray], best: bool, xlabel: str, ylabel: str) -> None:
    """Draw the curves and their axes."""
    for name, values in curves.items():
        finite = np.where(np.isfinite(values), values, np.nan)
        shown = np.fmin.accumulate(finite) if best else finite
        axes.plot(np.arange(1, len(values) + 1), shown, label=name, linewidth=1.3)
    everything = np.concatenate(list(curves.values()))
    everything = everything[np.isfinite(everything)]
    if everything.size and everything.min() > 0 and everything.max() > _WIDE_RANGE * everything.min():
        axes.set_yscale("log")
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.grid(True, which="both", linewidth=0.3, alpha=0.6)
    axes.legend(fontsize=8)
