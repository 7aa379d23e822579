"""What outlives the evaluations of a design."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dolfinx_neural_topo.errors import InputError, collective
from dolfinx_neural_topo.physics.algebra import num_solves, problems_of, settle

if TYPE_CHECKING:
    from dolfinx_neural_topo.density.design import Design
    from dolfinx_neural_topo.density.multi import MultiDesign


class Persistence:
    """What a run on a design needs beside values: numbers for checkpoints, stage, accuracy and cost.

    Attributes:
        entries: Number of each entry of x on this rank, that no partition changes; int64, shape (len(x),).
        cells: The same for owned cells, shape (num_owned_cells,).

    Args:
        design: The design.
        entries: See above.
    """

    def __init__(self, design: Design | MultiDesign, entries: np.ndarray):
        self._design, self.comm = design, design.comm
        self.entries, self.cells = entries, design.domain.canonical_index

    @property
    def num_solves(self) -> int:
        """Solves of the objective's states so far, 0 for a functional that has none."""
        return num_solves(self._design.functional)

    @property
    def rtol(self) -> float:
        """Loosest tolerance that was set for solves, 0 where none was."""
        functionals = (self._design.functional, *(functional for functional, _ in self._design.constraints))
        problems = [problem for functional in functionals for problem in problems_of(functional)]
        return max((getattr(problem, "rtol", None) or 0.0 for problem in problems), default=0.0)

    @collective
    def settle(self) -> bool:
        """Solve as accurately as results must be, to 1e-5; return whether that is new. Note: Collective."""
        limits = (functional for functional, _ in self._design.constraints)
        return any([settle(functional) for functional in (self._design.functional, *limits)])

    def state_dict(self) -> dict[str, Any]:
        """Return the continuation stage: the projection's sharpness, or None."""
        return {"beta": self._design.projection.beta}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a continuation stage.

        Raises:
            InputError: The stage belongs to a design with another kind of projection.
        """
        projection = self._design.projection
        if (state["beta"] is None) != (projection.beta is None):
            raise InputError(f"state: beta is {state['beta']}, which does not fit projection {projection}")
        projection.beta = state["beta"]
