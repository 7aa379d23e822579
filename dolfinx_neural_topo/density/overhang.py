"""Parts that a printer builds without supports."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dolfinx_neural_topo.density.columns import Columns, planes_across, solid_pixels
from dolfinx_neural_topo.density.domain import DesignDomain
from dolfinx_neural_topo.errors import InputError, collective

_POWER = 40.0  # of the smooth maximum
_BLEND = 0.02  # relative width of the smooth minimum
# places in a padded layer, where the cell itself is at (1, 1)
_ROW = ((1, 1), (0, 1), (2, 1))
_CROSS = (*_ROW, (1, 0), (1, 2))


class OverhangFilter:
    """What a printer can build without supports: nothing overhangs by more than 45 degrees.

        y_0 = x_0,    y_k = smin(x_k, smax(y_(k-1) over the cell below and its neighbours across))

    Layer 0 is the build plate. A cell is printed as far as the cell below or one of that cell's neighbours
    across is (two in 2D, four in 3D). With the smooth minimum of `_minimum` and, for n supports,

        smax(y) = (sum_j y_j^P)^(1/Q),    P = 40,    Q = P + log(n) / log(volume fraction),

    a uniform density of the volume fraction stays what it is. 0 <= y <= x holds exactly, full supports
    support fully, and y increases with x: solid struts at 45 degrees lose nothing on the way up. Grey
    supports may carry up to a few percent more than themselves a layer: project afterwards. Passive cells
    keep their density; solid ones count as made, and support what lies above them. Cells that share a pixel
    (triangles, tetrahedra) get one value.

    Attributes:
        domain: Design domain.
        direction: Build direction.

    Args:
        domain: Design domain on an evenly spaced grid of squares or cubes.
        direction: Build direction, from the plate upwards, along an axis of the grid.

    Raises:
        InputError: The mesh is no such grid, its cells are not as wide as high, the direction does not lie
            along an axis, or a symmetry plane lies across it (one half would hang from the other).

    References:
        Langelaar (2016), Additive Manufacturing 12, with smooth operators that keep bounds and solid struts.

    Note: Collective. A sweep passes one row of cells to either neighbour per layer.
    """

    @collective
    def __init__(self, domain: DesignDomain, direction: Sequence[float]):
        self.domain = domain
        self.direction = tuple(direction)
        self._columns = Columns(domain, direction)
        self._supports = _CROSS if domain.mesh.topology.dim == 3 else _ROW
        self._exponent = _POWER + np.log(len(self._supports)) / np.log(domain.volume_fraction)
        self._solid = solid_pixels(self._columns, domain)
        size = self._columns.cell_size
        if np.ptp(size) > 1e-6 * size.max():
            raise InputError(
                "domain must have cells as wide as high, since supports lie at 45 degrees only then, got "
                f"cells of {' x '.join(f'{edge:.6g}' for edge in size)}; change the numbers of cells"
            )
        if any(abs(height) > 1e-12 for height, _ in planes_across(self._columns, domain)):
            raise InputError(
                "direction must lie in all symmetry planes, since a mirror image below or above is not "
                f"printed alike, got {tuple(direction)}; mesh the whole part, or turn the direction"
            )

    @collective
    def on(self, domain: DesignDomain) -> OverhangFilter:
        """Return the same stage on another domain. Note: Collective."""
        return OverhangFilter(domain, self.direction)

    @collective
    def apply(self, x: np.ndarray) -> np.ndarray:
        """Keep of owned values, shape (num_owned_cells,), in [0, 1], what is supported. Note: Collective."""
        made = self._made(self._wanted(x))
        return np.where(self.domain.design, self._columns.spread(made), x)

    @collective
    def pullback(self, dJ_dy: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Gradient with respect to the density before.

        Args:
            dJ_dy: Owned values, shape (num_owned_cells,).
            x: Where `apply` was called.
            y: What it returned (not needed beside x).

        Note: Collective.
        """
        design, columns = self.domain.design, self._columns
        wanted = self._wanted(x)
        made = self._made(wanted)
        slopes = columns.gather(np.where(design, dJ_dy, 0.0))
        for k in range(len(slopes) - 1, -1, -1):
            slopes[k][self._solid[k]] = 0.0
            if k > 0:
                around = columns.padded(made[k - 1])
                support, by_support = self._support(around)
                _, by_wanted, by_least = _minimum(wanted[k], support)
                slopes[k - 1] += columns.padded_transpose(by_support(slopes[k] * by_least))
                slopes[k] *= by_wanted
        return columns.spread(slopes) / columns.cells_per_pixel + np.where(design, 0.0, dJ_dy)

    def _wanted(self, x: np.ndarray) -> np.ndarray:
        return self._columns.gather(x) / self._columns.cells_per_pixel

    def _made(self, wanted: np.ndarray) -> np.ndarray:
        """Go up through the layers; solid pixels are there whatever lies below."""
        made = np.where(self._solid, 1.0, wanted)
        for k in range(1, len(made)):
            support, _ = self._support(self._columns.padded(made[k - 1]))
            least, _, _ = _minimum(wanted[k], support)
            made[k] = np.where(self._solid[k], 1.0, least)
        return made

    def _support(self, around: np.ndarray):
        """Smooth maximum over the supports of a layer's cells, and the map of slopes back to `around`."""
        rows, columns = around.shape[0] - 2, around.shape[1] - 2
        windows = [(slice(i, i + rows), slice(j, j + columns)) for i, j in self._supports]
        values = np.stack([around[window] for window in windows])
        largest = values.max(axis=0)
        ratio = np.divide(values, largest, out=np.zeros_like(values), where=largest > 0.0)
        total = np.maximum((ratio**_POWER).sum(axis=0), 1.0)
        degree = _POWER / self._exponent
        relative = largest ** (degree - 1.0) * total ** (1.0 / self._exponent)

        def pullback(slope: np.ndarray) -> np.ndarray:
            back = np.zeros_like(around)
            common = slope * degree * relative / total
            for window, r in zip(windows, ratio, strict=True):
                back[window] += common * r ** (_POWER - 1.0)
            return back

        return largest * relative, pullback


def _minimum(x: np.ndarray, support: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Smooth minimum x phi(support / x), and its derivatives by both.

    phi(r) is 1 for r >= 1, a parabola down to r = 1 - delta, and then the straight line to 0 that touches it:
    increasing, concave, once continuously differentiable. The minimum is x itself where the support is
    enough, and at most 1 / (1 - delta / 2) times the support.
    """
    curvature = _BLEND - 0.5 * _BLEND**2
    steep = 1.0 / (1.0 - 0.5 * _BLEND)
    ratio = np.divide(support, x, out=np.where(support > 0.0, 2.0, 0.0), where=x > 0.0)
    missing = np.maximum(1.0 - ratio, 0.0)
    line = missing > _BLEND
    phi = np.where(line, steep * ratio, 1.0 - missing**2 / (2.0 * curvature))
    slope = np.where(line, steep, missing / curvature)
    by_x = np.where(line, 0.0, phi - np.minimum(ratio, 1.0) * slope)
    return x * phi, by_x, slope
