"""What an attack is: something a user does, and the answer that is right."""

from __future__ import annotations

import linecache
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from mpi4py import MPI

comm = MPI.COMM_WORLD
EVERYWHERE = (1, 2, 3)
SEVERAL = (2, 3)
FEW = (1, 2)

CASES: list[Case] = []
"""All attacks, in the order in which they are carried out."""


class Wrong(Exception):
    """An attack went through without a word, and what came out is wrong."""


class Raw(Exception):
    """An attack ended in an error of a layer below, or in a traceback."""


@dataclass(frozen=True)
class Case:
    """One attack.

    Attributes:
        topic: Where it belongs.
        name: What is done.
        action: Does it, on all ranks.
        says: Pattern that a refusal must match (it names the argument, or what is wrong); None where the
            input is right and must be accepted.
        may_pass: Whether a right answer is as good as a refusal.
        ranks: Numbers of ranks on which it is tried.
        seconds: Longest time it may take.
    """

    topic: str
    name: str
    action: Callable[[], Any]
    says: str | None
    may_pass: bool = False
    ranks: tuple[int, ...] = FEW
    seconds: float = 20.0


class Topic:
    """Attacks of one topic: each method adds some to `CASES`."""

    def __init__(self, name: str):
        self.name = name

    def refuse(self, name: str, says: str, action: Callable[[], Any], **options: Any) -> None:
        """Add one that must be refused by a message that matches `says`."""
        CASES.append(Case(self.name, name, action, says, **options))

    def accept(self, name: str, action: Callable[[], Any], **options: Any) -> None:
        """Add one that must work; `action` raises `Wrong` where its result is not right."""
        CASES.append(Case(self.name, name, action, None, **{"ranks": EVERYWHERE, **options}))

    def either(self, name: str, says: str, action: Callable[[], Any], **options: Any) -> None:
        """Add one that must work, or be refused by a message that matches `says`."""
        CASES.append(Case(self.name, name, action, says, may_pass=True, **options))

    def values(
        self,
        call: str,
        argument: str,
        function: Callable[[Any], Any],
        bad: Iterable[Any],
        *,
        good: Any = None,
        other: Any = None,
        says: str | None = None,
        **options: Any,
    ) -> None:
        """Add bad values of one argument: on all ranks, and the first of them on one rank alone.

        Args:
            call: What is called.
            argument: Name of the argument.
            function: Calls it with a value.
            bad: Values that must be refused everywhere.
            good: A value that is right. With it one rank alone gets the first bad value.
            other: Another one that is right by itself. With it one rank alone gets this one.
            says: Pattern of the refusal; the argument's name if None.
            **options: As for `Case`.
        """
        bad, says = list(bad), says or rf"\b{argument}\b"
        for k, value in enumerate(bad):  # the door is the same for all: on several ranks one is enough
            where = {"ranks": FEW if k == 0 else (1,), **options}
            name = f"{call}, {argument} = {shown(value)}"
            self.refuse(name, says, lambda value=value: function(value), **where)
        apart = {"ranks": SEVERAL, **options}
        if good is not None and bad:
            name = f"{call}, {argument} = {shown(bad[0])} on one rank"
            self.refuse(name, says, on_one(name, function, bad[0], good), **apart)
        if other is not None:
            name = f"{call}, {argument} = {shown(other)} on one rank, else {shown(good)}"
            self.refuse(name, rf"{says}|\branks?\b", on_one(name, function, other, good), **apart)


def culprit(name: str) -> int:
    """Return the rank that does something else in a case: spread evenly, and the same in each run."""
    return zlib.crc32(name.encode()) % comm.size


def on_one(name: str, function: Callable[[Any], Any], odd: Any, even: Any) -> Callable[[], Any]:
    """Return what calls a function with one value on one rank and with another one elsewhere."""
    return lambda: function(odd if comm.rank == culprit(name) else even)


def shown(value: Any) -> str:
    """Return a value in few words."""
    text = getattr(value, "__name__", None) or repr(value)
    if text == "<lambda>":
        text = _body(value)
    text = " ".join(text.split())
    return text if len(text) < 50 else f"{text[:46]}..."


def _body(function: Any) -> str:
    """Return the source of a lambda's body."""
    places = [place for place in function.__code__.co_positions() if None not in place and place[3] > 0]
    line = min(place[0] for place in places)
    first, last = min(p[2] for p in places if p[0] == line), max(p[3] for p in places if p[1] == line)
    return linecache.getline(function.__code__.co_filename, line)[first:last]


def right(condition: Any, what: str) -> None:
    """Raise `Wrong` unless a condition holds."""
    if not condition:
        raise Wrong(what)


def close(given: float, expected: float, what: str, rel: float = 1e-6) -> None:
    """Raise `Wrong` unless a number is what it must be."""
    if not abs(given - expected) <= rel * abs(expected):
        raise Wrong(f"{what}: {given:.10g} where {expected:.10g} is right")
