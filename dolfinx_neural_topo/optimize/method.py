"""What `minimize` asks of variables and of a method: two protocols, nothing else."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from dolfinx_neural_topo._communication import max_replicated, sum_replicated

if TYPE_CHECKING:
    from dolfinx_neural_topo.density.evaluation import Evaluation

Array = NDArray[Any]

total = sum_replicated  # sums over ranks, the same bits on all of them: methods branch on such numbers


def largest_entry(comm: MPI.Comm, gradient: Array) -> float:
    """Return the largest absolute value of a distributed gradient. Note: Collective."""
    return float(max_replicated(comm, float(np.abs(gradient).max(initial=0.0))))


def unit_scale(largest: float) -> float:
    """Return what brings gradients of any unit of the objective to about 1, a power of two: exact.

    Args:
        largest: The largest entry of the first gradient, see `largest_entry`.

    Returns:
        Within what float32 can hold; 1 where `largest` is 0 or not finite.

    Example:
        >>> unit_scale(3e9) * 3e9
        0.6984919309616089
    """
    if not 0.0 < largest < math.inf:
        return 1.0
    return 2.0 ** -min(max(math.frexp(largest)[1], -_EXPONENTS), _EXPONENTS)


_EXPONENTS = 120


class Variables(Protocol):
    """What is optimized: a vector `x`, and how to evaluate objective and constraints at it.

    Every entry of `x` belongs to one rank: a density lives on owned cells, weights of a network are cut into
    tiles or spread evenly.

    Attributes:
        comm: Communicator of the problem.
        lower: Lower bound of `x`, scalar or shape of `x`, or None.
        upper: Upper bound of `x`, likewise.
        persistence: Optional, as `density.Persistence`: numbers that make checkpoints independent of the
            partition, what changes in a run and is not in `x`, count and accuracy of solves.
    """

    comm: MPI.Comm
    lower: Any
    upper: Any

    def initial(self) -> Array:
        """Return the start, a copy; shape (len(x),)."""

    def evaluate(self, x: Array, gradient: bool = True) -> Evaluation:
        """Evaluate objective and constraints, and their gradients, at `x`. Note: Collective."""


def persistence_of(variables: Variables) -> Any:
    """Return the `persistence` of variables, or what stands for it. Note: Collective."""
    return getattr(variables, "persistence", None) or _NoPersistence(variables)


class _NoPersistence:
    """Variables without a state of their own, numbered in the order of ranks."""

    cells = None
    num_solves = 0

    def __init__(self, variables: Variables):
        counts = variables.comm.allgather(len(variables.initial()))
        self.entries = sum(counts[: variables.comm.rank]) + np.arange(counts[variables.comm.rank])

    def settle(self) -> bool:
        """See `density.Persistence`."""
        return False


class Method(Protocol):
    """One optimizer behind two calls: `ask` for the next point, `tell` what was found there.

    The loop around a method (budget, best so far, checkpoints, failures) belongs to `minimize`. Methods
    inherit from this class. All calls are made by all ranks in the same order, and may communicate.

    A failed evaluation (a solve that did not converge, a value that is not finite) is told with
    ``evaluation.value == inf`` and ``evaluation.gradient is None``: go back towards the last good point.
    The first evaluation of a run never fails.

    Attributes:
        name: Short name for progress, checkpoints and reports.
        fields: Names of the entries of `state()` that are split over the ranks as `x` is, along their last
            axis. They are stored in canonical order, so that another number of ranks can go on. Ignored when
            the variables are replicated.
        constrained: Whether it takes constraints; others go around it by `AugmentedLagrangian`.
        finished: Why the method itself sees nothing more to do, a sentence, or None.
    """

    name: str
    constrained: bool = False
    fields: tuple[str, ...] = ()
    finished: str | None = None

    def start(self, variables: Variables) -> None:
        """Prepare for a run from `variables.initial()`, forgetting any run before."""

    def ask(self) -> Array:
        """Return the next point to evaluate; within the bounds. The caller does not change the array."""

    def tell(self, x: Array, evaluation: Evaluation) -> None:
        """Take the evaluation at the point asked for last. Arrays that are kept are copied."""

    def objective_changed(self) -> None:
        """Go on from the current iterate with a new objective (continuation).

        Called between `tell` and `ask`. A method that remembers values or gradients (line search, curvature)
        forgets them here and asks for its current iterate again; others need not do anything.
        """
        return None

    def state(self) -> dict[str, Any]:
        """Return all that the next `ask` depends on: arrays, numbers, strings; called after `tell`."""

    def restore(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state` was taken; called after `start`."""

    def close(self) -> None:
        """Release threads and memory; called once at the end of a run, also after an error."""
        return None
