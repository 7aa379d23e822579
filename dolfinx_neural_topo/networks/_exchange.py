"""What tiles ask of one another, differentiably: pixels of neighbours, and sums over the whole image."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from dolfinx_neural_topo._tiles import Tiles, Windows

EPSILON = 1e-6
"""Added to the variance in the normalization."""


def channels_first(x: Tensor) -> Tensor:
    """View (*spatial, channels) data as (1, channels, *spatial)."""
    return x[None].movedim(
        -1, 1
    )  # this order gives the first axis the stride by which torch knows the format


def exchange(x: Tensor, size: tuple[int, ...], windows: Windows, tiles: Tiles) -> Tensor:
    """Return the pixels of an image that `windows` asks for here, zero outside the image.

    Args:
        x: Tile, shape (1, channels, *tile).
        size: Size of the whole image.
        windows: What each place along each axis asks for.
        tiles: Tiles.

    Note: Collective, and so is its backward pass, the transpose.
    """
    return x if windows == tiles.intervals(size) else _Exchange.apply(x, size, windows, tiles)


def normalize(x: Tensor, count: int, tiles: Tiles) -> Tensor:
    """Return (x - mean) / sqrt(variance + 1e-6), the moments taken over the whole image, channels included.

    Args:
        x: Tile, shape (1, channels, *tile).
        count: Number of elements of the whole image.
        tiles: Tiles.

    Note: Collective, and so is its backward pass.
    """
    if not tiles.whole:
        return _Normalize.apply(x, count, tiles)
    last = x.movedim(1, -1)
    flat = last.reshape(-1)
    return functional.layer_norm(flat, flat.shape, eps=EPSILON).view(last.shape).movedim(-1, 1)


def empty(size: tuple[int, ...], *sources: Tensor) -> Tensor:
    """Return an empty tensor that depends on all of `sources`.

    A process whose tile is empty takes part in the communication of the backward pass like the others.
    """
    return sources[0].new_zeros(size) + sum(0.0 * source.sum() for source in sources)


def _numpy(x: Tensor) -> Any:
    return x.detach()[0].movedim(0, -1).cpu().numpy()


def _tensor(array: Any, like: Tensor) -> Tensor:
    return channels_first(torch.from_numpy(array).to(like.device))


class _Exchange(torch.autograd.Function):
    """`Tiles.exchange` and its transpose."""

    @staticmethod
    def forward(ctx, x, size, windows, tiles):
        ctx.arguments = (tiles, size, windows)
        return _tensor(tiles.exchange(_numpy(x), size, windows), x)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        tiles, size, windows = ctx.arguments
        return _tensor(tiles.exchange_transposed(_numpy(gradient), size, windows), gradient), None, None, None


class _Normalize(torch.autograd.Function):
    """Normalization over all tiles: of this tile alone, then moved and scaled by what all moments say.

    Keeps its result and the scale.
    """

    @staticmethod
    def forward(ctx, x, count, tiles):
        last = x.movedim(1, -1)
        flat = last.reshape(-1)
        mean = variance = 0.0
        if len(flat):
            flat, *moments = torch.native_layer_norm(flat, flat.shape, None, None, EPSILON)
            mean, inverse = (float(moment) for moment in moments)
            variance = inverse**-2 - EPSILON
        sums = [len(flat) * mean, len(flat) * (variance + mean**2)]
        whole_mean, square = (value / count for value in tiles.total(sums))
        scale = (square - whole_mean**2 + EPSILON) ** -0.5
        flat = flat.mul(scale * (variance + EPSILON) ** 0.5).add_((mean - whole_mean) * scale)
        y = flat.view(last.shape).movedim(-1, 1)
        ctx.save_for_backward(y)
        ctx.arguments = (count, scale, tiles)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        (y,) = ctx.saved_tensors
        count, scale, tiles = ctx.arguments
        gradient, normal = (each.movedim(1, -1).reshape(-1) for each in (gradient, y))
        sums = [float(gradient.sum()), float(gradient @ normal)]
        mean, slope = (value / count for value in tiles.total(sums))
        gradient = torch.sub(gradient, normal, alpha=slope).sub_(mean).mul_(scale)
        return gradient.view(y.movedim(1, -1).shape).movedim(-1, 1), None, None
