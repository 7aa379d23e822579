"""A network of the coordinates, for meshes without a grid."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from dolfinx_neural_topo._checks import check_count
from dolfinx_neural_topo.errors import InputError, checked
from dolfinx_neural_topo.networks._initial import generator_of, truncated_normal
from dolfinx_neural_topo.networks._placement import check_placement


class FourierMLP(nn.Module):
    """Random Fourier features of the coordinates, then a small perceptron.

        features(x) = sqrt(2) [cos(B x), sin(B x)],   B_ij normal with standard deviation 1 / length_scale

    Designs vary on scales of about `length_scale` and more: the inner product of features is, in expectation
    and up to a factor, the Gaussian kernel exp(-|x - y|^2 / (2 length_scale^2)). The map is pointwise, so
    that each rank evaluates its own points and sums the gradient of the weights over ranks.

    Args:
        dim: Number of coordinates of a point.
        length_scale: Smallest scale to resolve well, in the mesh's unit of length.
        features: Number of random frequencies.
        hidden: Width of each hidden layer.
        outputs: Logits a point: k + 1 for k materials and void (see `MultiDesign`).
        seed: Of the private random generator.
        dtype: Floating-point type of the weights.
        device: Where the weights live.

    Raises:
        InputError: If an argument is out of range.

    References:
        Tancik et al.: Fourier features let networks learn high frequency functions in low dimensional
        domains (2020), arXiv:2006.10739.

    Example:
        >>> fourier = dnt.FourierMLP(2, length_scale=0.3, seed=0)
        >>> network = dnt.NeuralDesign(design, fourier, dnt.PointTransfer(domain))
        >>> float(round(network.evaluate(network.initial(), gradient=False).volume, 6))
        0.5
    """

    frequencies: Tensor

    @checked
    def __init__(
        self,
        dim: int,
        length_scale: float,
        *,
        features: int = 128,
        hidden: tuple[int, ...] = (64, 64),
        outputs: int = 1,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ):
        check_placement(dtype, device)
        super().__init__()
        if dim not in (1, 2, 3):
            raise InputError(f"dim must be 1, 2 or 3, got {dim}")
        if not (length_scale > 0 and math.isfinite(length_scale)):
            raise InputError(f"length_scale must be positive, got {length_scale}")
        if features < 1 or any(width < 1 for width in hidden):
            raise InputError(f"features and hidden must be positive, got {features} and {hidden}")
        self.outputs = check_count("outputs", outputs)
        generator = generator_of(seed)
        frequencies = torch.randn(features, dim, generator=generator, dtype=dtype) / length_scale
        self.register_buffer("frequencies", frequencies)
        widths = (2 * features, *hidden, outputs)
        self.kernels = nn.ParameterList(
            truncated_normal((b, a), fan_in=a, generator=generator, dtype=dtype) for a, b in pairwise(widths)
        )
        self.biases = nn.ParameterList(torch.zeros(b, dtype=dtype) for b in widths[1:])
        self.to(device)

    def forward(self, points: Tensor) -> Tensor:
        """Return the logits at `points`.

        Args:
            points: Coordinates in the mesh's unit of length, shape (n, dim); converted to the weights'
                type and device.

        Returns:
            Logits, shape (n,), or (n, outputs) where there are several.
        """
        phase = points.to(self.frequencies) @ self.frequencies.T
        y = math.sqrt(2.0) * torch.cat([torch.cos(phase), torch.sin(phase)], dim=1)
        layers = list(zip(self.kernels, self.biases, strict=True))
        for kernel, bias in layers[:-1]:
            y = torch.sin(torch.addmm(bias, y, kernel.T))
        kernel, bias = layers[-1]
        logits = torch.addmm(bias, y, kernel.T)
        return logits[:, 0] if self.outputs == 1 else logits
