"""The separable convex subproblem of the method of moving asymptotes, solved by its dual.

    minimize    sum_j p_0j / (U_j - x_j) + q_0j / (x_j - L_j)  +  sum_i price y_i + y_i^2 / 2
    subject to  sum_j p_ij / (U_j - x_j) + q_ij / (x_j - L_j)  -  y_i  <=  b_i,   i = 1..m
                alpha_j <= x_j <= beta_j,   y_i >= 0

For given multipliers the minimizing x and y are explicit, entry by entry, so the dual is a concave function
of m numbers. An evaluation of it is a pass over this rank's entries and one reduction of 1 + m + m^2 numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from mpi4py import MPI

from dolfinx_neural_topo.errors import SolverError
from dolfinx_neural_topo.optimize.method import Array, total

_TOLERANCE = 1e-11  # in the approximated constraints
_ROUNDING = 1e-13  # relative error of the dual's value that a line search has to live with
_MAX_ITERATIONS = 300
_GROWTH = 10.0  # largest factor of a multiplier in one step


@dataclass(frozen=True)
class Dual:
    """The dual at given multipliers: value (and its rounding error), gradient, negative Hessian, and x."""

    value: float
    error: float
    gradient: Array
    hessian: Array
    x: Array


@dataclass(frozen=True)
class Subproblem:
    """The subproblem; `n` entries on this rank, `m` constraints.

    Attributes:
        comm: Communicator of the sums over j.
        low: Lower asymptotes L, shape (n,).
        upp: Upper asymptotes U.
        alpha: Lower bounds, L < alpha.
        beta: Upper bounds, beta < U.
        p: Coefficients p_ij >= 0, the objective's first, shape (1 + m, n).
        q: Coefficients q_ij >= 0, likewise; the objective's p + q > 0.
        b: Right-hand sides, shape (m,), the same on all ranks.
        price: Price of violating a constraint, so that the subproblem always has a solution.
    """

    comm: MPI.Comm
    low: Array
    upp: Array
    alpha: Array
    beta: Array
    p: Array
    q: Array
    b: Array
    price: float

    def dual(self, multipliers: Array) -> Dual:
        """Evaluate the dual. Note: Collective, one reduction."""
        m = len(self.b)
        weights = np.concatenate([[1.0], multipliers])
        p, q = weights @ self.p, weights @ self.q
        root_p, root_q = np.sqrt(p), np.sqrt(q)
        x = np.clip((root_p * self.low + root_q * self.upp) / (root_p + root_q), self.alpha, self.beta)
        up, down = 1.0 / (self.upp - x), 1.0 / (x - self.low)
        constraints = self.p[1:] @ up + self.q[1:] @ down
        free = (x > self.alpha) & (x < self.beta)
        slopes = (self.p[1:] * up**2 - self.q[1:] * down**2)[:, free]
        curvature = (2.0 * p * up**3 + 2.0 * q * down**3)[free]
        local = np.concatenate([[p @ up + q @ down], constraints, ((slopes / curvature) @ slopes.T).ravel()])
        sums = total(self.comm, local)
        excess = np.maximum(multipliers - self.price, 0.0)  # y of this multiplier
        lagrangian, shift = float(sums[0]), float(multipliers @ self.b)
        return Dual(
            value=lagrangian - shift - 0.5 * float(excess @ excess),
            error=_ROUNDING * (abs(lagrangian) + float(np.abs(multipliers) @ np.abs(self.b))),
            gradient=sums[1 : 1 + m] - self.b - excess,
            hessian=sums[1 + m :].reshape(m, m) + np.diag((multipliers > self.price).astype(float)),
            x=x,
        )

    def solve(self, multipliers: Array) -> tuple[Array, Array]:
        """Maximize the dual by Newton's method on the multipliers that are not held at zero.

        Args:
            multipliers: Start, shape (m,), not negative.

        Returns:
            x, shape (n,), and the multipliers; the same multipliers on all ranks.

        Raises:
            SolverError: If it does not converge; this does not happen with finite data.

        Note: Collective.
        """
        multipliers = np.array(multipliers, dtype=np.float64)
        dual = self.dual(multipliers)
        tolerance = _TOLERANCE * np.maximum(1.0, np.abs(self.b))
        for _ in range(_MAX_ITERATIONS):
            residual = _residual(multipliers, dual)
            if np.all(residual <= tolerance):
                return dual.x, multipliers
            direction = _ascent(multipliers, dual)
            multipliers, dual, moved = self._search(multipliers, dual, direction)
            if not moved:  # rounding allows no better multipliers
                return dual.x, multipliers
        raise SolverError(
            f"The MMA subproblem did not converge: residual {residual}, multipliers {multipliers}"
        )

    def _search(self, start: Array, dual: Dual, direction: Array) -> tuple[Array, Dual, bool]:
        """Go along an ascent direction as far as the dual grows as it should."""
        falling = direction < 0
        step = float(np.min(start[falling] / -direction[falling], initial=1.0))
        slope, before = float(dual.gradient @ direction), float(np.max(_residual(start, dual)))
        while step * np.max(np.abs(direction)) > 1e-16 * np.max(start, initial=1e-3):
            trial = np.maximum(start + step * direction, 0.0)
            found = self.dual(trial)
            grown = found.value >= dual.value + 1e-4 * step * slope
            flat = found.value >= dual.value - found.error and np.max(_residual(trial, found)) <= 0.9 * before
            if grown or flat:
                return trial, found, True
            step *= 0.5
        return start, dual, False


def _residual(multipliers: Array, dual: Dual) -> Array:
    """Return how far each multiplier is from optimal: violation, and slack of what has a multiplier."""
    return np.where(multipliers > 0, np.abs(dual.gradient), np.maximum(dual.gradient, 0.0))


def _ascent(multipliers: Array, dual: Dual) -> Array:
    """Return Newton's direction in the multipliers that may move, limited in length; shape (m,)."""
    free = (multipliers > 0) | (dual.gradient > 0)
    direction = np.zeros(len(multipliers))
    while True:
        hessian = dual.hessian[np.ix_(free, free)]
        shift = (
            1e-14 * np.max(np.diag(hessian), initial=0.0) + 1e-30
        )  # where all x are at bounds: straight uphill
        direction[:] = 0.0
        direction[free] = np.linalg.solve(hessian + shift * np.eye(len(hessian)), dual.gradient[free])
        stuck = free & (multipliers == 0) & (direction < 0)
        if not stuck.any():
            break
        free &= ~stuck
    limit = _GROWTH * np.maximum(multipliers, 1.0)
    return direction * min(1.0, float(np.min(limit / np.maximum(np.abs(direction), 1e-300))))
