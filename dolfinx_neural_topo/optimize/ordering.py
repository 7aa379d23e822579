"""Vectors in an order that does not depend on the partition of the mesh."""

from __future__ import annotations

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from dolfinx_neural_topo._communication import exchange
from dolfinx_neural_topo.errors import InputError, agree, meet
from dolfinx_neural_topo.optimize.method import Array

CHUNK = 2**16
"""Entries in a chunk of a vector in canonical order; the last chunk may be shorter."""


class CanonicalOrder:
    """Bring distributed vectors into canonical order, and give each rank its part back.

    In canonical order a vector is distributed by chunks of a fixed length, each on one rank: what checkpoints
    write and read. Methods of libraries that know no MPI need whole vectors. No rank holds an array of the
    size of all entries but in `gather` and `allgather`.

    Attributes:
        comm: Communicator.
        size: Number of entries over all ranks.
        num_chunks: Number of chunks over all ranks.

    Args:
        comm: Communicator.
        index: Number of each of this rank's entries, shape (n_local,), int64, unique over all ranks.

    Raises:
        InputError: If a number occurs twice.

    Note: Collective, as are all methods.
    """

    def __init__(self, comm: MPI.Comm, index: NDArray[np.int64]):
        self.comm = comm
        self._positions = self._sort(np.asarray(index, dtype=np.int64))
        self.num_chunks = max(-(-self.size // CHUNK), 1)
        self._firsts = np.arange(comm.size + 1) * self.num_chunks // comm.size
        begins = np.minimum(CHUNK * self._firsts, self.size)
        self._sorted = np.argsort(self._positions, kind="stable")
        positions = self._positions[self._sorted]
        self._ends = np.searchsorted(positions, begins[1:-1])
        received = exchange(comm, np.split(positions, self._ends))
        self._received_ends = np.cumsum([len(part) for part in received])[:-1]
        self._places = np.concatenate(received) - begins[comm.rank]

    def _sort(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the canonical position of each of this rank's entries, and set `size`."""
        comm, limits = self.comm, np.iinfo(np.int64)
        meet(comm, "an order of vectors")
        lowest = comm.allreduce(int(index.min(initial=limits.max)), op=MPI.MIN)
        highest = comm.allreduce(int(index.max(initial=limits.min)), op=MPI.MAX)
        width = max((highest - lowest) // comm.size + 1, 1)  # of the numbers that one rank sorts
        order = np.argsort(index, kind="stable")
        ends = np.searchsorted(index[order], lowest + width * np.arange(1, comm.size))
        received = exchange(comm, np.split(index[order], ends))
        numbers = np.concatenate(received)
        by_number = np.argsort(numbers, kind="stable")
        ordered = numbers[by_number]
        repeated = bool(np.any(ordered[1:] == ordered[:-1]))
        agree(comm, "index must hold every number once over all ranks" if repeated else None, InputError)
        counts = comm.allgather(len(numbers))
        self.size = sum(counts)
        found = np.empty_like(numbers)
        found[by_number] = sum(counts[: comm.rank]) + np.arange(len(numbers))
        back = exchange(comm, np.split(found, np.cumsum([len(part) for part in received])[:-1]))
        positions = np.empty_like(index)
        positions[order] = np.concatenate(back)
        return positions

    def _block(self, local: Array) -> Array:
        """Return this rank's part in canonical order, shape (..., n), of a vector of shape (..., n_local)."""
        rows = np.moveaxis(np.asarray(local), -1, 0)
        received = np.concatenate(exchange(self.comm, np.split(rows[self._sorted], self._ends)))
        block = np.empty_like(received)
        block[self._places] = received
        return np.moveaxis(block, 0, -1)

    @property
    def chunks(self) -> range:
        """Numbers of the chunks that this rank holds. Not collective."""
        return range(int(self._firsts[self.comm.rank]), int(self._firsts[self.comm.rank + 1]))

    def chunk_size(self, k: int) -> int:
        """Return the number of entries of a chunk. Not collective."""
        return min(CHUNK, self.size - k * CHUNK)

    def split(self, local: Array) -> dict[int, Array]:
        """Return the chunks, by number, that this rank holds of a vector, shape (..., n_local)."""
        block, first = self._block(local), self.chunks.start
        return {k: block[..., (k - first) * CHUNK : (k - first + 1) * CHUNK] for k in self.chunks}

    def join(self, chunks: dict[int, Array]) -> Array:
        """Return this rank's part, shape (..., n_local), from the chunks that `split` gives each rank.

        Raises:
            ValueError: On all ranks, if chunks differ in type or in the shape before the last axis.
        """
        kinds = {(chunk.shape[:-1], chunk.dtype.str) for chunk in chunks.values()}
        kinds = set().union(*self.comm.allgather(kinds))
        if len(kinds) != 1:
            raise ValueError(f"the chunks of one vector are of {len(kinds)} kinds")
        ((shape, dtype),) = kinds
        block = np.concatenate([np.empty((*shape, 0), dtype), *(chunks[k] for k in self.chunks)], axis=-1)
        rows = np.moveaxis(block, -1, 0)[self._places]
        received = np.concatenate(exchange(self.comm, np.split(rows, self._received_ends)))
        local = np.empty_like(received)
        local[self._sorted] = received
        return np.ascontiguousarray(np.moveaxis(local, 0, -1))

    def gather(self, local: Array) -> Array | None:
        """Return the whole of a vector, shape (..., size), on rank 0 and None elsewhere."""
        blocks = self.comm.gather(self._block(local), root=0)
        return None if blocks is None else np.concatenate(blocks, axis=-1)

    def allgather(self, local: Array) -> Array:
        """Return the whole of a vector, shape (size,), on every rank."""
        block = np.ascontiguousarray(self._block(local))
        whole = np.empty(self.size, dtype=block.dtype)
        self.comm.Allgatherv(block, [whole, self.comm.allgather(len(block))])
        return whole

    def local(self, whole: Array) -> Array:
        """Return this rank's part of a vector that every rank holds; shape (..., n_local). Not collective."""
        return np.ascontiguousarray(whole[..., self._positions])
