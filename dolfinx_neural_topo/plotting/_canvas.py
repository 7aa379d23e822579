"""Matplotlib figures without pyplot, hence without a display, a global backend or figures left open."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dolfinx_neural_topo._files import as_path, in_a_sentence
from dolfinx_neural_topo.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 150


@contextmanager
def drawing(target: Any, make: Callable[[], Figure]) -> Iterator[Axes]:
    """Yield the Axes to draw into; where `target` is a path, those of a new figure to be written.

    Args:
        target: Axes or path.
        make: Returns a new figure with one Axes.
    """
    if hasattr(target, "get_figure"):
        yield target
        return
    figure = make()
    yield figure.axes[0]
    save(figure, target)


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of `width` x `height` inches on the Agg canvas."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: str | Path) -> None:
    """Write the figure, making its folder first; the ending of `path` chooses the format.

    Raises:
        InputError: `path` is none, ends in a format that matplotlib does not write, or cannot be written.
    """
    path = as_path(path)
    known = figure.canvas.get_supported_filetypes()
    if path.suffix and path.suffix[1:].lower() not in known:
        raise InputError(f"path must end in one of {', '.join(known)}, got {path.name!r}")
    with in_a_sentence(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=DPI, facecolor="white")


def fitting(extent: tuple[float, float]) -> Figure:
    """Return a figure whose one Axes fits a picture of the given width and height (any unit).

    Args:
        extent: Width and height of what will be drawn.
    """
    scale, room = 6.0 / max(extent), 0.6  # inches; room on each side for title and colour bar
    figure = new_figure(extent[0] * scale + 2 * room, extent[1] * scale + 2 * room)
    figure.add_subplot()
    return figure
