"""A volume constraint that keeps gaps open."""

from __future__ import annotations

from typing import Any

from dolfinx_neural_topo._communication import sum_replicated
from dolfinx_neural_topo.density import Design, DesignDomain
from dolfinx_neural_topo.density.chain import Chain
from dolfinx_neural_topo.density.volume import ChainVolume, Volume
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

    _changing = frozenset({"held_volume"})  # once, below

    def __init__(self, functional: Any, domain: DesignDomain, **options: Any):
        super().__init__(functional, domain, **options)
        self._blueprint = self.held_volume
        dilated = Chain([self.filter, *self.manufacturing, options["projection"].dilated])
        self.held_volume = self._dilated = _Scaled(ChainVolume(domain, dilated))

    def follow(self, step: Any) -> None:
        """Set the ratio of the two volumes to that of an evaluation, a callback of `minimize`. Collective."""
        rho_design = step.evaluation.rho_design
        volumes = [self._blueprint.value(rho_design), self._dilated.value(rho_design)]
        blueprint, dilated = sum_replicated(self.comm, volumes)
        if blueprint > 0.0:
            self._dilated.ratio *= float(dilated / blueprint)


class _Scaled:
    """A volume divided by a ratio."""

    def __init__(self, volume: Volume):
        self._volume, self.ratio = volume, 1.0
        self.guess_weights, self.capacity = volume.guess_weights, volume.capacity

    def value(self, rho_design: Array) -> float:
        """Summand of this rank."""
        return self._volume.value(rho_design) / self.ratio

    def value_and_weights(self, rho_design: Array) -> tuple[float, Array]:
        """Summand of this rank, and the derivative of the volume on owned cells."""
        volume, weights = self._volume.value_and_weights(rho_design)
        return volume / self.ratio, weights / self.ratio
