"""Stages that make a density one that can be made: printed, extruded or cast. On evenly spaced grids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dolfinx_neural_topo._communication import max_replicated
from dolfinx_neural_topo.density.columns import Columns
from dolfinx_neural_topo.density.domain import DesignDomain
from dolfinx_neural_topo.errors import InputError, collective

_POWER = 40.0  # of the smooth maximum
_BLEND = 0.02  # relative width of the smooth minimum
_FRONT = 3.0  # cells, from full to empty in a column of a cast part
# places in a padded layer, where the cell itself is at (1, 1)
_ROW = ((1, 1), (0, 1), (2, 1))
_CROSS = (*_ROW, (1, 0), (1, 2))


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
        self._solid = _solid_pixels(self._columns, domain)
        size = self._columns.cell_size
        if np.ptp(size) > 1e-6 * size.max():
            raise InputError(
                "domain must have cells as wide as high, since supports lie at 45 degrees only then, got "
                f"cells of {' x '.join(f'{edge:.6g}' for edge in size)}; change the numbers of cells"
            )
        if any(abs(height) > 1e-12 for height, _ in _planes_across(self._columns, domain)):
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
        if any(height * side < -1e-12 for height, side in _planes_across(columns, domain)):
            raise InputError(
                "direction must not point towards a symmetry plane, where mould and mirror image would meet, "
                f"got {tuple(direction)}; draw the other way"
            )
        self._solid = _solid_pixels(columns, domain)
        cells = columns.gather(domain.design.astype(np.float64))
        self._used = np.zeros(columns.shape)  # weight of the design cells of a pixel that can be cast
        open_above = np.ones(columns.shape[1:], dtype=bool)
        for solid, count, used in zip(self._solid, cells, self._used, strict=True):
            used[...] = np.where(open_above & (count > 0.5), 1.0 / np.maximum(count, 1.0), 0.0)
            open_above = solid | (open_above & (count > 0.5))
        fillable = self._used > 0.0
        self._below: np.ndarray = np.cumsum(fillable, axis=0) - fillable
        self._count = fillable.sum(axis=0)
        self._rise = (self._count + _FRONT - 1.0) / (_FRONT * np.maximum(self._count, 1))

    @collective
    def on(self, domain: DesignDomain) -> Casting:
        """Return the same stage on another domain. Note: Collective."""
        return Casting(domain, self.direction)

    @collective
    def apply(self, x: np.ndarray) -> np.ndarray:
        """Fill the columns as high as owned values, shape (num_owned_cells,), say. Note: Collective."""
        t = self._depth(x)
        filled = np.where(self._used > 0.0, t * t * (3.0 - 2.0 * t), 0.0)
        return np.where(self.domain.design, self._columns.spread(filled), x)

    @collective
    def pullback(self, dJ_dy: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Gradient with respect to the density before, x, from that by y. Note: Collective."""
        design, columns, t = self.domain.design, self._columns, self._depth(x)
        slopes = columns.gather(np.where(design, dJ_dy, 0.0)) * np.where(
            self._used > 0.0, 6.0 * t * (1.0 - t), 0.0
        )
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


def _solid_pixels(columns: Columns, domain: DesignDomain) -> np.ndarray:
    """Return which pixels of the rank's block are passive solid. Note: Collective."""
    return columns.gather(domain.solid.astype(np.float64)) > columns.cells_per_pixel - 0.5


def _planes_across(columns: Columns, domain: DesignDomain) -> list[tuple[float, float]]:
    """Return, for each symmetry plane, the direction along its normal and the side the mesh is on (+-1)."""
    found = []
    for plane in domain.symmetry:
        along = float(plane.unit_normal[: len(columns.direction)] @ columns.direction)
        furthest = max_replicated(domain.comm, plane.distance(domain.midpoints).max(initial=-np.inf))
        found.append((along, 1.0 if furthest > 0.0 else -1.0))
    return found


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
