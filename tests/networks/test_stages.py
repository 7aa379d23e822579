"""The stages against formulas written out by hand."""

import numpy as np
import pytest
import torch

from dolfinx_neural_topo._tiles import Tiles
from dolfinx_neural_topo.networks import _exchange, _stages
from dolfinx_neural_topo.networks._stages import stage_sizes


def upsample(image, factor, size):
    return _stages.upsample(image, factor, image.shape[2:], size, Tiles())


def normalize(x):
    return _exchange.normalize(x, x.numel(), Tiles())


def upsample_by_hand(row, factor):
    """Half-pixel centres, edge clamped."""
    n = len(row)
    at = (np.arange(n * factor) + 0.5) / factor - 0.5
    left = np.floor(at).astype(int)
    weight = at - left
    return (1 - weight) * row[np.clip(left, 0, n - 1)] + weight * row[np.clip(left + 1, 0, n - 1)]


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_upsampling_2d_and_3d(factor):
    rng = np.random.default_rng(2)
    for spatial in ((3, 5), (2, 3, 4)):
        image = rng.standard_normal(spatial)
        expected = image
        for axis in range(len(spatial)):
            expected = np.apply_along_axis(upsample_by_hand, axis, expected, factor)
        got = upsample(torch.from_numpy(image)[None, None], factor, expected.shape)
        assert np.allclose(got[0, 0].numpy(), expected, atol=1e-14)


def test_surplus_is_cut_at_both_ends_the_larger_part_at_the_end():
    image = torch.arange(4.0)[None, None, None, :].expand(1, 1, 2, 4)
    whole = upsample(image, 4, (8, 16))
    assert torch.equal(upsample(image, 4, (7, 13)), whole[:, :, 0:7, 1:14])


@pytest.mark.parametrize(
    "shape, resizes, sizes",
    [
        ((64, 192), (1, 2, 2, 2, 1), [(8, 24), (8, 24), (16, 48), (32, 96), (64, 192), (64, 192)]),
        ((20, 60), (1, 2, 2, 2, 1), [(3, 8), (3, 8), (5, 15), (10, 30), (20, 60), (20, 60)]),
        ((37, 100), (2, 2, 2), [(5, 13), (10, 25), (19, 50), (37, 100)]),
        ((10, 7, 5), (3, 2), [(2, 2, 1), (5, 4, 3), (10, 7, 5)]),
    ],
)
def test_stage_sizes(shape, resizes, sizes):
    assert stage_sizes(shape, resizes) == sizes


@pytest.mark.parametrize("shape", [(1, 3, 4, 5), (1, 2, 3, 4, 5)])
def test_normalization_uses_one_mean_and_variance_for_all_elements(shape):
    x = 3.0 + 2.0 * torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = (x - x.mean()) / torch.sqrt(x.var(correction=0) + 1e-6)
    assert torch.allclose(normalize(x), expected, atol=1e-13)
    constant = torch.full(shape, 7.0)
    assert torch.count_nonzero(normalize(constant)) == 0
