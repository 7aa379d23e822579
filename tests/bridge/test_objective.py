import numpy as np
import pytest
import torch
from density_cases import Polynomial, comm, dot, gmsh_plate, make_domain, rectangle, seeded, taylor_orders

from dolfinx_neural_topo.bridge import (
    PixelTransfer,
    PointTransfer,
    SampledTransfer,
    TopologyObjective,
    global_sum,
)
from dolfinx_neural_topo.density import CellGrid, ConeFilter, Design, HeavisideProjection
from dolfinx_neural_topo.errors import InputError, ReplicationError
from dolfinx_neural_topo.physics import ReducedFunctional, StateProblem, heat, simp


def make_objective(kind, *, projection=None, constraints=False):
    domain = make_domain(
        gmsh_plate(comm) if kind == "sampled" else rectangle(comm, 6, 4),
        volume_fraction=0.4,
        void=lambda x: (x[0] > 4.0) & (x[1] > 2.0),
    )
    bounds = [(Polynomial(domain, seed=7), 3.0), (Polynomial(domain, seed=8), 2.0)] if constraints else []
    design = Design(
        Polynomial(domain), domain, filter=ConeFilter(domain, 1.6), projection=projection, constraints=bounds
    )
    transfers = {
        "pixels": lambda: PixelTransfer(CellGrid(domain.mesh, (4, 6))),
        "sampled": lambda: SampledTransfer(domain, (5, 7)),
        "points": lambda: None,
    }
    return TopologyObjective(design, transfers[kind]())


def random_logits(objective, seed=0, **options):
    if hasattr(objective.transfer, "tiles"):
        values = np.random.default_rng(seed).standard_normal(objective.transfer.shape)
    else:
        values = seeded(objective.design.domain, seed, -2.0, 2.0)
    return torch.tensor(values, dtype=torch.float64, **options)


def inner(objective, x, y):
    """Inner product of two outputs of the network."""
    if hasattr(objective.transfer, "tiles"):
        return float((x * y).sum())
    return dot(objective.design.domain, x.detach().numpy(), y.detach().numpy())


KINDS = ["pixels", "sampled", "points"]


@pytest.mark.parametrize("kind", ["pixels", "points"] if comm.size == 1 else ["pixels"])
def test_gradcheck(kind):
    """Finite differences entry by entry, which must mean the same on all ranks: replicated logits there."""
    objective = make_objective(kind, projection=HeavisideProjection(4.0), constraints=True)
    logits = random_logits(objective, requires_grad=True)
    assert torch.autograd.gradcheck(objective, (logits,), eps=1e-5, atol=1e-6, rtol=1e-5)
    assert torch.autograd.gradcheck(objective.values, (logits,), eps=1e-5, atol=1e-6, rtol=1e-5)
    if comm.size == 1:
        assert torch.autograd.gradcheck(objective.density, (logits,), eps=1e-5, atol=1e-6, rtol=1e-5)


@pytest.mark.ranks
@pytest.mark.parametrize("kind", KINDS)
def test_taylor(kind):
    objective = make_objective(kind)
    logits, direction = random_logits(objective, requires_grad=True), random_logits(objective, 1)
    objective(logits).backward()
    slope = inner(objective, logits.grad, direction)
    with torch.no_grad():
        assert (taylor_orders(lambda t: objective(logits + t * direction).item(), slope) > 1.9).all()


@pytest.mark.ranks
@pytest.mark.parametrize("kind", ["pixels", "sampled"])
def test_values_and_gradients_are_the_same_bits_on_all_ranks(kind):
    objective = make_objective(kind)
    logits = random_logits(objective, requires_grad=True)
    value = objective(logits)
    value.backward()
    bits = value.detach().numpy().tobytes() + logits.grad.numpy().tobytes()
    assert comm.bcast(bits) == bits


@pytest.mark.parametrize("kind", KINDS)
def test_two_forwards_then_backward_of_the_first(kind):
    objective = make_objective(kind)
    first, second = (random_logits(objective, seed, requires_grad=True) for seed in (0, 1))
    alone = random_logits(objective, requires_grad=True)
    objective(alone).backward()
    value = objective(first)
    objective(second)
    value.backward()
    assert torch.equal(first.grad, alone.grad)
    assert second.grad is None


def test_a_value_alone_solves_no_adjoint():
    domain = make_domain(rectangle(comm, 6, 4))
    import dolfinx
    import ufl

    rho = dolfinx.fem.Function(domain.space)
    V = dolfinx.fem.functionspace(domain.mesh, ("Lagrange", 1))
    left = dolfinx.fem.locate_dofs_geometrical(V, lambda x: np.isclose(x[0], 0.0))
    bcs = [dolfinx.fem.dirichletbc(0.0, left, V)]
    equation = (heat.bilinear_form(V, simp(rho, E_min=1e-3)), heat.source(V, 1.0))
    with StateProblem(equation, rho, bcs=bcs, petsc_options_prefix="count_") as state:
        x = ufl.SpatialCoordinate(domain.mesh)
        functional = ReducedFunctional(x[0] * state.u**2 * ufl.dx, state)
        objective = TopologyObjective(
            Design(functional, domain), PixelTransfer(CellGrid(domain.mesh, (4, 6)))
        )
        logits = random_logits(objective, requires_grad=True)
        with torch.no_grad():
            value = objective(logits)
        objective(logits.detach())
        assert state.num_adjoint_solves == 0
        loss = objective(logits)
        assert state.num_adjoint_solves == 1
        loss.backward()
        assert state.num_adjoint_solves == 1
        assert loss.item() == value.item()
        direction = random_logits(objective, 1)
        slope = inner(objective, logits.grad, direction)
        with torch.no_grad():
            assert (taylor_orders(lambda t: objective(logits + t * direction).item(), slope) > 1.9).all()


@pytest.mark.ranks
@pytest.mark.parametrize("kind", KINDS)
def test_a_loss_of_ones_own_beside_the_objective(kind):
    """J plus a penalty on greyness, and a bound on a constraint: one backward pass through all of it."""
    objective = make_objective(kind, projection=HeavisideProjection(3.0), constraints=True)
    volumes = torch.from_numpy(objective.design.domain.cell_volumes)

    def loss(logits):
        rho = objective.density(logits)
        greyness = global_sum(comm, (volumes * rho * (1.0 - rho)).sum())
        values = objective.values(logits)
        return values[0] + 2.5 * greyness + torch.relu(values[1:] + 10.0).square().sum()

    logits, direction = random_logits(objective, requires_grad=True), random_logits(objective, 1)
    loss(logits).backward()
    slope = inner(objective, logits.grad, direction)
    with torch.no_grad():
        assert (
            taylor_orders(lambda t: loss(logits + t * direction).item(), slope, (4e-3, 2e-3, 1e-3)) > 1.9
        ).all()


def test_any_torch_optimizer_lowers_it():
    objective = make_objective("pixels")
    logits = torch.zeros(4, 6, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.1)
    values = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = objective(logits)
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert (np.diff(values) < 0.0).all()
    assert objective.last.value == values[-1]
    assert objective.last.volume == pytest.approx(0.4, rel=1e-12)


def test_second_derivatives_are_refused():
    logits = random_logits(objective := make_objective("pixels"), requires_grad=True)
    weight = torch.ones((), dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(weight * objective(logits), logits, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


BAD = {
    "float32": (lambda z: z.float(), r"logits must be float64 on the CPU, got torch.float32"),
    "numpy": (lambda z: z.numpy(), r"logits must be a torch.Tensor, got an array"),
    "shape": (lambda z: z.T.contiguous(), r"logits must have shape \(4, 6\), got \(6, 4\)"),
    "nan": (lambda z: torch.where(z == z.max(), torch.nan, z), r"logits must be finite"),
}


@pytest.mark.parametrize("kind", BAD)
def test_unusable_logits(kind):
    objective = make_objective("pixels")
    spoil, message = BAD[kind]
    with pytest.raises(InputError, match=message):
        objective(spoil(random_logits(objective)))
    if kind != "nan" and comm.size > 1:  # on one rank only: all ranks must raise all the same
        logits = random_logits(objective)
        with pytest.raises(InputError, match=message):
            objective(spoil(logits) if comm.rank == 1 else logits)


def test_nan_of_a_coordinate_network_on_one_rank():
    objective = make_objective("points")
    logits = random_logits(objective)
    if comm.rank == comm.size - 1:
        logits[torch.from_numpy(objective.design.domain.design)] = torch.nan
    with pytest.raises(InputError, match="logits must be finite"):
        objective(logits)


@pytest.mark.ranks
def test_logits_that_differ_between_ranks():
    objective = make_objective("pixels")
    logits = random_logits(objective)
    logits[0, 0] += 1e-15 * comm.rank
    if comm.size == 1:
        assert np.isfinite(objective(logits).item())
        return
    with pytest.raises(ReplicationError, match="logits must be identical on all"):
        objective(logits)


def test_transfer_of_another_mesh():
    objective = make_objective("pixels")
    other = make_domain(rectangle(comm, 6, 4))
    with pytest.raises(InputError, match="transfer must be made for the mesh"):
        TopologyObjective(objective.design, PointTransfer(other))
