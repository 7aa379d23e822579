"""What a run leaves of designs to choose from: entries of the record, images, a gallery."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from mpi4py import MPI

from dolfinx_neural_topo.plotting import plot_designs
from dolfinx_neural_topo.tasks import Task

if TYPE_CHECKING:
    from dolfinx_neural_topo.optimize.multistart import Alternative


def listed(designs: Sequence[Alternative]) -> list[dict[str, Any]]:
    """Return the entries of a record."""
    return [
        {
            "compliance": each.objective,
            "volume": each.volume,
            "distance": each.distance,
            "start": each.start,
        }
        for each in designs
    ]


def described(entries: Sequence[dict[str, Any]]) -> str:
    """Return a line for a terminal."""
    return "; ".join(f"{each['compliance']:.5g}, {each['distance']:.0%} elsewhere" for each in entries)


def write(folder: Path, task: Task, designs: Sequence[Alternative]) -> None:
    """Write `alternatives.npz`, images of the densities, and `alternatives.png`. On one rank."""
    np.savez_compressed(folder / "alternatives.npz", rho=[each.rho for each in designs])
    views = {}
    for number, each in enumerate(designs, start=1):
        title = f"{number}: {each.objective:.5g}, {each.distance:.0%} elsewhere"
        views[title] = each.rho if task.dim == 2 else each.rho.mean(axis=0)  # 3D: seen through along z
    left, right = task.mirror
    path = folder / "alternatives.png"
    plot_designs(path, views, mirror_left=left, mirror_right=right, comm=MPI.COMM_SELF)
