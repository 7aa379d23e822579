"""The limit on local volume: exact values, gradients, any number of ranks, and a design that obeys it."""

import dolfinx
import numpy as np
import pytest
from density_cases import MESHES, make_domain, seeded
from dolfinx import fem
from mpi4py import MPI

from dolfinx_neural_topo.bridge import NeuralDesign
from dolfinx_neural_topo.density import ConeFilter, Design, DesignDomain, LocalVolume
from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.networks import FourierMLP
from dolfinx_neural_topo.optimize import LBFGS, AugmentedLagrangian, minimize
from dolfinx_neural_topo.physics import Compliance, StateProblem, heat, simp

comm = MPI.COMM_WORLD


@pytest.mark.parametrize("power", [1.0, 16.0, 500.0])
def test_a_constant_is_its_own_local_volume(power):
    domain = make_domain(MESHES["gmsh"](comm))
    porous = LocalVolume(domain, 2.0, power=power)
    assert porous.value(np.full(domain.num_owned_cells, 0.3)) == pytest.approx(0.3, rel=1e-12)
    value, slope = porous.value_and_gradient(np.zeros(domain.num_owned_cells))
    assert value == 0.0 and not slope.any()


def test_a_large_power_gives_the_fullest_neighbourhood():
    domain = make_domain(MESHES["squares"](comm))
    rho = seeded(domain, 3)
    fullest = comm.allreduce(ConeFilter(domain, 2.5).apply(rho).max(initial=0.0), op=MPI.MAX)
    values = [LocalVolume(domain, 2.5, power=power).value(rho) for power in (4.0, 16.0, 2000.0)]
    assert np.all(np.diff([*values, fullest]) > 0.0)
    assert values[-1] == pytest.approx(fullest, rel=5e-3)


@pytest.mark.parametrize("kind", MESHES)
def test_gradient(kind):
    domain = make_domain(MESHES[kind](comm), solid=lambda x: x[0] < 1.2)
    porous = LocalVolume(domain, 2.0)
    rho = np.where(domain.design, seeded(domain, 1, 0.1, 0.9), 1.0)
    direction = np.where(domain.design, seeded(domain, 2, -1.0, 1.0), 0.0)
    value, slope = porous.value_and_gradient(rho)
    linear = comm.allreduce(slope @ direction)
    steps = 1e-2 * 0.5 ** np.arange(4)
    errors = [abs(porous.value(rho + h * direction) - value - h * linear) for h in steps]
    assert np.log2(np.array(errors[:-1]) / errors[1:]).min() > 1.9


def test_a_network_obeys_two_limits_at_once():
    """A heated plate, porous, and with a limit on its temperature."""
    mesh = dolfinx.mesh.create_unit_square(comm, 24, 24, dolfinx.mesh.CellType.quadrilateral)
    rho = fem.Function(fem.functionspace(mesh, ("DG", 0)))
    V = fem.functionspace(mesh, ("Lagrange", 1))
    cold = fem.locate_dofs_geometrical(V, lambda x: np.isclose(x[0], 0.0))
    a = heat.bilinear_form(V, simp(rho, E_min=1e-2))
    L = heat.source(V, fem.Constant(mesh, 1.0))
    state = StateProblem((a, L), rho, bcs=[fem.dirichletbc(0.0, cold, V)], petsc_options_prefix="porous_")
    compliance = Compliance(state)
    domain = DesignDomain(rho, volume_fraction=0.5)
    porous = LocalVolume(domain, radius=0.15)
    free = Design(compliance, domain, filter=ConeFilter(domain, 0.06))
    network = FourierMLP(2, length_scale=0.2, seed=0)
    stiffest = minimize(NeuralDesign(free, network), LBFGS(), evaluations=40)
    assert porous.value(stiffest.rho) > 0.75
    limits = [(porous, 0.65), (compliance, 1.5 * stiffest.objective)]
    design = Design(compliance, domain, filter=free.filter, constraints=limits)
    network = FourierMLP(2, length_scale=0.2, seed=0)
    lagrangian = AugmentedLagrangian(LBFGS())
    result = minimize(NeuralDesign(design, network), lagrangian, evaluations=160)
    assert result.best.violation <= 1e-3
    assert porous.value(result.rho) <= 0.65 * 1.001
    assert stiffest.objective < result.objective <= 1.5015 * stiffest.objective
    assert lagrangian.multipliers[0] > 0.0
    state.destroy()


@pytest.mark.ranks
def test_lists_and_read_only_and_fortran_ordered_arrays_are_densities():
    domain = make_domain(MESHES["squares"](comm))
    rho = np.array([seeded(domain, 3), seeded(domain, 4)])
    porous = LocalVolume(domain, 2.5, field=1)
    value, slope = porous.value_and_gradient(rho)
    for other in (rho.tolist(), np.asfortranarray(rho), np.broadcast_to(rho, rho.shape)):
        again, gradient = porous.value_and_gradient(other)
        assert again == value
        np.testing.assert_array_equal(gradient, slope)


def test_bad_input():
    domain = make_domain(MESHES["squares"](comm))
    with pytest.raises(InputError, match="power must be at least 1 and finite"):
        LocalVolume(domain, 2.0, power=0.5)
    with pytest.raises(InputError, match="radius must be positive"):
        LocalVolume(domain, 0.0)
    with pytest.raises(InputError, match="field must be at least 0"):
        LocalVolume(domain, 2.0, field=-1)
    for rho in (np.zeros(domain.num_owned_cells), np.zeros((2, domain.num_owned_cells))):
        with pytest.raises(InputError, match="field must number one of several densities, got 2 for"):
            LocalVolume(domain, 2.0, field=2).value(rho)
    rho = np.zeros(domain.num_owned_cells)
    with pytest.raises(InputError, match="rho must have a value everywhere, got a masked array"):
        LocalVolume(domain, 2.0).value(np.ma.array(rho, mask=rho < 1.0))
