"""Checkpoints of runs: independent of the number of ranks; what is in the file stands in `checkpoint_file`.

Vectors that are distributed are stored in canonical order, by chunks of a fixed length: `x`, `x/1`, `x/2`.
Every rank writes and reads chunks of its own: no rank holds a whole vector, and any number of ranks goes on.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

from dolfinx_neural_topo._files import exclusive
from dolfinx_neural_topo.errors import CheckpointError, attempt, together
from dolfinx_neural_topo.optimize import ordering
from dolfinx_neural_topo.optimize.checkpoint_file import opened, previous, write_file
from dolfinx_neural_topo.optimize.method import Array
from dolfinx_neural_topo.optimize.ordering import CanonicalOrder

Snapshot = dict[str, dict[str, Any]]
Layout = Callable[[str, str], CanonicalOrder | None]


@contextmanager
def held(comm: MPI.Comm, path: Path | None) -> Iterator[None]:
    """Hold a checkpoint for one run.

    Args:
        comm: Communicator of the run.
        path: The file, or the beginning of the paths of several; None for a run without.

    Raises:
        InputError: Nothing can be written there, or another run does.

    Note: Collective.
    """
    with ExitStack() as stack:

        def take() -> None:
            if path is not None and comm.rank == 0:
                stack.enter_context(exclusive(path, "checkpoint"))

        together(comm, take, "the lock of a checkpoint")
        yield


def _of_chunk(key: str, k: int) -> str:
    """Return the name of a chunk of an array."""
    return f"{key}/{k}" if k else key


class Checkpoint:
    """The checkpoint of one run, seen by all its ranks.

    Args:
        path: File.
        comm: Communicator.
        fingerprint: JSON-able values that tell this run from others; the same on all ranks.
        layout: Tells for an entry (section, name) of a snapshot the order in which it is distributed, or None
            if it is the same on all ranks.
    """

    def __init__(self, path: Path, comm: MPI.Comm, fingerprint: dict[str, Any], layout: Layout):
        self.path = path
        self._comm = comm
        self._fingerprint = fingerprint
        self._layout = layout

    def write(self, snapshot: Snapshot) -> None:
        """Replace the checkpoint.

        Args:
            snapshot: Sections of named arrays and JSON-able values.

        Raises:
            CheckpointError: On all ranks, if it cannot be written (disk full).

        Note: Collective.
        """
        values: dict[str, dict[str, Any]] = {}
        arrays: dict[str, Array] = {}
        parts: dict[str, Array] = {}
        for section, entries in snapshot.items():
            values[section] = {}
            for name, value in entries.items():
                key, order = f"{section}/{name}", self._layout(section, name)
                if not isinstance(value, np.ndarray):
                    values[section][name] = value
                elif order is None:
                    arrays[key] = value
                else:
                    parts |= {_of_chunk(key, k): chunk for k, chunk in order.split(value).items()}
        meta = {"fingerprint": self._fingerprint, "values": values}
        _, error = attempt(
            self._comm, lambda: write_file(self.path, meta, arrays, parts, self._comm), OSError
        )
        if error is not None:
            problem = (
                f"The checkpoint {self.path} could not be written: {getattr(error, 'strerror', '') or error}."
            )
            if self._comm.bcast(self.path.exists(), root=0):
                problem += " The one before is intact."
            raise CheckpointError(problem)

    def read(self, use: Callable[[Snapshot], str | None]) -> Snapshot | None:
        """Read the checkpoint, or the one before it if it is unusable; None if there is neither.

        Args:
            use: Goes on from a snapshot if it belongs to this problem; returns what is wrong, or None. What
                it raises where something is missing counts as that. Collective.

        Raises:
            CheckpointError: On all ranks, if there are files and none can be used.

        Note: Collective.
        """
        problems = []
        for path in (self.path, previous(self.path)):
            if not self._comm.bcast(path.exists(), root=0):
                continue
            try:
                snapshot = self._read(path)
            except CheckpointError as error:
                problems.append(str(error))
                continue
            try:
                problem = use(snapshot)
            except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
                problems.append(f"{path} is incomplete or damaged: {type(error).__name__}: {error}")
                continue
            if problem is not None:
                problems.append(f"{path} belongs to another run: {problem}")
                continue
            if problems and self._comm.rank == 0:
                warnings.warn(f"{problems[0]}; going on from {path}", RuntimeWarning, stacklevel=2)
            return snapshot
        if problems:
            raise CheckpointError("; ".join(problems) + ". Remove it or give another path to start anew.")
        return None

    def _order(self, key: str) -> CanonicalOrder:
        """Return the order of an array that is distributed."""
        order = self._layout(*key.split("/"))
        assert order is not None
        return order

    def _read(self, path: Path) -> Snapshot:
        """Read what all ranks share on rank 0, and on each rank its chunks."""
        comm = self._comm
        head, error = attempt(comm, lambda: self._head(path) if comm.rank == 0 else None, CheckpointError)
        if error is not None:
            raise error
        values, arrays, keys = comm.bcast(head, root=0)
        for key, array in arrays.items():
            section, name = key.split("/")
            values[section][name] = array
        mine, error = attempt(comm, lambda: self._chunks(path, keys), CheckpointError)
        if error is not None or mine is None:
            raise error or CheckpointError(str(path))
        for key in keys:
            section, name = key.split("/")
            try:
                values[section][name] = self._order(key).join(mine[key])
            except ValueError as error:  # on all ranks
                raise CheckpointError(f"{path} is truncated, damaged or no checkpoint: {error}") from error
        return values

    def _head(self, path: Path) -> tuple[Snapshot, dict[str, Array], list[str]]:
        """Return values, the arrays that all ranks have, and the names of those that are distributed."""
        whole: dict[str, Array] = {}
        found: dict[str, set[str]] = {}
        with opened(path, self._fingerprint) as (values, arrays):
            for key in arrays.names:
                section, name, *chunk = key.split("/")
                if section not in values:
                    raise CheckpointError(f"{path} is incomplete: there is no section for its array {key!r}")
                if self._layout(section, name) is not None:
                    found.setdefault(f"{section}/{name}", set()).add(key)
                elif chunk:
                    raise ValueError(f"what is {key}?")
                else:
                    whole[key] = arrays[key]
        for key, names in found.items():
            order = self._order(key)
            if names != {_of_chunk(key, k) for k in range(order.num_chunks)}:
                chunks = f"{order.num_chunks} chunks of {ordering.CHUNK}"
                raise CheckpointError(f"{path} belongs to another run: {key} is not in {chunks}")
        return values, whole, sorted(found)

    def _chunks(self, path: Path, keys: list[str]) -> dict[str, dict[int, Array]]:
        """Read the chunks of this rank."""
        mine: dict[str, dict[int, Array]] = {key: {} for key in keys}
        orders = {key: self._order(key) for key in keys}
        if not any(order.chunks for order in orders.values()):
            return mine
        with opened(path, self._fingerprint) as (_, arrays):
            for key, order in orders.items():
                for k in order.chunks:
                    array = arrays[_of_chunk(key, k)]
                    if array.shape[-1:] != (order.chunk_size(k),):
                        raise CheckpointError(
                            f"{path} belongs to another run: {key} has {array.shape} numbers, "
                            f"expected {order.chunk_size(k)}"
                        )
                    if array.dtype.kind not in "biuf" or not array.dtype.isnative:
                        raise ValueError(f"{key} holds {array.dtype}")
                    mine[key][k] = array
        return mine
