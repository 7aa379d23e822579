"""Where the time of an evaluation goes: every stage of a run timed, from outside."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import wraps
from typing import Any

from dolfinx_neural_topo.density.cone import ConeFilter
from dolfinx_neural_topo.density.helmholtz import HelmholtzFilter
from dolfinx_neural_topo.density.sigmoid import VolumeConstrainedSigmoid
from dolfinx_neural_topo.optimize.record import Record
from dolfinx_neural_topo.physics.gradient import Sensitivity
from dolfinx_neural_topo.physics.linear_solver import LinearSolver
from dolfinx_neural_topo.physics.operator import Operator
from dolfinx_neural_topo.physics.right_hand_side import RightHandSides
from dolfinx_neural_topo.physics.state import StateProblem

STAGES = (
    "network forward",
    "network backward",
    "transfer",
    "sigmoid",
    "filter",
    "assembly",
    "solver set-up",
    "solve",
    "adjoint",
    "sensitivity",
    "optimizer",
    "everything else",
)
OPAQUE = ("adjoint", "optimizer")  # what they call counts as theirs

_NUMERICS: tuple[tuple[type, str, str], ...] = (
    (VolumeConstrainedSigmoid, "apply", "sigmoid"),
    (VolumeConstrainedSigmoid, "pullback", "sigmoid"),
    (ConeFilter, "apply", "filter"),
    (ConeFilter, "apply_transpose", "filter"),
    (HelmholtzFilter, "apply", "filter"),
    (HelmholtzFilter, "apply_transpose", "filter"),
    (Operator, "assemble", "assembly"),
    (RightHandSides, "assemble", "assembly"),
    (LinearSolver, "set_up", "solver set-up"),
    (LinearSolver, "solve", "solve"),
    (StateProblem, "solve_adjoint", "adjoint"),
    (Sensitivity, "assemble", "sensitivity"),
)


def _torch_stages() -> tuple[tuple[type, str, str], ...]:
    """Return what is to be timed where a network is in play; loads torch."""
    import torch

    from dolfinx_neural_topo.bridge.neural import NeuralDesign
    from dolfinx_neural_topo.bridge.transfer import ImageTransfer

    return (
        (torch.nn.Module, "__call__", "network forward"),
        (NeuralDesign, "_pull_to_weights", "network backward"),
        (ImageTransfer, "apply", "transfer"),
        (ImageTransfer, "apply_transpose", "transfer"),
    )


class Stopwatch:
    """Splits time into stages, each second counted once, and into laps.

    Attributes:
        laps: Seconds of each stage in each finished lap.
    """

    def __init__(self) -> None:
        self.laps: list[dict[str, float]] = []
        self._spent = dict.fromkeys(STAGES, 0.0)
        self._stack = [STAGES[-1]]
        self._since = time.perf_counter()

    def _charge(self) -> None:
        now = time.perf_counter()
        self._spent[self._stack[-1]] += now - self._since
        self._since = now

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time inside as that of a stage, unless an opaque one is under way."""
        if self._stack[-1] == name or self._stack[-1] in OPAQUE:
            yield
            return
        self._charge()
        self._stack.append(name)
        try:
            yield
        finally:
            self._charge()
            self._stack.pop()

    def lap(self) -> None:
        """End a lap and begin the next."""
        self._charge()
        self.laps.append(self._spent)
        self._spent = dict.fromkeys(STAGES, 0.0)

    def timed(self, name: str, function: Callable) -> Callable:
        """Return a function that does the same in a stage."""

        @wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with self.stage(name):
                return function(*args, **kwargs)

        return wrapper


@contextmanager
def watching(watch: Stopwatch, *, torch: bool) -> Iterator[None]:
    """Time all stages of whatever runs inside; in `minimize` a lap ends after each evaluation.

    Args:
        watch: Receives the times.
        torch: Whether networks are to be timed.
    """
    replaced: list[tuple[type, str, Any]] = []

    def replace(owner: type, name: str, function: Callable) -> None:
        replaced.append((owner, name, owner.__dict__[name]))
        setattr(owner, name, function)

    record_timed, add = Record.timed, Record.add

    @contextmanager
    def timed(record: Record, stage: str) -> Iterator[None]:
        with record_timed(record, stage), watch.stage("optimizer") if stage == "method" else nullcontext():
            yield

    def add_and_lap(record: Record, *args: Any) -> None:
        add(record, *args)
        watch.lap()

    try:
        for owner, name, stage in (*_NUMERICS, *(_torch_stages() if torch else ())):
            replace(owner, name, watch.timed(stage, owner.__dict__[name]))
        replace(Record, "timed", timed)
        replace(Record, "add", add_and_lap)
        yield
    finally:
        for owner, name, function in reversed(replaced):
            setattr(owner, name, function)
