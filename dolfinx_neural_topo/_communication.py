"""Communication beside that of DOLFINx and PETSc: replicated reductions, values that other ranks own."""

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


class Fetch:
    """Values that other ranks own, by point-to-point messages between neighbours, and the transpose.

    Args:
        comm: Communicator.
        num_owned: Number of values this rank owns.
        wanted: For each rank q, the local indices (on q, each at most once) of the values that this rank
            needs; its own among them are copied.

    Attributes:
        num_wanted: How many values this rank needs.

    Note: Collective.
    """

    def __init__(self, comm: MPI.Comm, num_owned: int, wanted: list[np.ndarray]):
        requested = exchange(comm, [np.asarray(indices, dtype=np.int64) for indices in wanted])
        self._comm = comm
        self.num_owned = num_owned
        ends = np.cumsum([len(indices) for indices in wanted])
        self.num_wanted = int(ends[-1])
        self._sends = [(q, indices) for q, indices in enumerate(requested) if len(indices)]
        self._receives = [
            (q, slice(end - len(indices), end))
            for q, (end, indices) in enumerate(zip(ends, wanted, strict=True))
            if len(indices)
        ]

    def apply(self, owned: np.ndarray) -> np.ndarray:
        """Return the wanted values, rank after rank.

        Args:
            owned: Owned values, shape (num_owned,), float64.

        Returns:
            Values, shape (num_wanted,).

        Note: Collective among neighbours.
        """
        values = np.empty(self.num_wanted)
        parts = {q: owned[indices] for q, indices in self._sends}
        deliver(self._comm, parts, {q: values[where] for q, where in self._receives})
        return values

    def apply_transpose(self, values: np.ndarray) -> np.ndarray:
        """Sum values, shape (num_wanted,), on the ranks that own them.

        Returns:
            Sums, shape (num_owned,), added in the order of the ranks: the same bits every time.

        Note: Collective among neighbours.
        """
        parts = {q: np.empty(len(indices)) for q, indices in self._sends}
        deliver(self._comm, {q: values[where] for q, where in self._receives}, parts)
        owned = np.zeros(self.num_owned)
        for q, indices in self._sends:
            owned[indices] += parts[q]
        return owned


def deliver(comm: MPI.Comm, outgoing: dict[int, np.ndarray], incoming: dict[int, np.ndarray]) -> None:
    """Send contiguous arrays to ranks, and fill those that ranks send to this one.

    Args:
        comm: Communicator.
        outgoing: What goes to each rank, this one included.
        incoming: Arrays to fill with what each rank sends.

    Note: Collective among neighbours.
    """
    requests = [comm.Irecv(part, source=q, tag=_TAG) for q, part in incoming.items() if q != comm.rank]
    requests += [comm.Isend(part, dest=q, tag=_TAG) for q, part in outgoing.items() if q != comm.rank]
    if comm.rank in outgoing:
        incoming[comm.rank][...] = outgoing[comm.rank]
    MPI.Request.Waitall(requests)


class Halo(Fetch):
    """Values of cells that other ranks own, behind those of this rank."""

    def extend(self, owned: np.ndarray) -> np.ndarray:
        """Append the halo to owned values.

        Args:
            owned: Owned values, shape (num_owned,), float64.

        Returns:
            Owned values followed by those of the halo cells, shape (num_owned + num_wanted,). Where
            there is no halo this is `owned` itself.

        Note: Collective among neighbours.
        """
        if not self._sends and not self._receives:
            return owned
        return np.concatenate([owned, self.apply(owned)])
