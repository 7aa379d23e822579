"""Checks of arguments that several modules make, with messages of one kind."""

from __future__ import annotations

import math
import numbers
import os
import platform
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from mpi4py import MPI

from dolfinx_neural_topo.errors import InputError, agree

BYTES_OF_A_CELL = 300
"""Less than any method needs: a mesh, its fields, and no matrix."""

_IN_WORDS = {
    "(0, inf)": "be positive and finite",
    "(0, inf]": "be positive",
    "[0, inf)": "be zero or positive, and finite",
}


class SetOnce:
    """Refuses to exchange a public attribute: what was made from its first value would not follow."""

    _changing: ClassVar[frozenset[str]] = frozenset()  # names that this does not hold for

    def __setattr__(self, name: str, value: Any) -> None:
        if name in vars(self) and not name.startswith("_") and name not in self._changing:
            kind = type(self).__name__
            raise InputError(
                f"{name} of a {kind} cannot be exchanged, what was made from it would not follow; "
                f"way out: a new {kind}"
            )
        super().__setattr__(name, value)


def check_number(name: str, value: Any, interval: str = "(-inf, inf)") -> float:
    """Return a number after checking that it is one, and in an interval.

    Args:
        name: Of the argument.
        value: What was given.
        interval: Such as "(0, 1]"; an open end at inf refuses infinity.

    Raises:
        InputError: No real number, NaN, or outside.
    """
    low, high = map(float, interval[1:-1].split(","))
    one = isinstance(value, numbers.Real) or (isinstance(value, np.ndarray) and value.shape == ())
    number = float(value) if one and np.isrealobj(value) else math.nan
    above = number > low if interval[0] == "(" else number >= low
    below = number < high if interval[-1] == ")" else number <= high
    if not (above and below):
        lies = f"lie in {interval}" if math.isfinite(low) else "be a finite number"
        expected = _IN_WORDS.get(interval, lies)
        raise InputError(f"{name} must {expected}, got {value!r}; way out: a number in {interval}")
    return number


def check_count(name: str, value: Any, least: int = 1) -> int:
    """Return a whole number after checking that it is one, and at least `least`.

    Raises:
        InputError: Not a whole number, or below.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        expected = "be positive" if least == 1 else f"be at least {least}"
        raise InputError(f"{name} must {expected}, got {value!r}; way out: a whole number")
    return int(value)


def all_finite(array: np.ndarray) -> bool:
    """Tell whether all entries are finite; by the sum of their squares, a tenth of the time, where it is."""
    return math.isfinite(np.vdot(array, array)) or bool(np.isfinite(array).all())


def real_array(name: str, value: Any, shape: tuple[int, ...], meaning: str) -> np.ndarray:
    """Return an array as float64 after checking its shape and that its entries are finite real numbers."""
    return finite_array(name, value, shape, meaning).astype(np.float64, copy=False)


def finite_array(name: str, value: Any, shape: tuple[int, ...], meaning: str) -> np.ndarray:
    """Return an array, of the type it has, after checking its shape and that its entries are real numbers.

    Raises:
        InputError: Another shape, complex numbers, NaN, or no numbers at all.
    """
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"{name} must be an array, {meaning}, got {type(value).__name__}") from error
    if array.dtype.kind not in "fiub" or array.shape != shape:
        raise InputError(
            f"{name} must have shape {shape}, {meaning}, got shape {array.shape} of {array.dtype}"
        )
    if np.ma.is_masked(value):
        raise InputError(f"{name} must have a value everywhere, got a masked array; way out: filled(0.0)")
    if not all_finite(array):
        raise InputError(
            f"{name} must be finite, got NaN or infinity in {(~np.isfinite(array)).sum()} entries"
        )
    return array


def not_densities(name: str, values: np.ndarray) -> str | None:
    """Say what is wrong with values farther beyond [0, 1] than difference quotients go, or None."""
    if not values.size or -0.1 < values.min() <= values.max() < 1.1:
        return None
    bad = np.count_nonzero(~((values > -0.1) & (values < 1.1)))
    return f"{name} must lie in [0, 1], got {values.min():g} to {values.max():g}, out of it in {bad} cells"


def densities(name: str, values: np.ndarray) -> np.ndarray:
    """Return densities after checking that they are some.

    Raises:
        InputError: `not_densities` says why not.
    """
    problem = not_densities(name, values)
    if problem is not None:
        raise InputError(problem)
    return values


def owned_values(value: Any, name: str, given: Mapping[str, Any]) -> np.ndarray:
    """Check one number for each owned cell, for `errors.collective`: of `self`, or of its domain."""
    owner = given["self"]
    count = getattr(owner, "domain", owner).num_owned_cells
    return real_array(name, value, (count,), "one number for each owned cell")


def check_memory(comm: MPI.Comm, what: str, num_cells: int) -> None:
    """Refuse a problem that no method can hold, before the system ends the process.

    Args:
        comm: Its ranks.
        what: Its name.
        num_cells: Its size.

    Note: Collective.
    """
    machines = len(set(comm.allgather(platform.node())))
    memory = machines * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    needed = BYTES_OF_A_CELL * num_cells
    problem = None
    if needed > memory:
        problem = (
            f"{what} needs at least {needed / 1e9:.0f} GB of memory, {memory / 1e9:.0f} are there; "
            "choose a smaller size, or more machines"
        )
    agree(comm, problem)
