"""Random initial values, all drawn from a private generator on the CPU.

The global random state is neither read nor changed, and a seed gives the same weights on every device.
"""

from __future__ import annotations

import math

import torch

from dolfinx_neural_topo.errors import InputError


def generator_of(seed: int) -> torch.Generator:
    """Return a private generator.

    Raises:
        InputError: The seed has more than 64 bits.
    """
    if not -(2**63) <= seed < 2**64:
        raise InputError(f"seed must lie in [-2^63, 2^64), got {seed}")
    return torch.Generator().manual_seed(int(seed))


def truncated_normal(
    shape: tuple[int, ...], *, fan_in: int, generator: torch.Generator, dtype: torch.dtype
) -> torch.Tensor:
    """Draw from a normal distribution cut at two standard deviations, with variance 1 / fan_in after the cut.

    Args:
        shape: Shape of the result.
        fan_in: Number of inputs that one output sums over.
        generator: Source of randomness, on the CPU.
        dtype: Floating-point type of the result.

    Returns:
        Tensor of `shape`, on the CPU.
    """
    cut = 2.0
    tail = 0.5 * math.erfc(cut / math.sqrt(2.0))
    density = math.exp(-0.5 * cut**2) / math.sqrt(2.0 * math.pi)
    variance = 1.0 - 2.0 * cut * density / (1.0 - 2.0 * tail)  # of a standard normal, cut
    uniform = tail + (1.0 - 2.0 * tail) * torch.rand(shape, generator=generator, dtype=torch.float64)
    standard = math.sqrt(2.0) * torch.erfinv(2.0 * uniform - 1.0)
    return (standard / math.sqrt(variance * fan_in)).to(dtype)


def orthogonal(
    rows: int, columns: int, *, gain: float, generator: torch.Generator, dtype: torch.dtype
) -> torch.Tensor:
    """Draw a matrix whose columns (or rows, if there are fewer) are orthogonal and of length `gain`.

    The distribution is uniform over such matrices (Haar): QR of a normal matrix, signs fixed by diag(R) > 0.

    Args:
        rows: Number of rows.
        columns: Number of columns.
        gain: Length of the orthogonal vectors.
        generator: Source of randomness, on the CPU.
        dtype: Floating-point type of the result.

    Returns:
        Tensor of shape (rows, columns), on the CPU.
    """
    normal = torch.randn(max(rows, columns), min(rows, columns), generator=generator, dtype=dtype)
    q, r = torch.linalg.qr(normal)
    q *= gain * torch.where(torch.diagonal(r) < 0, -1.0, 1.0).to(dtype)
    return (q if rows >= columns else q.T).contiguous()
