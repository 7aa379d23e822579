"""What one job of a multi-start run found, and its file."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dolfinx_neural_topo.errors import CheckpointError
from dolfinx_neural_topo.optimize.checkpoint_file import read_file, write_file
from dolfinx_neural_topo.optimize.method import Array


@dataclass(frozen=True)
class Found:
    """One design on its way: a start, or one promotion of it.

    Attributes:
        start: Number of the start it comes from.
        stage: 0 for the start itself, k for the k-th promotion, -1 for nothing yet.
        level: Level of the physics that judged it.
        objective: Objective there, inf if the job failed.
        volume: Physical volume fraction.
        evaluations: Evaluations of this job.
        equivalent_evaluations: The same, weighted by cells relative to the full mesh.
        solves: Linear solves of this job.
        seconds: Wall seconds of this job.
        reason: Why it ended.
        history: Objectives of its evaluations on the full mesh that obey the volume, inf for the others.
        arrays: Vectors of the whole mesh in canonical order, on the ranks that hold them: "x", the best
            design, "mma/...", the state of MMA after it, and "own", the parameters of a start.
        numbers: Numbers of that state.
        trial: Whether the objective is that of a trial of the last stage.
    """

    start: int
    stage: int
    level: int = 0
    objective: float = float("inf")
    volume: float = float("nan")
    evaluations: int = 0
    equivalent_evaluations: float = 0.0
    solves: int = 0
    seconds: float = 0.0
    reason: str = ""
    history: list[float] = field(default_factory=list)
    arrays: dict[str, Array] | None = None
    numbers: dict[str, Any] = field(default_factory=dict)
    trial: bool = False

    def without_arrays(self) -> Found:
        """Return the same without its vectors."""
        return dataclasses.replace(self, arrays=None)

    def write(self, path: Path, fingerprint: dict[str, Any]) -> None:
        """Write this and its vectors to a file, atomically."""
        values = {"found": vars(self) | {"arrays": None}}
        write_file(path, {"fingerprint": fingerprint, "values": values}, self.arrays or {})

    @classmethod
    def read(cls, path: Path, fingerprint: dict[str, Any]) -> Found:
        """Read a file.

        Raises:
            CheckpointError: It is damaged, or of another run.
        """
        values, arrays = read_file(path, fingerprint)
        try:
            return cls(**values["found"] | {"arrays": arrays})
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"{path} is no file of a start: {error}") from error
