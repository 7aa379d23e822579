"""A GIF of an optimization, one frame per call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

from dolfinx_neural_topo._files import as_path, in_a_sentence
from dolfinx_neural_topo.errors import InputError, collective
from dolfinx_neural_topo.io._ranks import on_rank_zero, require
from dolfinx_neural_topo.plotting.density import Density, Polygons, draw_polygons, picture_of

_PIXELS = 480  # longer side of a frame


class Movie:
    """Collects two-dimensional designs and writes them as an animated GIF.

    Args:
        path: File to write, ending in .gif; its folder is made.
        seconds_per_frame: How long a design is shown; the last one stays ten times as long.
        comm: Ranks that call the methods.

    Raises:
        InputError: `path` does not end in .gif.
        ImportError: matplotlib or Pillow is missing.

    Note: Collective, as are all methods.
    """

    @collective
    def __init__(self, path: str | Path, *, seconds_per_frame: float = 0.1, comm: MPI.Comm = MPI.COMM_WORLD):
        self._path = as_path(path, suffix=".gif")
        if not isinstance(seconds_per_frame, int | float) or not 0.01 <= seconds_per_frame < 1e3:
            raise InputError(f"seconds_per_frame must lie in [0.01, 1000), got {seconds_per_frame!r}")
        require(comm, "matplotlib", "Movie")
        require(comm, "PIL", "Movie")
        self.comm = comm
        self._milliseconds = round(1000 * seconds_per_frame)
        self._frames: list[np.ndarray] = []

    @collective
    def add(self, density: Density) -> None:
        """Add a frame. Note: Collective.

        Args:
            density: Image of shape (H, W), row 0 at the top, or a scalar DG0 function on a plane mesh;
                dimensionless, in [0, 1]; of the same kind and size in all frames.

        Raises:
            InputError: `density` is neither.
        """
        picture = picture_of(density)
        frame = on_rank_zero(self.comm, lambda: _pixels(picture))
        if frame is not None:
            self._frames.append(frame)

    @collective
    def save(self) -> None:
        """Write the file. Note: Collective.

        Raises:
            InputError: No frame was added, or frames differ in size.
        """

        def action() -> None:
            from PIL import Image

            if len({frame.shape for frame in self._frames}) != 1:
                raise InputError(
                    f"a movie needs frames of one size, got {len(self._frames)} frames of several or none"
                )
            frames = [Image.fromarray(frame, mode="L") for frame in self._frames]
            durations = [self._milliseconds] * (len(frames) - 1) + [10 * self._milliseconds]
            with in_a_sentence(self._path):
                self._path.parent.mkdir(parents=True, exist_ok=True)
                frames[0].save(
                    self._path, save_all=True, append_images=frames[1:], duration=durations, loop=0
                )

        on_rank_zero(self.comm, action)


def _pixels(picture: Any) -> np.ndarray:
    """Rasterize a picture: grey values, uint8, material black."""
    if isinstance(picture, Polygons):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        width, height = picture.extent
        zoom = _PIXELS / max(width, height)
        figure = Figure(figsize=(width * zoom / 100, height * zoom / 100), dpi=100)
        canvas = FigureCanvasAgg(figure)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        draw_polygons(axes, picture, show_mesh=False, cmap="gray_r", vmin=0.0, vmax=1.0)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., 0].copy()
    repeat = max(1, _PIXELS // max(picture.values.shape))
    grey = np.round(255 * (1.0 - np.clip(picture.values, 0.0, 1.0))).astype(np.uint8)
    return np.kron(grey, np.ones((repeat, repeat), dtype=np.uint8))
