"""Communication beside that of DOLFINx and PETSc: replicated reductions, a halo of cell values."""

from __future__ import annotations

import numpy as np
from mpi4py import MPI

from dolfinx_neural_topo.errors import meet

_TAG = 8231


def sum_replicated(comm: MPI.Comm, values) -> np.ndarray:
    """Sum arrays over ranks so that all ranks hold the same bits.

    MPI does not promise that an allreduce gives every rank the same rounding; a reduction followed by
    a broadcast does, and control flow that depends on the result then cannot diverge.

    Args:
        comm: Communicator.
        values: This rank's summand, any shape (equal on all ranks), converted to float64.

    Returns:
        The sum, float64, same shape.

    Note: Collective.
    """
    values = np.array(values, dtype=np.float64)
    if comm.size > 1:
        meet(comm, f"a sum of shape {values.shape}")
        total = np.empty_like(values) if comm.rank == 0 else None
        comm.Reduce(values, total, op=MPI.SUM, root=0)
        values = total if comm.rank == 0 else values
        comm.Bcast(values, root=0)
    return values


def max_replicated(comm: MPI.Comm, values) -> np.ndarray:
    """Maximum over ranks, entry by entry (exact, therefore the same bits on all ranks).

    Args:
        comm: Communicator.
        values: This rank's numbers, free of NaN, any shape (equal on all ranks), converted to float64.

    Returns:
        The maximum, float64, same shape.

    Note: Collective.
    """
    values = np.array(values, dtype=np.float64)
    if comm.size > 1:
        meet(comm, f"a maximum of shape {values.shape}")
        comm.Allreduce(MPI.IN_PLACE, values, op=MPI.MAX)
    return values


def exchange(comm: MPI.Comm, parts: list[np.ndarray]) -> list[np.ndarray]:
    """Send `parts[q]` to rank q and return what came from each rank.

    Args:
        comm: Communicator.
        parts: One array per rank, all of the same dtype and trailing shape, first axes of any length.

    Returns:
        One array per rank, the q-th sent by rank q.

    Note: Collective.
    """
    trailing = parts[0].shape[1:]
    meet(comm, f"an exchange of {parts[0].dtype} of shape {trailing}")
    width = int(np.prod(trailing, dtype=np.int64))
    counts = np.array([part.size for part in parts], dtype=np.int64)
    incoming = np.empty_like(counts)
    comm.Alltoall(counts, incoming)
    received = np.empty(incoming.sum(), dtype=parts[0].dtype)
    comm.Alltoallv([np.concatenate([part.ravel() for part in parts]), counts], [received, incoming])
    ends = np.cumsum(incoming)
    return [
        received[end - count : end].reshape((count // max(width, 1), *trailing))
        for end, count in zip(ends, incoming, strict=True)
    ]


class Halo:
    """Values of cells that other ranks own, refreshed by point-to-point messages between neighbours.

    Args:
        comm: Communicator.
        num_owned: Number of cells this rank owns.
        wanted: For each rank q, the local indices (on q) of the cells whose values this rank needs.

    Note: Collective.
    """

    def __init__(self, comm: MPI.Comm, num_owned: int, wanted: list[np.ndarray]):
        requested = exchange(comm, [np.asarray(cells, dtype=np.int64) for cells in wanted])
        self._comm = comm
        self.num_owned = num_owned
        self.num_ghosts = sum(len(cells) for cells in wanted)
        self._sends = [(q, cells) for q, cells in enumerate(requested) if len(cells)]
        ends = num_owned + np.cumsum([len(cells) for cells in wanted])
        self._receives = [
            (q, slice(end - len(cells), end))
            for q, (end, cells) in enumerate(zip(ends, wanted, strict=True))
            if len(cells)
        ]

    def extend(self, owned: np.ndarray) -> np.ndarray:
        """Append the halo to owned values.

        Args:
            owned: Owned values, shape (num_owned,), float64.

        Returns:
            Owned values followed by those of the halo cells, shape (num_owned + num_ghosts,). Where
            there is no halo this is `owned` itself.

        Note: Collective among neighbours.
        """
        if not self._sends and not self._receives:
            return owned
        values = np.empty(self.num_owned + self.num_ghosts)
        values[: self.num_owned] = owned
        requests = [self._comm.Irecv(values[where], source=q, tag=_TAG) for q, where in self._receives]
        requests += [self._comm.Isend(owned[cells], dest=q, tag=_TAG) for q, cells in self._sends]
        MPI.Request.Waitall(requests)
        return values
