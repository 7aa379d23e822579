"""Two-dimensional designs: images of a grid, or DG0 densities on any mesh."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from dolfinx import fem
from mpi4py import MPI

from dolfinx_neural_topo._checks import all_finite
from dolfinx_neural_topo.errors import InputError, collective
from dolfinx_neural_topo.io._ranks import on_rank_zero, require
from dolfinx_neural_topo.io.gather import finite_by_cell, gather_cell_values, gather_mesh
from dolfinx_neural_topo.plotting import _canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Density = np.ndarray | fem.Function


@dataclass(frozen=True)
class Polygons:
    """A picture of one number a cell: corners `(m, corners, 2)` and values `(m,)`."""

    corners: np.ndarray
    values: np.ndarray

    @property
    def extent(self) -> tuple[float, float]:
        """Width and height of all cells together."""
        width, height = np.ptp(self.corners.reshape(-1, 2), axis=0)
        return float(width), float(height)

    def mirrored(self, axis: int, *, at_end: bool) -> Polygons:
        """Add the reflection at the lower (or, `at_end`, upper) end of a coordinate axis."""
        coordinate = self.corners[..., axis]
        plane = coordinate.max() if at_end else coordinate.min()
        copy = self.corners.copy()
        copy[..., axis] = 2 * plane - coordinate
        return Polygons(np.concatenate([self.corners, copy]), np.concatenate([self.values, self.values]))


@dataclass(frozen=True)
class Image:
    """A picture of one number a pixel, row 0 at the top."""

    values: np.ndarray

    @property
    def extent(self) -> tuple[float, float]:
        """Width and height in pixels."""
        return float(self.values.shape[1]), float(self.values.shape[0])

    def mirrored(self, axis: int, *, at_end: bool) -> Image:
        """Add the reflection at the lower (or, `at_end`, upper) end of x (axis 0) or y (axis 1)."""
        array_axis = 1 - axis
        parts = [self.values, np.flip(self.values, array_axis)]
        copy_last = at_end if axis == 0 else not at_end  # rows count downwards, y upwards
        return Image(np.concatenate(parts if copy_last else parts[::-1], axis=array_axis))


def picture_of(density: Density) -> Image | Polygons | None:
    """Return what to draw: on every rank for an image, on rank 0 for a distributed function.

    Raises:
        InputError: Neither a 2D array nor a scalar DG0 function on a plane mesh, or not finite.

    Note: Collective for a function.
    """
    if not isinstance(density, fem.Function):
        image = np.asarray(density, dtype=np.float64)
        if image.ndim != 2 or image.size == 0:
            raise InputError(
                f"density must be an image of shape (H, W) or a DG0 function, got shape {image.shape}; "
                "plot_solid draws three-dimensional designs"
            )
        if not all_finite(image):
            raise InputError("density must be finite, got NaN or infinity")
        return Image(image)
    mesh = density.function_space.mesh
    if mesh.topology.dim != 2 or mesh.geometry.dim != 2:
        raise InputError(
            f"density must live on a plane mesh, got dimension {mesh.topology.dim} in {mesh.geometry.dim}; "
            "plot_solid draws three-dimensional designs"
        )
    gathered = gather_mesh(mesh)
    finite_by_cell(density)
    values = gather_cell_values(density, gathered)
    if gathered is None or values is None:
        return None
    return Polygons(gathered.points[gathered.cells, :2], values)


def draw(axes: Axes, picture: Image | Polygons, *, colorbar: bool, show_mesh: bool, **colors: Any) -> None:
    """Draw the picture to scale, without ticks; `colors` holds cmap, vmin and vmax."""
    if isinstance(picture, Image):
        height, width = picture.values.shape
        artist: Any = axes.imshow(
            picture.values, interpolation="nearest", extent=(0, width, 0, height), origin="upper", **colors
        )
        if show_mesh:
            axes.hlines(range(height + 1), 0, width, colors="tab:blue", linewidths=0.15)
            axes.vlines(range(width + 1), 0, height, colors="tab:blue", linewidths=0.15)
    else:
        artist = draw_polygons(axes, picture, show_mesh=show_mesh, **colors)
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_linewidth(0.4)
    if colorbar:
        figure: Any = axes.get_figure()
        width = 0.15 / figure.get_size_inches()[0]
        figure.colorbar(artist, cax=axes.inset_axes((1.02, 0.0, width, 1.0)))


def draw_polygons(
    axes: Axes, picture: Polygons, *, show_mesh: bool, cmap: str, vmin: float, vmax: float
) -> Any:
    """Draw filled cells; without the mesh each is outlined in its own colour, which hides the seams."""
    from matplotlib.collections import PolyCollection
    from matplotlib.colors import Normalize

    artist = PolyCollection(
        list(picture.corners),
        array=picture.values,
        cmap=cmap,
        norm=Normalize(vmin, vmax),
        edgecolors="tab:blue" if show_mesh else "face",
        linewidths=0.15 if show_mesh else 0.3,
    )
    axes.add_collection(artist)
    axes.autoscale_view()
    axes.margins(0.0)
    return artist


@collective
def plot_density(
    target: str | Path | Axes,
    density: Density,
    *,
    mirror_left: bool = False,
    mirror_right: bool = False,
    mirror_bottom: bool = False,
    mirror_top: bool = False,
    title: str | None = None,
    colorbar: bool = True,
    show_mesh: bool = False,
    comm: MPI.Comm = MPI.COMM_WORLD,
) -> None:
    """Draw a two-dimensional design: 0 white, 1 black.

    Args:
        target: Picture file to write (PNG, PDF, SVG by its ending; folders are made), or Axes to draw into.
        density: Image of shape (H, W), row 0 at the top, equal on all ranks; or a scalar DG0 function on a
            plane mesh, distributed as it is. Dimensionless, in [0, 1].
        mirror_left: Complete a design whose left edge is a symmetry plane; the others likewise.
        mirror_right: See `mirror_left`.
        mirror_bottom: See `mirror_left`.
        mirror_top: See `mirror_left`.
        title: Text above the picture.
        colorbar: Whether to draw the colour scale.
        show_mesh: Whether to outline the cells.
        comm: Ranks that call this, of which rank 0 draws; a function brings its own.

    Raises:
        InputError: `density` is neither of the two kinds.
        ImportError: matplotlib is missing; the message has the line that installs it.

    Note: Collective.
    """
    comm = density.function_space.mesh.comm if isinstance(density, fem.Function) else comm
    require(comm, "matplotlib", "plot_density")
    picture = picture_of(density)
    sides = (mirror_left, mirror_right, mirror_bottom, mirror_top)

    def action() -> None:
        shown = _mirror(picture, sides)
        with _canvas.drawing(target, lambda: _canvas.fitting(shown.extent)) as axes:
            draw(axes, shown, colorbar=colorbar, show_mesh=show_mesh, cmap="gray_r", vmin=0.0, vmax=1.0)
            if title is not None:
                axes.set_title(title, fontsize=10)

    on_rank_zero(comm, action)


@collective
def plot_designs(
    path: str | Path,
    designs: Mapping[str, Density],
    *,
    columns: int | None = None,
    mirror_left: bool = False,
    mirror_right: bool = False,
    mirror_bottom: bool = False,
    mirror_top: bool = False,
    comm: MPI.Comm = MPI.COMM_WORLD,
) -> None:
    """Draw several two-dimensional designs side by side.

    Args:
        path: Picture file to write.
        designs: Title to density (see `plot_density`), in the order of drawing.
        columns: Designs a row; by default as many as make the picture about as wide as high, at most 4.
        mirror_left: See `plot_density`; applies to all.
        mirror_right: See `plot_density`.
        mirror_bottom: See `plot_density`.
        mirror_top: See `plot_density`.
        comm: Ranks that call this; functions must live on the same ranks.

    Raises:
        InputError: No design, or one of an unknown kind.
        ImportError: matplotlib is missing.

    Note: Collective.
    """
    if not designs:
        raise InputError("designs must hold at least one density, got none")
    require(comm, "matplotlib", "plot_designs")
    pictures = {name: picture_of(density) for name, density in designs.items()}
    sides = (mirror_left, mirror_right, mirror_bottom, mirror_top)

    def action() -> None:
        shown = {name: _mirror(picture, sides) for name, picture in pictures.items()}
        ratio = max(picture.extent[1] / picture.extent[0] for picture in shown.values())
        across = columns or min(len(shown), 4, max(1, math.ceil(math.sqrt(len(shown) * ratio))))
        down = math.ceil(len(shown) / across)
        width = min(4.0, 12.0 / across)
        figure = _canvas.new_figure(across * width, down * (width * min(ratio, 4.0) + 0.35))
        grid = figure.subplots(down, across, squeeze=False)
        for axes in grid.flat[len(shown) :]:
            axes.set_axis_off()
        for axes, (name, picture) in zip(grid.flat, shown.items(), strict=False):
            draw(axes, picture, colorbar=False, show_mesh=False, cmap="gray_r", vmin=0.0, vmax=1.0)
            axes.set_title(name, fontsize=9)
        _canvas.save(figure, path)

    on_rank_zero(comm, action)


def _mirror(picture: Any, sides: tuple[bool, bool, bool, bool]) -> Any:
    """Complete a picture at its left, right, bottom and top edge where asked."""
    for wanted, axis, at_end in zip(sides, (0, 0, 1, 1), (False, True, False, True), strict=True):
        if wanted:
            picture = picture.mirrored(axis, at_end=at_end)
    return picture
