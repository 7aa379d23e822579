"""Files that are whole or not there, folders with one writer, arrays from files that nobody vouches for."""

from __future__ import annotations

import errno
import fcntl
import math
import os
import platform
import re
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from dolfinx_neural_topo.errors import InputError, NeuralTopoError


def as_path(path: Any, name: str = "path", suffix: str | None = None) -> Path:
    """Return an argument as a path.

    Raises:
        InputError: It is none, is empty, or ends otherwise than in `suffix`.
    """
    if not isinstance(path, str | os.PathLike) or not str(path) or "\0" in str(path):
        raise InputError(f"{name} must be a path, got {path!r}")
    path = Path(path)
    if suffix is not None and path.suffix != suffix:
        raise InputError(f"{name} must end in {suffix}, got {path.name!r}")
    return path


@contextmanager
def in_a_sentence(path: Path) -> Iterator[None]:
    """Turn what a system says about a path that cannot be written into an `InputError`."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"path {path} cannot be written: {error.strerror or error}; choose another one"
        ) from error


@contextmanager
def replacing(path: Path, keep: Path | None = None) -> Iterator[IO[bytes]]:
    """Open a file that takes the place of `path` when it is on disk; after a failure nothing changed.

    Args:
        path: File to replace; its folder is made. Another process may do the same: the last one wins.
        keep: Where the file that was there goes.

    Raises:
        OSError: It cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if keep is not None and path.exists():
            path.replace(keep)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)  # the renaming itself
    finally:
        os.close(directory)


def _remove_leftovers(path: Path) -> None:
    """Remove what killed processes left when they wrote to `path`."""
    for file in path.parent.glob("*.tmp"):
        process = re.fullmatch(re.escape(path.name) + r"\.(\d{1,9})\.tmp", file.name)
        if process is None:
            continue
        try:
            os.kill(int(process[1]), 0)
        except ProcessLookupError:
            file.unlink(missing_ok=True)
        except PermissionError:  # it lives, and is another user's
            pass


@contextmanager
def one_writer(folder: Path, kind: str, patience: float = 0.0) -> Iterator[None]:
    """Make a folder and hold it for this process; the lock of a process that died is free.

    Args:
        folder: The folder.
        kind: What writes to it, for messages: "run" or "study".
        patience: Seconds to wait for another process that holds it.

    Raises:
        InputError: Another process holds it, or it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("ab+", buffering=0)
    except OSError as error:
        raise InputError(
            f"the folder {folder} cannot be made or written to: {error.strerror}; choose another one"
        ) from None
    with lock:
        _take(lock, f"another {kind} is writing to {folder}", patience)
        yield


@contextmanager
def exclusive(path: Path, name: str) -> Iterator[None]:
    """Hold a file that this process is going to replace; what shows that stands beside it meanwhile.

    Args:
        path: The file; its folder is made.
        name: Of the argument, for messages.

    Raises:
        InputError: Another process holds it, it is a folder, or nothing can be written there.
    """
    beside = path.with_name(f"{path.name}.lock")
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = beside.open("ab+", buffering=0)
    except OSError as error:
        raise InputError(
            f"{name} {path} cannot be written: {error.strerror or error}; choose another path"
        ) from None
    with lock:
        _take(lock, f"{name} {path} is being written by another run")
        try:
            yield
        finally:
            beside.unlink(missing_ok=True)


def _take(lock: IO[bytes], taken: str, patience: float = 0.0) -> None:
    """Lock a file and write down by whom.

    Raises:
        InputError: Another process holds it, which `taken` says, or it cannot be locked.
    """
    try:
        _lock(lock, patience)
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {platform.node()}\n".encode())
    except BlockingIOError:
        lock.seek(0)
        raise InputError(
            f"{taken} ({lock.read().decode().strip() or 'unknown'}); wait for it, stop it, or choose another "
            "place"
        ) from None
    except OSError as error:
        raise InputError(f"{lock.name} cannot be locked: {error.strerror}; choose another place") from None


def _lock(file: IO[bytes], patience: float) -> None:
    deadline = time.monotonic() + patience
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.1)


@contextmanager
def array_file(path: Path, most: int) -> Iterator[ArrayFile]:
    """Open an .npz file: arrays of numbers, never a pickle, and no more than the file may hold.

    Args:
        path: File.
        most: Bytes up to which an array is believed to be that large.

    Raises:
        OSError: There is no such file, or it cannot be read.
        ValueError: Whatever else is wrong with it.
    """
    if not path.is_file():  # a pipe would keep the reader waiting
        raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
    try:
        with zipfile.ZipFile(path) as archive:
            yield ArrayFile(archive, most)
    except (OSError, NeuralTopoError):
        raise
    except Exception as error:  # whatever a damaged file makes the libraries raise
        raise ValueError(str(error) or type(error).__name__) from error


class ArrayFile:
    """The arrays of an open .npz file.

    Attributes:
        names: Their names.

    Args:
        archive: The file.
        most: Bytes up to which an array is believed to be that large.
    """

    def __init__(self, archive: zipfile.ZipFile, most: int):
        self._archive, self._most = archive, most
        self._infos = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        self.names = set(self._infos)

    def __getitem__(self, name: str) -> np.ndarray:
        """Read an array."""
        if name not in self.names:
            raise ValueError(f"no array {name!r}")
        archive, info = self._archive, self._infos[name]
        if info.file_size > self._most + 2**16:  # the header comes on top
            raise ValueError(f"{info.filename} claims {info.file_size} bytes")
        with archive.open(info) as file:
            version = np.lib.format.read_magic(file)
            headers = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }
            shape, _, dtype = headers[version](file)
        if dtype.hasobject or math.prod(shape) * dtype.itemsize > info.file_size:
            raise ValueError(f"{info.filename} is no array of numbers, or claims more than there is")
        with archive.open(info) as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
            file.read()  # to the end, where the sum is checked
            return array


def write_arrays(archive: zipfile.ZipFile, arrays: dict[str, np.ndarray]) -> None:
    """Add arrays to an open .npz file, not compressed.

    Raises:
        TypeError: One of them holds objects, which only a pickle could keep.
    """
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise TypeError(f"entry {name!r} is no array of numbers")
        with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
            np.lib.format.write_array(file, array, allow_pickle=False)
