"""TOML whose errors name the line: the file is data, and nothing in it is run."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from dolfinx_neural_topo.errors import InputError

MOST = 2**20
"""Bytes that a description may have; a mesh is in a file of its own."""

_REQUIRED: Any = object()

# Strings and comments, so that what looks like a table inside of them is not taken for one.
_QUIET = re.compile(
    r'"""(?:\\.|[^\\])*?"""+|\'\'\'.*?\'\'\'+|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|#[^\n]*', re.DOTALL
)

Path_ = tuple[str | int, ...]


class Document:
    """A TOML file and the line of everything in it.

    Attributes:
        path: The file, for messages.
        text: What is in it.
        top: Its outermost table.

    Args:
        path: The file.
        content: Its bytes.

    Raises:
        InputError: It is no TOML, or larger than `MOST`.
    """

    def __init__(self, path: Path, content: bytes):
        try:
            import tomllib
        except ImportError:
            raise InputError("problems in a file need Python 3.11 or newer; way out: write Python") from None
        self.path = path
        if len(content) > MOST:
            raise InputError(
                f"{path} has {len(content)} bytes, at most {MOST} are read: is it a description?"
            )
        try:
            self.text = content.decode("utf-8-sig").replace("\r\n", "\n")
            data = tomllib.loads(self.text)
        except UnicodeDecodeError as error:
            line = content[: error.start].count(b"\n") + 1
            raise InputError(f"{path}, line {line}: not UTF-8 text") from None
        except (ValueError, RecursionError) as error:
            place = re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", str(error), re.DOTALL)
            where = f", line {place[2]}" if place else ""
            said = place[1] if place else str(error) or "nested too deeply"
            raise InputError(f"{path}{where}: not valid TOML: {said[:1].lower()}{said[1:]}") from None
        self._lines = dict(_lines(self.text, tomllib.loads))
        self.top = Table(self, (), data)

    def missing(self, what: str) -> InputError:
        """Return an error about something outermost that is not there."""
        return InputError(f"{self.path}, after line {len(self.text.splitlines())}: {what} is missing")

    def error(self, path: Path_, message: str) -> InputError:
        """Return an error about what is at a path, or about the innermost table that holds it."""
        while path and path not in self._lines:
            path = path[:-1]
        where = f", line {self._lines[path]}" if path else ""
        return InputError(f"{self.path}{where}: {message}")


class Table:
    """One table of a document, of which every key must be asked for.

    Attributes:
        document: The document.
        path: Where the table is in it.
    """

    def __init__(self, document: Document, path: Path_, values: dict[str, Any]):
        self.document, self.path, self._values = document, path, values
        self._known: list[str] = []

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def error(self, name: str, message: str) -> InputError:
        """Return an error about a key of this table."""
        return self.document.error((*self.path, name), message)

    @contextmanager
    def at(self, name: str) -> Iterator[None]:
        """Name the line of a key in errors from inside that name none, the same on all ranks as they are."""
        try:
            yield
        except (InputError, FileNotFoundError) as error:
            said = str(error)
            if said.startswith(f"{self.document.path}, line"):  # a key that is nearer to what is wrong
                raise
            raise self.error(name, said if not name or name in said else f"{name}: {said}") from error

    def number(self, name: str, default: Any = _REQUIRED, *, above: float = -math.inf, to: float = math.inf):
        """Return a finite number in (above, to]."""
        value = self._take(name, default)
        if value is default:
            return value
        if not _is_number(value) or not above < value <= to:
            limits = f" above {above:g}" * (above > -math.inf) + f" and up to {to:g}" * (to < math.inf)
            raise self.error(name, f"{name} must be a number{limits}, got {_shown(value)}")
        return float(value)

    def count(self, name: str, default: int, *, least: int = 1) -> int:
        """Return a whole number."""
        value = self._take(name, default)
        if type(value) is not int or not least <= value < 2**63:
            raise self.error(name, f"{name} must be a whole number from {least}, got {_shown(value)}")
        return value

    def flag(self, name: str, default: bool) -> bool:
        """Return true or false."""
        value = self._take(name, default)
        if not isinstance(value, bool):
            raise self.error(name, f"{name} must be true or false, got {_shown(value)}")
        return value

    def text(self, name: str, default: Any = _REQUIRED, choices: Sequence[str] = ()) -> Any:
        """Return a string, one of `choices` if there are some."""
        value = self._take(name, default)
        if value is default:
            return value
        if not isinstance(value, str) or not value or (choices and value not in choices):
            wanted = " or ".join(f'"{choice}"' for choice in choices) or "a text that is not empty"
            raise self.error(name, f"{name} must be {wanted}, got {_shown(value)}")
        return value

    def texts(self, name: str) -> list[str]:
        """Return a list of strings, of one where a string is given."""
        value = self._take(name, [])
        value = [value] if isinstance(value, str) else value
        if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
            raise self.error(name, f"{name} must be a text or a list of them, got {_shown(value)}")
        return value

    def numbers(self, name: str, size: int) -> list[float]:
        """Return a list of `size` finite numbers."""
        value = self._take(name, _REQUIRED)
        if not isinstance(value, list) or len(value) != size or not all(map(_is_number, value)):
            raise self.error(name, f"{name} must be a list of {size} numbers, got {_shown(value)}")
        return [float(each) for each in value]

    def values(self, name: str) -> list[Any]:
        """Return a list of whatever."""
        value = self._take(name, _REQUIRED)
        if not isinstance(value, list):
            raise self.error(name, f"{name} must be a list, got {_shown(value)}")
        return value

    def table(self, name: str, *, required: bool = False) -> Table:
        """Return a table inside this one; an empty one where it may be left out."""
        value = self._take(name, _REQUIRED if required else {}, f"[{name}]")
        if not isinstance(value, dict):
            raise self.error(name, f"{name} must be a table, [{name}], got {_shown(value)}")
        return Table(self.document, (*self.path, name), value)

    def tables(self, name: str) -> list[Table]:
        """Return the tables of a list of tables, none where it is left out."""
        value = self._take(name, [])
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            raise self.error(name, f"{name} must be tables, each headed [[{name}]], got {_shown(value)}")
        return [Table(self.document, (*self.path, name, k), each) for k, each in enumerate(value)]

    def finish(self) -> None:
        """Refuse keys that nobody asked for: a misspelt one would be left out in silence."""
        for name in self._values:
            if name not in self._known:
                close = difflib.get_close_matches(name, self._known, n=1)
                meant = f'; did you mean "{close[0]}"?' if close else ""
                here = f"here are known: {', '.join(sorted(set(self._known)))}"
                raise self.error(name, f"unknown key {_shown(name)}{meant} ({here})")

    def _take(self, name: str, default: Any, shown: str = "") -> Any:
        self._known.append(name)
        if name not in self._values and default is _REQUIRED:
            for other in difflib.get_close_matches(
                name, [n for n in self._values if n not in self._known], n=1
            ):
                raise self.error(other, f'unknown key {_shown(other)}; did you mean "{name}"?')
            if self.path:
                raise self.document.error(self.path, f"{self._title}{name} is missing")
            raise self.document.missing(shown or name)
        return self._values.get(name, default)

    @property
    def _title(self) -> str:
        names = [str(part) for part in self.path if isinstance(part, str)]
        return f"[{'.'.join(names)}] " if names else ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _shown(value: Any) -> str:
    """Return a value as short text for a message."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value!r:.60}"


def _lines(text: str, loads: Any) -> Iterator[tuple[Path_, int]]:
    """Yield the path of each table and key of a valid document with its line, from 1."""
    starts = list(_statements(text))
    where: Path_ = ()
    counts: dict[Path_, int] = {}
    for (line, begin), (_, end) in pairwise([*starts, (0, len(text))]):
        statement = text[begin:end]
        steps = list(_path_in(loads(statement)))
        if statement.lstrip().startswith("["):
            where, many = (), statement.lstrip().startswith("[[")
            for k, name in enumerate(steps):
                where = (*where, name)
                if many and k == len(steps) - 1:
                    counts[where] = counts.get(where, -1) + 1
                if where in counts:  # the last of a list of tables
                    where = (*where, counts[where])
            yield where, line
            if many and where[-1] == 0:  # the list as a whole
                yield where[:-1], line
        else:
            for k in range(1, len(steps) + 1):
                yield (*where, *steps[:k]), line


def _path_in(data: Any) -> Iterator[str]:
    """Yield the keys that one statement names, outermost first."""
    while isinstance(data, dict) and len(data) == 1:
        ((name, data),) = data.items()
        yield name
        if isinstance(data, list) and data == [{}]:
            return


def _statements(text: str) -> Iterator[tuple[int, int]]:
    """Yield line and position of each statement: where a line begins that is not inside of a value."""
    # of the same length, with line ends of strings hidden, but not those that end a comment
    quiet = _QUIET.sub(lambda found: " " * len(found[0]) if found[0][0] == "#" else "s" * len(found[0]), text)
    line, depth, position = 1, 0, 0
    for part in quiet.splitlines(keepends=True):
        if depth == 0 and part.strip():
            yield line, position
        depth += sum(part.count(mark) for mark in "[{") - sum(part.count(mark) for mark in "]}")
        line += text[position : position + len(part)].count("\n")
        position += len(part)
