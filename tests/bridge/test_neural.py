import numpy as np
import pytest
import torch
from density_cases import (
    Polynomial,
    check_against_the_whole,
    comm,
    gmsh_plate,
    make_domain,
    rectangle,
    taylor_orders,
)
from mpi4py import MPI
from torch.utils._python_dispatch import TorchDispatchMode

from dolfinx_neural_topo.bridge import (
    NeuralDesign,
    PixelTransfer,
    PointTransfer,
    SampledTransfer,
    TopologyObjective,
    check_replicated,
    sum_gradients,
)
from dolfinx_neural_topo.density import CellGrid, ConeFilter, Design, HeavisideProjection
from dolfinx_neural_topo.errors import InputError, ReplicationError
from dolfinx_neural_topo.networks import LeanCNN, MultiresolutionLogits, PaperCNN, recipe_cnn
from dolfinx_neural_topo.optimize import LBFGS, minimize
from dolfinx_neural_topo.tasks import mbb_beam
from dolfinx_neural_topo.tasks.build import build


class ImageNetwork(torch.nn.Module):
    """A small convolutional network with a trainable input."""

    def __init__(self, shape, dtype):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.latent = torch.nn.Parameter(torch.randn(1, 2, *shape, generator=generator).to(dtype))
        self.kernel = torch.nn.Parameter(torch.randn(1, 2, 3, 3, generator=generator).to(dtype))
        self.frozen = torch.nn.Parameter(torch.ones(3, dtype=dtype), requires_grad=False)

    def forward(self):
        return (
            torch.nn.functional.conv2d(torch.tanh(self.latent), self.kernel, padding=1)[0, 0] * self.frozen[0]
        )


class PointNetwork(torch.nn.Module):
    """A small coordinate network."""

    def __init__(self, dtype):
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.inner = torch.nn.Parameter(torch.randn(2, 9, generator=generator).to(dtype))
        self.outer = torch.nn.Parameter(torch.randn(9, generator=generator).to(dtype))

    def forward(self, points):
        return torch.sin(points @ self.inner) @ self.outer


def make_neural(kind, dtype=torch.float64, on=comm, *, constraints=False):
    mesh = rectangle(on, 12, 8) if kind == "pixels" else gmsh_plate(on)
    domain = make_domain(mesh, volume_fraction=0.4, void=lambda x: x[0] > 7.0)
    bounds = [(Polynomial(domain, seed=7), 3.0), (Polynomial(domain, seed=8), 2.0)] if constraints else []
    design = Design(
        Polynomial(domain),
        domain,
        filter=ConeFilter(domain, 1.6),
        projection=HeavisideProjection(3.0),
        constraints=bounds,
    )
    if kind == "points":
        return NeuralDesign(design, PointNetwork(dtype))
    if kind == "pixels":
        return NeuralDesign(design, ImageNetwork((8, 12), dtype), PixelTransfer(CellGrid(mesh, (8, 12))))
    return NeuralDesign(design, ImageNetwork((6, 9), dtype), SampledTransfer(domain, (6, 9)))


KINDS = ["pixels", "sampled", "points"]


@pytest.mark.ranks
@pytest.mark.parametrize("kind", KINDS)
def test_taylor_to_the_weights(kind):
    neural = make_neural(kind, constraints=True)
    x = neural.initial()
    size = comm.allreduce(x.size)
    direction = np.random.default_rng(2).standard_normal(size)[neural.persistence.entries]
    base = neural.evaluate(x)
    trials = {t: neural.evaluate(x + t * direction, gradient=False) for t in (0.0, 2e-3, 1e-3, 5e-4)}
    steps = (2e-3, 1e-3, 5e-4)
    slope = comm.allreduce(base.gradient @ direction)
    assert (taylor_orders(lambda t: trials[t].value, slope, steps) > 1.9).all()
    assert base.constraint_gradients.shape == (2, x.size)
    for k in range(2):
        slope = comm.allreduce(base.constraint_gradients[k] @ direction)
        assert (taylor_orders(lambda t, k=k: trials[t].constraints[k], slope, steps) > 1.9).all()
    assert base.volume == pytest.approx(0.4, rel=1e-12)
    assert trials[0.0].gradient is None


@pytest.mark.ranks
@pytest.mark.parametrize("kind", KINDS)
def test_serial_equals_parallel_and_ranks_agree_to_the_bit(kind):
    parallel, serial = make_neural(kind), make_neural(kind, on=MPI.COMM_SELF)
    mine = parallel.persistence.entries
    assert np.array_equal(np.sort(np.concatenate(comm.allgather(mine))), serial.persistence.entries)
    np.testing.assert_array_equal(parallel.initial(), serial.initial()[mine])
    ours, theirs = parallel.evaluate(parallel.initial()), serial.evaluate(serial.initial())
    assert ours.value == pytest.approx(theirs.value, rel=1e-9)
    np.testing.assert_allclose(
        ours.gradient, theirs.gradient[mine], rtol=1e-9, atol=1e-9 * np.abs(theirs.gradient).max()
    )
    bits = np.float64(ours.value).tobytes()
    assert comm.bcast(bits) == bits


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_are_flat_and_shared_with_the_network(dtype):
    neural = make_neural("pixels", dtype)
    network = neural.network
    x = neural.initial()
    assert x.dtype == (np.float32 if dtype == torch.float32 else np.float64)
    mine = neural.persistence.entries
    whole = network.latent.numel() + network.kernel.numel()  # the frozen one is no variable
    assert comm.allreduce(x.size) == whole and abs(x.size - whole / comm.size) < 1
    storage = {p.untyped_storage().data_ptr() for p in (network.latent, network.kernel)}
    assert len(storage) == 1
    evaluation = neural.evaluate(x + 1)
    assert evaluation.gradient.dtype == x.dtype
    flat = np.concatenate([p.detach().numpy().ravel() for p in (network.latent, network.kernel)])
    np.testing.assert_array_equal(flat[mine], x + 1)
    np.testing.assert_array_equal(neural.initial(), x + 1)
    again = neural.evaluate(x)
    assert not np.shares_memory(again.gradient, evaluation.gradient)
    assert all(p.grad is None for p in network.parameters())


def test_gradient_equals_that_of_a_plain_torch_loop():
    for kind in ("pixels", "points"):
        neural = make_neural(kind)
        x = neural.initial()
        gradient = neural.evaluate(x).gradient
        network, transfer = neural.network, neural.objective.transfer
        objective = TopologyObjective(neural.design, transfer)
        arguments = () if kind == "pixels" else (torch.from_numpy(transfer.points),)
        objective(network(*arguments)).backward()
        if kind == "points":
            sum_gradients(comm, network)
        parameters = [p for p in network.parameters() if p.requires_grad]
        plain = np.concatenate([p.grad.numpy().ravel() for p in parameters])
        np.testing.assert_allclose(gradient, plain[neural.persistence.entries], rtol=1e-12, atol=1e-14)


def test_float32_network_meets_the_volume_in_float64():
    evaluation = (neural := make_neural("pixels", torch.float32)).evaluate(neural.initial())
    assert evaluation.volume == pytest.approx(0.4, rel=1e-12)
    reference = make_neural("pixels", torch.float64)
    exact = reference.evaluate(neural.initial().astype(np.float64))
    assert evaluation.value == pytest.approx(exact.value, rel=1e-5)
    np.testing.assert_allclose(evaluation.gradient, exact.gradient, atol=1e-4 * np.abs(exact.gradient).max())


def test_network_without_or_with_mixed_parameters():
    design = make_neural("pixels").design
    with pytest.raises(InputError, match="network must have trainable parameters of one dtype"):
        NeuralDesign(design, torch.nn.Identity())
    mixed = PointNetwork(torch.float64)
    mixed.outer.data = mixed.outer.data.float()
    with pytest.raises(InputError, match="network must have trainable parameters of one dtype"):
        NeuralDesign(design, mixed)


def test_network_that_returns_another_shape():
    neural = make_neural("pixels")
    wrong = NeuralDesign(neural.design, ImageNetwork((12, 8), torch.float64), neural.objective.transfer)
    with pytest.raises(InputError, match=r"logits must have shape \(8, 12\), got \(12, 8\)"):
        wrong.evaluate(wrong.initial())


def test_weights_of_the_wrong_size():
    neural = make_neural("pixels")
    with pytest.raises(InputError, match=r"x must have shape"):
        neural.evaluate(neural.initial()[:-1])


@pytest.mark.ranks
def test_replicas_that_drift_are_found():
    neural = make_neural("pixels", torch.float32)
    x = neural.initial()
    network = ImageNetwork((8, 12), torch.float32)
    with torch.no_grad():
        network.kernel += 1e-3 * comm.rank
    if comm.size == 1:
        assert np.isfinite(neural.evaluate(x).value)
        check_replicated(comm, x, "x")
        return
    with pytest.raises(ReplicationError, match="network weights must be identical on all"):
        NeuralDesign(neural.design, network, neural.objective.transfer)
    with pytest.raises(ReplicationError, match="sizes must be identical"):
        check_replicated(comm, np.zeros(comm.rank + 1), "sizes")


def test_continuation_stage_is_the_designs():
    neural = make_neural("pixels")
    state = neural.persistence.state_dict()
    neural.design.projection.beta = 24.0
    neural.persistence.load_state_dict(state)
    assert neural.design.projection.beta == 3.0
    np.testing.assert_array_equal(neural.persistence.cells, neural.design.domain.canonical_index)


class PlainImage(ImageNetwork):
    """The same, and it says how large its image is."""

    def __init__(self, shape, dtype):
        super().__init__(shape, dtype)
        self.shape = shape


def test_the_transfer_suits_network_and_mesh():
    for mesh, shape, kind in (
        (rectangle(comm, 12, 8), (8, 12), PixelTransfer),
        (rectangle(comm, 12, 8), (5, 7), SampledTransfer),
        (gmsh_plate(comm), (8, 12), SampledTransfer),
    ):
        domain = make_domain(mesh)
        design = Design(Polynomial(domain), domain)
        neural = NeuralDesign(design, PlainImage(shape, torch.float64))
        assert type(neural.objective.transfer) is kind
        assert np.isfinite(neural.evaluate(neural.initial()).value)
    assert type(NeuralDesign(design, PointNetwork(torch.float64)).objective.transfer) is PointTransfer
    with pytest.raises(InputError, match="transfer must be given for a network that is called without"):
        NeuralDesign(design, ImageNetwork((8, 12), torch.float64))
    with pytest.raises(InputError, match="shape must have 2 positive numbers"):
        NeuralDesign(design, PlainImage((8, 12, 2), torch.float64))


def tiled(make, task, on):
    """A network of the package on the cells of a beam, in float64."""
    built = build(task, on, constrain="design")
    network = make(task.image_shape, seed=3, dtype=torch.float64)
    return built, NeuralDesign(built.design, network, PixelTransfer(built.grid))


STEPS = (4e-5, 2e-5, 1e-5)


@pytest.mark.ranks
@pytest.mark.parametrize("make", [PaperCNN, recipe_cnn, MultiresolutionLogits])
def test_a_network_in_tiles_designs_as_the_whole_one_does(make):
    """A grid that no number of ranks divides; through filter, volume and solve."""
    task = mbb_beam(23, 7, volume_fraction=0.5)
    (built, ours), (alone, theirs) = (tiled(make, task, on) for on in (comm, MPI.COMM_SELF))
    with built, alone:
        check_against_the_whole(ours, theirs, STEPS)


class Largest(TorchDispatchMode):
    """Remembers the most numbers of an image, of whatever channels, that a torch operation gave back."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = func(*args, **(kwargs or {}))
        for tensor in given if isinstance(given, (tuple, list)) else [given]:
            if isinstance(tensor, torch.Tensor) and tensor.ndim > 1:
                self.numbers = max(self.numbers, tensor.numel())
        return given


def test_a_network_in_tiles_serves_a_second_design():
    built, variables = tiled(LeanCNN, mbb_beam(23, 7, volume_fraction=0.5), comm)
    with built:
        again = NeuralDesign(built.design, variables.network, variables.objective.transfer)
        np.testing.assert_array_equal(again.initial(), variables.initial())


@pytest.mark.ranks
def test_no_image_of_an_evaluation_is_larger_than_a_tile_and_its_halo():
    """Of 16 channels; parameters that every rank holds are flat, and left out."""
    built, variables = tiled(recipe_cnn, mbb_beam(96, 64, volume_fraction=0.5), comm)
    with built, Largest() as images:
        variables.evaluate(variables.initial())
    tile = np.array(variables.objective.transfer.local_shape)
    assert 16 * tile.prod() <= images.numbers <= 16 * (tile + 20).prod()  # halos of coarse stages, enlarged
    assert comm.size == 1 or images.numbers < 0.6 * 16 * 96 * 64


@pytest.mark.ranks
def test_runs_of_20_evaluations_agree():
    task = mbb_beam(24, 8, volume_fraction=0.5)
    histories = []
    for on in (comm, MPI.COMM_SELF):
        built, variables = tiled(recipe_cnn, task, on)
        with built:
            histories.append(minimize(variables, LBFGS(), evaluations=20).history.objective)
    np.testing.assert_allclose(histories[0], histories[1], rtol=1e-6)


@pytest.mark.ranks
def test_a_network_for_another_image_is_refused():
    neural = make_neural("pixels")
    with pytest.raises(InputError, match=r"network must return an image of shape \(8, 12\), got \(12, 8\)"):
        NeuralDesign(neural.design, recipe_cnn((12, 8)), neural.objective.transfer)


class Blurred(PaperCNN):
    """A user's network made of one of the package, which looks at neighbours by itself."""

    def forward(self):
        return torch.nn.functional.avg_pool2d(super().forward()[None, None], 3, 1, 1)[0, 0]


@pytest.mark.ranks
def test_a_subclass_with_a_forward_of_its_own_is_replicated():
    neural = make_neural("pixels")
    network = Blurred((8, 12), dtype=torch.float64)
    mine = NeuralDesign(neural.design, network, neural.objective.transfer)
    size = sum(p.numel() for p in network.parameters())
    indices = np.concatenate(comm.allgather(mine.persistence.entries))
    assert np.array_equal(np.sort(indices), np.arange(size))
    x = mine.initial()
    direction = np.random.default_rng(2).standard_normal(size)[mine.persistence.entries]
    slope = comm.allreduce(mine.evaluate(x).gradient @ direction)
    value = {t: mine.evaluate(x + t * direction, gradient=False).value for t in (0, *STEPS)}
    assert (taylor_orders(value.__getitem__, slope, STEPS) > 1.9).all()
