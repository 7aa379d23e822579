"""Linear maps from a network's output to logits on owned cells, and their transposes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import scipy.sparse

from dolfinx_neural_topo._checks import real_array
from dolfinx_neural_topo._communication import Fetch
from dolfinx_neural_topo.bridge.tiles import RankTiles
from dolfinx_neural_topo.density import CellGrid, DesignDomain
from dolfinx_neural_topo.density.grid import image_coordinates
from dolfinx_neural_topo.errors import InputError, collective

if TYPE_CHECKING:
    import torch


def _tile(value: Any, name: str, given: Mapping[str, Any]) -> np.ndarray:
    """Check this rank's tile of an image."""
    return real_array("the image of logits", value, given["self"].local_shape, "this rank's tile")


def _cells(value: Any, name: str, given: Mapping[str, Any]) -> np.ndarray:
    """Check one number for each owned cell."""
    return real_array(name, value, given["self"]._matrix.shape[:1], "one number for each owned cell")


class ImageTransfer:
    """Sparse map from an image, one tile a rank, to owned cells.

    Which pixels each rank needs of which is settled once; an evaluation sends no more than those.
    """

    def __init__(self, mesh, shape: tuple[int, ...], pixels: np.ndarray, weights: np.ndarray):
        """Prepare for logits_i = sum_k weights[i, k] image[pixels[i, k]]. Note: Collective."""
        self.mesh = mesh
        self.shape = shape
        self.tiles = RankTiles(mesh.comm, shape)
        self.local_shape = self.tiles.shape(shape)
        needed, columns = np.unique(pixels, return_inverse=True)
        ranks, numbers = self.tiles.owners(needed)
        order = np.argsort(ranks, kind="stable")
        ends = np.searchsorted(ranks[order], np.arange(1, mesh.comm.size))
        self._fetch = Fetch(mesh.comm, int(np.prod(self.local_shape)), np.split(numbers[order], ends))
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        starts = pixels.shape[1] * np.arange(len(pixels) + 1)
        self._matrix = scipy.sparse.csr_matrix(
            (weights.reshape(-1), place[columns.reshape(-1)], starts), shape=(len(pixels), len(needed))
        )

    @collective(tile=_tile)
    def apply(self, tile: np.ndarray) -> np.ndarray:
        """Return the logits of owned cells.

        Args:
            tile: This rank's tile of the image, `local_shape`, float64.

        Returns:
            Owned logits, shape (num_owned_cells,).

        Raises:
            InputError: The tile has another shape, or is no array of finite numbers (on any rank).

        Note: Collective.
        """
        return self._matrix @ self._fetch.apply(tile.reshape(-1))

    @collective(values=_cells)
    def apply_transpose(self, values: np.ndarray) -> np.ndarray:
        """Sum owned values, shape (num_owned_cells,), over the cells that a pixel reaches.

        Returns:
            This rank's tile, `local_shape`.

        Note: Collective.
        """
        return self._fetch.apply_transpose(self._matrix.T @ values).reshape(self.local_shape)


class PixelTransfer(ImageTransfer):
    """Image of a structured mesh to the cells of its pixels.

    Attributes:
        shape: Shape of the image.
        tiles: Its tiles, one a rank.
        local_shape: Shape of this rank's tile.
        mesh: The mesh.

    Args:
        grid: Pixels of the mesh.

    Note: Collective.

    Example:
        >>> transfer = dnt.PixelTransfer(dnt.CellGrid(plate, (8, 16)))
        >>> transfer.shape
        (8, 16)
    """

    @collective
    def __init__(self, grid: CellGrid):
        pixels = grid.pixels[:, None]
        super().__init__(grid.mesh, grid.shape, pixels, np.ones(pixels.shape))


class SampledTransfer(ImageTransfer):
    """Image over the bounding box of any mesh, sampled at cell midpoints.

    Bilinear (2D) or trilinear (3D) interpolation between pixel centres; beyond the outermost
    centres the value is constant. Rows and axes of the image are oriented as in `CellGrid`.

    Attributes:
        shape: Shape of the image.
        tiles: Its tiles, one a rank.
        local_shape: Shape of this rank's tile.
        mesh: The mesh.

    Args:
        domain: Design domain.
        shape: Shape of the image, (H, W) or (nz, ny, nx).

    Raises:
        InputError: The shape does not fit the dimension of the mesh.

    Note: Collective.

    Example:
        >>> transfer = dnt.SampledTransfer(domain, (6, 12))  # an image of another resolution than the mesh
        >>> network = dnt.NeuralDesign(design, dnt.PixelLogits((6, 12)), transfer)
    """

    @collective
    def __init__(self, domain: DesignDomain, shape: tuple[int, ...]):
        dim = domain.mesh.topology.dim
        given, shape = shape, tuple(int(n) for n in shape)
        if len(shape) != dim or min(shape) < 1:
            raise InputError(
                f"shape must have {dim} positive numbers for a mesh of dimension {dim}, got {tuple(given)}"
            )
        position = image_coordinates(domain.midpoints, *domain.bounding_box(), shape) - 0.5
        last = np.array(shape) - 1
        position = np.clip(position, 0.0, last)
        corner = np.minimum(position.astype(np.int64), np.maximum(last - 1, 0))
        fraction = position - corner
        num_cells = domain.num_owned_cells
        pixels = np.empty((num_cells, 2**dim), dtype=np.int64)
        weights = np.ones((num_cells, 2**dim))
        for k, offset in enumerate(np.ndindex((2,) * dim)):
            index = np.minimum(corner + np.array(offset), last)
            pixels[:, k] = np.ravel_multi_index(tuple(index.T), shape)
            for axis, side in enumerate(offset):
                weights[:, k] *= fraction[:, axis] if side else 1.0 - fraction[:, axis]
        super().__init__(domain.mesh, shape, pixels, weights)


class PointTransfer:
    """Output of a coordinate network, which every rank evaluates at the midpoints of its own cells.

    Attributes:
        points: Midpoints of owned cells, shape (num_owned_cells, dimension of the mesh), float64.
        shape: Shape of the network's output, (num_owned_cells,): different on every rank.
        local_shape: The same.
        mesh: The mesh.

    Args:
        domain: Design domain.

    Example:
        >>> transfer = dnt.PointTransfer(domain)
        >>> transfer.points.shape == (domain.num_owned_cells, 2)
        True
    """

    @collective
    def __init__(self, domain: DesignDomain):
        self.mesh = domain.mesh
        self.points = np.ascontiguousarray(domain.midpoints[:, : domain.mesh.topology.dim])
        self.shape = self.local_shape = (domain.num_owned_cells,)

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Return the values: they are the owned logits already."""
        return values

    def apply_transpose(self, values: np.ndarray) -> np.ndarray:
        """Return the values."""
        return values


class Channels:
    """A transfer for each of several channels, the last axis of a network's output, as a `MultiDesign` takes.

    All else (tiles, points) is that of the one transfer.

    Attributes:
        shape: Shape of the output, (*shape of an image or number of points, channels).
        local_shape: The same for this rank's tile.

    Args:
        transfer: For one channel.
        num: Number of channels.
    """

    def __init__(self, transfer: Transfer, num: int):
        self._transfer, self._num = transfer, num
        self.shape = (*transfer.shape, num)
        self.local_shape = (*getattr(transfer, "local_shape", transfer.shape), num)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transfer, name)

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Return the owned logits of each channel, shape (channels, num_owned_cells). Note: Collective."""
        channels = (np.ascontiguousarray(values[..., k]) for k in range(self._num))
        return np.array([self._transfer.apply(channel) for channel in channels])

    def apply_transpose(self, values: np.ndarray) -> np.ndarray:
        """Return the gradient of the output from that of owned logits. Note: Collective."""
        return np.stack([self._transfer.apply_transpose(each) for each in values], axis=-1)


class Transfer(Protocol):
    """A map from a network's output to owned cells, with its transpose; attributes `mesh` and `shape` too."""

    mesh: Any
    shape: tuple[int, ...]

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Owned logits, shape (num_owned_cells,), from the output here."""

    def apply_transpose(self, values: np.ndarray) -> np.ndarray:
        """Gradient of the output from that of owned logits."""


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
