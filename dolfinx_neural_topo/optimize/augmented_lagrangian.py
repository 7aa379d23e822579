"""Constraints for methods that know none: an augmented Lagrangian around any of them."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from dolfinx_neural_topo.errors import InputError, checked
from dolfinx_neural_topo.optimize.method import Array, Method, Variables, total
from dolfinx_neural_topo.optimize.threaded import LibraryMethod

GROWTH = 2.0
"""Factor by which the penalty grows where a round has not brought the violation down enough."""

DECREASE = 0.75
"""Part of the violation that a round may leave for the penalty to stay."""

LARGEST = 1e3
"""Largest penalty: beyond it the constraints alone would shape the objective."""


class AugmentedLagrangian(Method):
    """Constraints g_i <= 0 for an unconstrained method, such as L-BFGS on the weights of a network.

        l(x) = f(x) / |f(x_0)| + sum_i (max(0, lmbda_i + mu g_i(x))^2 - lmbda_i^2) / (2 mu)

    is minimized by the inner method in rounds of `evaluations`. After each round

        lmbda_i <- max(0, lmbda_i + mu g_i),

    and mu doubles where the largest max(g_i, -lmbda_i / mu) has not come down to three quarters of that of
    the round before. The run ends when constraints, complementarity and the gradient of the Lagrangian
    (relative to that of f / |f(x_0)|) are within `tolerance`. As always, the result
    is the best feasible evaluation.

        result = dnt.minimize(dnt.NeuralDesign(design, network), dnt.AugmentedLagrangian(dnt.LBFGS()))

    Args:
        method: The inner method, one that can go on from its iterate when multipliers change: `LBFGS` or
            `Adam`.
        evaluations: Evaluations in a round; with fewer, mu grows before the multipliers have settled.
        penalty: First mu, in units of the objective at the start.
        tolerance: Largest violation, and stationarity, at which the run ends.

    Attributes:
        multipliers: The lmbda_i, in units of the objective at the start, shape (number of constraints,).
        violation: Largest of max(g_i, -lmbda_i / mu) in absolute value, at the last evaluation.
        stationarity: Norm of the gradient of l relative to that of f / |f(x_0)|, at the last evaluation.

    Raises:
        InputError: An argument is out of range, or the inner method cannot change its objective.

    References:
        Nocedal and Wright, Numerical Optimization (2006), algorithm 17.4.
        Birgin and Martinez, Practical Augmented Lagrangian Methods (2014), algorithm 4.1.

    Example:
        >>> limited = dnt.Design(
        ...     dnt.Compliance(state), domain, constraints=[(dnt.LocalVolume(domain, radius=0.4), 0.8)]
        ... )
        >>> logits = dnt.NeuralDesign(limited, dnt.PixelLogits((8, 16)))
        >>> dnt.minimize(logits, dnt.AugmentedLagrangian(dnt.LBFGS()), evaluations=4).evaluations
        4
    """

    @checked
    def __init__(
        self, method: Method, *, evaluations: int = 40, penalty: float = 10.0, tolerance: float = 1e-3
    ):
        unfit = Method not in type(method).__mro__ or method.constrained or isinstance(method, LibraryMethod)
        if unfit:
            raise InputError(
                "method must be an unconstrained one whose objective can change on the way, "
                f"LBFGS() or Adam(), got {method!r}"
            )
        for name, value in (("evaluations", evaluations), ("penalty", penalty), ("tolerance", tolerance)):
            if not 0.0 < value < math.inf:
                raise InputError(f"{name} must be positive and finite, got {value}")
        self.inner = method
        self.name = f"augmented Lagrangian, {method.name}"
        self.fields = tuple(f"inner.{name}" for name in method.fields)
        self.evaluations, self.penalty, self.tolerance = int(evaluations), float(penalty), float(tolerance)

    def start(self, variables: Variables) -> None:
        """Prepare for a run; see `Method.start`."""
        self.inner.start(variables)
        self._comm = variables.comm
        self._mu, self._scale = self.penalty, 0.0
        self._done = 0  # evaluations in this round
        self._before = math.inf  # violation after the last round
        self._lowest = math.inf  # value of l at the best point of this round
        self._latest: Array = np.empty(0)  # constraints there
        self.multipliers: Array = np.empty(0)
        self.violation = self.stationarity = math.inf
        self.finished = None

    def ask(self) -> Array:
        """Return the next point of the inner method."""
        return self.inner.ask()

    def tell(self, x: Array, evaluation: Any) -> None:
        """Tell the inner method the augmented Lagrangian; change the multipliers at the end of a round."""
        g = np.asarray(evaluation.constraints, dtype=np.float64)
        if not self._scale:
            self._scale = abs(float(evaluation.value)) or 1.0
            self.multipliers = np.zeros(len(g))
        self._done += 1
        if evaluation.gradient is None:  # it failed; the inner method knows no constraints
            merit = dataclasses.replace(evaluation, constraints=np.empty(0))
        else:
            merit = self._merit(evaluation, g)
            if merit.value < self._lowest:
                self._lowest, self._latest = merit.value, g
        self.inner.tell(x, merit)
        if evaluation.gradient is not None and self._converged():
            self.finished = (
                f"constraints are met to {self.violation:.1e}, the gradient of the Lagrangian is "
                f"{self.stationarity:.1e} of that of the objective"
            )
        elif self._done >= self.evaluations or self.inner.finished is not None:
            self._next_round()

    def objective_changed(self) -> None:
        """Keep the multipliers; see `Method.objective_changed`."""
        self._done, self._before, self._lowest = 0, math.inf, math.inf
        self.inner.objective_changed()

    def state(self) -> dict[str, Any]:
        """Return multipliers, penalty and the state of the inner method; see `Method.state`."""
        inner = {f"inner.{name}": value for name, value in self.inner.state().items()}
        return {
            **inner,
            "multipliers": self.multipliers,
            "latest": self._latest,
            "lowest": self._lowest,
            "mu": self._mu,
            "scale": self._scale,
            "done": self._done,
            "before": self._before,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken; see `Method.restore`."""
        prefix = "inner."
        self.inner.restore(
            {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}
        )
        self.multipliers, self._latest = np.array(state["multipliers"]), np.array(state["latest"])
        self._mu, self._scale = float(state["mu"]), float(state["scale"])
        self._lowest, self._before = float(state["lowest"]), float(state["before"])
        self._done = int(state["done"])
        self.finished = None

    def close(self) -> None:
        """Close the inner method."""
        self.inner.close()

    def _merit(self, evaluation: Any, g: Array) -> Any:
        """Return the evaluation of the augmented Lagrangian, which has no constraints."""
        force = np.maximum(0.0, self.multipliers + self._mu * g)
        value = evaluation.value / self._scale + (force @ force - self.multipliers @ self.multipliers) / (
            2.0 * self._mu
        )
        slope = evaluation.gradient / evaluation.gradient.dtype.type(self._scale)
        gradient = slope.copy()
        for each, row in zip(force, evaluation.constraint_gradients, strict=True):
            if each > 0.0:
                gradient += gradient.dtype.type(each) * row
        squares = total(self._comm, [_square(gradient), _square(slope)])
        self.violation = self._violation(g)
        self.stationarity = float(np.sqrt(squares[0] / squares[1])) if squares[1] else 0.0
        empty = np.empty((0, len(gradient)), dtype=gradient.dtype)
        return dataclasses.replace(
            evaluation,
            value=float(value),
            gradient=gradient,
            constraints=np.empty(0),
            constraint_gradients=empty,
        )

    def _violation(self, g: Array) -> float:
        """Largest violation of feasibility and complementarity."""
        return float(np.max(np.abs(np.maximum(g, -self.multipliers / self._mu)), initial=0.0))

    def _converged(self) -> bool:
        return max(self.violation, self.stationarity) <= self.tolerance

    def _next_round(self) -> None:
        """Change multipliers and penalty, and let the inner method go on from where it is."""
        ended, g = self.inner.finished, self._latest
        violation = self._violation(g)
        self.multipliers = np.maximum(0.0, self.multipliers + self._mu * g)
        if violation > DECREASE * self._before and violation > self.tolerance:
            self._mu = min(GROWTH * self._mu, LARGEST)
        self._before, self._done, self._lowest = violation, 0, math.inf
        if ended is not None and violation <= self.tolerance:
            self.finished = f"constraints are met to {violation:.1e}; {ended}"
            return
        self.inner.finished = None
        self.inner.objective_changed()


def _square(vector: Array) -> float:
    """Square of the norm of this rank's part, in float64."""
    return float(np.einsum("i,i->", vector, vector, dtype=np.float64))
