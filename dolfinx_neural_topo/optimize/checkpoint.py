"""Checkpoints: one file a run, replaced atomically, independent of the number of ranks, read without pickle.

A checkpoint is an `.npz` of plain arrays with one more entry, `meta`, the JSON text of everything else. It is
written to a temporary file, synchronized and renamed; the one before is kept as `NAME.previous.npz`.
"""

from __future__ import annotations

import json
import os
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

from dolfinx_neural_topo.errors import CheckpointError
from dolfinx_neural_topo.optimize.method import Array
from dolfinx_neural_topo.optimize.ordering import CanonicalOrder

FORMAT = "dolfinx_neural_topo checkpoint"
VERSION = 2

Snapshot = dict[str, dict[str, Any]]
Layout = Callable[[str, str], CanonicalOrder | None]


def previous(path: Path) -> Path:
    """Return where the checkpoint before the one at `path` is kept."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


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
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            np.savez(file, **entries)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            path.replace(previous(path))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)  # the renaming itself
    finally:
        os.close(directory)


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
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}  # checks every CRC
        meta = json.loads(arrays.pop("meta").tobytes())
        form, version = meta["format"], meta["version"]
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path} is truncated, damaged or no checkpoint: {error}") from error
    if form != FORMAT or version != VERSION:
        raise CheckpointError(
            f"{path} is a {form!r} of version {version}, expected {FORMAT!r} of version {VERSION}"
        )
    for name, here in fingerprint.items():
        there = meta["fingerprint"].get(name)
        if there != here:
            raise CheckpointError(f"{path} belongs to another run: {name} is {there} there and {here} here")
    return meta["values"], arrays


class Checkpoint:
    """The checkpoint of one run, seen by all its ranks.

    Args:
        path: File; ".npz" is appended if it has another ending.
        comm: Communicator.
        fingerprint: JSON-able values that tell this run from others; the same on all ranks.
        layout: Tells for an entry (section, name) of a snapshot the order in which it is distributed, or None
            if it is the same on all ranks.
    """

    def __init__(
        self, path: str | os.PathLike[str], comm: MPI.Comm, fingerprint: dict[str, Any], layout: Layout
    ):
        path = Path(path)
        self.path = path if path.suffix == ".npz" else path.with_name(path.name + ".npz")
        self._comm = comm
        self._fingerprint = fingerprint
        self._layout = layout

    def write(self, snapshot: Snapshot) -> None:
        """Replace the checkpoint.

        Args:
            snapshot: Sections of named arrays and JSON-able values.

        Raises:
            CheckpointError: On all ranks, if it cannot be written (disk full). The one before is intact then.

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
        problem = self._comm.bcast(problem, root=0)
        if problem is not None:
            raise CheckpointError(problem)

    def read(self, check: Callable[[Snapshot], str | None]) -> Snapshot | None:
        """Read the checkpoint, or the one before it if it is unusable; None if there is neither.

        Args:
            check: Looks into a snapshot whether it belongs to this problem; returns what is wrong, or None.
                Collective.

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
            problem = check(snapshot)
            if problem is not None:
                problems.append(f"{path} belongs to another run: {problem}")
                continue
            if problems and self._comm.rank == 0:
                warnings.warn(f"{problems[0]}; going on from {path}", RuntimeWarning, stacklevel=2)
            return snapshot
        if problems:
            raise CheckpointError("; ".join(problems) + ". Remove it or give another path to start anew.")
        return None

    def _read(self, path: Path) -> Snapshot:
        """Read one file on rank 0 and give each rank its part."""
        values: Snapshot | None = None
        arrays: dict[str, Array] = {}
        problem = None
        if self._comm.rank == 0:
            try:
                values, arrays = read_file(path, self._fingerprint)
            except CheckpointError as error:
                problem = str(error)
        values, names, problem = self._comm.bcast((values, sorted(arrays), problem), root=0)
        if values is None:
            raise CheckpointError(problem)
        for key in names:
            section, name = key.split("/", 1)
            order = self._layout(section, name)
            whole = arrays.get(key)
            values[section][name] = self._comm.bcast(whole, root=0) if order is None else order.scatter(whole)
        return values
