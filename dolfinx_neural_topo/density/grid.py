"""Pixels (or voxels) of a structured mesh, and the cells that fill them."""

from __future__ import annotations

import dolfinx
import numpy as np

from dolfinx_neural_topo._communication import sum_replicated
from dolfinx_neural_topo.density.domain import bounding_box
from dolfinx_neural_topo.errors import InputError, agree


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
        cells_per_pixel: How many cells share a pixel.

    Args:
        mesh: Mesh of a rectangle or box, as `dolfinx.mesh.create_rectangle` and `create_box` make them.
        shape: Pixels along each axis, (H, W) or (nz, ny, nx).

    Raises:
        InputError: The mesh is no structured grid of this shape.

    Note: Collective.
    """

    def __init__(self, mesh: dolfinx.mesh.Mesh, shape: tuple[int, ...]):
        dim = mesh.topology.dim
        shape = tuple(int(n) for n in shape)
        if len(shape) != dim or min(shape) < 1:
            layout = {2: "(H, W)", 3: "(nz, ny, nx)"}.get(dim, f"{dim} numbers")
            raise InputError(f"shape must be {layout}, positive, for a mesh of dimension {dim}, got {shape}")
        self.comm = mesh.comm
        self.mesh = mesh
        self.shape = shape
        self.pixels = self._pixels()
        size = int(np.prod(shape))
        counts = sum_replicated(self.comm, np.bincount(self.pixels, minlength=size))
        if counts.min() != counts.max() or counts.min() < 1:
            raise InputError(
                f"shape {shape} does not fit the mesh: its {size} pixels hold between {counts.min():.0f} and "
                f"{counts.max():.0f} cells each, expected the same number everywhere; rows come first: "
                "(H, W) in 2D, (nz, ny, nx) in 3D (on other meshes, sample the image instead)"
            )
        self.cells_per_pixel = int(counts[0])

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

    def to_image(self, values: np.ndarray) -> np.ndarray:
        """Average owned values over the cells of each pixel: the inverse of `to_cells`.

        Args:
            values: Owned values, shape (num_owned_cells,).

        Returns:
            Image of `shape`, float64, the same bits on all ranks.

        Note: Collective.
        """
        return self.sum_cells(values) / self.cells_per_pixel

    def _pixels(self) -> np.ndarray:
        """Pixel of each owned cell from its midpoint, never from its number."""
        mesh = self.mesh
        dim = mesh.topology.dim
        space = dolfinx.fem.functionspace(mesh, ("DG", 0))
        num_owned = mesh.topology.index_map(dim).size_local
        midpoints = np.empty((num_owned, 3))
        cells = np.arange(num_owned, dtype=np.int32)
        midpoints[space.dofmap.list[:num_owned, 0]] = dolfinx.mesh.compute_midpoints(mesh, dim, cells)
        position = image_coordinates(midpoints, *bounding_box(self.comm, mesh.geometry.x), self.shape)
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
