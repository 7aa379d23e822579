"""Vectors in an order that does not depend on the partition of the mesh."""

from __future__ import annotations

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from dolfinx_neural_topo.errors import InputError, agree, collective
from dolfinx_neural_topo.optimize.method import Array


class CanonicalOrder:
    """Gather distributed vectors into canonical order, and give each rank its part back.

    Used by checkpoints (on rank 0) and by methods of libraries that know no MPI (on all ranks).

    Args:
        comm: Communicator.
        index: Number of each of this rank's entries, shape (n_local,), int64, unique over all ranks.

    Raises:
        InputError: If a number occurs twice.

    Note: Collective, as are all methods.
    """

    @collective
    def __init__(self, comm: MPI.Comm, index: NDArray[np.int64]):
        self.comm = comm
        parts = comm.allgather(np.asarray(index, dtype=np.int64))
        self._counts = [len(part) for part in parts]
        numbers = np.concatenate(parts)
        self._order = np.argsort(numbers, kind="stable")  # canonical position -> place in rank order
        self.size = len(numbers)
        ordered = numbers[self._order]
        repeated = bool(np.any(ordered[1:] == ordered[:-1]))
        agree(comm, "index must hold every number once over all ranks" if repeated else None, InputError)
        start = sum(self._counts[: comm.rank])
        place = np.empty(self.size, dtype=np.int64)
        place[self._order] = np.arange(self.size)
        self._mine = place[start : start + len(index)]  # canonical positions of this rank's entries

    def gather(self, local: Array) -> Array | None:
        """Return the whole of a vector, shape (..., size), on rank 0 and None elsewhere."""
        parts = self.comm.gather(np.asarray(local), root=0)
        return None if parts is None else np.concatenate(parts, axis=-1)[..., self._order]

    def allgather(self, local: Array) -> Array:
        """Return the whole of a vector, shape (size,), on every rank."""
        local = np.ascontiguousarray(local)
        whole = np.empty(self.size, dtype=local.dtype)
        self.comm.Allgatherv(local, [whole, self._counts])
        return whole[self._order]

    def local(self, whole: Array) -> Array:
        """Return this rank's part of a vector that every rank holds; shape (..., n_local). Not collective."""
        return np.ascontiguousarray(whole[..., self._mine])

    def scatter(self, whole: Array | None) -> Array:
        """Return this rank's part of a vector that rank 0 holds; shape (..., n_local)."""
        places = self.comm.gather(self._mine, root=0)
        parts = None if whole is None or places is None else [whole[..., place] for place in places]
        return np.ascontiguousarray(self.comm.scatter(parts, root=0))
