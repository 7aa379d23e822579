import numpy as np
import pytest
from density_cases import MESHES, comm, dot, gathered, make_domain, rectangle, seeded, taylor_orders

from dolfinx_neural_topo.density import (
    Chain,
    ChainVolume,
    ConeFilter,
    HeavisideProjection,
    VolumeConstrainedSigmoid,
    _root,
    sigmoid,
)
from dolfinx_neural_topo.errors import InputError, SolverError

LOGITS = {
    "zero": lambda z: 0.0 * z,
    "smooth": lambda z: 4.0 * z - 2.0,
    "far": lambda z: 5.0 * z + 3000.0,
    "wide": lambda z: 60.0 * (z - 0.5),
    "saturated": lambda z: np.where(z > 0.5, 1e4, -1e4),
    "saturated-rough": lambda z: 1e4 * np.sign(z - 0.5) + z,
    "spread": lambda z: 2e4 * (z - 0.5),
    "one-outlier": lambda z: np.where(z == z.max(initial=0.0), 1e4, z),
    "cubed": lambda z: 1e4 * (2.0 * z - 1.0) ** 9,
}


@pytest.fixture
def count_reductions(monkeypatch):
    """Count what the sigmoid and its root search send around."""
    calls = []
    for module in (_root, sigmoid):
        for name in ("sum_replicated", "max_replicated"):
            original = getattr(module, name, None)
            if original is not None:
                counting = lambda *args, original=original: calls.append(1) or original(*args)  # noqa: E731
                monkeypatch.setattr(module, name, counting)
    return calls


def material(domain, rho):
    return dot(domain, domain.cell_volumes, np.where(domain.design, rho, 0.0))


@pytest.mark.ranks
@pytest.mark.parametrize("volume_fraction", [0.01, 0.3, 0.5, 0.99])
@pytest.mark.parametrize("name", LOGITS)
def test_volume_is_exact_in_ten_reductions(name, volume_fraction, count_reductions):
    domain = make_domain(rectangle(comm, 40, 25), volume_fraction=volume_fraction)
    stage = VolumeConstrainedSigmoid(domain)
    count_reductions.clear()
    rho = stage.apply(LOGITS[name](seeded(domain, 0)))
    assert len(count_reductions) <= 10
    assert material(domain, rho) == pytest.approx(domain.target_volume, rel=1e-12)
    assert ((rho >= 0.0) & (rho <= 1.0)).all()


@pytest.mark.parametrize("kind", MESHES)
def test_density_is_a_shifted_sigmoid(kind):
    domain = make_domain(
        MESHES[kind](comm),
        volume_fraction=0.4,
        solid=lambda x: x[0] < 1.0,
        void=lambda x: (x[0] > 1.0) & (x[1] > 3.0),
    )
    logits = seeded(domain, 1, -3.0, 3.0)
    rho = VolumeConstrainedSigmoid(domain).apply(logits)
    np.testing.assert_array_equal(rho[domain.solid], 1.0)
    np.testing.assert_array_equal(rho[domain.void], 0.0)
    inside = rho[domain.design]
    shift = np.log(inside / (1.0 - inside)) - logits[domain.design]
    extremes = [comm.allreduce(shift.max(initial=-1e9), max), comm.allreduce(shift.min(initial=1e9), min)]
    assert extremes[0] - extremes[1] < 1e-10
    whole = domain.design_volume + domain.solid_volume
    assert dot(domain, domain.cell_volumes, rho) == pytest.approx(0.4 * whole, rel=1e-12)


def test_half_of_the_cells_saturated_is_met_exactly():
    """A whole interval of shifts is right and no derivative is left: nothing may divide by zero."""
    domain = make_domain(rectangle(comm), volume_fraction=0.5)
    stage = VolumeConstrainedSigmoid(domain)
    logits = np.where(domain.midpoints[:, 0] < 6.0, 1e4, -1e4)
    rho = stage.apply(logits)
    np.testing.assert_allclose(rho, logits > 0.0, atol=1e-12)
    assert np.isfinite(stage.pullback(seeded(domain, 2), logits, rho)).all()
    saturated = (logits > 0.0).astype(float)
    np.testing.assert_array_equal(stage.pullback(seeded(domain, 2), logits, saturated), 0.0)


def volumes(domain):
    """Each kind of volume to constrain, and how to compute it from rho_design."""
    cone, step = ConeFilter(domain, 2.2), HeavisideProjection(6.0, 0.45)
    weights = cone.apply_transpose(np.where(domain.design, domain.cell_volumes, 0.0))
    return {
        "design": (VolumeConstrainedSigmoid(domain), lambda rho: rho),
        "filtered": (VolumeConstrainedSigmoid(domain, weights), cone.apply),
        "projected": (
            VolumeConstrainedSigmoid(domain, volume=ChainVolume(domain, Chain([cone, step]))),
            lambda rho: step.apply(cone.apply(rho)),
        ),
        "projected-only": (
            VolumeConstrainedSigmoid(domain, volume=ChainVolume(domain, Chain([step]))),
            step.apply,
        ),
    }


@pytest.mark.ranks
@pytest.mark.parametrize("kind", ["squares", "gmsh", "cubes"])
@pytest.mark.parametrize("name", ["design", "filtered", "projected", "projected-only"])
def test_gradient_is_that_of_the_implicit_function(kind, name):
    options = {"solid": lambda x: x[0] < 1.0, "void": lambda x: (x[0] > 6.0) & (x[1] > 4.0)}
    domain = make_domain(MESHES[kind](comm), volume_fraction=0.4, **options)
    stage, physical = volumes(domain)[name]
    logits, direction = seeded(domain, 1, -3.0, 3.0), seeded(domain, 2, -1.0, 1.0)
    weights = seeded(domain, 3, -1.0, 1.0)

    def value(t):
        rho_design = stage.apply(logits + t * direction)
        assert material(domain, physical(rho_design)) == pytest.approx(domain.target_volume, rel=1e-12)
        return dot(domain, weights, rho_design**2)

    rho_design = stage.apply(logits)
    gradient = stage.pullback(2.0 * weights * rho_design, logits, rho_design)
    assert (taylor_orders(value, dot(domain, gradient, direction)) > 1.9).all()
    np.testing.assert_array_equal(gradient[~domain.design], 0.0)
    assert (
        abs(dot(domain, gradient, np.ones_like(gradient))) < 1e-12 * np.abs(gathered(domain, gradient)).sum()
    )


@pytest.mark.parametrize("beta", [1.0, 8.0, 64.0])
@pytest.mark.parametrize("volume_fraction", [0.05, 0.5, 0.9])
def test_projected_volume_in_ten_reductions(beta, volume_fraction, count_reductions):
    domain = make_domain(rectangle(comm, 40, 25), volume_fraction=volume_fraction)
    cone, step = ConeFilter(domain, 2.0), HeavisideProjection(beta)
    stage = VolumeConstrainedSigmoid(domain, volume=ChainVolume(domain, Chain([cone, step])))
    x = domain.midpoints
    for logits in (seeded(domain, 4, -2.0, 2.0), 3.0 * np.sin(0.3 * x[:, 0]) * np.cos(0.4 * x[:, 1])):
        count_reductions.clear()
        rho = step.apply(cone.apply(stage.apply(logits)))
        assert len(count_reductions) <= 10
        assert material(domain, rho) == pytest.approx(domain.target_volume, rel=1e-12)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_logits_that_are_not_finite_on_one_rank(bad):
    domain = make_domain(rectangle(comm))
    logits = seeded(domain, 1)
    if comm.rank == comm.size - 1:
        logits[0] = bad
    with pytest.raises(InputError, match="logits must be finite"):
        VolumeConstrainedSigmoid(domain).apply(logits)


def test_logits_of_passive_cells_do_not_matter():
    domain = make_domain(rectangle(comm), void=lambda x: x[0] > 8.0)
    stage = VolumeConstrainedSigmoid(domain)
    logits = seeded(domain, 1)
    spoiled = np.where(domain.design, logits, np.nan)
    np.testing.assert_array_equal(stage.apply(logits), stage.apply(spoiled))


def test_logits_of_the_wrong_shape_on_one_rank():
    domain = make_domain(rectangle(comm))
    logits = seeded(domain, 1)
    if comm.rank == comm.size - 1:
        logits = logits[:-1]
    with pytest.raises(InputError, match="logits must have shape"):
        VolumeConstrainedSigmoid(domain).apply(logits)


def test_weights_and_volume_exclude_each_other():
    domain = make_domain(rectangle(comm))
    volume = ChainVolume(domain, Chain([HeavisideProjection(2.0)]))
    with pytest.raises(InputError, match="exclude each other"):
        VolumeConstrainedSigmoid(domain, domain.cell_volumes, volume=volume)


def test_mean_that_cannot_reach_the_fraction():
    with pytest.raises(SolverError, match="no shift of the logits reaches"):
        _root.newton(lambda shift: (0.25, 0.0), 0.0, 0.5)


@pytest.mark.ranks
def test_at_most_the_volume():
    domain = make_domain(rectangle(comm), volume_fraction=0.4, void=lambda x: x[0] > 9.0)
    stage = VolumeConstrainedSigmoid(domain, at_most=True)
    logits, direction, g = seeded(domain, 1, -2.0, 2.0), seeded(domain, 2, -1.0, 1.0), seeded(domain, 3)
    for shift, share in ((-6.0, 0.05), (0.0, 0.95), (60.0, 1.0)):
        used = dot(domain, domain.cell_volumes, stage.apply(logits + shift)) / domain.target_volume
        assert used == pytest.approx(share, abs=0.02) and used <= 1.0 + 1e-12
    slope = dot(domain, stage.pullback(g, logits, stage.apply(logits)), direction)
    orders = taylor_orders(lambda t: dot(domain, g, stage.apply(logits + t * direction)), slope)
    assert (orders > 1.9).all()
