"""Sizes, parameter counts, initial values, seeds, saving, and derivatives of the networks."""

import math

import numpy as np
import pytest
import torch
from mpi4py import MPI

from dolfinx_neural_topo.networks import (
    DeepCNN,
    FourierMLP,
    LeanCNN,
    MultiresolutionLogits,
    PaperCNN,
    PixelLogits,
    recipe_cnn,
)

IMAGE_NETWORKS = [PaperCNN, DeepCNN, LeanCNN, recipe_cnn, MultiresolutionLogits, PixelLogits]
SHAPES = [(32, 24), (20, 60), (37, 100), (5, 3), (1, 1), (16, 8, 8), (7, 10, 9)]


def num_weights(network):
    return sum(p.numel() for p in network.parameters())


def flat(network):
    return torch.cat([p.detach().reshape(-1) for p in network.parameters()])


@pytest.mark.parametrize(
    "shape, count",
    [((32, 96), 665_345), ((64, 192), 1_545_473), ((128, 384), 5_065_985), ((256, 256), 6_630_657)],
)
def test_the_papers_numbers_of_weights(shape, count):
    assert num_weights(PaperCNN(shape)) == count


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("make", IMAGE_NETWORKS)
def test_any_size_gives_finite_logits_and_gradients(make, shape):
    network = make(shape)
    logits = network()
    assert tuple(logits.shape) == shape
    (logits * torch.linspace(-1, 1, logits.numel()).view(shape)).sum().backward()
    for p in network.parameters():
        assert p.grad is not None and torch.isfinite(p.grad).all()
    assert torch.isfinite(logits).all()


def test_resizes_of_the_small_beam():
    network = PaperCNN((20, 60), resizes=(1, 1, 2, 2, 1))
    assert network.decoder.coarse == (5, 15)
    assert [stage.size for stage in network.decoder] == [(5, 15), (5, 15), (10, 30), (20, 60), (20, 60)]


@pytest.mark.parametrize("make", [PaperCNN, DeepCNN, LeanCNN, recipe_cnn, MultiresolutionLogits])
def test_seeds_decide_and_the_global_generator_is_left_alone(make):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, same, other = make((16, 24), seed=5), make((16, 24), seed=np.int64(5)), make((16, 24), seed=6)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(flat(first), flat(same)) and not torch.equal(flat(first), flat(other))
    assert torch.equal(first(), same())


@pytest.mark.parametrize("make", IMAGE_NETWORKS)
def test_all_ranks_hold_the_same_network(make):
    network = make((16, 24))
    mine = torch.cat([flat(network).double(), network().detach().double().reshape(-1)]).numpy()
    assert np.array_equal(mine, MPI.COMM_WORLD.bcast(mine, root=0))


@pytest.mark.parametrize("make", IMAGE_NETWORKS)
def test_state_dict_saves_and_loads(make, tmp_path):
    network, other = make((16, 24)), make((16, 24))
    with torch.no_grad():
        for k, p in enumerate(network.parameters()):
            p.add_(0.1 * torch.sin(torch.arange(p.numel(), dtype=p.dtype) + k).view(p.shape))
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert torch.equal(network(), other())


@pytest.mark.parametrize("make", IMAGE_NETWORKS)
@pytest.mark.parametrize("shape", [(9, 14), (4, 6, 5)])
def test_taylor_remainder_is_of_second_order(make, shape):
    network = make(shape, dtype=torch.float64)
    generator = torch.Generator().manual_seed(1)
    parameters = list(network.parameters())
    with torch.no_grad():  # away from zero offsets
        for p in parameters:
            p.add_(0.05 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    target = torch.randn(shape, generator=generator, dtype=torch.float64)
    directions = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]

    def value():
        return torch.sum(torch.sin(network() - target))

    at = value()
    gradients = torch.autograd.grad(at, parameters)
    slope = sum((g * d).sum() for g, d in zip(gradients, directions, strict=True)).item()
    start, remainders = [p.detach().clone() for p in parameters], []
    steps = [4e-5, 2e-5, 1e-5]
    for step in steps:
        with torch.no_grad():
            for p, s, d in zip(parameters, start, directions, strict=True):
                p.copy_(s + step * d)
            remainders.append(abs(value().item() - at.item() - step * slope))
    orders = np.log2(np.array(remainders[:-1]) / np.array(remainders[1:]))
    assert np.all(orders > 1.9), orders


@pytest.mark.parametrize("shape", [(32, 96), (16, 16)])
def test_the_coarse_image_of_the_papers_network_has_unit_variance(shape):
    network = PaperCNN(shape, seed=2, dtype=torch.float64)
    matrix, latent = network.dense_kernel.detach(), network.latent.detach()
    elements = matrix.shape[0]
    assert torch.allclose(matrix.T @ matrix, elements / 128 * torch.eye(128, dtype=torch.float64), atol=1e-10)
    coarse = matrix @ latent
    assert (coarse @ coarse / elements).item() == pytest.approx((latent @ latent / 128).item(), rel=1e-12)


def test_a_dense_layer_with_few_outputs_has_orthogonal_rows():
    matrix = PaperCNN((8, 8), dtype=torch.float64).dense_kernel.detach()  # 32 outputs, gain 1
    assert torch.allclose(matrix @ matrix.T, torch.eye(32, dtype=torch.float64), atol=1e-12)


def test_kernels_are_truncated_normal_of_unit_gain():
    for stage in PaperCNN((16, 16), seed=4).decoder:
        fan_in = stage.kernel[0].numel()
        scaled = stage.kernel.detach() * math.sqrt(fan_in)
        count = scaled.numel()
        assert scaled.var().item() == pytest.approx(1.0, abs=6 / math.sqrt(count))
        assert scaled.mean().item() == pytest.approx(0.0, abs=5 / math.sqrt(count))
        assert scaled.abs().max().item() <= 2.0 / 0.87962566103423978 * (1 + 1e-6)
        assert torch.count_nonzero(stage.bias) == torch.count_nonzero(stage.offset) == 0


def test_offsets_act_tenfold_on_their_own_element():
    network = PaperCNN((8, 8), dtype=torch.float64)
    before = network().detach().clone()
    with torch.no_grad():
        network.decoder[-1].offset[2, 3, 0] += 0.25
    change = network().detach() - before
    assert change[2, 3].item() == pytest.approx(2.5) and torch.count_nonzero(change) == 1


def test_lean_network_does_not_grow_with_the_grid():
    counts = {
        shape: num_weights(LeanCNN(shape)) for shape in ((64, 64), (256, 256), (1024, 512), (500, 1000))
    }
    assert max(counts.values()) <= 126_913
    assert num_weights(LeanCNN((128, 64, 64))) == num_weights(LeanCNN((32, 16, 16)))


def test_deep_network_bounds_the_dense_layer():
    for shape in ((64, 64), (256, 256), (600, 300), (64, 32, 32)):
        network = DeepCNN(shape)
        assert math.prod(network.decoder.coarse) <= 256 and len(network.decoder) >= 6
    assert num_weights(DeepCNN((256, 256))) < num_weights(PaperCNN((256, 256)))


def test_recipe_network_at_half_resolution():
    network = recipe_cnn((37, 50), half_resolution=True)
    assert network.decoder[-1].size == (19, 25) and tuple(network().shape) == (37, 50)
    assert network.latent.std().item() == pytest.approx(11.4, rel=0.1)


def test_pixels_start_where_they_are_told():
    assert torch.equal(PixelLogits((3, 4), 0.4)(), torch.full((3, 4), 0.4, dtype=torch.float64))
    start = torch.arange(12.0).view(3, 4)
    network = PixelLogits((3, 4), start)
    assert torch.equal(network(), start.double())
    with torch.no_grad():
        network.logits.zero_()
    assert start[2, 3] == 11.0  # not shared


def test_multiresolution_logits_are_linear():
    network = MultiresolutionLogits((13, 18), dtype=torch.float64, seed=1)
    once = network().detach().clone()
    with torch.no_grad():
        for p in network.parameters():
            p.mul_(3.0)
    assert torch.allclose(network(), 3.0 * once, atol=1e-14)
    assert len(network.images) == 2 and len(MultiresolutionLogits((64, 128)).images) == 5


def test_fourier_network_is_pointwise_and_has_its_length_scale():
    generator = torch.Generator().manual_seed(0)
    points = 10.0 * torch.rand(400, 2, generator=generator, dtype=torch.float64)
    network = FourierMLP(2, 1.5, features=512, seed=3, dtype=torch.float64)
    together = network(points)
    assert together.shape == (400,)
    parts = torch.cat([network(part) for part in (points[:7], points[7:7], points[7:])])
    assert torch.allclose(together, parts, atol=1e-12)
    # inner products of the features estimate the Gaussian kernel, error about 1 / sqrt(features)
    phase = points @ network.frequencies.T
    features = torch.cat([phase.cos(), phase.sin()], dim=1)
    kernel = features @ features.T / 512
    exact = torch.exp(-(torch.cdist(points, points) ** 2) / (2 * 1.5**2))
    assert (kernel - exact).abs().max().item() < 6 / math.sqrt(512)
    assert FourierMLP(3, 1.0)(torch.rand(5, 3, dtype=torch.float64)).dtype == torch.float32


def test_a_device_is_honoured_and_has_the_same_start():
    meta = torch.device("meta")
    for make in IMAGE_NETWORKS:
        assert {p.device for p in make((8, 8), device=meta).parameters()} == {meta}
    assert {p.device for p in FourierMLP(2, 1.0, device=meta).parameters()} == {meta}
