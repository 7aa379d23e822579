"""Records of finished runs in a folder: append-only JSON lines that survive a kill, one writer at a time.

A record is what `run` writes as `result.json` (see `study.run`), or for a failed run its key, `status`
"failed" and `error`. The key of a run is (task, method, seed, start, budget); the last record of a key
counts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from dolfinx_neural_topo._files import as_path, one_writer
from dolfinx_neural_topo.errors import InputError

SCHEMA = 1
"""Version of the records; one that differs is refused."""

Record = dict[str, Any]


class Key(NamedTuple):
    """What makes a run one of its own.

    Attributes:
        task: Name of the task.
        method: Name of the method.
        seed: Seed of the method's network, 0 where it has none.
        start: "uniform" or "network:SEED".
        budget: Evaluations allowed; for multi-start, equivalent ones planned for (it records what it took).
    """

    task: str
    method: str
    seed: int
    start: str
    budget: int

    @property
    def folder(self) -> str:
        """Name for files of this run."""
        return f"{self.task}-{self.method}-{self.seed}-{self.start.replace(':', '')}-{self.budget}"

    @classmethod
    def of(cls, record: Record) -> Key:
        """Return the key of a record."""
        return cls(*(record[name] for name in cls._fields))

    @classmethod
    def checked(cls, record: Record) -> Key:
        """Return the key of a record from a file.

        Raises:
            KeyError: Something every record has is missing.
            TypeError: Something is of another kind.
        """
        kinds = (str, str, int, str, int, str)
        for name, kind in zip((*cls._fields, "status"), kinds, strict=True):
            if type(record[name]) is not kind:
                raise TypeError(name)
        return cls.of(record)


class Store:
    """The records in a folder.

    Args:
        folder: Made if it does not exist.

    Attributes:
        folder: The folder.
        path: Its file of records, one JSON object a line.
        pictures: Its folder of pictures, a PNG a run named by `Key.folder`.
    """

    def __init__(self, folder: str | Path):
        self.folder = as_path(folder, "folder")
        self.path = self.folder / "records.jsonl"
        self.pictures = self.folder / "pictures"

    def records(self) -> list[Record]:
        """Return the last record of each key, in the order of their first appearance.

        Raises:
            InputError: A line is no record, or was written by another version.
        """
        latest: dict[Key, Record] = {}
        for number, line in enumerate(self._complete_lines(), start=1):
            if not line:
                continue
            try:
                record = json.loads(line)
                schema = record["schema"]
                if schema == SCHEMA:
                    latest[Key.checked(record)] = record
            except (ValueError, TypeError, KeyError, RecursionError):
                raise InputError(
                    f"{self.path}, line {number}: not a record; remove or repair the line"
                ) from None
            if schema != SCHEMA:
                raise InputError(
                    f"{self.path}, line {number}: written with schema {schema!r}, expected {SCHEMA}; "
                    "choose another folder, or use the version that wrote it"
                )
        return list(latest.values())

    def _complete_lines(self) -> list[str]:
        """Return all lines that end; a writer killed in the middle of one leaves a rest without an end."""
        if not self.path.exists():
            return []
        if not self.path.is_file():
            raise InputError(f"{self.path} is no file; choose another folder")
        try:
            return self.path.read_text(errors="replace").split("\n")[:-1]
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror}") from None

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the folder for one writer; `append` is allowed inside.

        Raises:
            InputError: Another process holds it, or its records cannot be read.
        """
        with one_writer(self.folder, "study"):
            self.records()
            self._drop_incomplete_line()
            yield

    def _drop_incomplete_line(self) -> None:
        if self.path.exists():
            content = self.path.read_bytes()
            os.truncate(self.path, content.rfind(b"\n") + 1)

    def append(self, record: Record) -> None:
        """Add a record, on disk when this returns; only inside `writing`."""
        line = json.dumps({"schema": SCHEMA, **record}, allow_nan=False)
        with self.path.open("a") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
