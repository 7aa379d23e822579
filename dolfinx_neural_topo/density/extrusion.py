"""Parts with the same section all along an axis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dolfinx_neural_topo.density.columns import Columns
from dolfinx_neural_topo.density.domain import DesignDomain
from dolfinx_neural_topo.errors import collective


class Extrusion:
    """The same density all along an axis: the mean over the design cells of each line of cells.

    Passive cells keep their value and do not take part.

    Attributes:
        domain: Design domain.
        direction: Vector along the axis.

    Args:
        domain: Design domain on an evenly spaced grid.
        direction: Vector along an axis of the grid, two or three coordinates; its sign does not matter.

    Raises:
        InputError: The mesh is no such grid, or the direction does not lie along an axis.

    Note: Collective. One all-to-all there and one back, each of the rank's cells.
    """

    @collective
    def __init__(self, domain: DesignDomain, direction: Sequence[float]):
        self.domain = domain
        self.direction = tuple(direction)
        self._columns = Columns(domain, direction)
        self._count = np.maximum(self._columns.gather(domain.design.astype(np.float64)).sum(axis=0), 1.0)

    @collective
    def on(self, domain: DesignDomain) -> Extrusion:
        """Return the same stage on another domain. Note: Collective."""
        return Extrusion(domain, self.direction)

    @collective
    def apply(self, x: np.ndarray) -> np.ndarray:
        """Average owned values, shape (num_owned_cells,), along the lines. Note: Collective."""
        design = self.domain.design
        lines = self._columns.gather(np.where(design, x, 0.0)).sum(axis=0) / self._count
        mean = self._columns.spread(np.broadcast_to(lines, self._columns.shape))
        return np.where(design, mean, x)

    @collective
    def apply_transpose(self, values: np.ndarray) -> np.ndarray:
        """Apply the transpose, which is the stage itself. Note: Collective."""
        return self.apply(values)

    @collective
    def pullback(self, dJ_dy: np.ndarray, x=None, y=None) -> np.ndarray:
        """Gradient with respect to the density before; the point does not matter. Note: Collective."""
        return self.apply(dJ_dy)
