"""A small convolutional network: a learned coarse image instead of a dense layer, sine activation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dolfinx_neural_topo._checks import check_number
from dolfinx_neural_topo.errors import InputError, checked
from dolfinx_neural_topo.networks._exchange import channels_first
from dolfinx_neural_topo.networks._image import ImageNetwork
from dolfinx_neural_topo.networks._initial import generator_of
from dolfinx_neural_topo.networks._placement import check_placement
from dolfinx_neural_topo.networks._stages import Decoder, check_shape, upsample

LATENT_CHANNELS = 32


def bounded_resizes(shape: Sequence[int]) -> tuple[int, ...]:
    """Return five powers of two that keep the coarse image within 16 pixels (8 voxels) along each edge.

    The middle three share the factor, the earlier ones taking more: (1, 4, 2, 2, 1) for 256 x 256.
    """
    limit = 16 if len(shape) == 2 else 8
    doublings = max(0, math.ceil(math.log2(max(shape) / limit)))
    return (1, *(2 ** ((doublings + 2 - k) // 3) for k in range(3)), 1)


class LeanCNN(ImageNetwork):
    """Learned coarse image, then five stages of sine, upsampling, normalization and convolution.

    Without offsets and with the default `resizes` the number of weights does not grow with the grid (at most
    126,913 in 2D): the coarse image has at most 16 pixels (3D: 8 voxels) along each edge. Sizes that the
    factors do not divide are handled as in `PaperCNN`.

    Args:
        shape: Size of the logits: (rows, columns), or (nz, rows, columns) for the 3D form.
        resizes: Upsampling factor of each stage; `bounded_resizes(shape)` if None.
        channels: Channels after each stage, the last 1 (see `outputs`).
        outputs: Logits a pixel: k + 1 for k materials and void (see `MultiDesign`).
        kernel: Edge length of the convolution kernels, odd.
        activation: "sin" or "tanh".
        latent_scale: Standard deviation of the coarse image at the start.
        offset_scale: Factor in front of learned offsets for each element of each stage; 0 for none.
        output_resize: Factor by which the logits are enlarged linearly at the end.
        seed: Of the private random generator.
        dtype: Floating-point type of the weights.
        device: Where the weights live.

    Raises:
        InputError: If the arguments do not fit together.

    Example:
        >>> network = dnt.NeuralDesign(design, dnt.LeanCNN((8, 16), seed=0))
        >>> float(round(network.evaluate(network.initial(), gradient=False).volume, 6))
        0.5
    """

    @checked
    def __init__(
        self,
        shape: Sequence[int],
        *,
        resizes: Sequence[int] | None = None,
        channels: Sequence[int] = (64, 32, 16, 8, 1),
        outputs: int = 1,
        kernel: int = 5,
        activation: str = "sin",
        latent_scale: float = 11.4,
        offset_scale: float = 0.0,
        output_resize: int = 1,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ):
        check_placement(dtype, device)
        super().__init__(outputs)
        self.shape = check_shape(shape)
        check_number("latent_scale", latent_scale)
        check_number("offset_scale", offset_scale)
        if output_resize < 1:
            raise InputError(f"output_resize must be at least 1, got {output_resize}")
        self.output_resize = output_resize
        self.inner = inner = tuple(math.ceil(n / output_resize) for n in self.shape)
        generator = generator_of(seed)
        self.decoder = Decoder(
            inner,
            LATENT_CHANNELS,
            resizes=bounded_resizes(inner) if resizes is None else resizes,
            channels=channels,
            outputs=outputs,
            kernel=kernel,
            activation=activation,
            offset_scale=offset_scale,
            generator=generator,
            dtype=dtype,
        )
        image = torch.randn(*self.decoder.coarse, LATENT_CHANNELS, generator=generator, dtype=dtype)
        self.pixelwise = {"latent": (*self.decoder.coarse, LATENT_CHANNELS)}
        self.latent = nn.Parameter(latent_scale * image)
        self.to(device)

    def forward(self) -> Tensor:
        """Return the logits, shape `output_shape` or that of this process's tile."""
        logits = self.decoder(channels_first(self.latent))
        return self.logits_of(upsample(logits, self.output_resize, self.inner, self.shape, self.tiles))


@checked
def recipe_cnn(
    shape: Sequence[int],
    *,
    half_resolution: bool = False,
    outputs: int = 1,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> LeanCNN:
    """Return the network used for neural starts: coarse image at an eighth, offsets as in the paper.

    Args:
        shape: Size of the logits.
        half_resolution: Let the network work at half the resolution and enlarge its logits linearly by 2.
        outputs: Logits a pixel.
        seed: Of the private random generator.
        dtype: Floating-point type of the weights.
        device: Where the weights live.

    Returns:
        A `LeanCNN` whose size grows with the grid.
    """
    return LeanCNN(
        shape,
        resizes=(1, 2, 2, 2, 1),
        offset_scale=10.0,
        outputs=outputs,
        output_resize=2 if half_resolution else 1,
        seed=seed,
        dtype=dtype,
        device=device,
    )
