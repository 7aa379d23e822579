"""Tiles on the ranks of a communicator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from mpi4py import MPI

from dolfinx_neural_topo._communication import deliver, sum_replicated
from dolfinx_neural_topo._tiles import Tiles, Windows, process_grid

Messages = list[tuple[int, tuple[slice, ...]]]
"""Ranks, and the part of a local array that goes to or comes from each."""


class RankTiles(Tiles):
    """Images cut into one tile a rank, whatever the partition of the mesh.

    Ranks beyond the number of pixels hold nothing and take part in sums alone. On one rank this is the
    serial form.

    Attributes:
        comm: Communicator.
        size: Size of the final image.

    Args:
        comm: Communicator.
        size: Size of the final image.
    """

    def __init__(self, comm: MPI.Comm, size: Sequence[int]):
        self.comm = comm
        self.size = tuple(size)
        cuts = process_grid(comm.size, self.size)
        num = int(np.prod(cuts))
        if comm.size > 1:
            self.cuts = cuts
            self.place = _place(comm.rank, cuts) if comm.rank < num else None
        self._plan = lru_cache(maxsize=None)(self._make_plan)

    def __eq__(self, other: object) -> bool:
        """Whether both cut the same image on the same ranks."""
        return (
            isinstance(other, RankTiles)
            and self.size == other.size
            and MPI.Comm.Compare(self.comm, other.comm) in (MPI.IDENT, MPI.CONGRUENT)
        )

    __hash__ = object.__hash__

    def exchange(self, tile: np.ndarray, size: tuple[int, ...], windows: Windows) -> np.ndarray:
        """See `Tiles.exchange`. Note: Collective among neighbours."""
        if self.whole:
            return tile
        sends, receives, shape = self._plan(size, windows)
        window = np.zeros((*shape, tile.shape[-1]), dtype=tile.dtype)
        for where, part in self._deliver(tile, sends, receives, window):
            window[where] = part
        return window

    def exchange_transposed(self, window: np.ndarray, size: tuple[int, ...], windows: Windows) -> np.ndarray:
        """See `Tiles.exchange_transposed`. Note: Collective among neighbours."""
        if self.whole:
            return window
        sends, receives, _ = self._plan(size, windows)
        tile = np.zeros((*self.shape(size), window.shape[-1]), dtype=window.dtype)
        for where, part in self._deliver(window, receives, sends, tile):
            tile[where] += part
        return tile

    def total(self, values: Sequence[float]) -> Sequence[float]:
        """See `Tiles.total`. Note: Collective."""
        return [float(value) for value in sum_replicated(self.comm, values)]

    def owners(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the rank that holds each pixel of the final image, and the pixel's number in its tile.

        Args:
            pixels: Flat numbers, shape (n,).

        Returns:
            Ranks and numbers, shape (n,), int64.
        """
        ranks: np.ndarray = np.zeros(len(pixels), dtype=np.int64)
        numbers: np.ndarray = np.zeros(len(pixels), dtype=np.int64)
        for each, at in zip(self.intervals(self.size), np.unravel_index(pixels, self.size), strict=True):
            ends = np.array([high for _, high in each])
            k = np.searchsorted(ends, at, side="right")
            low, high = np.array(each)[k].T
            ranks, numbers = ranks * len(each) + k, numbers * (high - low) + at - low
        return ranks, numbers

    def whole_image(self, tile: np.ndarray) -> np.ndarray:
        """Return the final image on all ranks: for networks that are replicated. Note: Collective."""
        image = np.empty((*self.size, *tile.shape[len(self.size) :]), dtype=tile.dtype)
        for rank, part in enumerate(self.comm.allgather(tile)):
            if part.size:
                place = (0,) * len(self.size) if self.cuts is None else _place(rank, self.cuts)
                image[_slices(self.intervals(self.size), place)] = part
        return image

    def _deliver(
        self, source: np.ndarray, sends: Messages, receives: Messages, target: np.ndarray
    ) -> Iterator[tuple[tuple[slice, ...], np.ndarray]]:
        """Copy what stays on this rank, send the rest; yield what has come, and its place in `target`.

        What stays is nearly all of an image: it is copied once.
        """
        to, here = dict(sends), dict(receives)
        if self.comm.rank in to:
            target[here.pop(self.comm.rank)] = source[to.pop(self.comm.rank)]
        outgoing = {q: np.ascontiguousarray(source[where]) for q, where in to.items()}
        incoming = {q: np.empty_like(target[where], order="C") for q, where in here.items()}
        deliver(self.comm, outgoing, incoming)
        return ((where, incoming[q]) for q, where in here.items())

    def _make_plan(
        self, size: tuple[int, ...], windows: Windows
    ) -> tuple[Messages, Messages, tuple[int, ...]]:
        """Return what goes to and comes from each rank, and the shape of this rank's window."""
        if self.place is None or self.cuts is None:
            return [], [], self.shape(size)
        own = self.intervals(size)
        sends = self._overlaps(own, windows)
        receives = self._overlaps(windows, own)
        return sends, receives, tuple(high - low for low, high in _at(windows, self.place))

    def _overlaps(self, mine: Windows, theirs: Windows) -> Messages:
        """Return the ranks whose box in `theirs` overlaps this rank's in `mine`, and where in it."""
        assert self.place is not None and self.cuts is not None
        axes: list[list[tuple[int, slice]]] = []
        for (low, high), others in zip(_at(mine, self.place), theirs, strict=True):
            bounds = [(k, max(low, a), min(high, b)) for k, (a, b) in enumerate(others)]
            axes.append([(k, slice(a - low, b - low)) for k, a, b in bounds if a < b])
        found: Any = [((), ())]
        for axis in axes:
            found = [((*place, k), (*where, part)) for place, where in found for k, part in axis]
        return [(int(np.ravel_multi_index(place, self.cuts)), where) for place, where in found]


def _place(rank: int, cuts: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(k) for k in np.unravel_index(rank, cuts))


def _at(windows: Windows, place: tuple[int, ...]) -> list[tuple[int, int]]:
    return [each[k] for each, k in zip(windows, place, strict=True)]


def _slices(windows: Windows, place: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(low, high) for low, high in _at(windows, place))
