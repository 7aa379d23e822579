"""Stages of the convolutional networks: sizes, upsampling, normalization, offsets.

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

from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.networks._initial import truncated_normal

EPSILON = 1e-6
"""Added to the variance in the normalization."""

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"tanh": torch.tanh, "sin": torch.sin}


def channels_first(x: Tensor) -> Tensor:
    """View (*spatial, channels) data as (1, channels, *spatial)."""
    return x[None].movedim(
        -1, 1
    )  # this order gives the first axis the stride by which torch knows the format


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


def upsample(x: Tensor, factor: int, size: Sequence[int]) -> Tensor:
    """Enlarge linearly by `factor` (half-pixel centres, edge clamped), then cut to `size`, both ends alike.

    Of an odd surplus the larger part is cut at the end.

    Args:
        x: Image, shape (1, channels, *spatial).
        factor: Integer factor, the same in each direction.
        size: Spatial size of the result, at most `factor` times that of `x`.

    Returns:
        Image, shape (1, channels, *size).
    """
    if factor > 1:
        mode = "bilinear" if x.dim() == 4 else "trilinear"
        x = functional.interpolate(x, scale_factor=factor, mode=mode, align_corners=False)
    for axis, n in enumerate(size, start=2):
        surplus = x.shape[axis] - n
        if surplus:
            x = x.narrow(axis, surplus // 2, n)
    return x


def normalize(x: Tensor) -> Tensor:
    """Return (x - mean) / sqrt(variance + 1e-6), the moments taken over all elements, channels included."""
    last = x.movedim(1, -1)
    flat = last.reshape(-1)
    return functional.layer_norm(flat, flat.shape, eps=EPSILON).view(last.shape).movedim(-1, 1)


class Stage(nn.Module):
    """Activation, upsampling, normalization, convolution, and a learned offset for each element.

    Args:
        channels_in: Channels of the input.
        channels_out: Channels of the output.
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
        self.size = tuple(size)
        self.resize = resize
        self.padding = kernel // 2
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
        """Map (1, channels_in, *spatial) to (1, channels_out, *size)."""
        x = normalize(upsample(self.activation(x), self.resize, self.size))
        convolve = functional.conv2d if x.dim() == 4 else functional.conv3d
        y = convolve(x, self.kernel.movedim(-1, 1), self.bias, padding=self.padding)
        if self.offset is None:
            return y
        return torch.add(y, channels_first(self.offset), alpha=self.offset_scale)


class Decoder(nn.Sequential):
    """Stages from a coarse image to one channel of the final shape.

    Args:
        shape: Final size, two or three numbers.
        channels_in: Channels of the coarse image.
        resizes: Upsampling factor of each stage.
        channels: Channels after each stage; the last is 1.
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
        kernel: int,
        activation: str,
        offset_scale: float,
        generator: torch.Generator,
        dtype: torch.dtype,
    ):
        if len(resizes) != len(channels) or channels[-1] != 1:
            raise InputError(
                "resizes and channels must have one entry a stage, the last of channels 1; "
                f"got resizes={tuple(resizes)}, channels={tuple(channels)}"
            )
        if kernel < 1 or kernel % 2 == 0:
            raise InputError(f"kernel must be odd and positive, got {kernel}")
        if activation not in ACTIVATIONS:
            raise InputError(f"activation must be one of {sorted(ACTIVATIONS)}, got {activation!r}")
        sizes = stage_sizes(check_shape(shape), resizes)
        widths = (channels_in, *channels)
        super().__init__(
            *(
                Stage(
                    widths[k],
                    widths[k + 1],
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
