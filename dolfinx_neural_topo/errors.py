"""Exceptions, and the one way in which ranks agree that something is wrong.

Ranks *meet*: a small reduction on a communicator that nothing else uses tells whether all are at the same
place with the same values, and whether one of them has failed since they met last. A rank that fails goes
straight to the next meeting, wherever the others hold it, and all raise what it raised. `collective` makes
every public function that communicates meet at its entry and at its end: nobody has to remember.
"""

from __future__ import annotations

import functools
import inspect
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from mpi4py import MPI

from dolfinx_neural_topo._digest import exact, text
from dolfinx_neural_topo._meeting import Group, communicator_among, group_of

_T = TypeVar("_T")
_F = TypeVar("_F", bound=Callable[..., Any])
Check = Callable[[Any, str, Mapping[str, Any]], Any]


class NeuralTopoError(Exception):
    """Base class of every error this package raises on purpose."""


class InputError(NeuralTopoError, ValueError):
    """An argument is unusable; the message names it, what was expected, what was given, and the way out."""


class SolverError(NeuralTopoError, RuntimeError):
    """A linear or nonlinear solve failed.

    Attributes:
        reason: PETSc's converged reason (negative), or 0 where the failure has none.
        iterations: Iterations done.
        residual: Last residual norm known to the solver.
    """

    def __init__(self, message: str, *, reason: int = 0, iterations: int = 0, residual: float = float("nan")):
        super().__init__(message)
        self.reason = reason
        self.iterations = iterations
        self.residual = residual


class CheckpointError(NeuralTopoError, RuntimeError):
    """A checkpoint is truncated, belongs to another problem, or was written by another version."""


class Interrupted(NeuralTopoError):
    """A signal ended the run; its checkpoint continues it."""


class ReplicationError(NeuralTopoError, RuntimeError):
    """Values that must be identical on all ranks differ."""


def _meet(group: Group, call: tuple[str, ...], failure: Exception | None = None) -> None:
    """Raise on all ranks of a group if one of them failed, or if they differ in what they do."""
    first, alike = group.meet(call, failure)
    if first is None and alike:
        return
    comm, depth, packed = group.comm, group.depth, b""
    error: Any = None
    if first is None:
        error = _difference(comm.allgather(call))
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
        _meet(group_of(comm), ("a check",), failure)
    elif failure is not None:
        raise failure


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


def _and_meet(group: Group, action: Callable[[], _T], call: tuple[str, ...]) -> _T:
    try:
        result = action()
    except Exception as failure:
        if not _is_agreed(group, failure):
            _meet(group, call, failure)
        raise
    _meet(group, call)
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


def collective(
    function: Any = None,
    *,
    same: Sequence[str] = (),
    free: Sequence[str] = (),
    translate: Callable[[Exception], Exception | None] | None = None,
    **checks: Check,
) -> Any:
    """Decorate a function that communicates: the ranks meet when they enter and when they leave it.

        @collective(rho=owned_cells)
        def value(self, rho): ...

    On entry arguments must read alike on all ranks: numbers, strings and paths by value, arrays by kind,
    objects by type (see `_digest.text`). Whatever one rank raises, in a check or the body, is raised on all.
    A body may raise on one rank alone where something collective comes before it communicates otherwise.

    The communicator is the largest that is found among the arguments (`comm`, `mesh`, `domain`,
    `function_space`), so that an object that lives on fewer ranks is noticed.

    Args:
        function: Function, method or constructor.
        same: Names of arrays that all ranks hold whole: compared by value.
        free: Names of arguments that may differ between ranks.
        translate: Turns an error of a library into one of this package, or returns None.
        checks: For the arguments named, functions of value, name and all arguments that raise, or return the
            value to go on with; they do not communicate.
    """
    if function is None:
        return functools.partial(collective, same=same, free=free, translate=translate, **checks)
    door = _Door(function, frozenset(same), frozenset(free), translate, checks)

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return door.enter(args, kwargs)

    wrapper.__collective__ = True  # type: ignore[attr-defined]
    return wrapper


@dataclass(frozen=True)
class _Door:
    """A collective function; see `collective`."""

    function: Callable[..., Any]
    same: frozenset[str]
    free: frozenset[str]
    translate: Callable[[Exception], Exception | None] | None
    checks: dict[str, Check]

    @functools.cached_property
    def name(self) -> str:
        return self.function.__qualname__.removesuffix(".__init__")

    @functools.cached_property
    def parameters(self) -> dict[str, Any]:
        """Names of all parameters, and their defaults."""
        return {name: p.default for name, p in inspect.signature(self.function).parameters.items()}

    @functools.cached_property
    def defaults(self) -> dict[str, Any]:
        return {
            name: value for name, value in self.parameters.items() if value is not inspect.Parameter.empty
        }

    def enter(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Check the arguments here and with the other ranks, and call the function."""
        arguments = {**self.defaults, **dict(zip(self.parameters, args, strict=False)), **kwargs}
        comm = communicator_among(arguments)
        if comm.size == 1:
            return self._call(self._checked(arguments), args, kwargs)

        def inside() -> Any:
            checked = self._checked(arguments)
            _meet(group_of(comm), (self.name, *self._described(checked)))
            return self._call(checked, args, kwargs)

        return together(comm, inside, self.name)

    def _checked(self, arguments: dict[str, Any]) -> dict[str, Any]:
        for name in self.checks.keys() & arguments.keys():
            arguments[name] = self.checks[name](arguments[name], name, arguments)
        return arguments

    def _described(self, arguments: dict[str, Any]) -> Iterator[str]:
        for name, value in arguments.items():
            if name != "self" and name not in self.free:
                yield f"{name} = {exact(value) if name in self.same else text(value)}"

    def _call(self, arguments: dict[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self.checks:  # what they returned takes the place of what was given
            given = list(self.parameters)[: len(args)]
            args = (*[arguments[name] for name in given], *args[len(given) :])
            kwargs = {name: value for name, value in arguments.items() if name not in given}
        try:
            return self.function(*args, **kwargs)
        except NeuralTopoError:
            raise
        except Exception as error:
            told = self.translate(error) if self.translate else None
            if told is None:
                raise
            raise told from error
