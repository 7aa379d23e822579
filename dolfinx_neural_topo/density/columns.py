"""Cells of an evenly spaced grid by columns: every column along an axis on one rank."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mpi4py import MPI

from dolfinx_neural_topo._communication import exchange, max_replicated
from dolfinx_neural_topo.density.domain import DesignDomain
from dolfinx_neural_topo.density.grid import CellGrid
from dolfinx_neural_topo.errors import InputError, agree

_TAG = 8232


class Columns:
    """Values of a grid's pixels in layers along an axis, the layers cut into one band of columns a rank.

    The rank holds a block of shape (layers, rows, columns): layers in the direction given, rows a part of the
    longer axis across it, columns the other axis (one in 2D). No rank holds more than its band: values travel
    there and back in one all-to-all each, and a step from layer to layer needs one row from either neighbour.

    Attributes:
        comm: Communicator.
        direction: Direction, unit vector along an axis, shape (dimension,).
        cell_size: Edges of a pixel, along x, y and, in 3D, z.
        shape: Shape of this rank's block.
        cells_per_pixel: How many cells share a pixel.

    Args:
        domain: Design domain on an evenly spaced grid.
        direction: Vector along an axis, two or three coordinates.

    Raises:
        InputError: The mesh is no such grid, or the direction does not lie along an axis.

    Note: Collective.
    """

    def __init__(self, domain: DesignDomain, direction: Sequence[float]):
        dim = domain.mesh.topology.dim
        vector = np.array(direction, dtype=np.float64)
        wrong = vector.shape != (dim,) or not np.isfinite(vector).all() or np.count_nonzero(vector) != 1
        agree(
            domain.comm,
            f"direction must lie along an axis of the grid, {dim} numbers of which one is not zero, such as "
            f"{(0,) * (dim - 1) + (1,)}, got {tuple(np.ravel(vector).tolist())}; turn the mesh instead"
            if wrong
            else None,
        )
        grid = CellGrid.find(domain.mesh)
        if grid is None:
            raise InputError(
                "domain must have an evenly spaced grid as its mesh, whose edges are the axes, as "
                "create_rectangle and create_box make it, got another mesh; way out: mesh the box around the "
                "part and make cells outside of it void"
            )
        self.comm = domain.comm
        self.direction = np.sign(vector)
        lower, upper = domain.bounding_box()
        counts = np.array([*grid.shape[::-1]])
        self.cell_size = (upper - lower)[:dim] / counts
        self.cells_per_pixel = grid.cells_per_pixel
        place = np.array(np.unravel_index(grid.pixels, grid.shape))[::-1].copy()
        place[1] = counts[1] - 1 - place[1]  # the first row of an image is on top
        axis = int(np.flatnonzero(vector)[0])
        layers = place[axis] if vector[axis] > 0.0 else counts[axis] - 1 - place[axis]
        across = sorted((k for k in range(dim) if k != axis), key=lambda k: -counts[k])
        rows = place[across[0]]
        width = counts[across[1]] if dim == 3 else 1
        columns = place[across[1]] if dim == 3 else np.zeros_like(rows)
        self._distribute(layers, rows, columns, (counts[axis], counts[across[0]], width))

    def gather(self, values: np.ndarray) -> np.ndarray:
        """Sum owned cell values over the cells of each pixel of this rank's block: shape `shape`.

        Note: Collective.
        """
        parts = exchange(self.comm, np.split(values[self._order], self._cuts))
        size = int(np.prod(self.shape))
        return np.bincount(self._places, np.concatenate(parts), size).reshape(self.shape)

    def spread(self, block: np.ndarray) -> np.ndarray:
        """Give every owned cell the value of its pixel: the transpose of `gather`.

        Note: Collective.
        """
        parts = exchange(self.comm, np.split(block.reshape(-1)[self._places], self._arrivals))
        values = np.empty(len(self._order))
        values[self._order] = np.concatenate(parts)
        return values

    def padded(self, layer: np.ndarray) -> np.ndarray:
        """Surround this rank's part of a layer by its neighbours; at the grid's edge by itself, mirrored.

        Note: Collective.
        """
        padded = np.pad(layer, 1, mode="edge" if len(layer) else "constant")
        for here, there, to, back in self._sides:
            self._swap(padded[here].copy(), padded[there], to, back)
        return padded

    def padded_transpose(self, padded: np.ndarray) -> np.ndarray:
        """Apply the transpose of `padded`, whose argument may be overwritten.

        Note: Collective.
        """
        padded[:, 1] += padded[:, 0]
        padded[:, -2] += padded[:, -1]
        ends = {there: padded[there].copy() for _, there, _, _ in self._sides}
        for _, there, _, back in self._sides:
            if back == MPI.PROC_NULL:
                padded[_INNER[there]] += ends[there]
        for here, there, to, back in self._sides:
            received = np.zeros(padded.shape[1])
            self._swap(ends[there], received, back, to)
            padded[here] += received
        return padded[1:-1, 1:-1]

    def _swap(self, row: np.ndarray, into: np.ndarray, to: int, back: int) -> None:
        self.comm.Sendrecv(row, dest=to, sendtag=_TAG, recvbuf=into, source=back, recvtag=_TAG)

    def _distribute(self, layers, rows, columns, counts) -> None:
        """Cut the rows into bands and remember which cell goes where."""
        size = self.comm.size
        lengths = counts[1] // size + (np.arange(size) < counts[1] % size)
        starts = np.cumsum(lengths) - lengths
        owner = np.searchsorted(starts + lengths, rows, side="right")
        self.shape = (int(counts[0]), int(lengths[self.comm.rank]), int(counts[2]))
        places = (layers * lengths[owner] + rows - starts[owner]) * counts[2] + columns
        self._order = np.argsort(owner, kind="stable")
        self._cuts = np.cumsum(np.bincount(owner, minlength=size))[:-1]
        arrived = exchange(self.comm, np.split(places[self._order], self._cuts))
        self._places = np.concatenate(arrived)
        self._arrivals = np.cumsum([len(part) for part in arrived])[:-1]
        busy = int(np.count_nonzero(lengths))  # the first ranks; the others have no row and no neighbour
        rank = self.comm.rank
        below = rank - 1 if 0 < rank < busy else MPI.PROC_NULL
        above = rank + 1 if rank + 1 < busy else MPI.PROC_NULL
        # rows of a padded layer: mine that travels, the one that is filled, to whom, from whom
        self._sides = ((-2, 0, above, below), (1, -1, below, above)) if rank < busy else ()


_INNER = {0: 1, -1: -2}


def solid_pixels(columns: Columns, domain: DesignDomain) -> np.ndarray:
    """Return which pixels of the rank's block are passive solid. Note: Collective."""
    return columns.gather(domain.solid.astype(np.float64)) > columns.cells_per_pixel - 0.5


def planes_across(columns: Columns, domain: DesignDomain) -> list[tuple[float, float]]:
    """Return, for each symmetry plane, the direction along its normal and the side the mesh is on (+-1)."""
    found = []
    for plane in domain.symmetry:
        along = float(plane.unit_normal[: len(columns.direction)] @ columns.direction)
        furthest = max_replicated(domain.comm, plane.distance(domain.midpoints).max(initial=-np.inf))
        found.append((along, 1.0 if furthest > 0.0 else -1.0))
    return found
