"""Pixels (or voxels) of a structured mesh, and the cells that fill them."""

from __future__ import annotations

from typing import Any

import dolfinx
import numpy as np
from mpi4py import MPI

from dolfinx_neural_topo._checks import owned_values
from dolfinx_neural_topo._communication import sum_replicated
from dolfinx_neural_topo.density.domain import bounding_box
from dolfinx_neural_topo.errors import InputError, agree, collective

COARSEST = 4
"""Cells that a coarser grid has along each axis at least."""


class CellGrid:
    """Correspondence between the pixels of an image and the cells of a structured mesh.

    In 2D an image has shape (H, W): row 0 is at the top (largest y), column 0 at the left. In 3D it has shape
    (nz, ny, nx): z ascending, then rows from the top (largest y), then columns from the left. Several cells
    may share a pixel (triangles, tetrahedra), the same number everywhere.

    Attributes:
        comm: Communicator of the mesh.
        mesh: The mesh.
        shape: Shape of an image.
        pixels: Flat pixel number of each owned cell (in DG0 dof order), shape (num_owned_cells,).
        num_owned_cells: Cells this rank owns.
        cells_per_pixel: How many cells share a pixel.

    Args:
        mesh: Mesh of a rectangle or box, as `dolfinx.mesh.create_rectangle` and `create_box` make them.
        shape: Pixels along each axis, (H, W) or (nz, ny, nx).

    Raises:
        InputError: The mesh is no structured grid of this shape.

    Note: Collective.

    Example:
        >>> grid = dnt.CellGrid(plate, (8, 16))
        >>> grid.to_cells(np.zeros((8, 16))).size == domain.num_owned_cells
        True
    """

    @collective
    def __init__(self, mesh: dolfinx.mesh.Mesh, shape: tuple[int, ...]):
        dim = mesh.topology.dim
        shape = tuple(int(n) for n in shape)
        if len(shape) != dim or min(shape) < 1:
            layout = {2: "(H, W)", 3: "(nz, ny, nx)"}.get(dim, f"{dim} numbers")
            raise InputError(f"shape must be {layout}, positive, for a mesh of dimension {dim}, got {shape}")
        self.comm = mesh.comm
        self.mesh = mesh
        self.shape = shape
        self._corners = bounding_box(self.comm, mesh.geometry.x)
        self.pixels = self._pixels()
        self.num_owned_cells = len(self.pixels)
        size = int(np.prod(shape))
        counts = sum_replicated(self.comm, np.bincount(self.pixels, minlength=size))
        if counts.min() != counts.max() or counts.min() < 1:
            raise InputError(
                f"shape {shape} does not fit the mesh: its {size} pixels hold between {counts.min():.0f} and "
                f"{counts.max():.0f} cells each, expected the same number everywhere; rows come first: "
                "(H, W) in 2D, (nz, ny, nx) in 3D (on other meshes, sample the image instead)"
            )
        self.cells_per_pixel = int(counts[0])

    @collective
    def to_cells(self, image: np.ndarray) -> np.ndarray:
        """Give every owned cell the value of its pixel.

        Args:
            image: Image, the same on all ranks, of `shape`.

        Returns:
            Owned values, shape (num_owned_cells,), dtype of the image.

        Raises:
            InputError: The image has another shape (on any rank).

        Note: Collective.
        """
        image = np.asarray(image)
        wrong = (
            f"image must have shape {self.shape}, got {image.shape}" if image.shape != self.shape else None
        )
        agree(self.comm, wrong)
        return image.reshape(-1)[self.pixels]

    @collective(values=owned_values)
    def sum_cells(self, values: np.ndarray) -> np.ndarray:
        """Sum owned values over the cells of each pixel: the transpose of `to_cells`.

        Args:
            values: Owned values, shape (num_owned_cells,).

        Returns:
            Image of `shape`, float64, the same bits on all ranks.

        Note: Collective.
        """
        size = int(np.prod(self.shape))
        image = np.bincount(self.pixels, weights=values, minlength=size)
        return sum_replicated(self.comm, image).reshape(self.shape)

    @collective(values=owned_values)
    def to_image(self, values: np.ndarray) -> np.ndarray:
        """Average owned values over the cells of each pixel: the inverse of `to_cells`.

        Args:
            values: Owned values, shape (num_owned_cells,).

        Returns:
            Image of `shape`, float64, the same bits on all ranks.

        Note: Collective.
        """
        return self.sum_cells(values) / self.cells_per_pixel

    @classmethod
    @collective
    def find(cls, mesh: dolfinx.mesh.Mesh) -> CellGrid | None:
        """Return the pixels of a mesh that is an evenly spaced grid, or None if it is not.

        Note: Collective.
        """
        lines = [_lines(mesh.comm, values) for values in mesh.geometry.x[:, : mesh.topology.dim].T]
        num_cells = mesh.topology.index_map(mesh.topology.dim).size_global
        shape = tuple(line.size - 1 for line in lines)
        steps = [np.diff(line) for line in lines]
        if (
            mesh.geometry.dim != mesh.topology.dim
            or num_cells % np.prod(shape, dtype=np.float64)
            or any(np.ptp(step) > 1e-6 * step.mean() for step in steps)
        ):
            return None
        try:
            return cls(mesh, (*shape[2:], *shape[1::-1]))
        except InputError:
            return None

    @collective(free=("comm",))
    def coarsened(self, factor: int, comm: MPI.Comm | None = None) -> dolfinx.mesh.Mesh | None:
        """Create the grid with cells `factor` times as wide, as `create_rectangle` and `create_box` make it.

        Args:
            factor: At least 1; 1 makes the grid itself anew.
            comm: Communicator of the new mesh, that of this one if None; any part of its ranks.

        Returns:
            The mesh, or None where a side is no multiple of `factor`, or fewer than `COARSEST` cells would be
            left along it.

        Note: Collective on `comm`.
        """
        counts = np.array([self.shape[-1], self.shape[-2], *self.shape[:-2]])
        if factor > 1 and (np.any(counts % factor) or np.any(counts // factor < COARSEST)):
            return None
        comm = self.comm if comm is None else comm
        kind = self.mesh.topology.cell_type
        corners: list[Any] = [corner[: len(counts)] for corner in self._corners]
        create = dolfinx.mesh.create_rectangle if len(counts) == 2 else dolfinx.mesh.create_box
        return create(comm, corners, [int(n) for n in counts // factor], kind)

    def _pixels(self) -> np.ndarray:
        """Pixel of each owned cell from its midpoint, never from its number."""
        mesh = self.mesh
        dim = mesh.topology.dim
        space = dolfinx.fem.functionspace(mesh, ("DG", 0))
        num_owned = mesh.topology.index_map(dim).size_local
        midpoints = np.empty((num_owned, 3))
        cells = np.arange(num_owned, dtype=np.int32)
        midpoints[space.dofmap.list[:num_owned, 0]] = dolfinx.mesh.compute_midpoints(mesh, dim, cells)
        position = image_coordinates(midpoints, *self._corners, self.shape)
        indices = np.clip(np.floor(position).astype(np.int64), 0, np.array(self.shape) - 1)
        return np.ravel_multi_index(tuple(indices.T), self.shape)


def image_coordinates(
    points: np.ndarray, lower: np.ndarray, upper: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
    """Place points in an image that covers a box.

    Args:
        points: Points, shape (n, 3).
        lower: Lower corner of the box, shape (3,).
        upper: Upper corner of the box, shape (3,).
        shape: Shape of the image, (H, W) or (nz, ny, nx), oriented as in `CellGrid`.

    Returns:
        Fractional positions along each axis of the image, shape (n, len(shape)): pixel k spans [k, k + 1].
    """
    dim = len(shape)
    relative = (points[:, :dim] - lower[:dim]) / (upper - lower)[:dim]
    relative[:, 1] = 1.0 - relative[:, 1]
    return relative[:, ::-1] * np.array(shape)


def _lines(comm: MPI.Comm, x: np.ndarray) -> np.ndarray:
    """Distinct coordinates of all ranks, ascending; those closer than rounding count once."""

    def distinct(values: np.ndarray) -> np.ndarray:
        values = np.sort(values)
        return values[np.diff(values, prepend=-np.inf) > 1e-9 * scale]

    scale = max(comm.allgather(float(np.abs(x).max(initial=0.0))))
    return distinct(np.concatenate(comm.allgather(distinct(x))))
