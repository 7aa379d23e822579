"""States that feed states: which functions are solved for, by which problem, and who holds them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import numpy as np
import ufl
from dolfinx import fem

from dolfinx_neural_topo.errors import InputError

if TYPE_CHECKING:
    from dolfinx_neural_topo.physics.forms import Equation
    from dolfinx_neural_topo.physics.state import StateProblem

# By the vector of degrees of freedom, which a function shares with its sub-functions. The function holds its
# problem, so that an entry lives as long as a form that needs it, on all ranks alike.
_PROBLEMS: WeakValueDictionary[int, StateProblem] = WeakValueDictionary()


def register(problem: StateProblem, functions: Iterable[fem.Function]) -> None:
    """Enter a problem as the one that solves for functions."""
    for u in functions:
        u.solved_by = problem  # type: ignore[attr-defined]
        _PROBLEMS[vector(u)] = problem


def vector(function: Any) -> int:
    """Return what identifies the degrees of freedom of a function of Python or C++, shared with its parts."""
    x = getattr(function, "x", None)
    return id(getattr(x, "_cpp_object", x))


def problem_of(function: Any) -> StateProblem | None:
    """Return the problem, not destroyed yet, that solves for a function (or part of one), or None."""
    problem = _PROBLEMS.get(vector(function))
    return None if problem is None or problem.destroyed else problem


def living() -> tuple[StateProblem, ...]:
    """Return all problems that are there and not destroyed."""
    return tuple(problem for problem in dict.fromkeys(_PROBLEMS.values()) if not problem.destroyed)


def feeders(forms: Iterable[ufl.Form | None], own: Iterable[fem.Function] = ()) -> tuple[StateProblem, ...]:
    """Return the problems, each once, that solve for coefficients of forms.

    Args:
        forms: Forms; None stands for zero.
        own: Functions that do not count.
    """
    own = set(own)
    held = [f for form in forms if form is not None for f in form.coefficients() if f not in own]
    return tuple(dict.fromkeys(problem for f in held if (problem := problem_of(f)) is not None))


def given(forms: Iterable[ufl.Form], rho: fem.Function) -> list[fem.Function]:
    """Return the coefficients of forms beside the density that nobody solves for, in UFL's order."""
    held = dict.fromkeys(f for form in forms for f in form.coefficients())
    return [f for f in held if f is not rho and problem_of(f) is None]


def in_order(problems: Iterable[StateProblem]) -> tuple[StateProblem, ...]:
    """Return problems and all that feed them, each once, after those that feed it."""
    return tuple(dict.fromkeys(link for problem in problems for link in problem.chain))


def whole(form: ufl.Form) -> ufl.Form:
    """Write parts of states (`u.sub(0)`, `u.split()`) as expressions of the whole, which derivatives see.

    Raises:
        InputError: A part of a part.
    """
    expressions = {}
    for f in form.coefficients():
        problem = problem_of(f)
        path = f.function_space.component() if problem is not None else []
        if len(path) > 1:
            raise InputError(
                f"'{f.name}' is a part of a part of a state; way out: ufl.split(u)[i][j] in its place"
            )
        for u in problem.states if problem is not None and path else ():
            if vector(u) == vector(f):
                expressions[f] = ufl.split(u)[path[0]]
    return ufl.replace(form, expressions) if expressions else form


def link(
    equation: Equation,
    rho: fem.Function,
    bcs: Iterable[fem.DirichletBC],
    nodal: Iterable[fem.Function | None],
) -> tuple[tuple[StateProblem, ...], list[fem.Function], str | None]:
    """Find what feeds an equation.

    Returns:
        The problems that do, coefficients and nodal loads that nobody solves for, and what is wrong, or None.
    """
    parents = feeders([*equation.forms], own=[rho, *equation.states])
    values: list[Any] = [bc.g for bc in bcs]
    loads = [load for load in nodal if load is not None]
    known = {rho, *equation.states, *(u for parent in parents for u in parent.states)}
    held = dict.fromkeys(f for form in equation.forms for f in form.coefficients())  # on all ranks alike
    constants = [*(f for f in held if f not in known), *loads]
    wrong = check_constants([rho, *equation.states, *values, *loads])
    return parents, constants, wrong or check_links(equation, rho, parents)


def check_links(equation: Equation, rho: fem.Function, parents: Iterable[StateProblem]) -> str | None:
    """Return what is wrong with an equation that holds states, its own or those of others, or None."""
    for u in equation.states if equation.linear else ():
        if any(u in form.coefficients() for form in equation.forms):
            return f"equation (a, L) must not hold its own state '{u.name}'; way out: a residual F"
    for u in equation.states:
        for child in list(_PROBLEMS.values()):
            if not child.destroyed and vector(u) in map(vector, child.constants):
                return (
                    f"'{u.name}' is solved for here, but '{child.petsc_options_prefix}' was made before and "
                    "holds it as a constant; way out: make problems in the order in which they feed each "
                    "other (a cycle has none: one problem on a mixed space)"
                )
    return check_densities("equation", rho, parents)


def check_densities(what: str, rho: fem.Function, problems: Iterable[StateProblem]) -> str | None:
    """Return what is wrong where a problem has another density, or None."""
    for problem in problems:
        if problem.rho is not rho:
            return (
                f"{what} holds a state of '{problem.petsc_options_prefix}', which has another density; way "
                "out: one fem.Function as the density of all problems of a chain"
            )
    return None


def check_constants(functions: Iterable[fem.Function]) -> str | None:
    """Return what is wrong where one of some functions, which must be constant, is solved for; or None."""
    for function in functions:
        problem = problem_of(function)
        if problem is not None:
            return (
                "density, boundary values, nodal loads and `u` must not be a function that a state problem "
                f"solves for, got '{function.name}' of '{problem.petsc_options_prefix}': states feed each "
                "other through forms alone; way out: a term of L or, for boundary values, a Robin term (a "
                "penalty) in a and L, or destroy() that problem if a constant is meant"
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
