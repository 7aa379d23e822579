"""Small problems with known optima, distributed over ranks in an order unlike the canonical one."""

import numpy as np
from mpi4py import MPI

from dolfinx_neural_topo.density.design import Evaluation


def split(n, comm):
    """Indices of this rank: dealt like cards, backwards, so that they are neither contiguous nor sorted."""
    return np.arange(n)[::-1][comm.rank :: comm.size].copy()


class Bars:
    """Minimize sum c_i / x_i subject to mean(x) <= fraction: the compliance of bars side by side.

    With only the volume active, x_i is proportional to sqrt(c_i), clipped to the bounds.
    """

    def __init__(
        self, n=40, fraction=0.4, comm=MPI.COMM_WORLD, distributed=True, fail_at=(), fail=None, bounded=True
    ):
        self.comm = comm = comm if distributed else MPI.COMM_SELF
        self.n, self.fraction = n, fraction
        self.lower, self.upper = (0.01, 1.0) if bounded else (None, None)
        self.index = split(n, comm)
        self.cost = (0.2 + np.random.default_rng(5).random(n)) ** 3
        self.fail_at, self.fail = set(fail_at), fail
        self.num_solves = 0
        self.persistence, self.entries, self.cells = self, self.index, self.index

    def initial(self):
        return np.full(len(self.index), self.fraction)

    def sum(self, values):
        return self.comm.allreduce(values.sum())

    def evaluate(self, x, gradient=True):
        self.num_solves += 1
        if self.num_solves in self.fail_at:
            return self.fail(self, x)
        return self.exact(x)

    def exact(self, x):
        cost = self.cost[self.index]
        mean = self.sum(x) / self.n
        return Evaluation(
            value=float(self.sum(cost / x)),
            gradient=-cost / x**2,
            constraints=np.array([mean / self.fraction - 1]),
            constraint_gradients=[np.full(len(x), 1 / (self.n * self.fraction))],
            rho_design=x,
            rho=x,
            volume=float(mean),
        )

    def optimum(self):
        """All of x, by bisection on the multiplier."""
        low, high = 1e-6, 1e6
        for _ in range(200):
            middle = np.sqrt(low * high)
            x = np.clip(np.sqrt(self.cost) * middle, self.lower, self.upper)
            low, high = (middle, high) if x.mean() < self.fraction else (low, middle)
        return x

    def settle(self):
        return False

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        assert state == {}


class Valley:
    """Chained Rosenbrock function: no bounds, no constraints."""

    lower = upper = None

    def __init__(self, n=12, comm=MPI.COMM_WORLD, dtype=np.float64):
        self.comm, self.n, self.dtype = comm, n, dtype
        self.index = self.entries = self.cells = split(n, comm)
        self.persistence = self
        self.num_solves = 0

    def initial(self):
        return np.tile([-1.2, 1.0], self.n)[self.index].astype(self.dtype)

    def whole(self, x):
        result = np.zeros(self.n)
        result[self.index] = x
        return self.comm.allreduce(result)

    def evaluate(self, x, gradient=True):
        self.num_solves += 1
        whole = self.whole(x)
        a, b = whole[:-1], whole[1:]
        slope = np.zeros(self.n)
        slope[:-1] = -400 * a * (b - a**2) - 2 * (1 - a)
        slope[1:] += 200 * (b - a**2)
        value = float(np.sum(100 * (b - a**2) ** 2 + (1 - a) ** 2))
        rho = whole[self.index]
        gradient = slope[self.index].astype(self.dtype)
        return Evaluation(value, gradient, np.empty(0), np.empty((0, len(x))), rho, rho, 0.5)

    def settle(self):
        return False

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        assert state == {}
