"""Parameters that change during a run: penalty, projection, learning rate."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from dolfinx_neural_topo.errors import InputError, checked


class Continuation:
    """Set an attribute of an object at given evaluations.

        Continuation(penalty, [(0, 1.5), (10, 2.0), (20, 3.0)])                 # penalty: fem.Constant
        Continuation(projection, [(0, 1), (50, 4), (100, 16)], attribute="beta")
        Continuation(adam, [(0, 0.1), (100, 0.01)], attribute="lr", changes_objective=False)

    The stage follows from the number of evaluations alone, so that a resumed run is in the right one.

    Args:
        target: Object that holds the parameter, for instance a `fem.Constant` that the form contains.
        stages: Pairs (evaluation, value): after that many evaluations the value is set. Increasing, first 0.
        attribute: Name of the attribute.
        changes_objective: True if values before and after are not comparable: the method forgets them, and
            the best design of the run is looked for in the last stage.

    Raises:
        InputError: If stages are empty, do not begin at 0 or do not increase, or target has no such
            attribute.

    Example:
        >>> step = dnt.HeavisideProjection(beta=1.0)
        >>> sharp = dnt.Design(dnt.Compliance(state), domain, projection=step)
        >>> sharpen = dnt.Continuation(step, [(0, 1.0), (3, 4.0)], attribute="beta")
        >>> found = dnt.minimize(sharp, dnt.MMA(), evaluations=5, continuation=sharpen)
        >>> step.beta
        4.0
    """

    @checked
    def __init__(
        self,
        target: Any,
        stages: Sequence[tuple[int, Any]],
        *,
        attribute: str = "value",
        changes_objective: bool = True,
    ):
        evaluations = [evaluation for evaluation, _ in stages]
        if not evaluations or evaluations[0] != 0:
            raise InputError(f"stages must begin at evaluation 0, got {list(stages)}")
        if any(b <= a for a, b in pairwise(evaluations)):
            raise InputError(f"stages must have increasing evaluation numbers, got {evaluations}")
        if not hasattr(target, attribute):
            raise InputError(
                f"target has no attribute {attribute!r}: {type(target).__name__}; name it by attribute="
            )
        self.evaluations = evaluations
        self.values = [value for _, value in stages]
        self.changes_objective = changes_objective
        self._target = target
        self._attribute = attribute

    def stage(self, done: int) -> int:
        """Return the index of the stage after `done` evaluations."""
        return sum(evaluation <= done for evaluation in self.evaluations) - 1

    def apply(self, done: int) -> None:
        """Set the value of the stage after `done` evaluations."""
        setattr(self._target, self._attribute, self.values[self.stage(done)])

    def changes_at(self, done: int) -> bool:
        """Tell whether a new stage begins after `done` evaluations."""
        return done > 0 and done in self.evaluations


def as_continuations(continuation: Continuation | Sequence[Continuation] | None) -> tuple[Continuation, ...]:
    """Return the continuations as a tuple."""
    if continuation is None:
        return ()
    return (continuation,) if isinstance(continuation, Continuation) else tuple(continuation)
