"""A design as a function of logits."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from dolfinx_neural_topo._checks import owned_values
from dolfinx_neural_topo.density.evaluation import Evaluation
from dolfinx_neural_topo.density.sigmoid import VolumeConstrainedSigmoid
from dolfinx_neural_topo.errors import InputError, collective

if TYPE_CHECKING:
    from dolfinx_neural_topo.density.design import Design


class Logits:
    """Logits of owned cells in place of rho_design: the volume is met by construction and no constraint.

        logits -> rho_design -> rho_filtered -> rho -> functional

    Args:
        design: The design.
        sigmoid: Gives their density the volume allowed.

    Note: Collective, as are all methods.
    """

    def __init__(self, design: Design, sigmoid: VolumeConstrainedSigmoid):
        self._design, self._sigmoid = design, sigmoid
        self.comm, self.domain = design.comm, design.domain

    @collective(logits=owned_values)
    def apply(self, logits: np.ndarray) -> np.ndarray:
        """Map owned logits to rho_design with the volume allowed (see `VolumeConstrainedSigmoid`).

        Raises:
            InputError: The volume is to be met exactly, and is that of all cells, which leaves no choice.
        """
        if not self._design.volume_is_a_choice and self._design.domain.volume_fraction == 1.0:
            raise InputError(
                "volume_fraction 1, met exactly, leaves logits no choice; way out: Design(..., "
                'volume="at most"), or a smaller fraction'
            )
        return self._sigmoid.apply(logits)

    @collective(dJ_drho_design=owned_values, logits=owned_values, rho_design=owned_values)
    def pullback(self, dJ_drho_design: np.ndarray, logits: np.ndarray, rho_design: np.ndarray) -> np.ndarray:
        """Gradient with respect to the logits from one with respect to rho_design = apply(logits)."""
        return self._sigmoid.pullback(dJ_drho_design, logits, rho_design)

    @collective(logits=owned_values)
    def evaluate(self, logits: np.ndarray, gradient: bool = True) -> Evaluation:
        """Evaluate the objective and further constraints at the density that logits stand for.

        Args:
            logits: Owned logits, shape (num_owned_cells,), float64.
            gradient: Whether gradients are wanted.

        Returns:
            The evaluation, gradients with respect to the logits of owned cells.
        """
        rho_design = self.apply(logits)
        evaluation = self._design.evaluate_density(rho_design, gradient)
        if not gradient:
            return evaluation
        rows = [self.pullback(row, logits, rho_design) for row in evaluation.constraint_gradients]
        return replace(
            evaluation,
            gradient=self.pullback(evaluation.gradient, logits, rho_design),
            constraint_gradients=np.array(rows).reshape(len(rows), len(logits)),
        )
