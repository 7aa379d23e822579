"""Checkpoints: one file a run, replaced atomically, independent of the number of ranks, read without pickle.

A checkpoint is an `.npz` of plain arrays with one more entry, `meta`, the JSON text of everything else. It is
written to a temporary file, synchronized and renamed; the one before is kept as `NAME.previous.npz`.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

from dolfinx_neural_topo._files import exclusive, read_arrays, replacing
from dolfinx_neural_topo.errors import CheckpointError, together
from dolfinx_neural_topo.optimize.method import Array
from dolfinx_neural_topo.optimize.ordering import CanonicalOrder

FORMAT = "dolfinx_neural_topo checkpoint"
VERSION = 3

Snapshot = dict[str, dict[str, Any]]
Layout = Callable[[str, str], CanonicalOrder | None]


def previous(path: Path) -> Path:
    """Return where the checkpoint before the one at `path` is kept."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


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


def write_file(path: Path, meta: dict[str, Any], arrays: dict[str, Array]) -> None:
    """Write a checkpoint such that at any moment `path` or its predecessor is whole.

    Args:
        path: File to replace.
        meta: JSON-able values.
        arrays: Arrays of numbers.

    Raises:
        OSError: If the file cannot be written; the files that are there are untouched then.
    """
    text = json.dumps({"format": FORMAT, "version": VERSION, **meta}, default=lambda number: number.item())
    entries = {"meta": np.frombuffer(text.encode(), dtype=np.uint8), **arrays}
    for name, array in entries.items():
        if array.dtype.hasobject:
            raise TypeError(f"checkpoint entry {name!r} is no array of numbers")
    with replacing(path, keep=previous(path)) as file:
        np.savez(file, **entries)  # type: ignore[arg-type]


def read_file(path: Path, fingerprint: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Array]]:
    """Read and check a checkpoint.

    Args:
        path: File.
        fingerprint: Fingerprint of the present run.

    Returns:
        Its sections of JSON-able values, and its arrays by "section/name".

    Raises:
        CheckpointError: If it is no checkpoint, damaged, of another version or of another problem.
    """
    try:
        arrays = read_arrays(path, most=path.stat().st_size)  # they are not compressed
        meta = json.loads(arrays.pop("meta").tobytes())
        form, version = meta["format"], meta["version"]
        there, values = dict(meta["fingerprint"]), dict(meta["values"])
        if not all(isinstance(section, dict) for section in values.values()):
            raise TypeError("a section is no table")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path} is truncated, damaged or no checkpoint: {error}") from error
    if form != FORMAT or version != VERSION:
        raise CheckpointError(
            f"{path} is a {form!r} of version {version}, expected {FORMAT!r} of version {VERSION}"
        )
    for name, here in fingerprint.items():
        if there.get(name) != here:
            raise CheckpointError(
                f"{path} belongs to another run: {name} is {there.get(name)} there and {here} here"
            )
    return values, arrays


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
        arrays: dict[str, Array] = {}
        values: dict[str, dict[str, Any]] = {}
        for section, entries in snapshot.items():
            values[section] = {}
            for name, value in entries.items():
                if not isinstance(value, np.ndarray):
                    values[section][name] = value
                    continue
                order = self._layout(section, name)
                whole = value if order is None else order.gather(value)
                if whole is not None:
                    arrays[f"{section}/{name}"] = whole
        problem = None
        if self._comm.rank == 0:
            try:
                write_file(self.path, {"fingerprint": self._fingerprint, "values": values}, arrays)
            except OSError as error:
                problem = f"The checkpoint {self.path} could not be written: {error.strerror or error}."
                if self.path.exists():
                    problem += " The one before is intact."
        problem = self._comm.bcast(problem, root=0)
        if problem is not None:
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

    def _check_arrays(self, path: Path, values: Snapshot, arrays: dict[str, Array]) -> None:
        """Refuse arrays that have no place, or not the length of what is distributed."""
        for key, array in arrays.items():
            section, _, name = key.partition("/")
            if section not in values or not name:
                raise CheckpointError(f"{path} is incomplete: there is no section for its array {key!r}")
            order = self._layout(section, name)
            if order is not None and array.shape[-1:] != (order.size,):
                raise CheckpointError(
                    f"{path} belongs to another run: {key} has {array.shape} numbers, expected {order.size}"
                )

    def _read(self, path: Path) -> Snapshot:
        """Read one file on rank 0 and give each rank its part."""
        values: Snapshot | None = None
        arrays: dict[str, Array] = {}
        problem = None
        if self._comm.rank == 0:
            try:
                values, arrays = read_file(path, self._fingerprint)
                self._check_arrays(path, values, arrays)
            except CheckpointError as error:
                values, problem = None, str(error)
        values, names, problem = self._comm.bcast((values, sorted(arrays), problem), root=0)
        if values is None:
            raise CheckpointError(problem)
        for key in names:
            section, name = key.split("/", 1)
            order = self._layout(section, name)
            whole = arrays.get(key)
            values[section][name] = self._comm.bcast(whole, root=0) if order is None else order.scatter(whole)
        return values
