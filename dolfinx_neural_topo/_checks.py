"""Checks of arguments that several modules make, with messages of one kind."""

from __future__ import annotations

import math
import numbers
from typing import Any

from dolfinx_neural_topo.errors import InputError


def check_number(name: str, value: Any, interval: str) -> float:
    """Return a number after checking that it is one, and in an interval.

    Args:
        name: Of the argument.
        value: What was given.
        interval: Such as "(0, 1]"; an open end at inf refuses infinity.

    Raises:
        InputError: No real number, NaN, or outside.
    """
    low, high = map(float, interval[1:-1].split(","))
    number = float(value) if isinstance(value, numbers.Real) else math.nan
    above = number > low if interval[0] == "(" else number >= low
    below = number < high if interval[-1] == ")" else number <= high
    if not (above and below):
        expected = "be positive" if low == 0 and math.isinf(high) else f"lie in {interval}"
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
