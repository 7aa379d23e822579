"""Columns, roofs, dams, stairs and towers of the paper: loads on edges, lines, circles and storeys."""

from __future__ import annotations

import numpy as np

from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.tasks import antialias
from dolfinx_neural_topo.tasks.sketch import Sketch, Task, X, Y


def center_support(width: int = 64, height: int = 64, volume_fraction: float = 0.15) -> Task:
    """Left half of a table on one central foot."""
    s = Sketch(width, height)
    s.fixed[width, :, X] = True
    s.fixed[width, height, Y] = True
    s.force[:, 0, Y] = -1.0 / width
    return s.task("center_support", volume_fraction)


def column(width: int = 32, height: int = 128, volume_fraction: float = 0.3) -> Task:
    """Left half of a column under a distributed load."""
    s = Sketch(width, height)
    s.fixed[width, :, X] = True
    s.fixed[:, height, Y] = True
    s.force[:, 0, Y] = -1.0 / width
    return s.task("column", volume_fraction)


def roof(width: int = 64, height: int = 64, volume_fraction: float = 0.2) -> Task:
    """One period of a roof over columns."""
    s = Sketch(width, height)
    s.fixed[[0, width], :, X] = True
    s.fixed[:, height, Y] = True
    s.force[:, 0, Y] = -1.0 / width
    return s.task("roof", volume_fraction)


def hoop(width: int = 32, height: int = 64, volume_fraction: float = 0.25) -> Task:
    """Left half of a structure that carries a ring of weight as wide as itself.

    Raises:
        InputError: The height is not twice the width.
    """
    s = Sketch(width, height)
    if height != 2 * width:
        raise InputError(f"height must be twice the width for a full ring, got {width} x {height}")
    s.fixed[width, :, X] = True
    s.fixed[:, height, Y] = True
    i, j, coverage = antialias.circle(width, width, width)
    left = i <= width
    s.force[i[left], j[left], Y] = -coverage[left] / (2 * np.pi * width)
    return s.task("hoop", volume_fraction)


def dam(width: int = 64, height: int = 64, volume_fraction: float = 0.2) -> Task:
    """Wall clamped at its foot, water standing against its left side."""
    s = Sketch(width, height)
    s.clamp(slice(None), height)
    s.force[0, :, X] = 2 * np.arange(1, height + 2) / height**2
    return s.task("dam", volume_fraction)


def _flights(width: int, height: int, storeys: int) -> Sketch:
    """Flights of stairs, each a line from edge to edge; the larger load where lines meet."""
    if not 1 <= storeys <= height // 2:
        raise InputError(f"storeys must lie in [1, height / 2 = {height // 2}], got {storeys!r}")
    s = Sketch(width, height)
    s.clamp(slice(None), height)
    for storey in range(storeys):
        parity = storey % 2
        start, end = (storey + parity) * height // storeys, (storey + 1 - parity) * height // storeys
        i, j, coverage = antialias.line(0, start, width, end)
        s.force[i, j, Y] = np.minimum(s.force[i, j, Y], -coverage / (width * storeys))
    return s


def ramp(width: int = 64, height: int = 64, volume_fraction: float = 0.3) -> Task:
    """One loaded line from the top left to the bottom right, clamped below.

    Example:
        >>> conductivity = dnt.ramp(rho)
    """
    return _flights(width, height, 1).task("ramp", volume_fraction)


def staircase(width: int = 64, height: int = 64, volume_fraction: float = 0.3, *, storeys: int = 3) -> Task:
    """Flights of stairs that turn at each storey, clamped below.

    Args:
        width: Number of cells along x.
        height: Number of cells along y.
        volume_fraction: Allowed mean density.
        storeys: Number of flights, from 1 to height / 2.

    Raises:
        InputError: `storeys` is out of range.
    """
    return _flights(width, height, storeys).task("staircase", volume_fraction)


def staggered_points(
    width: int = 64, height: int = 64, volume_fraction: float = 0.3, *, interval: int = 16
) -> Task:
    """One period of a field of staggered point loads, t^2 / (W H) each.

    Args:
        width: Number of cells along x.
        height: Number of cells along y.
        volume_fraction: Allowed mean density.
        interval: Distance t of neighbouring loads along x and y, an even number of cells.

    Raises:
        InputError: `interval` is odd or larger than the grid.
    """
    if interval < 2 or interval % 2 or interval > min(width, height):
        raise InputError(f"interval must be even and in [2, {min(width, height)}], got {interval!r}")
    s = Sketch(width, height)
    s.fixed[[0, width], :, X] = True
    s.fixed[:, height, Y] = True
    load = -(interval**2) / (width * height)
    s.force[interval // 2 :: interval, ::interval, Y] = load
    s.force[::interval, interval // 2 :: interval, Y] = load
    return s.task("staggered_points", volume_fraction)


def multistory_building(
    width: int = 32, height: int = 64, volume_fraction: float = 0.5, *, interval: int | None = None
) -> Task:
    """Left half of a building with a loaded floor every `interval` rows, from the roof down.

    Args:
        width: Number of cells along x.
        height: Number of cells along y.
        volume_fraction: Allowed mean density.
        interval: Height of a storey in cells; a quarter of the building if None.

    Raises:
        InputError: `interval` is not in [1, height].
    """
    s = Sketch(width, height)
    interval = height // 4 if interval is None else interval
    if not 1 <= interval <= height:
        raise InputError(f"interval must lie in [1, height = {height}], got {interval!r}")
    s.fixed[width, :, X] = True
    s.fixed[:, height, Y] = True
    s.force[:, ::interval, Y] = -1.0 / width
    return s.task("multistory_building", volume_fraction)
