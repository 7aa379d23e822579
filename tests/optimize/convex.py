"""Unconstrained problems with known optima, on one rank or split over all."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
from mpi4py import MPI


@dataclass
class Evaluation:
    value: float
    gradient: Any
    constraints: Any = field(default_factory=lambda: np.empty(0))
    constraint_gradients: Any = field(default_factory=list)


class Smooth:
    """A function of a whole vector as `Variables`; distributed, each rank holds every size-th entry.

    Args:
        function: Maps a whole vector, float64, to value and gradient.
        start: Whole start.
        distributed: Whether all ranks hold parts of one problem; else each has its own.
        dtype: Type of the variables.
    """

    lower = upper = None

    def __init__(self, function, start, *, distributed=False, dtype=np.float64, comm=MPI.COMM_WORLD):
        self.comm = comm = comm if distributed else MPI.COMM_SELF
        self.function, self.dtype = function, dtype
        self.start = np.asarray(start, dtype=float)
        self.mine = slice(comm.rank, None, comm.size)
        self.persistence = SimpleNamespace(entries=np.arange(len(self.start))[self.mine])

    def initial(self):
        return self.start[self.mine].astype(self.dtype)

    def whole(self, x):
        result = np.zeros(len(self.start))
        result[self.mine] = x
        return self.comm.allreduce(result)

    def evaluate(self, x):
        value, gradient = self.function(self.whole(x))
        return Evaluation(float(value), np.asarray(gradient)[self.mine].astype(self.dtype))


def rosenbrock(x):
    """Chained Rosenbrock function, optimum 0 at ones."""
    a, b = x[:-1], x[1:]
    gradient = np.zeros_like(x)
    gradient[:-1] = -400.0 * a * (b - a**2) - 2.0 * (1.0 - a)
    gradient[1:] += 200.0 * (b - a**2)
    return np.sum(100.0 * (b - a**2) ** 2 + (1.0 - a) ** 2), gradient


def quadratic(n=60, condition=1e3):
    """Convex quadratic in a random basis, optimum 0 at `centre`; returns (function, centre)."""
    rng = np.random.default_rng(11)
    basis = np.linalg.qr(rng.standard_normal((n, n)))[0]
    matrix = basis * np.geomspace(1.0, condition, n) @ basis.T
    centre = rng.standard_normal(n)
    return (lambda x: (0.5 * (x - centre) @ matrix @ (x - centre), matrix @ (x - centre))), centre


FAILED = Evaluation(np.inf, None)


def drive(method, variables, evaluations, *, fails=lambda number, x: False, resume_at=()):
    """Let a method run; return the values and points of all evaluations.

    Args:
        method: Callable that makes the method.
        variables: Variables.
        evaluations: Budget.
        fails: Whether evaluation `number` at `x` (whole) fails.
        resume_at: Evaluation numbers after which a new method goes on from a copy of the state.
    """
    values, points = [], []
    current = method()
    current.start(variables)
    for number in range(evaluations):
        x = current.ask()
        points.append(variables.whole(x))
        evaluation = FAILED if fails(number, points[-1]) else variables.evaluate(x)
        values.append(evaluation.value)
        current.tell(x, evaluation)
        if number in resume_at:
            state = {
                name: value.copy() if isinstance(value, np.ndarray) else value
                for name, value in current.state().items()
            }
            current.close()
            current = method()
            current.start(variables)
            current.restore(state)
        if current.finished:
            break
    current.close()
    return np.array(values), np.array(points), current
