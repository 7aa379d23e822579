"""What a method is asked to do, and what it hands back."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from mpi4py import MPI

from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.optimize.starting_at import StartingAt
from dolfinx_neural_topo.study.store import Key
from dolfinx_neural_topo.tasks.build import BuiltTask
from dolfinx_neural_topo.tasks.sketch import Task

if TYPE_CHECKING:
    from dolfinx_neural_topo.optimize.multistart import Alternative
    from dolfinx_neural_topo.optimize.result import Result

CHECKPOINT_EVERY = 50
"""Evaluations between checkpoints; those of a large network and its L-BFGS memory weigh half a gigabyte."""


@dataclass(frozen=True)
class Job:
    """One run of one method.

    Attributes:
        task: The task.
        comm: Ranks that work on it together.
        key: Which run: seed, start, budget.
        folder: Where to keep checkpoints, or None for none.
        progress: Whether to show the progress line; None shows it on a terminal.
        solver: Preset of the linear solver; chosen by size if None.
        reserved: Evaluations of the budget kept for the last stage of a buildable design; where it follows,
            the design need not be finished.
        alternatives: How many designs to finish that differ from each other, by methods that have several.
    """

    task: Task
    comm: MPI.Comm
    key: Key
    folder: Path | None = None
    progress: bool | None = None
    solver: str | None = None
    reserved: int = 0
    alternatives: int = 1

    @property
    def budget(self) -> int:
        """Evaluations for the method itself."""
        return self.key.budget - self.reserved

    def options(self, evaluations: int | None = None, stage: str = "") -> dict[str, Any]:
        """Return the arguments of `minimize` that every method takes from its job.

        Args:
            evaluations: Budget of this call; that of the whole job if None.
            stage: Tells the checkpoints of several calls in one job apart.
        """
        options: dict[str, Any] = {"evaluations": evaluations or self.budget, "progress": self.progress}
        if self.folder is not None:
            options["checkpoint"] = self.folder / f"checkpoint-{self.key.folder}{stage}.npz"
            options["checkpoint_every"] = CHECKPOINT_EVERY
        return options

    def start_logits(self, shape: tuple[int, ...] | None = None) -> npt.NDArray[np.float64] | None:
        """Return the logits of the untrained network the start names, or None for the uniform start.

        Args:
            shape: Shape of the image; that of the task if None.
        """
        seed = network_seed(self.key.start)
        if seed is None:
            return None
        from dolfinx_neural_topo.networks import PaperCNN

        return PaperCNN(shape or self.task.image_shape, seed=seed)().detach().numpy().astype(np.float64)


def network_seed(start: str) -> int | None:
    """Return SEED of "network:SEED", or None for "uniform".

    Raises:
        InputError: Another form.
    """
    form = re.fullmatch(r"uniform|network:(\d+)", start)
    if form is None:
        raise InputError(f"start must be uniform or network:SEED with a whole number, got {start!r}")
    return None if form[1] is None else check_seed(int(form[1][:20]))


def check_seed(seed: int) -> int:
    """Return a seed that random generators take.

    Raises:
        InputError: It is negative, or has more than 63 bits.
    """
    if not 0 <= seed < 2**63:
        raise InputError(f"seed must lie in [0, 2^63), got {seed}")
    return seed


@dataclass(frozen=True)
class Outcome:
    """A finished design and what it cost.

    Attributes:
        rho_design: Design density, an image, the same on all ranks.
        rho: Physical density, likewise.
        compliance: Objective of the best design.
        volume: Its physical volume fraction.
        evaluations: Evaluations of the state and its gradient, on whatever grid.
        equivalent_evaluations: The same weighted by cells relative to the task's own grid.
        solves: Linear solves of the state.
        history: Lowest objective so far after each evaluation on the task's own grid.
        reason: Why it ended.
        interrupted: True if a signal ended it; the checkpoint continues it.
        built: What was found out about a design made buildable (see `optimize.buildable.Built.summary`), or
            None. Then `rho` and `compliance` are those of the cut.
        unsaved: True if it ended because its checkpoint could not be written.
        alternatives: Designs that differ from each other, with images in place of cell values, best first, if
            more than one was asked for.
    """

    rho_design: npt.NDArray[np.float64]
    rho: npt.NDArray[np.float64]
    compliance: float
    volume: float
    evaluations: int
    equivalent_evaluations: float
    solves: int
    history: list[float]
    reason: str
    interrupted: bool = False
    built: dict[str, Any] | None = None
    unsaved: bool = False
    alternatives: tuple[Alternative, ...] = ()

    @classmethod
    def of(cls, result: Result, built: BuiltTask) -> Outcome:
        """Take over the best design of a run on the task's own grid.

        Note: Collective.
        """
        return cls(
            rho_design=built.grid.to_image(result.rho_design),
            rho=built.grid.to_image(result.rho),
            compliance=result.objective,
            volume=result.volume,
            evaluations=result.evaluations,
            equivalent_evaluations=float(result.evaluations),
            solves=result.solves,
            history=[float(value) for value in result.history.running_minimum()],
            reason=result.reason,
            interrupted=result.interrupted,
            unsaved=result.unsaved,
        )


class MeanVolume:
    """A design whose volume constraint is mean density - allowed <= 0 instead of mean / allowed - 1 <= 0.

    NLopt's MMA depends on the scale of constraints, and this is the paper's.

    Args:
        design: Design, or what stands for one.
    """

    def __init__(self, design: Any):
        self._design = design

    def evaluate(self, x: npt.NDArray[np.float64], gradient: bool = True) -> Any:
        """Evaluate the design. Note: Collective."""
        evaluation = self._design.evaluate(x, gradient)
        allowed = self._design.domain.volume_fraction
        rows = evaluation.constraint_gradients
        return replace(
            evaluation,
            constraints=allowed * evaluation.constraints,
            constraint_gradients=None if rows is None else allowed * rows,
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._design, name)


def starting_at(built: BuiltTask, image: npt.NDArray[np.float64]) -> StartingAt:
    """Return a task's design that starts from the densities logits stand for, which meet the volume exactly.

    Note: Collective.
    """
    rho_design = built.design.logits.apply(built.grid.to_cells(image))
    return StartingAt(built.design, rho_design[built.domain.design])
