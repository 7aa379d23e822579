"""Networks cut into tiles give what whole ones give, on any number of ranks; halos and their transposes."""

import numpy as np
import pytest
import torch
from density_cases import comm
from mpi4py import MPI

from dolfinx_neural_topo._tiles import Tiles, process_grid
from dolfinx_neural_topo.bridge.tiles import RankTiles
from dolfinx_neural_topo.bridge.weights import Weights
from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.networks import (
    DeepCNN,
    LeanCNN,
    MultiresolutionLogits,
    PaperCNN,
    PixelLogits,
    recipe_cnn,
)


def half_resolution(shape, **options):
    return recipe_cnn(shape, half_resolution=True, **options)


NETWORKS = [PaperCNN, DeepCNN, LeanCNN, recipe_cnn, half_resolution, MultiresolutionLogits, PixelLogits]
SHAPES = [(13, 29), (5, 3), (1, 1), (7, 10, 9)]


def shaken(make, shape, dtype):
    """A network away from zero offsets, the same on all ranks."""
    network = make(shape, dtype=dtype)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return network


def whole_vector(index, values):
    """Gather a distributed vector; every number must occur once."""
    indices = np.concatenate(comm.allgather(index))
    assert np.array_equal(np.sort(indices), np.arange(len(indices)))
    result = np.empty(len(indices), dtype=values.dtype)
    result[indices] = np.concatenate(comm.allgather(values))
    return result


def logits_and_gradient(network, slope):
    """Logits of a whole network, and the gradient of their product with `slope`, flat."""
    logits = network()
    gradients = torch.autograd.grad((logits * slope).sum(), list(network.parameters()))
    return logits.detach(), np.concatenate([g.numpy().ravel() for g in gradients])


def distance(a, b):
    return np.abs(a - b).max() / np.abs(b).max()


@pytest.mark.ranks
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("make", NETWORKS)
def test_a_network_in_tiles_equals_the_whole(make, shape, dtype):
    """To 1e-10 in float64; to 1e-5 in float32, or what rounding does to the whole network, if more."""
    whole, network = shaken(make, shape, dtype), shaken(make, shape, dtype)
    slope = torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=dtype)
    expected, flat = logits_and_gradient(whole, slope)
    tolerance = 1e-10
    if dtype == torch.float32:
        exact, exact_flat = logits_and_gradient(shaken(make, shape, dtype).double(), slope.double())
        rounding = max(distance(expected.numpy(), exact.numpy()), distance(flat, exact_flat))
        tolerance = max(1e-5, rounding)

    tiles = RankTiles(comm, shape)
    network.distribute(tiles)
    weights = Weights(comm, network)
    start = np.concatenate([p.detach().numpy().ravel() for p in whole.parameters()])
    np.testing.assert_array_equal(whole_vector(weights.index, weights.get()), start)
    weights.set(weights.get())
    logits = network()
    part = tiles.part(shape)
    assert logits.shape == expected[part].shape
    scale = expected.abs().max().item()
    np.testing.assert_allclose(logits.detach(), expected[part], rtol=0, atol=tolerance * scale)
    ours = weights.gradient(torch.autograd.grad((logits * slope[part]).sum(), weights.parameters))
    assert ours.dtype == flat.dtype
    np.testing.assert_allclose(
        whole_vector(weights.index, ours), flat, rtol=0, atol=tolerance * np.abs(flat).max()
    )


@pytest.mark.ranks
@pytest.mark.parametrize("width", [0, 1, 2, 5])
@pytest.mark.parametrize("shape", [(13, 29), (3, 2), (4, 5, 6)])
def test_halo_and_its_transpose(shape, width):
    tiles = RankTiles(comm, shape)
    windows = tuple(
        tuple((low - width, high + width) if low < high else (low, high) for low, high in each)
        for each in tiles.intervals(shape)
    )
    generator = np.random.default_rng(3)
    image = generator.standard_normal((*shape, 2))
    if tiles.whole:
        assert tiles.exchange(image, shape, windows) is image
        return
    window = tiles.exchange(image[tiles.part(shape)], shape, windows)
    padded = np.pad(image, [(width, width)] * len(shape) + [(0, 0)])
    where = tuple(
        slice(part.start, part.stop + (2 * width if part.stop > part.start else 0))
        for part in tiles.part(shape)
    )
    if tiles.place is not None:
        np.testing.assert_array_equal(window, padded[where])
    y = np.random.default_rng(comm.rank).standard_normal(window.shape)
    back = tiles.exchange_transposed(y, shape, windows)
    left, right = comm.allreduce(np.vdot(window, y)), comm.allreduce(np.vdot(image[tiles.part(shape)], back))
    scale = np.sqrt(comm.allreduce(np.vdot(window, window)) * comm.allreduce(np.vdot(y, y)))
    assert abs(left - right) <= 1e-13 * scale


@pytest.mark.ranks
def test_every_pixel_has_one_owner():
    for shape in [(13, 29), (2, 1), (4, 5, 6)]:
        tiles = RankTiles(comm, shape)
        numbers = np.arange(np.prod(shape))
        ranks, local = tiles.owners(numbers)
        mine = numbers.reshape(shape)[tiles.part(shape)]
        np.testing.assert_array_equal(
            mine.reshape(-1)[local[ranks == comm.rank]], numbers[ranks == comm.rank]
        )
        assert comm.allreduce(mine.size) == numbers.size
        np.testing.assert_array_equal(tiles.whole_image(mine), numbers.reshape(shape))


@pytest.mark.parametrize(
    ("num", "shape", "cuts"),
    [
        (1, (5, 5), (1, 1)),
        (4, (64, 192), (1, 4)),
        (4, (100, 100), (1, 4)),
        (7, (5, 3), (2, 3)),
        (3, (1, 1), (1, 1)),
        (6, (4, 40, 4), (1, 6, 1)),
        (64, (128, 64, 64), (4, 4, 4)),
    ],
)
def test_processes_are_laid_out_in_a_grid(num, shape, cuts):
    assert process_grid(num, shape) == cuts


def test_a_network_is_cut_once():
    network = LeanCNN((8, 12), channels=(4, 4, 4, 4, 1))
    network.distribute(RankTiles(comm, (8, 12)))
    network.distribute(RankTiles(comm, (8, 12)))
    network.distribute(network.tiles)
    if comm.size > 1:
        with pytest.raises(InputError, match="network holds the tile of another"):
            network.distribute(Tiles())


class Counting(MPI.Intracomm):
    """A communicator that remembers the largest message."""

    largest = 0

    def Isend(self, buffer, *args, **options):
        Counting.largest = max(Counting.largest, buffer.nbytes)
        return super().Isend(buffer, *args, **options)


@pytest.mark.ranks
def test_no_message_is_as_large_as_the_grid():
    shape = (64, 96)
    network = recipe_cnn(shape)
    network.distribute(RankTiles(Counting(comm), shape))
    Counting.largest = 0
    network().sum().backward()
    largest = comm.allreduce(Counting.largest, op=MPI.MAX)
    assert largest < 8 * np.prod(shape) / 2
    assert (largest > 0) == (comm.size > 1)


class Blurred(LeanCNN):
    """A user's network, which looks at neighbours without asking for them."""

    def forward(self):
        logits = super().forward()[None, None]
        return torch.nn.functional.avg_pool2d(logits, 3, 1, 1)[0, 0]


def test_only_networks_of_the_package_are_cut():
    assert LeanCNN((8, 12)).divisible and recipe_cnn((8, 12)).divisible and DeepCNN((8, 12)).divisible
    assert not Blurred((8, 12)).divisible
