"""Parts that leave a mould."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dolfinx_neural_topo.density.columns import Columns, planes_across, solid_pixels
from dolfinx_neural_topo.density.domain import DesignDomain
from dolfinx_neural_topo.errors import InputError, collective

_FRONT = 3.0  # cells, from full to empty in a column


class Casting:
    """What leaves a mould: material fills each column from the parting plane up, and no undercut holds it.

        h = mean of x over the column,    y_k = S((h (n + W - 1) - k) / W),    S(t) = 3 t^2 - 2 t^3 in [0, 1]

    k counts the n design cells of a column in the direction in which the mould is drawn off, from the
    parting plane, where the direction starts; the front is W = 3 cells wide. So the densities of a column
    say how high it is, and each of them moves its front. With a symmetry plane at the parting plane, two
    halves of a mould are drawn off in opposite directions.

    Passive cells keep their density. Cells above a void one stay void, up to the next solid one. Cells that
    share a pixel (triangles, tetrahedra) get one value.

    Attributes:
        domain: Design domain.
        direction: Draw direction.

    Args:
        domain: Design domain on an evenly spaced grid.
        direction: Draw direction, along an axis of the grid.

    Raises:
        InputError: The mesh is no such grid, the direction does not lie along an axis, or it points towards
            a symmetry plane (the mirror image would close the mould).

    References:
        Gersborg, Andreasen: An explicit parameterization for casting constraints in gradient driven topology
        optimization, SMO 44 (2011), with heights of their own.

    Note: Collective. One all-to-all there and one back, each of the rank's cells.
    """

    @collective
    def __init__(self, domain: DesignDomain, direction: Sequence[float]):
        self.domain = domain
        self.direction = tuple(direction)
        columns = self._columns = Columns(domain, direction)
        if any(height * side < -1e-12 for height, side in planes_across(columns, domain)):
            raise InputError(
                "direction must not point towards a symmetry plane, where mould and mirror image would meet, "
                f"got {tuple(direction)}; draw the other way"
            )
        self._solid = solid_pixels(columns, domain)
        cells = columns.gather(domain.design.astype(np.float64))
        self._used = np.zeros(columns.shape)  # weight of the design cells of a pixel that can be cast
        open_above = np.ones(columns.shape[1:], dtype=bool)
        for solid, count, used in zip(self._solid, cells, self._used, strict=True):
            used[...] = np.where(open_above & (count > 0.5), 1.0 / np.maximum(count, 1.0), 0.0)
            open_above = solid | (used > 0.0)
        fillable = self._used > 0.0
        count = fillable.sum(axis=0)
        self._below = np.where(fillable, np.cumsum(fillable, axis=0) - fillable, np.inf)
        self._rise = (count + _FRONT - 1.0) / (_FRONT * np.maximum(count, 1))

    @collective
    def on(self, domain: DesignDomain) -> Casting:
        """Return the same stage on another domain. Note: Collective."""
        return Casting(domain, self.direction)

    @collective
    def apply(self, x: np.ndarray) -> np.ndarray:
        """Fill the columns as high as owned values, shape (num_owned_cells,), say. Note: Collective."""
        t = self._depth(x)
        return np.where(self.domain.design, self._columns.spread(t * t * (3.0 - 2.0 * t)), x)

    @collective
    def pullback(self, dJ_dy: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Gradient with respect to the density before, x, from that by y. Note: Collective."""
        design, columns, t = self.domain.design, self._columns, self._depth(x)
        slopes = columns.gather(np.where(design, dJ_dy, 0.0)) * 6.0 * t * (1.0 - t)
        return np.where(design, columns.spread(self._used * (slopes.sum(axis=0) * self._rise)), dJ_dy)

    @collective
    def kept(self, rho: np.ndarray) -> np.ndarray:
        """Return what of a cut, owned values 0 and 1, leaves the mould. Note: Collective."""
        made = self._columns.gather(rho) / self._columns.cells_per_pixel
        for k, solid in enumerate(self._solid):
            made[k] = np.where(solid, 1.0, np.minimum(made[k], made[max(k - 1, 0)]))
        return np.where(self.domain.design, self._columns.spread(made), rho)

    def _depth(self, x: np.ndarray) -> np.ndarray:
        """Return how deep under the front of its column each pixel is: 0 above it, 1 where it is full."""
        heights = (self._columns.gather(np.where(self.domain.design, x, 0.0)) * self._used).sum(axis=0)
        return np.clip(heights * self._rise - self._below / _FRONT, 0.0, 1.0)
