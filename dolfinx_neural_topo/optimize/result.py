"""What a run returns."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from mpi4py import MPI

from dolfinx_neural_topo._communication import max_replicated
from dolfinx_neural_topo.density.evaluation import Evaluation
from dolfinx_neural_topo.optimize.method import Array

FEASIBLE = 1e-6
"""Constraints (normalized, g <= 0) up to here count as obeyed when designs are compared."""

SAME_VALUE = 1e-4
"""Relative difference of objective and constraints up to which two evaluations are taken for one of the same
design; ten times as much of densities. Single-precision networks differ between machines."""


@dataclass(frozen=True)
class Candidate:
    """One evaluated design.

    Attributes:
        number: Number of the evaluation, from 1.
        stage: Number of changes of the objective (continuation) before it.
        objective: Objective there.
        volume: Physical volume fraction there.
        constraints: Constraints, g <= 0, shape (number of constraints,).
        x: The variables, as the method gave them: this rank's part.
        rho_design: Design density on owned cells.
        rho: Physical density on owned cells.
    """

    number: int
    stage: int
    objective: float
    volume: float
    constraints: Array
    x: Array
    rho_design: Array
    rho: Array

    @classmethod
    def of(cls, number: int, stage: int, x: Array, evaluation: Evaluation) -> Candidate:
        """Return a copy of what an evaluation at x has shown."""
        return cls(
            number,
            stage,
            float(evaluation.value),
            float(evaluation.volume),
            np.array(evaluation.constraints, dtype=np.float64),
            np.array(x),
            np.array(evaluation.rho_design),
            np.array(evaluation.rho),
        )

    @property
    def violation(self) -> float:
        """Largest constraint violation, 0 where all are obeyed."""
        return float(np.max(self.constraints, initial=0.0))

    def difference(self, comm: MPI.Comm, here: Evaluation, rtol: float = SAME_VALUE) -> str | None:
        """Say in what this and another evaluation of its x differ; None where nothing differs.

        Args:
            comm: Communicator.
            here: The other evaluation.
            rtol: Relative tolerance of objective and constraints.

        Note: Collective.
        """
        design = f"of its design {self.number}"
        if not math.isclose(here.value, self.objective, rel_tol=rtol):
            return f"the objective {design} is {self.objective:g} there and {here.value:g} here"
        if len(here.constraints) != len(self.constraints):
            return (
                f"the number of constraints is {len(self.constraints)} there and {len(here.constraints)} here"
            )
        for k, (a, b) in enumerate(zip(self.constraints, here.constraints, strict=True)):
            if not math.isclose(a, b, rel_tol=rtol, abs_tol=rtol):
                return f"constraint {k} {design} is {a:g} there and {b:g} here"
        pairs = ((self.rho_design, here.rho_design), (self.rho, here.rho))
        largest = max(max_replicated(comm, [np.max(np.abs(a - b), initial=0.0) for a, b in pairs]))
        if largest > 10 * SAME_VALUE:
            return f"the density {design} differs by up to {largest:.2g}: is it another filter?"
        return None

    def better_than(self, other: Candidate | None) -> bool:
        """Tell whether this design is to be preferred: by stage, then by constraints, then by objective."""
        return other is None or self._rank() < other._rank()

    def _rank(self) -> tuple[int, float, float]:
        return (-self.stage, max(self.violation - FEASIBLE, 0.0), self.objective)


@dataclass
class History:
    """One entry per evaluation, failed ones included (objective and violation inf there).

    Attributes:
        objective: Objectives.
        volume: Physical volume fractions (nan where failed).
        violation: Largest constraint violations, 0 where all are obeyed.
        seconds: Seconds since the start of the run when the evaluation was done; interruptions left out.
        stage: Number of changes of the objective (continuation) before the evaluation.
    """

    objective: list[float] = field(default_factory=list)
    volume: list[float] = field(default_factory=list)
    violation: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    stage: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.objective)

    def running_minimum(self) -> Array:
        """Return for each evaluation the best feasible objective of its stage so far, inf if none."""
        values = np.where(np.array(self.violation) <= FEASIBLE, self.objective, np.inf)
        stages = np.array(self.stage)
        parts = [np.minimum.accumulate(values[stages == stage]) for stage in np.unique(stages)]
        return np.concatenate(parts) if parts else np.empty(0)


@dataclass(frozen=True)
class Result:
    """What `minimize` found.

    Attributes:
        best: The best design over all evaluations, line-search trials included, of the last stage: values
            before the last change of the objective by a continuation are not comparable. A design that
            violates a constraint by more than `FEASIBLE` is best only if no other obeys them, and then the
            least violating.
        last: The last design that could be evaluated.
        reason: Why the run ended, a sentence.
        interrupted: True if a signal ended it; the checkpoint then continues it.
        evaluations: Number of evaluations, those before a resumption included.
        solves: Number of linear (or Newton) solves of the state.
        seconds: Wall seconds by stage: "evaluate", "method", "callbacks", "checkpoint", and their sum
            "total".
        history: One entry per evaluation.
        method: Name of the method.
        unsaved: True if the run ended because its checkpoint could not be written (disk full).

    Example:
        >>> found = dnt.minimize(design, dnt.OC(), evaluations=3)
        >>> isinstance(found, dnt.Result), len(found.history), found.rho.shape == half.shape
        (True, 3, True)
    """

    best: Candidate
    last: Candidate
    reason: str
    interrupted: bool
    evaluations: int
    solves: int
    seconds: dict[str, float]
    history: History
    method: str
    unsaved: bool = False

    @property
    def objective(self) -> float:
        """Objective of the best design."""
        return self.best.objective

    @property
    def volume(self) -> float:
        """Physical volume fraction of the best design."""
        return self.best.volume

    @property
    def x(self) -> Any:
        """Variables of the best design."""
        return self.best.x

    @property
    def rho_design(self) -> Array:
        """Design density of the best design on owned cells."""
        return self.best.rho_design

    @property
    def rho(self) -> Array:
        """Physical density of the best design on owned cells."""
        return self.best.rho

    def __str__(self) -> str:
        return (
            f"{self.method}: objective {self.objective:.6g}, volume {self.volume:.4f} "
            f"(evaluation {self.best.number} of {self.evaluations}, {self.seconds['total']:.1f} s). "
            f"{self.reason}"
        )
