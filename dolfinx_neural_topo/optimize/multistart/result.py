"""What a multi-start run hands back."""

from __future__ import annotations

from dataclasses import dataclass

from dolfinx_neural_topo.optimize.method import Array
from dolfinx_neural_topo.optimize.multistart.alternatives import Alternative
from dolfinx_neural_topo.optimize.multistart.found import Found


@dataclass(frozen=True)
class Multistart:
    """What a multi-start run found.

    Attributes:
        objective: Objective of the best design on the full mesh.
        volume: Its physical volume fraction.
        rho_design: Its design density on owned cells.
        rho: Its physical density on owned cells.
        found: Every start and every promotion, in order, without vectors.
        history: Lowest objective so far after each evaluation on the full mesh.
        reason: Why the run ended, a sentence.
        unsaved: True if a file could not be written (disk full), so that a killed run would repeat more.
        alternatives: As many finished designs as were asked for, or could be had, that differ from each
            other; the best one first, which is that above.
    """

    objective: float
    volume: float
    rho_design: Array
    rho: Array
    found: tuple[Found, ...]
    history: list[float]
    reason: str
    unsaved: bool = False
    alternatives: tuple[Alternative, ...] = ()

    @property
    def evaluations(self) -> int:
        """Evaluations on all meshes."""
        return sum(each.evaluations for each in self.found)

    @property
    def equivalent_evaluations(self) -> float:
        """Evaluations weighted by cells relative to the full mesh."""
        return sum(each.equivalent_evaluations for each in self.found)

    @property
    def solves(self) -> int:
        """Linear solves of states on all meshes."""
        return sum(each.solves for each in self.found)

    def __str__(self) -> str:
        return (
            f"multi-start: objective {self.objective:.6g}, volume {self.volume:.4f} "
            f"({self.evaluations} evaluations, worth {self.equivalent_evaluations:.0f} on the full mesh). "
            f"{self.reason}"
        )
