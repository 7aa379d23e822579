"""A design as a function of logits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dolfinx_neural_topo._checks import real_array
from dolfinx_neural_topo.density.evaluation import Evaluation
from dolfinx_neural_topo.errors import collective

if TYPE_CHECKING:
    from dolfinx_neural_topo.density.design import Design
    from dolfinx_neural_topo.density.multi import MultiDesign


def _logits(value: Any, name: str, given: Mapping[str, Any]) -> np.ndarray:
    return real_array(name, value, given["self"].shape, "one number for each owned cell")


def _densities(value: Any, name: str, given: Mapping[str, Any]) -> np.ndarray:
    return real_array(name, value, given["self"].density_shape, "one number for each owned cell")


class Logits:
    """Logits of owned cells in place of rho_design: the volume is met by construction and no constraint.

        logits -> rho_design -> rho_filtered -> rho -> functional

    Attributes:
        comm: Communicator.
        domain: Design domain.
        shape: Shape of logits, (num_owned_cells,), or (channels, num_owned_cells) for several fields.
        density_shape: Shape of densities, (num_owned_cells,) or (k, num_owned_cells).

    Args:
        design: The design.
        stage: Gives their density the volume allowed.
        channels: Leading axis of logits, (k + 1,) for k materials and void; () for one density.
        fields: Leading axis of densities, (k,) or ().

    Note: Collective, as are all methods.
    """

    def __init__(
        self,
        design: Design | MultiDesign,
        stage: Any,
        channels: tuple[int, ...] = (),
        fields: tuple[int, ...] = (),
    ):
        self._design, self._stage = design, stage
        self.comm, self.domain = design.comm, design.domain
        self.shape = (*channels, self.domain.num_owned_cells)
        self.density_shape = (*fields, self.domain.num_owned_cells)

    @collective(logits=_logits)
    def apply(self, logits: np.ndarray) -> np.ndarray:
        """Map owned logits to rho_design with the volume allowed (see `VolumeConstrainedSigmoid`)."""
        return self._stage.apply(logits)

    @collective(dJ_drho_design=_densities, logits=_logits, rho_design=_densities)
    def pullback(self, dJ_drho_design: np.ndarray, logits: np.ndarray, rho_design: np.ndarray) -> np.ndarray:
        """Gradient with respect to the logits from one with respect to rho_design = apply(logits)."""
        return self._stage.pullback(dJ_drho_design, logits, rho_design)

    @collective(logits=_logits)
    def evaluate(self, logits: np.ndarray, gradient: bool = True) -> Evaluation:
        """Evaluate the objective and further constraints at the density that logits stand for.

        Args:
            logits: Owned logits, of `shape`, float64.
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
            constraint_gradients=np.array(rows).reshape(len(rows), *logits.shape),
        )
