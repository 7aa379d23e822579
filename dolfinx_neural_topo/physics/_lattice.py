"""Who owns what on a regular lattice, asked for by lattice coordinates."""

from __future__ import annotations

import numpy as np
from mpi4py import MPI
from petsc4py import PETSc

OUTSIDE = -1


class Lattice:
    """Points of a lattice of given shape, each owned by one rank.

    Args:
        comm: Communicator.
        shape: Number of points in each direction, on all ranks together.
        own: Coordinates of the points owned, shape (n, directions), integers.
    """

    def __init__(self, comm: MPI.Intracomm, shape: tuple[int, ...], own: np.ndarray):
        self.comm, self.shape = comm, shape
        natural = self._natural(own)
        self._order = np.argsort(natural)
        self._sorted = natural[self._order]
        self.start = comm.scan(len(own)) - len(own)
        numbers = np.arange(self.start, self.start + len(own), dtype=PETSc.IntType)
        self._ordering = PETSc.AO().createMemoryScalable(natural.astype(PETSc.IntType), numbers, comm=comm)

    def _natural(self, points: np.ndarray) -> np.ndarray:
        return np.ravel_multi_index(tuple(np.moveaxis(points, -1, 0)), self.shape)

    def numbers(self, points: np.ndarray) -> np.ndarray:
        """Return the numbers of points, where ranks count their own ones one after the other.

        Args:
            points: Coordinates, shape (..., directions); those outside of the lattice get -1.

        Returns:
            Numbers, shape (...), int64.

        Note: Collective.
        """
        inside = np.all((points >= 0) & (points < np.array(self.shape)), axis=-1)
        natural = self._natural(points[inside])
        place = np.searchsorted(self._sorted, natural)
        place[place == self._sorted.size] = 0
        owned = np.zeros(natural.size, dtype=bool)
        if self._sorted.size:
            owned = self._sorted[place] == natural
        found = np.empty(natural.size, dtype=np.int64)
        found[owned] = self.start + self._order[place[owned]]
        others, back = np.unique(natural[~owned], return_inverse=True)
        others = others.astype(PETSc.IntType)
        self._ordering.app2petsc(others)
        found[~owned] = others[back]
        numbers = np.full(inside.shape, OUTSIDE, dtype=np.int64)
        numbers[inside] = found
        return numbers

    def destroy(self) -> None:
        """Free the directory.

        Note: Collective.
        """
        self._ordering.destroy()
