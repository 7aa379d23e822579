"""The volume that the constraint holds, as a function of rho_design."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from dolfinx_neural_topo._communication import sum_replicated
from dolfinx_neural_topo.density.domain import DesignDomain


class Volume(Protocol):
    """Volume of the material in design cells, increasing in rho_design.

    Attributes:
        capacity: Volume when every design cell is full.
        guess_weights: Weights of a linear volume near this one, owned cells; where the root search starts.
    """

    capacity: float
    guess_weights: np.ndarray

    def local_sums(self, rho_design: np.ndarray, direction: np.ndarray) -> tuple[float, float]:
        """Summands of this rank: the volume, and its derivative in a direction (zero on passive cells)."""

    def weights(self, rho_design: np.ndarray) -> np.ndarray:
        """Derivative of the volume by rho_design on owned cells, zero on passive ones."""


class LinearVolume:
    """Volume sum_i weights_i rho_design_i over design cells.

    Args:
        domain: Design domain.
        weights: Weights of owned cells, shape (num_owned_cells,); those of passive cells are ignored.

    Note: Collective.
    """

    def __init__(self, domain: DesignDomain, weights: np.ndarray):
        self._weights = np.where(domain.design, weights, 0.0)
        self.guess_weights = self._weights
        self.capacity = float(sum_replicated(domain.comm, self._weights.sum()))

    def local_sums(self, rho_design: np.ndarray, direction: np.ndarray) -> tuple[float, float]:
        """Summands of this rank: the volume, and its derivative in a direction."""
        return self._weights @ rho_design, self._weights @ direction

    def weights(self, rho_design: np.ndarray) -> np.ndarray:
        """Derivative of the volume by rho_design on owned cells: constant."""
        return self._weights


class ProjectedVolume:
    """Volume after filter and projection: sum_i v_i P(H rho_design)_i over design cells.

    Args:
        domain: Design domain.
        filter: Linear filter H, or None.
        projection: Projection P.
    """

    def __init__(self, domain: DesignDomain, filter, projection):
        self._volumes = np.where(domain.design, domain.cell_volumes, 0.0)
        self._filter = filter
        self._projection = projection
        self.guess_weights = self._volumes
        self.capacity = domain.design_volume

    def local_sums(self, rho_design: np.ndarray, direction: np.ndarray) -> tuple[float, float]:
        """Summands of this rank: the volume, and its derivative in a direction.

        Note: Collective.
        """
        rho_filtered, slope = rho_design, direction
        if self._filter is not None:
            rho_filtered, slope = self._filter.apply(rho_design), self._filter.apply(direction)
        rho = self._projection.apply(rho_filtered)
        return self._volumes @ rho, self._projection.pullback(self._volumes, rho_filtered, rho) @ slope

    def weights(self, rho_design: np.ndarray) -> np.ndarray:
        """Derivative of the volume by rho_design on owned cells.

        Note: Collective.
        """
        rho_filtered = rho_design if self._filter is None else self._filter.apply(rho_design)
        rho = self._projection.apply(rho_filtered)
        slope = self._projection.pullback(self._volumes, rho_filtered, rho)
        return slope if self._filter is None else self._filter.apply_transpose(slope)


def constrained_volume(domain: DesignDomain, filter, projection, constrain: str) -> Volume:
    """Return the volume that a design holds.

    Args:
        domain: Design domain.
        filter: Filter or None.
        projection: Projection or None.
        constrain: "design" for the volume of rho_design, "physical" for that of rho.

    Note: Collective.
    """
    volumes = np.where(domain.design, domain.cell_volumes, 0.0)
    if constrain == "physical" and projection is not None:
        return ProjectedVolume(domain, filter, projection)
    if constrain == "physical" and filter is not None:
        volumes = filter.apply_transpose(volumes)
    return LinearVolume(domain, volumes)
