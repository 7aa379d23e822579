"""Matplotlib figures without pyplot, hence without a display, a global backend or figures left open."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 150


def is_axes(target: Any) -> bool:
    """Tell an Axes to draw into from a path to write."""
    return hasattr(target, "get_figure")


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of `width` x `height` inches on the Agg canvas."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: str | Path) -> None:
    """Write the figure, making its folder first; the ending of `path` chooses the format."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI, facecolor="white")


def new_axes(extent: tuple[float, float], *, room: float = 0.6) -> tuple[Figure, Axes]:
    """Return a figure whose one Axes fits a picture of the given width and height (any unit).

    Args:
        extent: Width and height of what will be drawn.
        room: Inches added on each side for title and colour bar.
    """
    scale = 6.0 / max(extent)
    figure = new_figure(extent[0] * scale + 2 * room, extent[1] * scale + 2 * room)
    return figure, figure.add_subplot()
