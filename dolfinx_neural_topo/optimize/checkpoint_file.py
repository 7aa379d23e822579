"""The file of a checkpoint: an `.npz` of plain arrays, replaced atomically, read without pickle.

One more entry, `meta`, is the JSON text of everything else, and of the names of the arrays. The file is
written under another name, synchronized and renamed; the one before is kept as `NAME.previous.npz`. All ranks
may write arrays into it.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

from dolfinx_neural_topo._files import ArrayFile, array_file, replacing, write_arrays
from dolfinx_neural_topo.errors import CheckpointError, together
from dolfinx_neural_topo.optimize.method import Array

FORMAT = "dolfinx_neural_topo checkpoint"
VERSION = 7


def previous(path: Path) -> Path:
    """Return where the checkpoint before the one at `path` is kept."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def write_file(
    path: Path,
    meta: dict[str, Any],
    arrays: dict[str, Array],
    parts: dict[str, Array] | None = None,
    comm: MPI.Comm = MPI.COMM_SELF,
) -> None:
    """Write a checkpoint such that at any moment `path` or its predecessor is whole.

    Args:
        path: File to replace.
        meta: JSON-able values.
        arrays: Arrays of numbers, the same on all ranks.
        parts: Further arrays, which this rank alone has.
        comm: Communicator.

    Raises:
        OSError: On all ranks, if the file cannot be written; the files that are there are untouched then.

    Note: Collective.
    """
    everyone = comm.gather(list(parts or {}), root=0)
    names = sorted({*arrays, *chain.from_iterable(everyone or [])})
    table = {"format": FORMAT, "version": VERSION, **meta, "arrays": names}
    text = json.dumps(table, default=lambda number: number.item())
    entries = {"meta": np.frombuffer(text.encode(), dtype=np.uint8), **arrays}
    stack = ExitStack()
    try:

        def begin() -> tuple[zipfile.ZipFile, str, bytes]:
            """Open the file on rank 0, and write what it has; pack on the others."""
            if comm.rank == 0:
                file = stack.enter_context(replacing(path, keep=previous(path)))
                archive = stack.enter_context(zipfile.ZipFile(file, "w"))
                write_arrays(archive, entries | (parts or {}))
                file.flush()
                return archive, file.name, b""
            packed = io.BytesIO()
            archive = stack.enter_context(zipfile.ZipFile(packed, "w"))
            write_arrays(archive, parts or {})
            return archive, "", packed.getvalue()

        archive, name, packed = together(comm, begin, "a checkpoint")
        name = comm.bcast(name, root=0)
        sizes = comm.allgather(len(packed) if comm.rank else archive.start_dir)
        begins = sum(sizes[: comm.rank])

        def append() -> None:
            if packed:
                with Path(name).open("r+b") as file:
                    file.seek(begins)
                    file.write(packed)
                    file.flush()
                    os.fsync(file.fileno())
            for info in archive.infolist():
                info.header_offset += begins

        together(comm, append, "a checkpoint")
        contents = comm.gather(archive.infolist(), root=0)

        def finish() -> None:
            """Write the table of contents, and put the file into its place."""
            if contents is not None:
                archive.infolist()[:] = [info for each in contents for info in each]
                archive.start_dir = sum(sizes)
                stack.close()

        together(comm, finish, "a checkpoint")
    except BaseException as error:
        with suppress(OSError):  # a disk that is full is so a second time; the other ranks know already
            stack.__exit__(type(error), error, error.__traceback__)
        raise


@contextmanager
def opened(path: Path, fingerprint: dict[str, Any]) -> Iterator[tuple[dict[str, Any], ArrayFile]]:
    """Open and check a checkpoint.

    Args:
        path: File.
        fingerprint: Fingerprint of the present run.

    Returns:
        Its sections of JSON-able values, and its arrays by "section/name".

    Raises:
        CheckpointError: If it is no checkpoint, damaged, of another version or of another problem.
    """
    try:
        with array_file(path, most=path.stat().st_size) as arrays:  # they are not compressed
            meta = json.loads(arrays["meta"].tobytes())
            arrays.names.remove("meta")
            form, version = meta["format"], meta["version"]
            there, values = dict(meta["fingerprint"]), dict(meta["values"])
            if not all(isinstance(section, dict) for section in values.values()):
                raise TypeError("a section is no table")
            if form != FORMAT or version != VERSION:
                raise CheckpointError(
                    f"{path} is a {form!r} of version {version}, expected {FORMAT!r} of version {VERSION}"
                )
            for name in sorted(arrays.names ^ set(meta["arrays"])):
                problem = "should not be there" if name in arrays.names else "is missing"
                raise CheckpointError(f"{path} is incomplete or damaged: its array {name!r} {problem}")
            for name, here in fingerprint.items():
                if there.get(name) != here:
                    raise CheckpointError(
                        f"{path} belongs to another run: {name} is {there.get(name)} there and {here} here"
                    )
            yield values, arrays
    except CheckpointError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path} is truncated, damaged or no checkpoint: {error}") from error


def read_file(path: Path, fingerprint: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Array]]:
    """Read a checkpoint that one rank wrote; see `opened`."""
    with opened(path, fingerprint) as (values, arrays):
        return values, {name: arrays[name] for name in arrays.names}
