"""Extreme eigenvalues of a problem as functionals of the density."""

from __future__ import annotations

import numpy as np
import ufl
from dolfinx import fem

from dolfinx_neural_topo._petsc import Owner
from dolfinx_neural_topo.errors import InputError, SolverError, collective
from dolfinx_neural_topo.physics.algebra import Functional
from dolfinx_neural_topo.physics.eigen import EigenProblem
from dolfinx_neural_topo.physics.gradient import Gradient


class Eigenvalue(Functional, Owner):
    """Smooth extreme eigenvalue (sum_i lmbda_i^power)^(1 / power) of a group, as a function of the density.

    With a negative power it lies below the lowest one, with a positive power above the highest. It depends on
    all of the group alike, so that it has a derivative where eigenvalues of the group meet:

        dJ/drho = sum_i (lmbda_i / J)^(power - 1) (a'(u_i, u_i) - lmbda_i b'(u_i, u_i)) lmbda_i.

    The first eigenvalue outside should keep away from the group, or weigh little: the lowest of six do.

        lowest = Eigenvalue(problem)                           # maximize: minimize 1 / lowest
        gap = Eigenvalue(problem, range(2, 6)) ** 0.5 - Eigenvalue(problem, range(2), power=16) ** 0.5

    Args:
        problem: Eigenvalue problem.
        group: Numbers of the eigenvalues, from 0, without gaps; all by default.
        power: Power of the mean, not between -1 and 1. The larger, the closer to the extreme eigenvalue,
            which it misses by a factor of m^(1 / power) where m of them are equal.
        name: Name in reports.

    Raises:
        InputError: A group outside of what the problem computes, or a power out of range.

    Note: Collective.

    Example:
        >>> u, v = ufl.TrialFunction(V), ufl.TestFunction(V)
        >>> b = dnt.mass(rho) * ufl.inner(u, v) * ufl.dx
        >>> modes = dnt.EigenProblem(a, b, rho, num=2, bcs=bcs, petsc_options_prefix="least_")
        >>> largest = dnt.Eigenvalue(modes)
        >>> bool(dnt.taylor_test(largest, half).min() > 1.9)
        True
        >>> modes.destroy()
    """

    @collective
    def __init__(
        self,
        problem: EigenProblem,
        group: range | None = None,
        *,
        power: float = -16.0,
        name: str = "eigenvalue",
    ):
        super().__init__()
        if not isinstance(problem, EigenProblem):
            raise InputError(f"problem must be an EigenProblem, got {type(problem).__name__}")
        num = len(problem.states)
        self._group = range(num) if group is None else group
        good = isinstance(self._group, range) and self._group.step == 1 and len(self._group) > 0
        if not (good and self._group.start >= 0 and self._group.stop <= num):
            raise InputError(
                f"group must be a range within 0 ... {num}, what the problem computes, got {group}; way out: "
                "a larger num of the EigenProblem"
            )
        if not 1.0 <= abs(power) < np.inf:
            raise InputError(f"power must be finite and not lie between -1 and 1, got {power}")
        self.state, self.comm, self.name, self.power = problem, problem.comm, name, float(power)
        self.problems = problem.chain
        zero = np.float64(0.0)
        self._weights = [
            (fem.Constant(problem.mesh, zero), fem.Constant(problem.mesh, zero)) for _ in self._group
        ]
        self._gradient: Gradient | None = None

    @collective
    def value(self, rho: np.ndarray | None = None) -> float:
        """Return the smooth extreme eigenvalue.

        Args:
            rho: Density on owned cells, shape (num_owned_cells,), or None for what the problem holds.

        Note: Collective.
        """
        self.state.solve(rho)
        return self._mean(self.state.eigenvalues[self._group.start : self._group.stop])

    def _mean(self, eigenvalues: np.ndarray) -> float:
        extreme = eigenvalues.min() if self.power < 0.0 else eigenvalues.max()
        if not np.isfinite(extreme):
            raise SolverError(
                f"'{self.name}' is infinite: '{self.state.petsc_options_prefix}' has too few positive "
                "eigenvalues; way out: a smaller group"
            )
        return float(extreme * ((eigenvalues / extreme) ** self.power).sum() ** (1.0 / self.power))

    @collective
    def value_and_gradient(self, rho: np.ndarray | None = None) -> tuple[float, np.ndarray]:
        """Return it and its gradient on owned cells, a new array of shape (num_owned_cells,).

        Args:
            rho: As for `value`.

        Note: Collective.
        """
        value = self.value(rho)
        for number, (of_a, of_b) in zip(self._group, self._weights, strict=True):
            eigenvalue = self.state.eigenvalues[number]
            finite = np.isfinite(eigenvalue)
            weight = (eigenvalue / value) ** (self.power - 1.0) if finite else 0.0
            of_a.value = weight * eigenvalue if finite else 0.0
            of_b.value = weight * eigenvalue**2 if finite else 0.0
        if self._gradient is None:
            self._gradient = self.own(self._prepare())
        return value, self._gradient.assemble()

    def _prepare(self) -> Gradient:
        equation, parts = self.state.equation, []
        for number, (of_a, of_b) in zip(self._group, self._weights, strict=True):
            mode = equation.states[number]
            for form, weight in ((equation.a, of_a), (equation.b, -of_b)):
                parts.append(weight * ufl.action(ufl.action(form, mode), mode))
        return Gradient(parts, self.problems, stationary=self.state)
