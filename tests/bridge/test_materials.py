"""Networks of several outputs a pixel: materials with exact volumes, the same on any number of ranks."""

import numpy as np
import pytest
import torch
from density_cases import check_against_the_whole, comm, gmsh_plate, make_domain, rectangle
from mpi4py import MPI

from dolfinx_neural_topo.bridge import NeuralDesign, SampledTransfer, TopologyObjective
from dolfinx_neural_topo.density import ConeFilter, DensityField, MultiDesign
from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.networks import FourierMLP, LeanCNN, MultiresolutionLogits, PaperCNN, PixelLogits
from dolfinx_neural_topo.optimize import LBFGS, minimize

FRACTIONS = (0.2, 0.3)
STEPS = (2e-4, 1e-4, 5e-5)


class Apart:
    """A smooth functional of two fields on owned cells that wants them in different places."""

    def __init__(self, domain):
        self.comm = domain.comm
        x, y = domain.midpoints[:, :2].T
        self.cost = domain.cell_volumes * np.array([np.cos(0.7 * x + y), np.sin(0.9 * x - 0.3 * y)])

    def value(self, rho):
        return self.comm.allreduce(float((self.cost * (rho + rho**2 + 0.5 * rho[::-1] * rho)).sum()))

    def value_and_gradient(self, rho):
        swapped = 0.5 * (self.cost + self.cost[::-1]) * rho[::-1]
        return self.value(rho), self.cost * (1.0 + 2.0 * rho) + swapped


def make_design(on, mesh=None, **options):
    mesh = mesh or rectangle(on, 16, 8)
    domains = [make_domain(mesh, volume_fraction=v, void=lambda x: x[0] > 11.0) for v in FRACTIONS]
    fields = [DensityField(domain, filter=ConeFilter(domain, 1.6)) for domain in domains]
    return MultiDesign(Apart(domains[0]), fields, **options)


NETWORKS = {
    "paper": lambda n: PaperCNN((8, 16), outputs=n, dtype=torch.float64),
    "lean": lambda n: LeanCNN((8, 16), outputs=n, dtype=torch.float64),
    "pixels": lambda n: MultiresolutionLogits((8, 16), outputs=n, dtype=torch.float64),
    "a logit each": lambda n: PixelLogits((8, 16), outputs=n),
    "points": lambda n: FourierMLP(
        2, length_scale=3.0, features=9, hidden=(8,), outputs=n, dtype=torch.float64
    ),
}


@pytest.mark.ranks
@pytest.mark.parametrize("kind", NETWORKS)
def test_taylor_to_the_weights_and_the_same_on_all_ranks(kind):
    ours, theirs = (NeuralDesign(make_design(on), NETWORKS[kind](3)) for on in (comm, MPI.COMM_SELF))
    a = check_against_the_whole(ours, theirs, STEPS)
    for field, rho, fraction in zip(ours.design.fields, a.rho, FRACTIONS, strict=True):
        assert field.volume(rho) == pytest.approx(fraction, rel=1e-10)


def test_a_network_designs_two_materials():
    neural = NeuralDesign(make_design(comm), NETWORKS["lean"](3))
    start = neural.evaluate(neural.initial(), gradient=False).value
    found = minimize(neural, LBFGS(), evaluations=20)
    assert found.objective < start - 0.1 * abs(start)
    volumes = [field.volume(rho) for field, rho in zip(neural.design.fields, found.rho, strict=True)]
    assert volumes == pytest.approx(FRACTIONS, rel=1e-10)


class OwnImage(torch.nn.Module):
    """A user's own network of three logits a pixel, replicated."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.logits = torch.nn.Parameter(torch.randn(6, 9, 3, generator=generator, dtype=torch.float64))

    def forward(self):
        return torch.tanh(self.logits)


@pytest.mark.ranks
def test_a_network_of_ones_own_has_the_outputs_last():
    values = []
    for on in (comm, MPI.COMM_SELF):
        design = make_design(on)
        neural = NeuralDesign(design, OwnImage(), SampledTransfer(design.domain, (6, 9)))
        values.append(neural.evaluate(neural.initial()).value)
    assert values[0] == pytest.approx(values[1], rel=1e-9)


def test_independent_fields_on_any_mesh_in_a_loop_of_ones_own():
    design = make_design(comm, gmsh_plate(comm), kind="independent")
    objective = TopologyObjective(design, SampledTransfer(design.domain, (6, 9)))
    network = PixelLogits(
        (6, 9), torch.linspace(-1.0, 1.0, 108, dtype=torch.float64).view(6, 9, 2), outputs=2
    )
    objective(network()).backward()  # of the whole image, which all ranks hold
    assert network.logits.grad.shape == (6, 9, 2) and network.logits.grad.abs().max() > 0.0
    rho = objective.density(network())
    np.testing.assert_array_equal(rho.detach().numpy(), objective.last.rho)
    volumes = torch.from_numpy(
        np.array([np.where(f.domain.design, f.domain.cell_volumes, 0.0) for f in design.fields])
    )
    network.logits.grad = None
    (volumes * rho).sum().backward()
    assert network.logits.grad.abs().max() < 1e-10  # volumes do not change


@pytest.mark.parametrize("kind", [kind for kind in NETWORKS if kind != "points"])
def test_one_output_has_the_shape_of_the_image(kind):
    assert NETWORKS[kind](1)().shape == (8, 16)
    assert NETWORKS[kind](2)().shape == NETWORKS[kind](2).output_shape == (8, 16, 2)


@pytest.mark.ranks
def test_a_wrong_number_of_outputs_is_refused():
    with pytest.raises(InputError, match=r"shape \(8, 16, 3\), got \(8, 16\); way out: outputs=3"):
        NeuralDesign(make_design(comm), NETWORKS["paper"](1))
    with pytest.raises(InputError, match="3"):
        neural = NeuralDesign(make_design(comm), NETWORKS["points"](2))
        neural.evaluate(neural.initial())
    with pytest.raises(InputError, match="outputs"):
        PaperCNN((8, 16), outputs=0)
