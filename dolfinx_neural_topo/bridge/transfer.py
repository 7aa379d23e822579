"""Linear maps from a network's output to logits on owned cells, and their transposes."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse

from dolfinx_neural_topo._communication import sum_replicated
from dolfinx_neural_topo.density import CellGrid, DesignDomain
from dolfinx_neural_topo.density.grid import image_coordinates
from dolfinx_neural_topo.errors import InputError, collective

if TYPE_CHECKING:
    import torch


class PixelTransfer:
    """Image of a structured mesh to the cells of its pixels.

    Attributes:
        shape: Shape of the image, the same on all ranks.
        replicated: True: the network's output is the same on all ranks, and so is the gradient.
        mesh: The mesh.

    Args:
        grid: Pixels of the mesh.
    """

    replicated = True

    def __init__(self, grid: CellGrid):
        self._grid = grid
        self.mesh = grid.mesh
        self.shape = grid.shape

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Give every owned cell the value of its pixel.

        Args:
            image: Image of `shape`, float64.

        Returns:
            Owned logits, shape (num_owned_cells,).
        """
        return image.reshape(-1)[self._grid.pixels]

    @collective
    def apply_transpose(self, values: np.ndarray) -> np.ndarray:
        """Sum owned values, shape (num_owned_cells,), over the cells of each pixel.

        Returns:
            Image of `shape`, summed over ranks, the same bits on all of them.

        Note: Collective.
        """
        return self._grid.sum_cells(values)


class SampledTransfer:
    """Image over the bounding box of any mesh, sampled at cell midpoints.

    Bilinear (2D) or trilinear (3D) interpolation between pixel centres; beyond the outermost
    centres the value is constant. Rows and axes of the image are oriented as in `CellGrid`.

    Attributes:
        shape: Shape of the image, the same on all ranks.
        replicated: True: the network's output is the same on all ranks, and so is the gradient.
        mesh: The mesh.

    Args:
        domain: Design domain.
        shape: Shape of the image, (H, W) or (nz, ny, nx).

    Raises:
        InputError: The shape does not fit the dimension of the mesh.

    Note: Collective.
    """

    replicated = True

    @collective
    def __init__(self, domain: DesignDomain, shape: tuple[int, ...]):
        dim = domain.mesh.topology.dim
        self.shape = tuple(int(n) for n in shape)
        if len(self.shape) != dim or min(self.shape) < 1:
            raise InputError(
                f"shape must have {dim} positive numbers for a mesh of dimension {dim}, got {tuple(shape)}"
            )
        self.mesh = domain.mesh
        self._comm = domain.comm
        position = image_coordinates(domain.midpoints, *domain.bounding_box(), self.shape) - 0.5
        last = np.array(self.shape) - 1
        position = np.clip(position, 0.0, last)
        corner = np.minimum(position.astype(np.int64), np.maximum(last - 1, 0))
        fraction = position - corner
        num_cells = domain.num_owned_cells
        pixels = np.empty((num_cells, 2**dim), dtype=np.int64)
        weights = np.ones((num_cells, 2**dim))
        for k, offset in enumerate(np.ndindex((2,) * dim)):
            index = np.minimum(corner + np.array(offset), last)
            pixels[:, k] = np.ravel_multi_index(tuple(index.T), self.shape)
            for axis, side in enumerate(offset):
                weights[:, k] *= fraction[:, axis] if side else 1.0 - fraction[:, axis]
        starts = 2**dim * np.arange(num_cells + 1)
        size = int(np.prod(self.shape))
        self._matrix = scipy.sparse.csr_matrix(
            (weights.reshape(-1), pixels.reshape(-1), starts), shape=(num_cells, size)
        )

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Interpolate at the midpoints of owned cells.

        Args:
            image: Image of `shape`, float64.

        Returns:
            Owned logits, shape (num_owned_cells,).
        """
        return self._matrix @ image.reshape(-1)

    @collective
    def apply_transpose(self, values: np.ndarray) -> np.ndarray:
        """Spread owned values, shape (num_owned_cells,), to the pixels they came from: an image.

        Returns:
            Image of `shape`, summed over ranks, the same bits on all of them.

        Note: Collective.
        """
        return sum_replicated(self._comm, self._matrix.T @ values).reshape(self.shape)


class PointTransfer:
    """Output of a coordinate network, which every rank evaluates at the midpoints of its own cells.

    Attributes:
        points: Midpoints of owned cells, shape (num_owned_cells, dimension of the mesh), float64.
        shape: Shape of the network's output, (num_owned_cells,): different on every rank.
        replicated: False: gradients with respect to the output stay on their rank, those with respect to
            weights must be summed over ranks (`NeuralDesign` does, and `sum_gradients` for a loop of one's
            own).
        mesh: The mesh.

    Args:
        domain: Design domain.
    """

    replicated = False

    def __init__(self, domain: DesignDomain):
        self.mesh = domain.mesh
        self.points = np.ascontiguousarray(domain.midpoints[:, : domain.mesh.topology.dim])
        self.shape = (domain.num_owned_cells,)

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Return the values: they are the owned logits already."""
        return values

    def apply_transpose(self, values: np.ndarray) -> np.ndarray:
        """Return the values."""
        return values


def default_transfer(domain: DesignDomain, network: torch.nn.Module) -> Any:
    """Return the transfer that suits a network: by what it is called with, and by the mesh.

    Args:
        domain: Design domain.
        network: A network of points gets a `PointTransfer`. One called without arguments, with an attribute
            `shape`, gets a `PixelTransfer` where the mesh is a grid of that shape, else a `SampledTransfer`.

    Raises:
        InputError: A network called without arguments that does not tell its shape, or not of this dimension.

    Note: Collective.
    """
    parameters = inspect.signature(network.forward).parameters.values()
    if any(p.default is p.empty and p.kind is not p.VAR_KEYWORD for p in parameters):
        return PointTransfer(domain)
    shape = getattr(network, "shape", None)
    if shape is None:
        raise InputError(
            "transfer must be given for a network that is called without points and has no `shape`; way out: "
            "PixelTransfer(CellGrid(mesh, shape)) on a grid, SampledTransfer(domain, shape) on other meshes"
        )
    try:
        return PixelTransfer(CellGrid(domain.mesh, shape))
    except InputError:  # on all ranks alike: no grid of this shape
        return SampledTransfer(domain, shape)
