"""Kinds of arguments: what the annotations of a public function promise is checked at its door."""

from __future__ import annotations

import collections.abc
import functools
import inspect
import numbers
import os
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from mpi4py import MPI

from dolfinx_neural_topo.errors.exceptions import InputError

_F = TypeVar("_F", bound=Callable[..., Any])


class Kind(typing.NamedTuple):
    """A test of values, what passes it in words, and for sequences the kind of each entry or place."""

    test: Callable[[Any], bool]
    words: str
    entry: Any = None
    places: Any = ()


def _is_number(value: Any) -> bool:
    if isinstance(value, np.ndarray) and value.shape == () and value.dtype.kind in "iuf":
        value = value.item()
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and value == value


def _is_array(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "fiub"
    if isinstance(value, type) or value is None:
        return False
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError):  # ragged, or a tensor with a gradient
        return False
    return array.dtype.kind in "fiub" and (array.ndim > 0 or isinstance(value, numbers.Real))


def _is_sequence(value: Any) -> bool:
    return isinstance(value, (collections.abc.Sequence, np.ndarray)) and not isinstance(value, (str, bytes))


def _is_iterable(value: Any) -> bool:
    return isinstance(value, collections.abc.Iterable) and not isinstance(value, (str, bytes, type))


def _is_function(value: Any) -> bool:
    """Tell whether a value can be called, and is no class whose objects are meant to be."""
    return callable(value) and not (
        isinstance(value, type) and any("__call__" in vars(base) for base in value.__mro__)
    )


_PLAIN: dict[Any, tuple[Callable[[Any], bool], str]] = {
    float: (_is_number, "a number"),
    int: (
        lambda value: isinstance(value, numbers.Integral) and not isinstance(value, bool),
        "a whole number",
    ),
    bool: (lambda value: isinstance(value, (bool, np.bool_)), "True or False"),
    str: (lambda value: isinstance(value, str), "a text"),
    None: (lambda value: value is None, "None"),
    type(None): (lambda value: value is None, "None"),
    np.ndarray: (_is_array, "an array of real numbers"),
    MPI.Comm: (lambda value: isinstance(value, MPI.Comm), "an MPI communicator"),
    Path: (lambda value: isinstance(value, os.PathLike), "a path"),
    os.PathLike: (lambda value: isinstance(value, os.PathLike), "a path"),
    collections.abc.Callable: (_is_function, "a function"),
    collections.abc.Mapping: (lambda value: isinstance(value, Mapping), "a mapping"),
    dict: (lambda value: isinstance(value, Mapping), "a mapping"),
}
_MANY: dict[Any, Callable[[Any], bool]] = {
    collections.abc.Sequence: _is_sequence,
    list: _is_sequence,
    tuple: _is_sequence,
    collections.abc.Iterable: _is_iterable,
    collections.abc.Collection: _is_iterable,
}


def kind_of(hint: Any) -> Kind | None:
    """Return what an annotation asks for, or None where anything will do."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _one_of(parts)
    if origin is typing.Literal:
        return Kind(lambda value: isinstance(value, str) and value in parts, " or ".join(map(repr, parts)))
    if (origin or hint) in _PLAIN:
        test, words = _PLAIN[origin or hint]
        if words == "a mapping" and parts[:1] == (str,):
            return Kind(
                lambda value: test(value) and all(isinstance(key, str) for key in value), "a mapping of names"
            )
        return Kind(test, words)
    if origin is tuple and parts and ... not in parts:
        return _tuple([kind_of(part) for part in parts])
    if (origin or hint) in _MANY:
        return _many(_MANY[origin or hint], kind_of(parts[0]) if parts else None)
    if not isinstance(hint, type) or hint in (object, Any):
        return None
    if getattr(hint, "_is_protocol", False):
        named = sorted(getattr(hint, "__protocol_attrs__", ()))
        wanted = [name for name in named if callable(getattr(hint, name, None))] or named
        name = f"an object with {', '.join(wanted)}"
        return Kind(
            lambda value: not isinstance(value, type) and any(hasattr(value, a) for a in wanted), name
        )
    home = ".".join(hint.__module__.replace(".cpp", "").split(".")[:2])  # where users import it from
    name = (
        hint.__name__ if home.startswith(("builtins", "dolfinx_neural_topo")) else f"{home}.{hint.__name__}"
    )
    return Kind(lambda value: isinstance(value, hint), f"{'an' if name[0] in 'AEIOaeio' else 'a'} {name}")


def _one_of(parts: tuple[Any, ...]) -> Kind | None:
    kinds = [kind_of(part) for part in parts]
    known = [kind for kind in kinds if kind is not None]
    if len(known) < len(kinds):
        return None
    named = " or ".join(dict.fromkeys(kind.words for kind in known)).replace("a text or a path", "a path")
    several = [kind for kind in known if kind.entry is not None or kind.places]
    entry, places = several[0][2:] if len(several) == 1 else (None, ())
    return Kind(lambda value: any(kind.test(value) for kind in known), named, entry, places)


def _many(whole: Callable[[Any], bool], entry: Kind | None) -> Kind:
    """Sequences whose entries are all of one kind."""
    if entry is None:
        return Kind(whole, "a sequence")
    each = {"a number": "numbers", "a whole number": "whole numbers"}.get(entry.words)
    once = whole is _is_iterable  # iterators cannot be looked through
    return Kind(
        lambda value: whole(value) and (once or all(map(entry.test, value))),
        f"a sequence of {each}" if each else f"a sequence, each entry {entry.words}",
        None if once else entry,
    )


def _tuple(kinds: list[Kind | None]) -> Kind:
    """Sequences with a place for each of several kinds."""
    places = [kind or Kind(lambda value: True, "anything") for kind in kinds]
    return Kind(
        lambda value: (
            _is_sequence(value)
            and len(value) == len(places)
            and all(kind.test(item) for kind, item in zip(places, value, strict=True))
        ),
        f"({', '.join(kind.words for kind in places)})",
        None,
        places,
    )


def kinds_of(function: Callable[..., Any]) -> dict[str, Kind]:
    """Return the kinds of a function's arguments, of those whose annotations say one."""
    found = {}
    inner: Any = inspect.unwrap(function)
    for name, hint in inner.__annotations__.items():
        alone = types.SimpleNamespace(__annotations__={name: hint})
        try:
            kind = kind_of(typing.get_type_hints(alone, inner.__globals__)[name])
        except (NameError, AttributeError, TypeError):  # a name that only the type checker imports
            continue
        if kind is not None and name != "return":
            found[name] = kind
    return found


def check_kinds(kinds: Mapping[str, Kind], arguments: Mapping[str, Any], where: str) -> None:
    """Refuse arguments of another kind.

    Raises:
        InputError: One of them is.
    """
    for name, kind in kinds.items():
        if name in arguments and not kind.test(arguments[name]):
            raise InputError(_complaint(name, kind, arguments[name], where))


def _complaint(name: str, kind: Kind, given: Any, where: str) -> str:
    if kind.entry is not None and _is_sequence(given):
        for k, item in enumerate(given):
            if not kind.entry.test(item):
                return _complaint(f"{name}[{k}]", kind.entry, item, where)
    if kind.places and _is_sequence(given) and len(given) == len(kind.places):
        k = next(k for k, place in enumerate(kind.places) if not place.test(given[k]))
        return _complaint(f"{name}[{k}]", kind.places[k], given[k], where)
    way_out = f"see help({where})"
    if isinstance(given, type):
        way_out = f"way out: an object, such as {given.__name__}(...)"
    elif kind.test([given]):
        way_out = f"way out: {name}=[...]"
    return f"{name} must be {kind.words}, got {shown(given)}; {way_out}"


def shown(value: Any) -> str:
    """Show a value that is of the wrong kind."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype}, shape {value.shape}"
    if value is None or isinstance(value, (bool, numbers.Number)):
        return repr(value)
    try:
        text = repr(value)
    except Exception as error:  # of a broken object of a user
        text = f"what cannot be shown ({type(error).__name__})"
    if " object at 0x" in text:
        return type(value).__name__
    return f"{text if len(text) <= 80 else text[:77] + '...'} ({type(value).__name__})"


def checked(function: _F) -> _F:
    """Decorate a public function or class that does not communicate: checks the kinds of its arguments.

    Those that do communicate are `collective`, which checks the same.
    """
    if isinstance(function, type):
        function.__init__ = checked(function.__init__)  # type: ignore[misc]
        return typing.cast(_F, function)
    kinds: dict[str, Kind] | None = None
    signature = inspect.signature(function)
    names = list(signature.parameters)
    rest = [p.name for p in signature.parameters.values() if p.kind is p.VAR_POSITIONAL]
    where = function.__qualname__.removesuffix(".__init__")

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        nonlocal kinds
        if kinds is None:
            kinds = kinds_of(function)
            for name in rest:
                kinds.pop(name, None)
        check_kinds(kinds, {**dict(zip(names, args, strict=False)), **kwargs}, where)
        return function(*args, **kwargs)

    return typing.cast(_F, wrapper)
