"""Doors: public functions that communicate, at whose entry and end ranks meet. Nobody has to remember."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, overload

import numpy as np
from mpi4py import MPI

from dolfinx_neural_topo._digest import exact, text
from dolfinx_neural_topo._meeting import communicator_among, group_of
from dolfinx_neural_topo.errors.agreement import meet_as, together, within
from dolfinx_neural_topo.errors.exceptions import InputError, NeuralTopoError
from dolfinx_neural_topo.errors.kinds import Kind, check_kinds, kinds_of

_F = TypeVar("_F", bound=Callable[..., Any])
Check = Callable[[Any, str, Mapping[str, Any]], Any]


@overload
def collective(function: _F) -> _F: ...


@overload
def collective(
    *,
    same: Sequence[str] = (),
    free: Sequence[str] = (),
    translate: Callable[[Exception], Exception | None] | None = None,
    **checks: Check,
) -> Callable[[_F], _F]: ...


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

    Inside of another door they meet when they enter, and where one fails.
    Arguments must be of the kinds that the annotations of the function say (`kinds`), and read alike on
    all ranks: numbers, strings and paths by value, arrays by kind, objects by type (see `_digest.text`).
    Whatever one rank raises, in a check or the body, is raised on all.
    A body may raise on one rank alone where something collective comes before it communicates otherwise.

    The communicator of a method is that of its object, which must have one (`comm`, `mesh`, `domain`,
    `function_space`); that of a function or constructor the largest found among the arguments, so that an
    object that lives on fewer ranks is noticed.

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

    @functools.cached_property
    def kinds(self) -> dict[str, Kind]:
        """Kinds of arguments by their annotations, without those that gather the rest (*args, **options)."""
        several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        rest = {p.name for p in inspect.signature(self.function).parameters.values() if p.kind in several}
        return {name: kind for name, kind in kinds_of(self.function).items() if name not in rest}

    def enter(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Check the arguments here and with the other ranks, and call the function."""
        arguments = {**self.defaults, **dict(zip(self.parameters, args, strict=False)), **kwargs}
        comm = communicator_among(arguments)
        if comm is None and "self" in arguments and self.function.__name__ != "__init__":
            raise TypeError(f"the object of {self.name} needs an attribute comm: who is to meet?")
        comm = MPI.COMM_WORLD if comm is None else comm
        if comm == MPI.COMM_NULL:
            raise InputError(f"{self.name} needs a communicator that holds this rank, got MPI.COMM_NULL")
        if comm.size == 1:
            return self._call(self._checked(arguments), args, kwargs)

        group = group_of(comm)

        def inside() -> Any:
            checked = self._checked(arguments)
            meet_as(group, (self.name, *self._described(checked)))
            return self._call(checked, args, kwargs)

        return within(group, inside, self.name) if group.depth else together(comm, inside, self.name)

    def _checked(self, arguments: dict[str, Any]) -> dict[str, Any]:
        check_kinds(self.kinds, arguments, self.name)
        for name in self.checks.keys() & arguments.keys():
            arguments[name] = self.checks[name](arguments[name], name, arguments)
        return arguments

    def _described(self, arguments: dict[str, Any]) -> Iterator[str]:
        for name, value in arguments.items():
            if name != "self" and name not in self.free:
                words = getattr(self.kinds.get(name), "words", "")
                if isinstance(value, list | tuple) and words.startswith("an array"):
                    value = np.asarray(value)  # which ranks share out
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
