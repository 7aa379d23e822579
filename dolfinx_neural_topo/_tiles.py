"""Images cut into tiles, one a process: which pixels belong to whom, at every size of an image."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

Interval = tuple[int, int]
Windows = tuple[tuple[Interval, ...], ...]
"""For each axis the interval of pixels that each place along the axis asks for."""


class Tiles:
    """The part of every image that a process holds; as it stands, the whole: the serial form.

    An axis of n pixels is cut into p intervals, the k-th being [k n // p, (k + 1) n // p), whatever the size
    of the image: a tile of a coarse image may be empty where that of a fine one is not. The forms that
    communicate overwrite `exchange`, `exchange_transposed` and `total`, which are collective.

    Attributes:
        cuts: Number of intervals along each axis, or None if nothing is cut.
        place: Number of this process's interval along each axis, or None if it holds nothing.
    """

    cuts: tuple[int, ...] | None = None
    place: tuple[int, ...] | None = None

    @property
    def whole(self) -> bool:
        """Whether nothing is cut."""
        return self.cuts is None

    def intervals(self, size: Sequence[int]) -> Windows:
        """Return for each axis of an image the intervals into which it is cut."""
        cuts = self.cuts or (1,) * len(size)
        return tuple(
            tuple((k * n // p, (k + 1) * n // p) for k in range(p)) for n, p in zip(size, cuts, strict=True)
        )

    def part(self, size: Sequence[int]) -> tuple[slice, ...]:
        """Return where this process's tile of an image lies."""
        if self.cuts is None:
            return tuple(slice(0, n) for n in size)
        if self.place is None:
            return (slice(0, 0),) * len(size)
        return tuple(slice(*each[k]) for each, k in zip(self.intervals(size), self.place, strict=True))

    def shape(self, size: Sequence[int]) -> tuple[int, ...]:
        """Return the size of this process's tile of an image."""
        return tuple(part.stop - part.start for part in self.part(size))

    def exchange(self, tile: Any, size: tuple[int, ...], windows: Windows) -> Any:
        """Return the pixels of an image that `windows` asks for here, zero outside the image.

        Args:
            tile: This process's tile, shape (*tile, channels), NumPy.
            size: Size of the image.
            windows: What each place along each axis asks for.

        Returns:
            Array of shape (*window, channels).
        """
        return tile

    def exchange_transposed(self, window: Any, size: tuple[int, ...], windows: Windows) -> Any:
        """Add what windows hold to the tiles it came from: the transpose of `exchange`."""
        return window

    def total(self, values: Sequence[float]) -> Sequence[float]:
        """Return sums over processes, the same bits on all of them."""
        return values

    def __deepcopy__(self, memo: Any) -> Tiles:
        """Return itself: copies of a network live on the same processes."""
        return self


def process_grid(num: int, shape: Sequence[int]) -> tuple[int, ...]:
    """Return into how many intervals each axis of an image is cut for `num` processes.

    As many processes as possible get a tile; of the ways to do that, the one is taken whose largest tile,
    with a rim of two pixels, is the smallest.

    Args:
        num: Number of processes.
        shape: Size of the image.
    """
    for used in range(num, 0, -1):
        fitting = [
            cuts
            for cuts in _factorizations(used, len(shape))
            if all(p <= n for p, n in zip(cuts, shape, strict=True))
        ]
        if fitting:
            return min(fitting, key=lambda cuts: (_work(cuts, shape), cuts))
    raise AssertionError("one process holds any image")


def _work(cuts: Sequence[int], shape: Sequence[int]) -> int:
    return math.prod(-(-n // p) + 4 * (p > 1) for p, n in zip(cuts, shape, strict=True))


def _factorizations(num: int, dim: int) -> Iterator[tuple[int, ...]]:
    divisors = [p for p in range(1, num + 1) if num % p == 0]
    for cuts in itertools.product(divisors, repeat=dim - 1):
        if num % math.prod(cuts) == 0:
            yield (*cuts, num // math.prod(cuts))
