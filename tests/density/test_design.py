import itertools

import dolfinx
import numpy as np
import pytest
import ufl
from density_cases import (
    MESHES,
    Polynomial,
    comm,
    dot,
    gathered,
    make_domain,
    rectangle,
    seeded,
    taylor_orders,
)
from mpi4py import MPI

from dolfinx_neural_topo.density import (
    ConeFilter,
    Design,
    HeavisideProjection,
    HelmholtzFilter,
    SymmetryPlane,
    ThreeFieldProjection,
)
from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.physics import Compliance, StateProblem, elasticity, simp

PROJECTIONS = {
    "plain": lambda: None,
    "projected": lambda: HeavisideProjection(6.0, 0.45),
    "robust": lambda: ThreeFieldProjection(6.0, delta=0.2),
}
CHAINS = list(itertools.product(["none", "cone", "helmholtz"], PROJECTIONS, ["design", "physical"]))


def make_design(mesh, filter_name, projection, constrain, **options):
    domain = make_domain(
        mesh,
        volume_fraction=0.4,
        solid=lambda x: x[0] < 1.0,
        void=lambda x: (x[0] > 6.0) & (x[1] > 4.0),
        **options,
    )
    stage = {"none": lambda *_: None, "cone": ConeFilter, "helmholtz": HelmholtzFilter}[filter_name](
        domain, 2.2
    )
    bounded = Polynomial(domain, seed=10)
    return Design(
        Polynomial(domain),
        domain,
        filter=stage,
        projection=PROJECTIONS[projection](),
        constrain=constrain,
        constraints=[(bounded, 5.0)],
    )


def release(design):
    if isinstance(design.filter, HelmholtzFilter):
        design.filter.destroy()


@pytest.mark.ranks
@pytest.mark.parametrize(("filter_name", "projection", "constrain"), CHAINS)
def test_gradients_from_logits_through_the_whole_chain(filter_name, projection, constrain):
    design = make_design(rectangle(comm), filter_name, projection, constrain)
    domain = design.domain
    logits, direction = seeded(domain, 1, -3.0, 3.0), seeded(domain, 2, -1.0, 1.0)
    base = design.logits.evaluate(logits)
    trials = {
        t: design.logits.evaluate(logits + t * direction, gradient=False) for t in (0.0, 4e-3, 2e-3, 1e-3)
    }
    assert trials[0.0].gradient is None and trials[0.0].constraint_gradients is None
    steps = (4e-3, 2e-3, 1e-3)
    slope = dot(domain, base.gradient, direction)
    assert (taylor_orders(lambda t: trials[t].value, slope, steps) > 1.9).all()
    assert base.constraint_gradients.shape == (1, domain.num_owned_cells)
    slope = dot(domain, base.constraint_gradients[0], direction)
    assert (taylor_orders(lambda t: trials[t].constraints[0], slope, steps) > 1.9).all()
    held = base.rho if constrain == "physical" else base.rho_design
    assert design.volume(held) == pytest.approx(0.4, rel=1e-12)
    assert base.volume == pytest.approx(design.volume(base.rho), rel=1e-14)
    for rho in (base.rho, base.rho_design):
        np.testing.assert_allclose(rho[domain.solid], 1.0, rtol=1e-12)
        np.testing.assert_allclose(rho[domain.void], 0.0, atol=1e-12)
    release(design)


@pytest.mark.ranks
@pytest.mark.parametrize(("filter_name", "projection", "constrain"), CHAINS)
def test_gradients_with_respect_to_densities(filter_name, projection, constrain):
    design = make_design(rectangle(comm), filter_name, projection, constrain)
    domain = design.domain
    inside = domain.design
    x, direction = seeded(domain, 1, 0.1, 0.9)[inside], seeded(domain, 2, -1.0, 1.0)[inside]
    base = design.evaluate(x)
    trials = {t: design.evaluate(x + t * direction, gradient=False) for t in (0.0, 8e-3, 4e-3, 2e-3)}
    steps = (8e-3, 4e-3, 2e-3)
    assert (
        taylor_orders(lambda t: trials[t].value, dot(domain, base.gradient, direction), steps) > 1.9
    ).all()
    assert base.constraints.shape == (2,) and base.constraint_gradients.shape == (2, inside.sum())
    for k in range(2):
        slope = dot(domain, base.constraint_gradients[k], direction)
        if k == 0 and (constrain == "design" or projection == "plain"):  # linear: no remainder to speak of
            change = trials[8e-3].constraints[0] - base.constraints[0]
            assert change == pytest.approx(8e-3 * slope, rel=1e-9)
        else:
            assert (taylor_orders(lambda t, k=k: trials[t].constraints[k], slope, steps) > 1.9).all()
    volume = base.volume if constrain == "physical" else design.volume(base.rho_design)
    assert base.constraints[0] == pytest.approx(volume / 0.4 - 1.0, abs=1e-12)
    release(design)


@pytest.mark.parametrize(("filter_name", "projection", "constrain"), CHAINS)
def test_initial_density_is_constant_and_allowed(filter_name, projection, constrain):
    design = make_design(rectangle(comm), filter_name, projection, constrain)
    x = design.initial()
    assert x.shape == (design.domain.design.sum(),)
    extremes = [comm.allreduce(x.max(initial=0.0), max), comm.allreduce(x.min(initial=1.0), min)]
    assert extremes[0] == pytest.approx(extremes[1], rel=1e-13)
    assert abs(design.evaluate(x, gradient=False).constraints[0]) < 1e-12
    release(design)


def test_robust_objective_is_the_worst_of_three():
    design = make_design(rectangle(comm), "cone", "robust", "physical")
    evaluation = design.logits.evaluate(seeded(design.domain, 1, -3.0, 3.0))
    filtered = design.filter.apply(evaluation.rho_design)
    values = [design.functional.value(p.apply(filtered)) for p in design.projection.realizations]
    assert evaluation.value == max(values)
    np.testing.assert_array_equal(evaluation.rho, design.projection.intermediate.apply(filtered))


def test_robust_objective_does_not_hide_nan():
    design = make_design(rectangle(comm), "none", "robust", "physical")
    numbers = iter([1.0, float("nan"), 2.0])
    design.functional.value = lambda rho: next(numbers)
    assert np.isnan(design.evaluate(design.initial(), gradient=False).value)


def plate(domain, traction):
    """Compliance of a plate clamped at the bottom and pulled at the top."""
    mesh = domain.mesh
    rho = dolfinx.fem.Function(domain.space)
    V = dolfinx.fem.functionspace(mesh, ("Lagrange", 1, (2,)))
    v = ufl.TestFunction(V)
    x = ufl.SpatialCoordinate(mesh)
    top = ufl.conditional(ufl.ge(x[1], 8.0 - 1e-9), 1.0, 0.0)
    L = top * traction * v[1] * ufl.ds
    bottom = dolfinx.fem.locate_dofs_geometrical(V, lambda x: np.isclose(x[1], 0.0))
    bcs = [dolfinx.fem.dirichletbc(np.zeros(2), bottom, V)]
    return V, rho, L, bcs


@pytest.mark.ranks
def test_half_of_a_symmetric_structure_has_the_objective_of_the_whole():
    results = []
    for width, symmetry in ((12, ()), (6, [SymmetryPlane((6.0, 0.0), (1.0, 0.0))])):
        domain = make_domain(rectangle(comm, width, 8), volume_fraction=0.4, symmetry=symmetry)
        V, rho, L, bcs = plate(domain, 1.0)
        if symmetry:
            middle = dolfinx.fem.locate_dofs_geometrical(
                (V.sub(0), V.sub(0).collapse()[0]), lambda x: np.isclose(x[0], 6.0)
            )
            zero = dolfinx.fem.Function(V.sub(0).collapse()[0])
            bcs.append(dolfinx.fem.dirichletbc(zero, middle, V.sub(0)))
        a = elasticity.bilinear_form(V, simp(rho), 0.3, model="plane_stress")
        with StateProblem((a, L), rho, bcs=bcs, petsc_options_prefix="half_") as state:
            design = Design(Compliance(state), domain, filter=ConeFilter(domain, 2.5))
            x = np.abs(domain.midpoints[:, 0] - 6.0)
            logits = np.sin(1.3 * x) + np.cos(0.9 * domain.midpoints[:, 1] + x)
            evaluation = design.logits.evaluate(logits)
            left = domain.midpoints[:, 0] < 6.0
            weight = np.where(left, np.sin(domain.midpoints[:, 0]), 0.0)
            results.append((evaluation.value, evaluation.volume, dot(domain, weight, evaluation.gradient)))
    whole, half = results
    assert half[0] == pytest.approx(whole[0], rel=1e-10)
    assert half[1] == pytest.approx(whole[1], rel=1e-12)
    # A change on the half stands for the same change on both sides.
    assert half[2] == pytest.approx(2.0 * whole[2], rel=1e-8)


def test_continuation_stage_is_restored():
    design = make_design(rectangle(comm), "none", "projected", "physical")
    logits = seeded(design.domain, 1, -2.0, 2.0)
    before, state = design.logits.evaluate(logits, gradient=False).value, design.persistence.state_dict()
    design.projection.beta = 12.0
    assert design.logits.evaluate(logits, gradient=False).value != before
    design.persistence.load_state_dict(state)
    assert design.logits.evaluate(logits, gradient=False).value == before
    with pytest.raises(InputError, match="does not fit projection"):
        design.persistence.load_state_dict({"beta": None})
    plain = make_design(rectangle(comm), "none", "plain", "physical")
    assert plain.persistence.state_dict() == {"beta": None}
    with pytest.raises(InputError, match="does not fit projection"):
        plain.persistence.load_state_dict(state)


def test_arguments_that_do_not_fit():
    domain, other = make_domain(rectangle(comm)), make_domain(rectangle(comm))
    with pytest.raises(InputError, match='constrain must be "physical" or "design"'):
        Design(Polynomial(domain), domain, constrain="volume")
    with pytest.raises(InputError, match="filter must be made for the domain"):
        Design(Polynomial(domain), domain, filter=ConeFilter(other, 2.0))
    with pytest.raises(InputError, match="bounds of constraints must be positive"):
        Design(Polynomial(domain), domain, constraints=[(Polynomial(domain), -1.0)])
    with pytest.raises(InputError, match="bounds of constraints must be positive and finite, got inf"):
        Design(Polynomial(domain), domain, constraints=[(Polynomial(domain), np.inf)])


@pytest.mark.ranks
@pytest.mark.parametrize("kind", MESHES)
@pytest.mark.parametrize("projection", PROJECTIONS)
def test_serial_equals_parallel(kind, projection):
    """The same numbers by global cell on one rank and on all, with ranks that own no design cell."""
    results = []
    for each in (comm, MPI.COMM_SELF):
        domain = make_domain(
            MESHES[kind](each), volume_fraction=0.4, solid=lambda x: x[0] < 0.5, void=lambda x: x[0] > 4.0
        )
        design = Design(
            Polynomial(domain), domain, filter=ConeFilter(domain, 1.7), projection=PROJECTIONS[projection]()
        )
        evaluation = design.logits.evaluate(seeded(domain, 1, -3.0, 3.0))
        fields = [evaluation.gradient, evaluation.rho_design, evaluation.rho]
        results.append((evaluation, [gathered(domain, field) for field in fields]))
        if each is comm and comm.size > 3 and kind == "squares":
            assert comm.allreduce(domain.design.sum(), min) == 0
    (parallel, parallel_fields), (serial, serial_fields) = results
    assert parallel.value == pytest.approx(serial.value, rel=1e-9)
    assert comm.bcast(parallel.value) == parallel.value
    for ours, theirs in zip(parallel_fields, serial_fields, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9 * np.abs(theirs).max())


@pytest.mark.ranks
@pytest.mark.parametrize("kind", ["squares", "gmsh", "cubes"])
def test_serial_equals_parallel_with_elasticity(kind):
    """The same, with the compliance of a body that hangs from its left side."""
    results = []
    for each in (comm, MPI.COMM_SELF):
        domain = make_domain(MESHES[kind](each), volume_fraction=0.4, void=lambda x: x[0] > 6.0)
        dim = domain.mesh.topology.dim
        rho = dolfinx.fem.Function(domain.space)
        V = dolfinx.fem.functionspace(domain.mesh, ("Lagrange", 1, (dim,)))
        left = dolfinx.fem.locate_dofs_geometrical(V, lambda x: np.isclose(x[0], 0.0))
        bcs = [dolfinx.fem.dirichletbc(np.zeros(dim), left, V)]
        a = elasticity.bilinear_form(
            V, simp(rho, E_min=1e-3), 0.3, model="plane_stress" if dim == 2 else "3d"
        )
        L = ufl.TestFunction(V)[1] * ufl.dx
        with StateProblem((a, L), rho, bcs=bcs, petsc_options_prefix="hang_") as state:
            design = Design(Compliance(state), domain, filter=ConeFilter(domain, 1.7))
            evaluation = design.logits.evaluate(seeded(domain, 1, -3.0, 3.0))
        results.append((evaluation.value, gathered(domain, evaluation.gradient)))
    (value, gradient), (expected_value, expected) = results
    assert value == pytest.approx(expected_value, rel=1e-9)
    np.testing.assert_allclose(gradient, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


class Compact:
    """J = sum_i v_i rho_i, least without material; no attribute but those that a functional must have."""

    def __init__(self, domain):
        self.comm, self._domain = domain.comm, domain

    def value(self, rho):
        return dot(self._domain, self._domain.cell_volumes, rho)

    def value_and_gradient(self, rho):
        return self.value(rho), self._domain.cell_volumes.copy()


def test_all_material_is_allowed_where_a_functional_limits_it():
    domain = make_domain(rectangle(comm), volume_fraction=1.0)
    design = Design(Compact(domain), domain, filter=ConeFilter(domain, 1.7))
    x = design.initial()
    assert (x == 1.0).all()
    evaluation = design.evaluate(x)
    assert evaluation.value == pytest.approx(96.0) and abs(evaluation.constraints[0]) < 1e-12
    with pytest.raises(InputError, match=r'way out: Design\(..., volume="at most"\)'):
        design.logits.evaluate(np.zeros(domain.num_owned_cells))
    lean = Design(Compact(domain), domain, volume="at most")
    assert lean.logits.evaluate(np.zeros(domain.num_owned_cells)).volume == pytest.approx(0.953, abs=1e-3)
    with pytest.raises(InputError, match='volume must be "exactly" or "at most"'):
        Design(Compact(domain), domain, volume="less")


def test_a_functional_that_has_value_and_gradient_only():
    domain = make_domain(rectangle(comm))
    design = Design(Compact(domain), domain, constraints=[(Compact(domain), 50.0)])
    assert design.evaluate(design.initial()).value == pytest.approx(48.0)
    assert design.persistence.num_solves == 0 and not design.persistence.settle()


@pytest.mark.parametrize(
    "name", ["functional", "constraints", "domain", "filter", "manufacturing", "projection", "constrain"]
)
def test_parts_of_a_design_cannot_be_exchanged(name):
    """They would act in part: what was made from them stays."""
    design = make_design(rectangle(comm), "cone", "projected", "physical")
    with pytest.raises(InputError, match=f"{name} of a Design cannot be exchanged.*a new Design"):
        setattr(design, name, getattr(design, name))
    domain = design.domain
    with pytest.raises(InputError, match="volume_fraction of a DesignDomain cannot be exchanged"):
        domain.volume_fraction = 0.3
    for array in (domain.solid, domain.void, domain.cell_volumes, domain.midpoints):
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 0


def test_another_objective_shares_the_rest():
    design = make_design(rectangle(comm), "cone", "projected", "physical")
    other = design.with_objective(Polynomial(design.domain, seed=4))
    x = design.initial()
    one, two = design.evaluate(x), other.evaluate(x)
    assert one.value != two.value
    np.testing.assert_array_equal(one.rho, two.rho)
    np.testing.assert_array_equal(one.constraints, two.constraints)
