"""Remember what a solve has read, to know whether it must be done again."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import ufl
from dolfinx import fem


class Snapshot:
    """Copies of arrays, compared with what they are now.

    Args:
        forms: UFL forms, whose coefficients and constants are watched.
        without: Coefficients that are not watched, such as the states.
        arrays: Functions that return further arrays to watch.
    """

    def __init__(
        self,
        forms: Iterable[ufl.Form | None],
        without: Iterable[fem.Function] = (),
        arrays: Iterable[Callable[[], np.ndarray]] = (),
    ):
        known = {id(function) for function in without}
        self._read: list[Callable[[], np.ndarray]] = list(arrays)
        for form in forms:
            for function in () if form is None else form.coefficients():
                if id(function) not in known:
                    known.add(id(function))
                    self._read.append(lambda function=function: function.x.array)
            for constant in () if form is None else form.constants():
                if id(constant) not in known:
                    known.add(id(constant))
                    self._read.append(lambda constant=constant: constant.value)
        self._kept: list[np.ndarray] | None = None

    def changed(self) -> bool:
        """Return whether something differs on this rank from what was last taken."""
        if self._kept is None:
            return True
        return not all(
            np.array_equal(kept, read()) for kept, read in zip(self._kept, self._read, strict=True)
        )

    def take(self) -> None:
        """Copy all arrays as they are now."""
        if self._kept is None:
            self._kept = [np.array(read()) for read in self._read]
        else:
            for kept, read in zip(self._kept, self._read, strict=True):
                np.copyto(kept, read())

    def forget(self) -> None:
        """Count as changed until the next `take`."""
        self._kept = None
