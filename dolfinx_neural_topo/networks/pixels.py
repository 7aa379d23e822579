"""Parameterizations without a network: a logit for each pixel, and a sum of images of several resolutions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dolfinx_neural_topo.errors import InputError, checked
from dolfinx_neural_topo.networks._exchange import channels_first
from dolfinx_neural_topo.networks._image import ImageNetwork
from dolfinx_neural_topo.networks._initial import generator_of
from dolfinx_neural_topo.networks._placement import check_placement
from dolfinx_neural_topo.networks._stages import check_shape, upsample


class PixelLogits(ImageNetwork):
    """One trainable logit for each pixel or voxel: the baseline without a network.

    Args:
        shape: Size of the logits: (rows, columns) or (nz, rows, columns).
        value: Initial logits: a number, or a tensor of the output's shape.
        outputs: Logits a pixel: k + 1 for k materials and void (see `MultiDesign`).
        dtype: Floating-point type of the weights.
        device: Where the weights live.

    Raises:
        InputError: If `value` is a tensor of another shape.

    Example:
        >>> tuple(dnt.PixelLogits((8, 16))().shape)
        (8, 16)
    """

    @checked
    def __init__(
        self,
        shape: Sequence[int],
        value: float | Tensor = 0.0,
        *,
        outputs: int = 1,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
    ):
        check_placement(dtype, device)
        super().__init__(outputs)
        self.shape = check_shape(shape)
        self.pixelwise = {"logits": (*self.shape, outputs)}
        start = torch.as_tensor(value, dtype=dtype)
        size = self.output_shape
        if start.dim() and tuple(start.shape) != size:
            raise InputError(f"value must be a number or have shape {size}, got {tuple(start.shape)}")
        if not torch.isfinite(start).all():
            raise InputError("value must be finite, got NaN or infinity")
        self.logits = nn.Parameter(start.expand(size).clone(memory_format=torch.contiguous_format))
        self.to(device)

    def forward(self) -> Tensor:
        """Return the logits, shape `output_shape` or that of this process's tile."""
        return self.logits.view_as(self.logits)


class MultiresolutionLogits(ImageNetwork):
    """Sum of linearly enlarged trainable images, one for each resolution: a network without its nonlinearity.

        logits = sum_k U_k z_k,   z_k at 1 / 2^k of the resolution, k = 0 .. levels - 1

    U_k enlarges by 2 repeatedly and cuts what is too much (see `stage_sizes`). Only the coarsest image starts
    from random values, so that seeds give smooth starts that differ at large scale.

    Args:
        shape: Size of the logits: (rows, columns) or (nz, rows, columns).
        levels: Number of images; as many as leave at least 4 pixels along the shortest edge if None.
        outputs: Logits a pixel.
        scale: Standard deviation of the coarsest image at the start.
        seed: Of the private random generator.
        dtype: Floating-point type of the weights.
        device: Where the weights live.

    Raises:
        InputError: If `levels` is not positive.
    """

    @checked
    def __init__(
        self,
        shape: Sequence[int],
        *,
        levels: int | None = None,
        outputs: int = 1,
        scale: float = 1.0,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ):
        check_placement(dtype, device)
        super().__init__(outputs)
        self.shape = check_shape(shape)
        if levels is None:
            levels = 1 + max(0, math.floor(math.log2(min(self.shape) / 4)))
        if levels < 1:
            raise InputError(f"levels must be at least 1, got {levels}")
        self.sizes = sizes = [tuple(math.ceil(n / 2**k) for n in self.shape) for k in reversed(range(levels))]
        self.pixelwise = {f"images.{k}": (*size, outputs) for k, size in enumerate(sizes)}
        of_pixel = () if outputs == 1 else (outputs,)
        self.images = nn.ParameterList(
            nn.Parameter(torch.zeros((*size, *of_pixel), dtype=dtype)) for size in sizes
        )
        generator = generator_of(seed)
        with torch.no_grad():
            self.images[0].copy_(scale * torch.randn(self.images[0].shape, generator=generator, dtype=dtype))
        self.to(device)

    def forward(self) -> Tensor:
        """Return the logits, shape `output_shape` or that of this process's tile."""
        total, *finer = (
            image[None, None] if self.outputs == 1 else channels_first(image) for image in self.images
        )
        for k, image in enumerate(finer):
            total = upsample(total, 2, self.sizes[k], self.sizes[k + 1], self.tiles) + image
        return self.logits_of(total)
