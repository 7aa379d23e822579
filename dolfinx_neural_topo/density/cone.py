"""Cone density filter: a distributed sparse matrix on any mesh."""

from __future__ import annotations

import numpy as np
import scipy.sparse
from scipy.spatial import cKDTree

from dolfinx_neural_topo._checks import SetOnce, check_number, owned_values
from dolfinx_neural_topo._communication import Halo, exchange, max_replicated, sum_replicated
from dolfinx_neural_topo.density.domain import DesignDomain
from dolfinx_neural_topo.errors import InputError, collective

_ROWS_AT_ONCE = 50_000


class ConeFilter(SetOnce):
    """Weighted mean over the neighbourhood of a cell.

        rho_filtered_i = sum_j w_ij rho_j / sum_j w_ij,    w_ij = max(0, radius - |x_i - x_j|)

    between midpoints of design cells (and their images: mirrored, or in the cells around a periodic one);
    passive cells keep their value and do not take part. A constant is kept exactly.

    The weights W are symmetric and the normalization D is diagonal, so the transpose of H = D^-1 W is
    H^T = W D^-1: one matrix and one halo exchange serve both directions. Memory is 12 bytes a weight: at a
    radius of r cells about pi r^2 (2D) or 4.2 r^3 (3D) weights a cell.

    Attributes:
        domain: The design domain.
        radius: Radius in units of the mesh.

    Args:
        domain: Design domain.
        radius: Radius in units of the mesh, larger than the distance of neighbouring midpoints.

    Raises:
        InputError: The radius is not positive and finite, larger than the domain (every cell would be coupled
            to every other), or so small that the filter does nothing.

    References:
        Bruns and Tortorelli (2001), Computer Methods in Applied Mechanics and Engineering 190;
        Bourdin (2001), International Journal for Numerical Methods in Engineering 50.

    Note: Collective.

    Example:
        >>> smooth = dnt.ConeFilter(domain, radius=0.3)
        >>> bool(np.allclose(smooth.apply(half), 0.5))
        True
    """

    @collective
    def __init__(self, domain: DesignDomain, radius: float):
        radius = check_number("radius", radius, "(0, inf)")
        size = _diagonal(domain)
        if radius > size:
            raise InputError(
                f"radius {radius} is larger than the domain, whose diagonal is {size:.3g}; it is a length in "
                "the mesh's own units: use 1.5 to 3 widths of a cell"
            )
        self.domain = domain
        self._radius = radius
        positions, owners, cells = _images_near(domain, self.radius)
        weights, used = _weights(domain, self.radius, positions)
        self._halo, columns = _halo(domain, owners, cells, used)
        shape = (domain.num_owned_cells, domain.num_owned_cells + self._halo.num_wanted)
        self._matrix = scipy.sparse.csr_matrix(
            (weights.data, columns[weights.indices], weights.indptr), shape=shape
        )
        self._matrix.sum_duplicates()  # an image and its cell share a column; also sorts the columns
        self._passive = np.flatnonzero(~domain.design)
        self._row_sums = self._matrix @ np.ones(shape[1])
        self._row_sums[self._passive] = 1.0
        self._refuse_identity()

    @property
    def radius(self) -> float:
        """Radius in units of the mesh. It stays: another one needs another filter."""
        return self._radius

    @collective
    def on(self, domain: DesignDomain) -> ConeFilter:
        """Return the same filter on another domain. Note: Collective."""
        return ConeFilter(domain, self.radius)

    @collective(rho_design=owned_values)
    def apply(self, rho_design: np.ndarray) -> np.ndarray:
        """Filter a density: H rho_design.

        Args:
            rho_design: Owned values, shape (num_owned_cells,), float64.

        Returns:
            Filtered owned values, same shape.

        Note: Collective.
        """
        rho_filtered = self._matrix @ self._halo.extend(rho_design)
        rho_filtered /= self._row_sums
        rho_filtered[self._passive] = rho_design[self._passive]
        return rho_filtered

    @collective(values=owned_values)
    def apply_transpose(self, values: np.ndarray) -> np.ndarray:
        """Apply the transpose: H^T values.

        Args:
            values: Owned values, shape (num_owned_cells,), float64.

        Returns:
            Owned values, same shape.

        Note: Collective.
        """
        result = self._matrix @ self._halo.extend(values / self._row_sums)
        result[self._passive] = values[self._passive]
        return result

    @collective(dJ_drho_filtered=owned_values)
    def pullback(self, dJ_drho_filtered: np.ndarray, rho_design=None, rho_filtered=None) -> np.ndarray:
        """Gradient with respect to the density before the filter; the point does not matter.

        Note: Collective.
        """
        return self.apply_transpose(dJ_drho_filtered)

    def _refuse_identity(self) -> None:
        """A radius that reaches no second cell would be a filter only by name."""
        design = self.domain.design
        off_diagonal = self._row_sums[design] - self._matrix.diagonal()[design]
        total, num_design = sum_replicated(self.domain.comm, [np.abs(off_diagonal).sum(), design.sum()])
        if total <= 1e-12 * self.radius * num_design:
            size = (self.domain.design_volume / num_design) ** (1.0 / self.domain.mesh.topology.dim)
            raise InputError(
                f"radius {self.radius} reaches no neighbouring midpoint, so the filter would be the "
                f"identity; cells are about {size:.3g} wide: use a radius of 1.5 to 3 cells, or no filter"
            )


def _diagonal(domain: DesignDomain) -> float:
    """Return the diagonal of the box around the mesh. Note: Collective."""
    x = domain.mesh.geometry.x
    ends = max_replicated(domain.comm, [x.max(axis=0, initial=-np.inf), (-x).max(axis=0, initial=-np.inf)])
    return float(np.linalg.norm(ends.sum(axis=0)))


def _images_near(domain: DesignDomain, radius: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Collect midpoints of design cells of all ranks, mirrored ones too, near this rank's cells.

    Each rank tells the box around its own design cells, and gets from the others only the points in it.

    Returns:
        Positions (n, 3), owner ranks (n,) and cell numbers on their owners (n,).
    """
    comm = domain.comm
    cells = np.flatnonzero(domain.design)
    points = domain.images(domain.midpoints[cells])
    cells = np.resize(cells, len(points))
    own = domain.midpoints[domain.design]
    box = np.array([own.min(axis=0, initial=np.inf) - radius, own.max(axis=0, initial=-np.inf) + radius])
    boxes = np.empty((comm.size, 2, 3))
    comm.Allgather(box, boxes)
    chosen = [np.flatnonzero(((points >= low) & (points <= high)).all(axis=1)) for low, high in boxes]
    positions = exchange(comm, [points[k] for k in chosen])
    numbers = exchange(comm, [cells[k] for k in chosen])
    owners = np.repeat(np.arange(comm.size), [len(part) for part in numbers])
    return np.concatenate(positions), owners, np.concatenate(numbers)


def _weights(domain: DesignDomain, radius: float, positions: np.ndarray):
    """Weights of own cells (rows, empty where passive) for the collected images (columns), as CSR.

    Rows are found in chunks, because the list of pairs takes twice the memory of the matrix.

    Returns:
        The matrix, with int32 column numbers, and bools that say which images are used.
    """
    used = np.zeros(len(positions), dtype=bool)
    cells = np.flatnonzero(domain.design)
    tree = cKDTree(positions) if len(positions) else None
    data, columns = [np.empty(0)], [np.empty(0, dtype=np.int32)]
    counts = np.zeros(domain.num_owned_cells, dtype=np.int64)
    for start in range(0, len(cells), _ROWS_AT_ONCE):
        chunk = cells[start : start + _ROWS_AT_ONCE]
        pairs = cKDTree(domain.midpoints[chunk]).sparse_distance_matrix(tree, radius, output_type="ndarray")
        pairs = pairs[pairs["v"] < radius]
        places = (pairs["i"].astype(np.int32), pairs["j"].astype(np.int32))
        rows = scipy.sparse.coo_matrix(
            (radius - pairs["v"], places), shape=(len(chunk), len(positions))
        ).tocsr()
        counts[chunk] = np.diff(rows.indptr)
        data.append(rows.data)
        columns.append(rows.indices)
        used[rows.indices] = True
    starts = np.concatenate([[0], np.cumsum(counts)])
    shape = (domain.num_owned_cells, len(positions))
    return scipy.sparse.csr_matrix((np.concatenate(data), np.concatenate(columns), starts), shape=shape), used


def _halo(domain: DesignDomain, owners: np.ndarray, cells: np.ndarray, used: np.ndarray):
    """Make the halo of the cells behind used images, and the column of every image in [owned, halo]."""
    comm = domain.comm
    columns = np.where(owners == comm.rank, cells, -1).astype(np.int32)
    wanted = [np.empty(0, dtype=np.int64)] * comm.size
    first = domain.num_owned_cells
    for q in range(comm.size):
        if q == comm.rank:
            continue
        theirs = np.flatnonzero(used & (owners == q))
        wanted[q], position = np.unique(cells[theirs], return_inverse=True)
        columns[theirs] = first + position
        first += len(wanted[q])
    return Halo(comm, domain.num_owned_cells, wanted), columns
