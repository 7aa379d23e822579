"""The trainable parameters of a network as one vector of which every entry belongs to one rank."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from mpi4py import MPI

from dolfinx_neural_topo._tiles import Tiles
from dolfinx_neural_topo.bridge.replication import check_replicated
from dolfinx_neural_topo.errors import InputError, agree


class Weights:
    """Trainable parameters as a distributed vector.

    Parameters that belong to pixels live with the tile; all others are whole on every rank, but each rank
    owns an even part of them. The vector of a rank is its part of the latter, followed by its pixels' own.
    The parameters become views of one flat tensor, so that copying the vector into the network is one
    gathering and one copy.

    Attributes:
        parameters: The trainable parameters, those that every rank holds first.
        size: Entries this rank owns.
        index: Number of each of them in the parameters of the whole network, shape (size,), int64.

    Args:
        comm: Communicator.
        network: Network, cut into tiles already if it can be.

    Raises:
        InputError: It has no trainable parameters, they differ in dtype or device, or are not finite.
        ReplicationError: Parameters that are whole on every rank differ.

    Note: Collective.
    """

    def __init__(self, comm: MPI.Comm, network: Any):
        self._comm = comm
        images = in_tiles(network)
        agree(comm, _problem(network), InputError)
        named = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
        shared: list[tuple[torch.nn.Parameter, np.ndarray]] = []
        local: list[tuple[torch.nn.Parameter, np.ndarray]] = []
        end = 0
        for name, p in named:
            if name in images:
                local.append((p, end + _numbers(images[name], network.tiles)))
                end += int(np.prod(images[name]))
            else:
                shared.append((p, end + np.arange(p.numel())))
                end += p.numel()
        self.parameters = [p for p, _ in (*shared, *local)]
        self._flat = torch.cat([p.detach().reshape(-1) for p in self.parameters])
        self._num_shared = sum(p.numel() for p, _ in shared)
        for p, part in zip(
            self.parameters, self._flat.split([p.numel() for p in self.parameters]), strict=True
        ):
            p.data = part.view(p.shape)
        check_replicated(comm, self._flat[: self._num_shared].cpu().numpy(), "network weights")
        ends = [self._num_shared * k // comm.size for k in range(comm.size + 1)]
        self._counts = [end - start for start, end in pairwise(ends)]
        self._mine = slice(ends[comm.rank], ends[comm.rank + 1])
        every = np.concatenate([np.empty(0, dtype=np.int64), *(numbers for _, numbers in shared)])
        self.index = np.concatenate([every[self._mine], *(numbers for _, numbers in local)])
        self.size = len(self.index)

    def get(self) -> np.ndarray:
        """Return a copy of what the network holds now, in its dtype; shape (size,)."""
        return self._owned(self._flat.cpu().numpy())

    def held_by(self, network: torch.nn.Module) -> bool:
        """Return whether the trainable parameters of a network are still these."""
        return {id(p) for p in network.parameters() if p.requires_grad} == set(map(id, self.parameters))

    def set(self, x: np.ndarray) -> None:
        """Copy a vector, shape (size,), into the network. Note: Collective."""
        flat = (
            self._flat.numpy() if self._flat.device.type == "cpu" else np.empty_like(self._flat.cpu().numpy())
        )
        x = np.asarray(x).astype(flat.dtype, copy=False)
        mine = self._mine.stop - self._mine.start
        if self._comm.size > 1:
            self._comm.Allgatherv(np.ascontiguousarray(x[:mine]), [flat[: self._num_shared], self._counts])
        else:
            flat[:mine] = x[:mine]
        flat[self._num_shared :] = x[mine:]
        if self._flat.device.type != "cpu":
            self._flat.copy_(torch.from_numpy(flat))

    def gradient(self, parts: Sequence[torch.Tensor]) -> np.ndarray:
        """Return the gradient with respect to the vector, shape (size,).

        Args:
            parts: Gradient of each of `parameters`; of those that every rank holds, this rank's summand.

        Note: Collective.
        """
        flat = torch.cat([part.detach().reshape(-1) for part in parts]).cpu().numpy()
        if self._comm.size == 1:
            return flat
        mine = np.empty(self._mine.stop - self._mine.start, dtype=flat.dtype)
        self._comm.Reduce_scatter(flat[: self._num_shared], mine, self._counts, op=MPI.SUM)
        return np.concatenate([mine, flat[self._num_shared :]])

    def _owned(self, flat: np.ndarray) -> np.ndarray:
        return np.concatenate([flat[self._mine], flat[self._num_shared :]])


def _problem(network: Any) -> str | None:
    """Return what is wrong with the parameters of a network, or None."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    kinds = {(p.dtype, p.device) for p in parameters}
    if len(kinds) != 1:
        return f"network must have trainable parameters of one dtype on one device, got {kinds or 'none'}"
    if any(p.device.type == "meta" for p in parameters):
        return "network must live on a device that holds numbers, got meta; way out: make it without device="
    if any(map(torch.nn.parameter.is_lazy, parameters)):
        return "network has weights without a size yet (a lazy module); way out: call it once before"
    if not all(p.is_floating_point() and torch.isfinite(p).all() for p in parameters):
        return "network must have weights that are real and finite, got others"
    return None


def in_tiles(network: Any) -> dict[str, tuple[int, ...]]:
    """Return the parameters of which each rank holds its tile, with their whole shape, (*size, width)."""
    tiles = getattr(network, "tiles", None)
    return network.pixel_parameters() if isinstance(tiles, Tiles) and not tiles.whole else {}


def _numbers(image: tuple[int, ...], tiles: Tiles) -> np.ndarray:
    """Return where this rank's part of a parameter that belongs to pixels lies in the whole of it, flat."""
    *size, width = image
    places = np.ix_(*(np.arange(part.start, part.stop) for part in tiles.part(size)))
    pixels = np.ravel_multi_index(places, size).reshape(-1)
    return (width * pixels[:, None] + np.arange(width)).reshape(-1)
