"""Arithmetic of functionals, and what is asked of a functional beside its value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, Protocol

import numpy as np
from dolfinx import fem

from dolfinx_neural_topo.errors import InputError, collective


class AnyFunctional(Protocol):
    """What a functional of one's own needs, its communicator among it."""

    comm: Any

    def value(self, rho: np.ndarray) -> float:
        """Value at a density on owned cells, the same on all ranks."""

    def value_and_gradient(self, rho: np.ndarray) -> tuple[float, np.ndarray]:
        """Value, and gradient on owned cells."""


class Functional:
    """What can be added, multiplied and raised to a power, by the chain rule: 0.5 * C + 0.5 * H, C / H, C**2.

    Base of the functionals here. One of your own needs `comm`, `value(rho)` and `value_and_gradient(rho)`;
    it takes part in sums without this base where the other summand has it.

    Example:
        >>> energy = 2.0 * dnt.Compliance(state) + 1.0
        >>> isinstance(energy, dnt.Functional)
        True
    """

    def __add__(self, other: Any) -> Combination:
        return _combine("({} + {})", self, other, lambda a, b: (a + b, 1.0, 1.0))

    def __radd__(self, other: Any) -> Combination:
        return _combine("({} + {})", other, self, lambda a, b: (a + b, 1.0, 1.0))

    def __sub__(self, other: Any) -> Combination:
        return _combine("({} - {})", self, other, lambda a, b: (a - b, 1.0, -1.0))

    def __rsub__(self, other: Any) -> Combination:
        return _combine("({} - {})", other, self, lambda a, b: (a - b, 1.0, -1.0))

    def __mul__(self, other: Any) -> Combination:
        return _combine("{} * {}", self, other, lambda a, b: (a * b, b, a))

    def __rmul__(self, other: Any) -> Combination:
        return _combine("{} * {}", other, self, lambda a, b: (a * b, b, a))

    def __truediv__(self, other: Any) -> Combination:
        return _combine("{} / {}", self, other, _quotient)

    def __rtruediv__(self, other: Any) -> Combination:
        return _combine("{} / {}", other, self, _quotient)

    def __neg__(self) -> Combination:
        return -1.0 * self

    def __pow__(self, power: float) -> Combination:
        if not isinstance(power, Real):
            raise InputError(f"power of a functional must be a number, got {type(power).__name__}")
        p = float(power)
        return _combine(f"{{}}^{p:g}", self, p, _power)


class Combination(Functional):
    """A function of two functionals, or of one and a number.

    Attributes:
        comm: Communicator.
        name: Name in reports.
        problems: State problems of both.

    Args:
        name: Name in reports.
        parts: Functionals or numbers.
        function: (a, b) -> (value, its derivatives by a and by b).
    """

    def __init__(self, name: str, parts: Sequence[Any], function: Callable[..., tuple[float, float, float]]):
        self.name, self._parts, self._function = name, tuple(parts), function
        functionals = [part for part in parts if not isinstance(part, Real)]
        self.comm = functionals[0].comm
        meshes = [mesh for mesh in map(mesh_of, functionals) if mesh is not None]
        if any(mesh.ufl_domain() != meshes[0].ufl_domain() for mesh in meshes):
            raise InputError(f"'{name}' must combine functionals on one mesh, got two meshes")
        self.problems = tuple(dict.fromkeys(p for part in functionals for p in problems_of(part)))
        self._own_solves = [part for part in functionals if not problems_of(part)]

    @property
    def num_solves(self) -> int:
        """Solves so far of parts that name no state problem."""
        return sum(num_solves(part) for part in self._own_solves)

    @collective
    def value(self, rho: np.ndarray | None = None) -> float:
        """Return the value at a density. Note: Collective."""
        return self._at([p if isinstance(p, Real) else p.value(rho) for p in self._parts])[0]

    @collective
    def value_and_gradient(self, rho: np.ndarray | None = None) -> tuple[float, np.ndarray]:
        """Return the value and its gradient on owned cells, shape (num_owned_cells,). Note: Collective."""
        parts = [(p, None) if isinstance(p, Real) else p.value_and_gradient(rho) for p in self._parts]
        value, *slopes = self._at([value for value, _ in parts])
        terms = [s * g for s, (_, g) in zip(slopes, parts, strict=True) if g is not None]
        return value, sum(terms[1:], terms[0])

    def _at(self, values: Sequence[Any]) -> tuple[float, float, float]:
        try:
            return self._function(*map(float, values))
        except (ZeroDivisionError, OverflowError):
            raise InputError(f"'{self.name}' has no value where its parts are {values}") from None


def _combine(name: str, a: Any, b: Any, function: Callable[..., tuple[float, float, float]]) -> Combination:
    names = []
    for part in (a, b):
        number = isinstance(part, Real) and not isinstance(part, bool)
        if number and not np.isfinite(float(part)):
            raise InputError(f"a functional combines with finite numbers, got {part}")
        if not number and not hasattr(part, "value_and_gradient"):
            raise InputError(f"a functional combines with functionals and numbers, got {type(part).__name__}")
        names.append(f"{part:g}" if number else getattr(part, "name", type(part).__name__))
    return Combination(name.format(*names), (a, b), function)


def _quotient(a: float, b: float) -> tuple[float, float, float]:
    return a / b, 1.0 / b, -a / b**2


def _power(a: float, p: float) -> tuple[float, float, float]:
    if a < 0.0 and p != int(p):
        raise InputError(f"a functional under the power {p:g} must not be negative, got {a:.3g}")
    return a**p, p * a ** (p - 1.0) if p else 0.0, 0.0


def problems_of(functional: Any) -> tuple[Any, ...]:
    """Return the state problems whose solution a functional's value needs; none for one that names none."""
    if hasattr(functional, "problems"):
        return tuple(functional.problems)
    state = getattr(functional, "state", None)
    return () if state is None else tuple(getattr(state, "chain", (state,)))


def mesh_of(functional: Any) -> Any:
    """Return the mesh of a functional's density, or None where it does not tell."""
    mesh = getattr(functional, "mesh", None)
    if mesh is None:
        mesh = getattr(getattr(functional, "space", None), "mesh", None)
    found = (getattr(problem, "mesh", None) for problem in problems_of(functional))
    return next(found, None) if mesh is None else mesh


def num_solves(functional: Any) -> int:
    """Return the solves of a functional's state problems so far, or what it says itself, or 0."""
    own = int(getattr(functional, "num_solves", 0))
    return own + sum(problem.num_solves for problem in problems_of(functional))


@collective
def settle(functional: Any) -> bool:
    """Solve as accurately as results must be, from now on; return whether that is a change.

    Note: Collective.
    """
    return any([problem.settle() for problem in problems_of(functional)])


def density_space(functional: Any) -> fem.FunctionSpace:
    """Return the DG0 space of a functional's density.

    Raises:
        InputError: It names neither a state problem nor its `space`.
    """
    for problem in problems_of(functional):
        return problem.rho.function_space
    if not hasattr(functional, "space"):
        raise InputError(
            f"a functional of type {type(functional).__name__} must tell its DG0 space here; way out: give "
            "it an attribute `space`, or one `state`"
        )
    return functional.space
