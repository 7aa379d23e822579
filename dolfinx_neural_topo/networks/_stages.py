"""Stages of the convolutional networks: sizes, upsampling, convolution, offsets.

Images travel as tensors of shape (1, channels, *spatial) whose channels vary fastest in memory
(`channels_last`): convolutions are a fifth faster that way on CPUs. Offsets and kernels are stored in the
same order, so that neither they nor their gradients are transposed on the way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from dolfinx_neural_topo._tiles import Interval, Tiles
from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.networks._exchange import channels_first, empty, exchange, normalize
from dolfinx_neural_topo.networks._initial import truncated_normal

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"tanh": torch.tanh, "sin": torch.sin}


def check_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """Return `shape` as a tuple of two or three positive numbers.

    Raises:
        InputError: If it is anything else.
    """
    result = tuple(int(n) for n in shape)
    if len(result) not in (2, 3) or min(result) < 1 or list(result) != list(shape):
        raise InputError(
            f"shape must be (rows, columns) or (nz, rows, columns) of positive integers, got {tuple(shape)}"
        )
    return result


def stage_sizes(shape: Sequence[int], resizes: Sequence[int]) -> list[tuple[int, ...]]:
    """Return the image size before the first stage and after each one.

    A stage enlarges by its factor and then cuts what is too much, so that the last size is `shape` whatever
    the product of the factors divides: going backwards, each size is the next one divided by the factor,
    rounded up. Where the product divides `shape`, nothing is cut.

    Args:
        shape: Final size.
        resizes: Factor of each stage, at least 1.

    Returns:
        `len(resizes) + 1` sizes, coarsest first.

    Raises:
        InputError: If a factor is not a positive integer.
    """
    if not resizes or any(int(factor) != factor or factor < 1 for factor in resizes):
        raise InputError(f"resizes must be positive integers, one a stage, got {tuple(resizes)}")
    sizes = [tuple(shape)]
    for factor in reversed(resizes):
        sizes.append(tuple(math.ceil(n / factor) for n in sizes[-1]))
    return sizes[::-1]


def upsample(x: Tensor, factor: int, source: Sequence[int], size: Sequence[int], tiles: Tiles) -> Tensor:
    """Enlarge linearly by `factor` (half-pixel centres, edge clamped), then cut to `size`, both ends alike.

    Of an odd surplus the larger part is cut at the end.

    Args:
        x: Tile of an image, shape (1, channels, *tile).
        factor: Integer factor, the same in each direction.
        source: Spatial size of the whole image.
        size: Spatial size of the whole result, at most `factor` times `source`.
        tiles: Tiles.

    Returns:
        Tile of the result, shape (1, channels, *tile).

    Note: Collective, and so is its backward pass.
    """
    if factor == 1:
        return x
    source, parts = tuple(source), tiles.part(size)
    starts = [(factor * n - m) // 2 for n, m in zip(source, size, strict=True)]
    windows = tuple(
        tuple(_sources(interval, start, factor, n) for interval in intervals)
        for intervals, start, n in zip(tiles.intervals(size), starts, source, strict=True)
    )
    channels = x.shape[1]
    x = exchange(x, source, windows, tiles)
    if 0 in tiles.shape(size):
        return empty((1, channels, *tiles.shape(size)), x)
    mode = "bilinear" if x.dim() == 4 else "trilinear"
    x = functional.interpolate(x, scale_factor=factor, mode=mode, align_corners=False)
    place = tiles.place or (0,) * len(source)
    for axis, (part, start, window, k) in enumerate(zip(parts, starts, windows, place, strict=True)):
        x = x.narrow(2 + axis, part.start + start - factor * window[k][0], part.stop - part.start)
    return x


def _sources(interval: Interval, start: int, factor: int, n: int) -> Interval:
    """Return the pixels that an interval of the enlarged axis is interpolated from.

    Args:
        interval: First pixel and end, after the cut.
        start: Pixels cut in front.
        factor: Factor of the enlargement.
        n: Pixels before it.
    """
    low, high = interval
    if low == high:
        return (0, 0)
    left, last = ((2 * (k + start) + 1 - factor) // (2 * factor) for k in (low, high - 1))
    return (max(0, left), min(n, last + 2))


def convolve(x: Tensor, kernel: Tensor, bias: Tensor, size: Sequence[int], tiles: Tiles) -> Tensor:
    """Convolve an image of spatial `size` with a kernel of odd edge length; beyond its edge it is zero.

    Args:
        x: Tile of the image, shape (1, channels_in, *tile).
        kernel: Shape (channels_out, channels_in, *taps).
        bias: Shape (channels_out,).
        size: Spatial size of the whole image.
        tiles: Tiles.

    Returns:
        Tile of the result, shape (1, channels_out, *tile).

    Note: Collective, and so is its backward pass.
    """
    width = kernel.shape[-1] // 2
    windows = tuple(
        tuple((low - width, high + width) if low < high else (low, high) for low, high in intervals)
        if len(intervals) > 1
        else intervals
        for intervals in tiles.intervals(size)
    )
    padding = [0 if len(intervals) > 1 else width for intervals in windows]
    x = exchange(x, tuple(size), windows, tiles)
    if 0 in tiles.shape(size):
        return empty((1, len(bias), *tiles.shape(size)), x, kernel, bias)
    function = functional.conv2d if x.dim() == 4 else functional.conv3d
    return function(x, kernel, bias, padding=padding)


class Stage(nn.Module):
    """Activation, upsampling, normalization, convolution, and a learned offset for each element.

    Args:
        channels_in: Channels of the input.
        channels_out: Channels of the output.
        source: Spatial size of the input.
        size: Spatial size of the output.
        resize: Factor of the upsampling.
        kernel: Edge length of the convolution kernel, odd.
        activation: Applied first.
        offset_scale: Factor in front of the offsets; 0 for none.
        generator: Source of the initial kernel.
        dtype: Floating-point type of the weights.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        source: Sequence[int],
        size: Sequence[int],
        *,
        resize: int,
        kernel: int,
        activation: Callable[[Tensor], Tensor],
        offset_scale: float,
        generator: torch.Generator,
        dtype: torch.dtype,
    ):
        super().__init__()
        self.tiles = Tiles()
        self.source, self.size = tuple(source), tuple(size)
        self.pixelwise = {"offset": (*self.size, channels_out)} if offset_scale else {}
        self.resize = resize
        self.activation = activation
        self.offset_scale = offset_scale
        taps = (kernel,) * len(self.size)
        fan_in = channels_in * math.prod(taps)
        drawn = truncated_normal(
            (channels_out, channels_in, *taps), fan_in=fan_in, generator=generator, dtype=dtype
        )
        self.kernel = nn.Parameter(drawn.movedim(1, -1).contiguous())
        self.bias = nn.Parameter(torch.zeros(channels_out, dtype=dtype))
        self.offset = (
            nn.Parameter(torch.zeros(*self.size, channels_out, dtype=dtype)) if offset_scale else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map the tile of (1, channels_in, *source) to that of (1, channels_out, *size)."""
        x = upsample(self.activation(x), self.resize, self.source, self.size, self.tiles)
        x = normalize(x, x.shape[1] * math.prod(self.size), self.tiles)
        y = convolve(x, self.kernel.movedim(-1, 1), self.bias, self.size, self.tiles)
        if self.offset is None:
            return y
        return torch.add(y, channels_first(self.offset), alpha=self.offset_scale)


class Decoder(nn.Sequential):
    """Stages from a coarse image to the final shape.

    Args:
        shape: Final size, two or three numbers.
        channels_in: Channels of the coarse image.
        resizes: Upsampling factor of each stage.
        channels: Channels after each stage; the last is 1, and stands for all outputs.
        outputs: Channels of the final image.
        kernel: Edge length of the convolution kernels, odd.
        activation: Name in `ACTIVATIONS`.
        offset_scale: Factor in front of the offsets; 0 for none.
        generator: Source of the initial kernels.
        dtype: Floating-point type of the weights.

    Attributes:
        coarse: Spatial size of the image that it starts from.

    Raises:
        InputError: If the arguments do not fit together.
    """

    def __init__(
        self,
        shape: Sequence[int],
        channels_in: int,
        *,
        resizes: Sequence[int],
        channels: Sequence[int],
        outputs: int = 1,
        kernel: int,
        activation: str,
        offset_scale: float,
        generator: torch.Generator,
        dtype: torch.dtype,
    ):
        if len(resizes) != len(channels) or min(channels) < 1 or channels[-1] != 1:
            raise InputError(
                "resizes and channels must have one entry a stage, channels positive and the last of them 1; "
                f"got resizes={tuple(resizes)}, channels={tuple(channels)}"
            )
        if kernel < 1 or kernel % 2 == 0:
            raise InputError(f"kernel must be odd and positive, got {kernel}")
        if activation not in ACTIVATIONS:
            raise InputError(f"activation must be one of {sorted(ACTIVATIONS)}, got {activation!r}")
        sizes = stage_sizes(check_shape(shape), resizes)
        widths = (channels_in, *channels[:-1], outputs)
        super().__init__(
            *(
                Stage(
                    widths[k],
                    widths[k + 1],
                    sizes[k],
                    sizes[k + 1],
                    resize=resizes[k],
                    kernel=kernel,
                    activation=ACTIVATIONS[activation],
                    offset_scale=offset_scale,
                    generator=generator,
                    dtype=dtype,
                )
                for k in range(len(resizes))
            )
        )
        self.coarse = sizes[0]
