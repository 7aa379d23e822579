"""The volume that the constraint holds, as a function of rho_design."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from dolfinx_neural_topo._communication import sum_replicated
from dolfinx_neural_topo.density.chain import Chain
from dolfinx_neural_topo.density.domain import DesignDomain
from dolfinx_neural_topo.errors import InputError, collective


class Volume(Protocol):
    """Volume of the material in design cells, increasing in rho_design.

    Attributes:
        capacity: Volume when every design cell is full.
        guess_weights: Weights of a linear volume near this one, owned cells; where the root search starts.
    """

    capacity: float
    guess_weights: np.ndarray

    def value(self, rho_design: np.ndarray) -> float:
        """Summand of this rank."""

    def value_and_weights(self, rho_design: np.ndarray) -> tuple[float, np.ndarray]:
        """Summand of this rank, and the derivative of the volume on owned cells, zero on passive ones."""


class LinearVolume:
    """Volume sum_i weights_i rho_design_i over design cells.

    Args:
        domain: Design domain.
        weights: Weights of owned cells, shape (num_owned_cells,); those of passive cells are ignored.

    Note: Collective.
    """

    @collective
    def __init__(self, domain: DesignDomain, weights: np.ndarray):
        self.comm = domain.comm
        self.guess_weights = np.where(domain.design, weights, 0.0)
        self.capacity = float(sum_replicated(domain.comm, self.guess_weights.sum()))

    def value(self, rho_design: np.ndarray) -> float:
        """Summand of this rank."""
        return self.guess_weights @ rho_design

    def value_and_weights(self, rho_design: np.ndarray) -> tuple[float, np.ndarray]:
        """Summand of this rank, and the derivative: constant."""
        return self.value(rho_design), self.guess_weights


class ChainVolume:
    """Volume after a chain C of stages: sum_i v_i C(rho_design)_i over design cells.

    Args:
        domain: Design domain.
        chain: The stages.

    Raises:
        InputError: The stages leave too little or too much material at any density: what they do to passive
            cells' surroundings (an overhang above void cells, casting below solid ones) forbids the volume.

    Note: Collective.
    """

    @collective
    def __init__(self, domain: DesignDomain, chain: Chain):
        self.comm = domain.comm
        self._chain = chain
        self._design = domain.design
        self.guess_weights = np.where(domain.design, domain.cell_volumes, 0.0)
        least, most = sum_replicated(
            domain.comm, [self.value(domain.expand(0.0)), self.value(domain.expand(1.0))]
        )
        self.capacity = float(most)
        if not least < domain.target_volume <= most * (1.0 + 1e-12):
            whole = domain.design_volume + domain.solid_volume
            low, high = (least + domain.solid_volume) / whole, (most + domain.solid_volume) / whole
            raise InputError(
                f"volume_fraction must lie in ({low:.6g}, {high:.6g}) with these stages of the density and "
                f"these solid and void cells, got {domain.volume_fraction}"
            )

    @collective
    def value(self, rho_design: np.ndarray) -> float:
        """Summand of this rank.

        Note: Collective.
        """
        return self.guess_weights @ self._chain.apply(rho_design)

    @collective
    def value_and_weights(self, rho_design: np.ndarray) -> tuple[float, np.ndarray]:
        """Summand of this rank, and the derivative of the volume on owned cells.

        Note: Collective.
        """
        fields = self._chain.fields(rho_design)
        weights = self._chain.pullback(self.guess_weights, fields)
        return self.guess_weights @ fields[-1], np.where(self._design, weights, 0.0)


def chain_volume(domain: DesignDomain, chain: Chain) -> Volume:
    """Return the volume after a chain of stages, as weights where all of them are linear.

    Note: Collective.
    """
    if not chain.is_linear:
        return ChainVolume(domain, chain)
    volumes = np.where(domain.design, domain.cell_volumes, 0.0)
    anywhere = [volumes] * (len(chain.stages) + 1)  # linear stages ignore the point
    return LinearVolume(domain, chain.pullback(volumes, anywhere))
