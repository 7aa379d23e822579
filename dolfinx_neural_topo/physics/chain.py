"""Which functions are solved for, and by which state problem: to anybody else they are no constants."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import numpy as np
import ufl
from dolfinx import fem

if TYPE_CHECKING:
    from dolfinx_neural_topo.physics.state import StateProblem

# By the vector of degrees of freedom, which a function shares with its sub-functions. The function holds its
# problem, so that an entry lives as long as a form that needs it, on all ranks alike.
_PROBLEMS: WeakValueDictionary[int, StateProblem] = WeakValueDictionary()


def register(problem: StateProblem) -> None:
    """Enter a problem as the one that solves for its states."""
    for u in problem.states:
        u.solved_by = problem  # type: ignore[attr-defined]
        _PROBLEMS[id(u.x._cpp_object)] = problem


def problem_of(function: Any) -> StateProblem | None:
    """Return the problem, not destroyed yet, that solves for a function (or part of one), or None."""
    x = getattr(function, "x", None)
    problem = _PROBLEMS.get(id(getattr(x, "_cpp_object", x)))
    return None if problem is None or problem.destroyed else problem


def foreign_state(
    forms: Iterable[ufl.Form | None],
    others: Iterable[Any] = (),
    own: Iterable[fem.Function] = (),
    *,
    what: str,
) -> str | None:
    """Return what is wrong with forms that hold the solution of another problem, or None.

    Args:
        forms: Forms; None stands for zero.
        others: Further functions that enter.
        own: Functions that may be there.
        what: Name of the forms in the message.
    """
    own = set(own)
    held = [f for form in forms if form is not None for f in form.coefficients() if f not in own]
    for function in [*held, *others]:
        problem = problem_of(function)
        if problem is not None:
            return (
                f"{what} must not hold a function that a state problem solves for, got '{function.name}' of "
                f"'{problem.petsc_options_prefix}': it would count as a constant, and its dependence on the "
                "density would be lost; way out: one problem on a mixed space, or destroy() that problem if "
                "a constant is meant"
            )
    return None


class Copies:
    """Coefficients of an equation that hold copies of solutions: those of an earlier step of time.

    Args:
        functions: Coefficients that are neither density nor state.
    """

    def __init__(self, functions: Iterable[fem.Function]):
        self._functions = list(functions)
        self._found: list[tuple[fem.Function, np.ndarray]] = []

    def look(self) -> bool:
        """Return whether on this rank some coefficient is, or still is, the copy of a solution."""
        self._found = [(f, values) for f, values in self._found if np.array_equal(f.x.array, values)]
        known = {id(f) for f, _ in self._found}
        for f in self._functions:
            if id(f) in known:
                continue
            values = f.x.array
            if values.any() and any(
                np.array_equal(values, u.x.array)
                for problem in list(_PROBLEMS.values())
                if not problem.destroyed
                for u in problem.states
            ):
                self._found.append((f, values.copy()))
        return bool(self._found)

    def problem(self) -> str | None:
        """Return what is wrong with a gradient, or None."""
        if not self._found:
            return None
        return (
            f"the gradient needs an equation without copies of solutions, but '{self._found[0][0].name}' "
            "holds one: the step before also depends on the density, and the gradient would be wrong; way "
            "out: values alone, a steady problem, or destroy() the problem it stems from if a constant is "
            "meant"
        )
