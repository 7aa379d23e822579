"""What files and pictures need of MPI: rows gathered on rank 0, work done there, failures shared."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from mpi4py import MPI

from dolfinx_neural_topo.errors import agree, together

_T = TypeVar("_T")

_INSTALL = {
    "matplotlib": "pip install matplotlib, or apt-get install python3-matplotlib",
    "pyvista": "pip install pyvista, or apt-get install python3-pyvista",
    "PIL": "pip install pillow, or apt-get install python3-pil",
}


def require(comm: MPI.Comm, package: str, purpose: str) -> None:
    """Raise on all ranks, with the line that installs it, where an optional package is missing on any.

    Args:
        comm: Communicator of the ranks that are about to need it.
        package: Import name.
        purpose: What needs it; begins the message.

    Raises:
        ImportError: The package is not installed.

    Note: Collective.
    """
    problem = None
    if importlib.util.find_spec(package) is None:
        problem = f"{purpose} needs the optional package {package}: {_INSTALL[package]}"
    agree(comm, problem, ImportError)


def on_rank_zero(comm: MPI.Comm, action: Callable[[], _T]) -> _T | None:
    """Run `action` on rank 0 while the others wait; a failure there is raised everywhere.

    Returns:
        What `action` returned on rank 0; None on the other ranks.

    Raises:
        Exception: What `action` raised, the same type on all ranks.

    Note: Collective.
    """
    return together(comm, lambda: action() if comm.rank == 0 else None, "work on rank 0")


def gather_rows(comm: MPI.Comm, rows: np.ndarray) -> np.ndarray | None:
    """Concatenate arrays of shape `(n_r, ...)` in rank order on rank 0.

    Args:
        comm: Communicator.
        rows: Rows of this rank; trailing shape and dtype equal on all ranks.

    Returns:
        Array of shape `(sum of n_r, ...)` on rank 0; None on the other ranks.

    Note: Collective.
    """
    rows = np.ascontiguousarray(rows)
    counts = comm.gather(rows.size, root=0)
    if counts is None:  # not rank 0
        comm.Gatherv(rows, None, root=0)
        return None
    width = int(np.prod(rows.shape[1:], dtype=np.int64))
    gathered = np.empty((sum(counts) // width, *rows.shape[1:]), dtype=rows.dtype)
    comm.Gatherv(rows, (gathered, counts), root=0)
    return gathered
