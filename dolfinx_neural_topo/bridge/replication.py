"""Check that what must be identical on all ranks is."""

from __future__ import annotations

import numpy as np
from mpi4py import MPI

from dolfinx_neural_topo.errors import ReplicationError, collective


@collective
def check_replicated(comm: MPI.Comm, values: np.ndarray, name: str) -> None:
    """Compare a checksum of an array's bits over ranks.

    Args:
        comm: Communicator.
        values: Array of 4 or 8 byte numbers, of any shape.
        name: What it is, for the message.

    Raises:
        ReplicationError: The arrays differ between ranks, in size or in any bit (drift that leaves
            the sum of all words unchanged goes unseen).

    Note: Collective.
    """
    if comm.size == 1:
        return
    values = np.ascontiguousarray(values).reshape(-1)
    words = values.view(np.dtype(f"u{values.itemsize}"))
    checksum = np.array([words.sum(dtype=np.uint64), values.size], dtype=np.uint64)
    extremes = np.concatenate([checksum, ~checksum])
    comm.Allreduce(MPI.IN_PLACE, extremes, op=MPI.MAX)
    if not np.array_equal(extremes[:2], ~extremes[2:]):
        raise ReplicationError(
            f"{name} must be identical on all {comm.size} ranks, their checksums differ; build "
            "the network from the same seed everywhere, update it with the gradients returned here only, and "
            "use the same number of threads on every rank"
        )
