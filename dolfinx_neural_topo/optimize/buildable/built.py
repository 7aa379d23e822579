"""A design of solid and void, and what was found out about it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from dolfinx_neural_topo.optimize.method import Array


@dataclass(frozen=True)
class Built:
    """A 0-1 design and what a fresh solve, and measuring, said of it.

    Attributes:
        rho: Density on owned cells, 0 or 1 (and one cell of all ranks in between, if that was asked for).
        value: Objective of `rho`, by a solve of its own.
        volume: Its volume fraction.
        components: How many pieces of material there are, cells joined by facets.
        pieces_carry_loads: Whether one piece holds every load and rests on a support.
        min_member: Least width of members found, in the mesh's unit of length, to half a cell on grids and to
            one on other meshes; inf if there is nothing but material.
        min_gap: Least width of gaps and holes found, likewise.
        greyness: Mean of 4 rho (1 - rho) over the design cells.
        projected: Objective of the projected design before the cut.
        rho_design: Design density that the cut was made from, on owned cells.
        radius: Radius of the filter that was used, in the mesh's unit of length; None for another filter.
        evaluations: Evaluations of the last stage, those of the checks included.
        solves: Forward solves of the state.
        history: Objective of the last stage (of the eroded design where that is enough), an entry an
            evaluation.
        reason: What is wrong with the design, a sentence; empty if nothing is.

    Example:
        >>> found = dnt.minimize(design, dnt.OC(), evaluations=10)
        >>> built = dnt.make_buildable(design, found, evaluations=10)
        >>> isinstance(built, dnt.Built), built.components
        (True, 1)
    """

    rho: Array
    value: float
    volume: float
    components: int
    pieces_carry_loads: bool
    min_member: float
    min_gap: float
    greyness: float
    projected: float
    rho_design: Array
    radius: float | None
    evaluations: int
    solves: int
    history: tuple[float, ...]
    reason: str

    def summary(self) -> dict[str, Any]:
        """Return the numbers as JSON-able values; widths that are infinite become None."""
        return {
            "compliance": self.value,
            "volume": self.volume,
            "components": self.components,
            "min_member": _finite(self.min_member),
            "min_gap": _finite(self.min_gap),
            "pieces_carry_loads": self.pieces_carry_loads,
            "greyness": self.greyness,
            "projected": self.projected,
            "evaluations": self.evaluations,
            "reason": self.reason,
        }

    def __str__(self) -> str:
        what = "one piece" if self.components == 1 else f"{self.components} pieces"
        return (
            f"built: objective {self.value:.6g}, volume {self.volume:.4f}, {what}, members from "
            f"{self.min_member:.3g}, gaps from {self.min_gap:.3g}. {self.reason}".rstrip()
        )


def _finite(width: float) -> float | None:
    return float(f"{width:.6g}") if math.isfinite(width) else None
