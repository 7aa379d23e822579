"""The one way in which ranks agree that something is wrong.

Ranks *meet*: a small reduction on a communicator that nothing else uses tells whether all are at the same
place with the same values, and whether one of them has failed since they met last. A rank that fails goes
straight to the next meeting, wherever the others hold it, and all raise what it raised.
"""

from __future__ import annotations

import atexit
import pickle
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from mpi4py import MPI

from dolfinx_neural_topo._digest import exact
from dolfinx_neural_topo._meeting import Group, group_of, known_group
from dolfinx_neural_topo.errors.exceptions import InputError, NeuralTopoError, ReplicationError

_T = TypeVar("_T")
_END = ("the end of the program",)


def meet_as(group: Group, call: tuple[str, ...], failure: Exception | None = None) -> None:
    """Raise on all ranks of a group if one of them failed, or if they differ in what they do."""
    if group.ended:
        raise ReplicationError("a rank's program has ended: nothing can be done with it any more")
    first, alike = group.meet(call, failure)
    if first is None and alike:
        return
    comm, depth, packed = group.comm, group.depth, b""
    error: Any = None
    calls = comm.allgather(call)
    group.ended = _END in calls
    if first is None:
        error = _difference(calls)
    else:
        if comm.rank == first:
            packed = _pack(failure, f"(first found on rank {first} of {comm.size})")
        packed, depth = comm.bcast((packed, depth), root=first)
        error = pickle.loads(packed)  # from a rank of this program
        if comm.rank == first and type(error) is type(failure):
            error = failure  # with its own traceback
    error.__agreed__ = (group.ranks, depth)
    raise error from (error.__cause__ if failure in (None, error) else failure)


def _is_agreed(group: Group, error: Exception) -> bool:
    """Tell whether all ranks of the group raise an error already."""
    return getattr(error, "__agreed__", (None,))[0] == group.ranks


def _pack(error: Any, note: str) -> bytes:
    """Return an error as bytes, with a note behind its message."""
    error.__dict__.pop("__agreed__", None)  # with a smaller group
    plain = len(error.args) == 1 and isinstance(error.args[0], str)
    if plain and "(first found on rank" not in error.args[0]:
        error.args = (f"{error.args[0]} {note}",)
    try:
        packed = pickle.dumps(error)
        pickle.loads(packed)
    except Exception:  # an error that holds what cannot be sent: its words are raised instead
        packed = pickle.dumps(NeuralTopoError(f"{type(error).__name__}: {error}"))
    return packed


def _difference(calls: Sequence[tuple[str, ...]]) -> Exception:
    """Say in which argument the calls of ranks differ."""
    here = calls[0]
    rank, there = next((k, call) for k, call in enumerate(calls) if call != here)
    if here[0] != there[0]:
        return ReplicationError(
            "all ranks must make the same calls in the same order, but "
            f"rank 0 is at {here[0]} while rank {rank} is at {there[0]}"
        )
    mine, theirs = next((a, b) for a, b in zip(here[1:], there[1:], strict=True) if a != b)
    name, _, theirs = theirs.partition(" = ")
    mine = mine.partition(" = ")[2]
    return InputError(
        f"{name} of {here[0]} must be the same on all ranks, "
        f"got {mine:.200} on rank 0 and {theirs:.200} on rank {rank}"
    )


def agree(comm: MPI.Comm, problem: str | None, error: type[Exception] = InputError) -> None:
    """Raise the same error on every rank if any rank found a problem.

    The message is that of the lowest rank that has one, followed by the number of that rank when
    there are several.

    Args:
        comm: Communicator over which the verdict is reduced.
        problem: What is wrong with this rank's data, or None.
        error: Exception class to raise.

    Raises:
        Exception: `error`, on all ranks of `comm` or on none.

    Note: Collective.
    """
    failure = None if problem is None else error(problem)
    if comm.size > 1:
        meet_as(group_of(comm), ("a check",), failure)
    elif failure is not None:
        raise failure


def same(comm: MPI.Comm, where: str, **values: Any) -> None:
    """Raise on all ranks where a value that they must share differs.

    Args:
        comm: Communicator.
        where: What has the values.
        values: Numbers, texts, or arrays that all ranks hold whole.

    Raises:
        InputError: One of them differs.

    Note: Collective.
    """
    if comm.size > 1:
        meet_as(group_of(comm), (where, *(f"{name} = {exact(value)}" for name, value in values.items())))


def meet(comm: MPI.Comm, place: str) -> None:
    """Let ranks meet before they communicate in another way; raises what a rank that failed has raised.

    Args:
        comm: Communicator.
        place: What all are about to do.

    Note: Collective.
    """
    if comm.size > 1:
        meet_as(group_of(comm), (place,))


@atexit.register
def leave(failure: BaseException | None = None) -> None:
    """Tell ranks that still wait at a meeting that this one ends, and by which error.

    Args:
        failure: The error; that by which Python ends if None.
    """
    failure = failure or getattr(sys, "last_value", None)
    everyone = None if MPI.Is_finalized() else known_group(tuple(range(MPI.COMM_WORLD.size)))
    if everyone is not None and not everyone.ended:
        with suppress(Exception):
            meet_as(everyone, _END, failure if isinstance(failure, Exception) else None)


def together(comm: MPI.Comm, action: Callable[[], _T], name: str = "an action") -> _T:
    """Run `action` on every rank; what it raises on one of them is raised on all, the same type.

    Where an action fails on one rank, the others must meet before they communicate in another way: `agree`,
    `together` and all functions that are `collective` do.

    Args:
        comm: Communicator.
        action: Without arguments.
        name: What it is, for messages about ranks that are elsewhere.

    Returns:
        What the action returned here.

    Note: Collective.
    """
    if comm.size == 1:
        return action()
    group = group_of(comm)
    group.depth += 1
    try:
        return _and_meet(group, action, (f"the end of {name}",))
    except Exception as failure:
        if group.depth == 1:  # nobody is left to whom it is news
            vars(failure).pop("__agreed__", None)
        raise
    finally:
        group.depth -= 1


def within(group: Group, action: Callable[[], _T], name: str) -> _T:
    """Run `action` inside of another one: only a rank that fails meets the others, wherever they are."""
    group.depth += 1
    try:
        return action()
    except Exception as failure:
        if not _is_agreed(group, failure):
            meet_as(group, (f"the end of {name}",), failure)
        raise
    finally:
        group.depth -= 1


def _and_meet(group: Group, action: Callable[[], _T], call: tuple[str, ...]) -> _T:
    try:
        result = action()
    except Exception as failure:
        if not _is_agreed(group, failure):
            meet_as(group, call, failure)
        raise
    meet_as(group, call)
    return result


def attempt(
    comm: MPI.Comm,
    action: Callable[[], _T],
    expected: type[Exception] | tuple[type[Exception], ...] = Exception,
) -> tuple[_T | None, Exception | None]:
    """Run `action` on every rank and catch what it raises, the same on all ranks.

    Catching errors of collective functions by hand is safe only where no rank can fail outside the `try`.

    Args:
        comm: Communicator.
        action: Without arguments.
        expected: Errors to catch.

    Returns:
        What the action returned here and None, or None and the error.

    Note: Collective.
    """
    depth = group_of(comm).depth if comm.size > 1 else 0
    try:
        return together(comm, action), None
    except expected as error:
        if getattr(error, "__agreed__", (None, depth + 1))[1] <= depth:
            raise  # of a rank that failed outside
        vars(error).pop("__agreed__", None)
        return None, error
