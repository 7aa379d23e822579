"""The convolutional network of Hoyer, Sohl-Dickstein and Greydanus, and a deeper one for large grids.

References:
    Hoyer, Sohl-Dickstein, Greydanus: Neural reparameterization improves structural optimization
    (2019), arXiv:1909.04240.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dolfinx_neural_topo.errors import checked
from dolfinx_neural_topo.networks._exchange import channels_first
from dolfinx_neural_topo.networks._image import ImageNetwork
from dolfinx_neural_topo.networks._initial import generator_of, orthogonal
from dolfinx_neural_topo.networks._placement import check_placement
from dolfinx_neural_topo.networks._stages import Decoder, check_shape

LATENT_SIZE = 128
DENSE_CHANNELS = 32


class PaperCNN(ImageNetwork):
    """The paper's network: trainable latent vector, dense layer, five stages of upsampling and convolution.

    A latent vector of 128 standard normal numbers (trained like every weight) goes through a dense layer to
    a coarse image of 32 channels. Each stage is tanh, linear upsampling, normalization over all elements,
    convolution, plus 10 times a learned offset for each element. Where the product of `resizes` does not
    divide `shape`, sizes are rounded up from the fine end and each stage cuts what is too much (see
    `stage_sizes`).

    Initial values are those of the paper's Keras code: dense layer orthogonal with gain
    sqrt(max(elements / 128, 1)), so that the coarse image has unit variance; kernels truncated normal with
    variance 1 / fan_in; biases and offsets 0.

    The 3D form for 64 x 32 x 32 voxels has 3.8 million weights; forward and backward take 0.14 GB and a third
    of a second on one core.

    Args:
        shape: Size of the logits: (rows, columns), or (nz, rows, columns) for the 3D form.
        resizes: Upsampling factor of each stage.
        channels: Channels after each stage, the last 1 (see `outputs`).
        outputs: Logits a pixel: k + 1 for k materials and void (see `MultiDesign`).
        kernel: Edge length of the convolution kernels, odd.
        seed: Of the private random generator.
        dtype: Floating-point type of the weights.
        device: Where the weights live.

    Raises:
        InputError: If the arguments do not fit together.

    Example:
        >>> dnt.PaperCNN((20, 60), resizes=(1, 1, 2, 2, 1))().shape
        torch.Size([20, 60])
    """

    @checked
    def __init__(
        self,
        shape: Sequence[int],
        *,
        resizes: Sequence[int] = (1, 2, 2, 2, 1),
        channels: Sequence[int] = (128, 64, 32, 16, 1),
        outputs: int = 1,
        kernel: int = 5,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ):
        check_placement(dtype, device)
        super().__init__(outputs)
        self.shape = check_shape(shape)
        generator = generator_of(seed)
        latent = torch.randn(LATENT_SIZE, generator=generator, dtype=dtype)
        decoder = Decoder(
            self.shape,
            DENSE_CHANNELS,
            resizes=resizes,
            channels=channels,
            outputs=outputs,
            kernel=kernel,
            activation="tanh",
            offset_scale=10.0,
            generator=generator,
            dtype=dtype,
        )
        elements = math.prod(decoder.coarse) * DENSE_CHANNELS
        gain = math.sqrt(max(elements / LATENT_SIZE, 1.0))
        self.latent = nn.Parameter(latent)
        self.dense_kernel = nn.Parameter(
            orthogonal(elements, LATENT_SIZE, gain=gain, generator=generator, dtype=dtype)
        )
        self.dense_bias = nn.Parameter(torch.zeros(elements, dtype=dtype))
        self.pixelwise = {
            "dense_kernel": (*decoder.coarse, DENSE_CHANNELS * LATENT_SIZE),
            "dense_bias": (*decoder.coarse, DENSE_CHANNELS),
        }
        self.decoder = decoder
        self.to(device)

    def forward(self) -> Tensor:
        """Return the logits, shape `output_shape` or that of this process's tile."""
        coarse = torch.addmv(self.dense_bias, self.dense_kernel, self.latent)
        image = channels_first(coarse.view(*self.tiles.shape(self.decoder.coarse), DENSE_CHANNELS))
        return self.logits_of(self.decoder(image))


class DeepCNN(PaperCNN):
    """The paper's network with more stages, for large grids: the dense layer stops growing with the grid.

    There are at least four doublings (the paper has three), and as many as it takes for the coarse image to
    have at most 256 pixels or voxels; the added stages have 128 channels.

    Args:
        shape: Size of the logits: (rows, columns), or (nz, rows, columns) for the 3D form.
        outputs: Logits a pixel.
        kernel: Edge length of the convolution kernels, odd.
        seed: Of the private random generator.
        dtype: Floating-point type of the weights.
        device: Where the weights live.

    Raises:
        InputError: If `shape` or `kernel` is unusable.
    """

    @checked
    def __init__(
        self,
        shape: Sequence[int],
        *,
        outputs: int = 1,
        kernel: int = 5,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ):
        check_placement(dtype, device)
        doublings = 4
        while math.prod(math.ceil(n / 2**doublings) for n in check_shape(shape)) > 256:
            doublings += 1
        super().__init__(
            shape,
            resizes=(1, *(2,) * doublings, 1),
            channels=(*(128,) * (doublings - 2), 64, 32, 16, 1),
            outputs=outputs,
            kernel=kernel,
            seed=seed,
            dtype=dtype,
            device=device,
        )
