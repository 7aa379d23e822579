"""A volume constraint that keeps gaps open."""

from __future__ import annotations

from typing import Any

import numpy as np

from dolfinx_neural_topo._communication import sum_replicated
from dolfinx_neural_topo.density import Design, DesignDomain
from dolfinx_neural_topo.density.volume import ProjectedVolume
from dolfinx_neural_topo.optimize.method import Array


class OpenGaps(Design):
    """A three-field design that holds the volume of the dilated density: narrow gaps cost what fills them.

    What is allowed follows the blueprint: it is larger in the ratio of the two volumes at the last
    evaluation (call `follow` after each), so that the blueprint has the volume allowed.

    Args:
        functional: As for `Design`.
        domain: Likewise.
        options: Likewise; the projection has three fields.

    References:
        Trillet, Duysinx and Fernandez (2021), Structural and Multidisciplinary Optimization 64.

    Note: Collective.
    """

    def __init__(self, functional: Any, domain: DesignDomain, **options: Any):
        super().__init__(functional, domain, **options)
        self._blueprint = self._volume
        self._volume = self._dilated = _Scaled(domain, self.filter, self.projection.dilated)

    def follow(self, step: Any) -> None:
        """Set the ratio of the two volumes to that of an evaluation, a callback of `minimize`. Collective."""
        rho_design = step.evaluation.rho_design
        nothing = np.zeros_like(rho_design)
        volumes = [
            self._blueprint.local_sums(rho_design, nothing)[0],
            self._dilated.local_sums(rho_design, nothing)[0],
        ]
        blueprint, dilated = sum_replicated(self.comm, volumes)
        if blueprint > 0.0:
            self._dilated.ratio *= float(dilated / blueprint)


class _Scaled(ProjectedVolume):
    """A volume divided by a ratio."""

    ratio = 1.0

    def local_sums(self, rho_design: Array, direction: Array) -> tuple[float, float]:
        """Summands of this rank: the volume, and its derivative in a direction."""
        volume, slope = super().local_sums(rho_design, direction)
        return volume / self.ratio, slope / self.ratio

    def weights(self, rho_design: Array) -> Array:
        """Derivative of the volume by rho_design on owned cells."""
        return super().weights(rho_design) / self.ratio
