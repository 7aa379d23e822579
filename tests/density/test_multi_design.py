"""Designs of several fields: gradients, volumes of materials that exclude each other, and what is refused."""

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
from dolfinx import fem
from mpi4py import MPI

from dolfinx_neural_topo.density import (
    ConeFilter,
    DensityField,
    Design,
    HeavisideProjection,
    HelmholtzFilter,
    LocalVolume,
    MultiDesign,
    SymmetryPlane,
    ThreeFieldProjection,
    VolumeConstrainedSigmoid,
    softmax,
)
from dolfinx_neural_topo.errors import InputError, SolverError
from dolfinx_neural_topo.physics import Compliance, StateProblem, elasticity

LOGITS = {
    "equal": lambda z: 0.0 * z,
    "smooth": lambda z: 4.0 * z - 2.0,
    "far": lambda z: 5.0 * z + 3000.0 * np.arange(len(z))[:, None],
    "wide": lambda z: 60.0 * (z - 0.5),
    "saturated": lambda z: 1e4 * np.sign(z - 0.5) + z,
    "spread": lambda z: 2e4 * (z - 0.5),
    "cubed": lambda z: 1e4 * (2.0 * z - 1.0) ** 9,
}
STEEP = ("wide", "saturated", "spread", "cubed")
FRACTIONS = (0.2, 0.35)


class Product:
    """J = P_1(rho_1) P_2(rho_2) ...: couples fields and cells."""

    name = "product"

    def __init__(self, domains, seed=0):
        self.comm = domains[0].comm
        self._parts = [Polynomial(domain, seed=seed + 20 * i) for i, domain in enumerate(domains)]

    def value(self, rho):
        return float(np.prod([part.value(each) for part, each in zip(self._parts, rho, strict=True)]))

    def value_and_gradient(self, rho):
        pairs = [part.value_and_gradient(each) for part, each in zip(self._parts, rho, strict=True)]
        values = np.array([value for value, _ in pairs])
        rest = [np.prod(np.delete(values, i)) for i in range(len(values))]
        return float(np.prod(values)), np.array(
            [factor * g for factor, (_, g) in zip(rest, pairs, strict=True)]
        )


def several(domain, seed, low, high, num):
    return np.array([seeded(domain, seed + 100 * i, low, high) for i in range(num)])


def make_fields(mesh, stages="plain", fractions=FRACTIONS):
    """Fields with another filter and projection each; what is solid in the first is void in the others."""
    held, no = (lambda x: x[0] < 1.0), (lambda x: (x[0] > 6.0) & (x[1] > 4.0))
    solid = [{"solid": held, "void": no}] + [{"void": lambda x: held(x) | no(x)}] * (len(fractions) - 1)
    domains = [make_domain(mesh, volume_fraction=v, **o) for v, o in zip(fractions, solid, strict=True)]
    if stages == "plain":
        return [DensityField(domain) for domain in domains]
    cones = [ConeFilter(domain, 1.6 + 0.4 * i) for i, domain in enumerate(domains)]
    if stages == "filtered":
        return [DensityField(cone.domain, filter=cone) for cone in cones]
    return [
        DensityField(cone.domain, filter=cone, projection=HeavisideProjection(3.0 + i, 0.4))
        for i, cone in enumerate(cones)
    ]


def make_design(mesh, stages="plain", fractions=FRACTIONS, **options):
    fields = make_fields(mesh, stages, fractions)
    domains = [field.domain for field in fields]
    last = len(domains) - 1
    constraints = [(Product(domains, seed=7), 5.0), (LocalVolume(domains[last], 2.5, field=last), 0.6)]
    return MultiDesign(Product(domains), fields, constraints=constraints, **options)


def held(field, rho_design):
    """Volume of the material in design cells, after the stages."""
    rho = field.rho_from_design(rho_design)
    return dot(field.domain, field.domain.cell_volumes, np.where(field.domain.design, rho, 0.0))


@pytest.mark.ranks
@pytest.mark.parametrize("kind", ["filtered", "projected"])
def test_gradients_with_respect_to_densities(kind):
    design = make_design(rectangle(comm), kind)
    x = design.join(several(design.domain, 1, 0.1, 0.9, 2))
    direction = design.join(several(design.domain, 2, -1.0, 1.0, 2))
    steps = (8e-3, 4e-3, 2e-3)
    base = design.evaluate(x)
    trials = {t: design.evaluate(x + t * direction, gradient=False) for t in (0.0, *steps)}
    assert base.gradient.shape == x.shape and base.constraint_gradients.shape == (4, x.size)
    slope = dot(design.domain, base.gradient, direction)
    assert (taylor_orders(lambda t: trials[t].value, slope, steps) > 1.9).all()
    for k in range(4):
        slope = dot(design.domain, base.constraint_gradients[k], direction)
        if k < 2 and kind == "filtered":
            change = trials[8e-3].constraints[k] - base.constraints[k]
            assert change == pytest.approx(8e-3 * slope, rel=1e-9)
        else:
            assert (taylor_orders(lambda t, k=k: trials[t].constraints[k], slope, steps) > 1.9).all()
    volumes = [field.volume(each) for field, each in zip(design.fields, base.rho, strict=True)]
    np.testing.assert_allclose(base.constraints[:2], np.divide(volumes, FRACTIONS) - 1.0, atol=1e-12)
    assert base.volume == pytest.approx(sum(volumes), rel=1e-14)
    start = design.evaluate(design.initial(), gradient=False)
    assert abs(start.constraints[:2]).max() < 1e-12


@pytest.mark.ranks
@pytest.mark.parametrize("fractions", [(0.2, 0.35), (0.01, 0.5, 0.48), (0.4,)])
@pytest.mark.parametrize("name", LOGITS)
def test_every_volume_is_exact(name, fractions, monkeypatch):
    sums, original = [], softmax.sum_replicated
    monkeypatch.setattr(softmax, "sum_replicated", lambda *args: sums.append(1) or original(*args))
    mesh = rectangle(comm, 40, 25)
    domains = [make_domain(mesh, volume_fraction=v) for v in fractions]
    stage = softmax.Softmax([DensityField(domain) for domain in domains])
    logits = LOGITS[name](several(domains[0], 0, 0.0, 1.0, len(fractions) + 1))
    rho = stage.apply(logits)
    assert (rho >= 0.0).all() and (rho.sum(axis=0) <= 1.0 + 1e-12).all()
    for domain, each in zip(domains, rho, strict=True):
        assert dot(domain, domain.cell_volumes, each) == pytest.approx(domain.target_volume, rel=2e-12)
    assert len(sums) <= (100 if name in STEEP else 20)
    assert np.isfinite(stage.pullback(several(domains[0], 5, 0.0, 1.0, len(rho)), logits, rho)).all()


@pytest.mark.ranks
@pytest.mark.parametrize("fractions", [FRACTIONS, (0.15, 1.0, 0.3)])
@pytest.mark.parametrize("how", ["materials", "independent"])
@pytest.mark.parametrize("kind", ["plain", "filtered", "projected"])
def test_gradients_with_respect_to_logits(kind, how, fractions):
    design = make_design(rectangle(comm), kind, fractions, kind=how)
    domain, k = design.domain, len(fractions)
    channels = k + (how == "materials")
    logits, direction = several(domain, 1, -3.0, 3.0, channels), several(domain, 2, -1.0, 1.0, channels)
    steps = (4e-3, 2e-3, 1e-3)
    base = design.logits.evaluate(logits)
    trials = {t: design.logits.evaluate(logits + t * direction, gradient=False) for t in (0.0, *steps)}
    assert base.gradient.shape == logits.shape and base.constraint_gradients.shape == (2, *logits.shape)
    slope = dot(domain, base.gradient.ravel(), direction.ravel())
    assert (taylor_orders(lambda t: trials[t].value, slope, steps) > 1.9).all()
    for k in range(2):
        slope = dot(domain, base.constraint_gradients[k].ravel(), direction.ravel())
        assert (taylor_orders(lambda t, k=k: trials[t].constraints[k], slope, steps) > 1.9).all()
    for field, rho_design, v in zip(design.fields, base.rho_design, fractions, strict=True):
        if v < 1.0:
            assert held(field, rho_design) == pytest.approx(field.domain.target_volume, rel=1e-11)
    if how == "materials":
        assert (base.rho_design.sum(axis=0) <= 1.0 + 1e-12).all()
    np.testing.assert_array_equal(base.gradient[:, ~domain.design], 0.0)


def test_one_material_is_a_sigmoid():
    (field,) = make_fields(rectangle(comm), "filtered", (0.4,))
    stage, alone = softmax.Softmax([field]), VolumeConstrainedSigmoid(field.domain, volume=field.held_volume)
    logits, slope = several(field.domain, 1, -3.0, 3.0, 2), several(field.domain, 3, -1.0, 1.0, 1)
    rho, expected = stage.apply(logits), alone.apply(logits[1] - logits[0])
    np.testing.assert_allclose(rho[0], expected, atol=1e-11)
    gradient = stage.pullback(slope, logits, rho)
    np.testing.assert_allclose(
        gradient[1], alone.pullback(slope[0], logits[1] - logits[0], rho[0]), atol=1e-11
    )
    np.testing.assert_array_equal(gradient[0], -gradient[1])


def two_materials(comm, kind, prefix):
    """Two materials in a clamped plate."""
    mesh = MESHES[kind](comm)
    rho = fem.Function(fem.functionspace(mesh, ("DG", 0, (2,))))
    V = fem.functionspace(mesh, ("Lagrange", 1, (mesh.geometry.dim,)))
    E = 1e-3 + rho[0] ** 3 * (1 - rho[1] ** 3) + 0.3 * rho[1] ** 3 * (1 - rho[0] ** 3)
    L = ufl.dot(fem.Constant(mesh, (0.0, -1.0, 0.3)[: mesh.geometry.dim]), ufl.TestFunction(V)) * ufl.dx
    wall = fem.locate_dofs_geometrical(V, lambda x: np.isclose(x[0], 0.0))
    bcs = [fem.dirichletbc(np.zeros(mesh.geometry.dim), wall, V)]
    equation = elasticity.bilinear_form(V, E), L
    options = {"bcs": bcs, "petsc_options_prefix": prefix, "solver": "direct"}
    return StateProblem(equation, rho, **options)


@pytest.mark.ranks
@pytest.mark.parametrize("kind", ["squares", "gmsh", "tetrahedra"])
def test_serial_equals_parallel(kind):
    def run(comm, prefix):
        with two_materials(comm, kind, prefix) as state:
            domains = [make_domain(state.mesh, volume_fraction=v) for v in FRACTIONS]
            dofs = domains[0].space.dofmap.list
            np.testing.assert_array_equal(state.rho.function_space.dofmap.list, dofs)
            first = HelmholtzFilter(domains[0], 1.5)
            second = ConeFilter(domains[1], 1.5)
            fields = [DensityField(f.domain, filter=f) for f in (first, second)]
            design = MultiDesign(Compliance(state), fields)
            found = design.logits.evaluate(several(domains[0], 1, -2.0, 2.0, 3))
            first.destroy()
            return found.value, np.array(
                [gathered(domains[0], each) for each in (*found.gradient, *found.rho)]
            )

    value, arrays = run(comm, "several_")
    expected, expected_arrays = run(MPI.COMM_SELF, "alone_")
    assert value == pytest.approx(expected, rel=1e-9)
    scale = abs(expected_arrays).max(axis=1, keepdims=True)
    np.testing.assert_allclose(arrays / scale, expected_arrays / scale, atol=1e-9)


def test_what_is_refused():
    mesh = rectangle(comm)
    fields = make_fields(mesh)
    functional = Product([field.domain for field in fields])
    with pytest.raises(InputError, match=r"kind must be .* got 'alloys'"):
        MultiDesign(functional, fields, kind="alloys")
    with pytest.raises(InputError, match="fields must hold at least one DensityField"):
        MultiDesign(functional, [])
    other = make_fields(rectangle(comm))[1]
    with pytest.raises(InputError, match="fields must live on one mesh"):
        MultiDesign(functional, [fields[0], other])
    robust = DensityField(fields[1].domain, projection=ThreeFieldProjection(2.0))
    with pytest.raises(InputError, match="fields must have one projection each"):
        MultiDesign(functional, [fields[0], robust])
    with pytest.raises(InputError, match="bounds of constraints must be positive"):
        MultiDesign(functional, fields, constraints=[(functional, -1.0)])
    with pytest.raises(InputError, match="materials must have the same design cells"):
        MultiDesign(functional, [DensityField(make_domain(mesh)), fields[1]]).logits
    full = make_fields(mesh, fractions=(0.6, 0.6))
    with pytest.raises(InputError, match="must leave room for void"):
        MultiDesign(functional, full).logits
    with pytest.raises(InputError, match=r"x must have shape \(\d+,\), one number for each field"):
        MultiDesign(functional, fields).evaluate(np.zeros(1 + fields[0].domain.num_global_cells * 2))
    with pytest.raises(InputError, match=r"rho_design must have shape \(2, \d+\)"):
        MultiDesign(functional, fields).evaluate_density(np.zeros(3))
    logits = np.full((3, fields[0].domain.num_owned_cells), np.nan)
    with pytest.raises(InputError, match="logits must be finite"):
        MultiDesign(functional, fields).logits.apply(logits)


def test_the_number_of_fields_must_fit():
    with two_materials(comm, "squares", "fit_") as state:
        compliance = Compliance(state)
        domain = make_domain(state.mesh)
        with pytest.raises(
            InputError, match="must depend on one density, got 2 fields; way out: MultiDesign"
        ):
            Design(compliance, domain)
        three = make_fields(state.mesh, fractions=(0.2, 0.2, 0.3))
        with pytest.raises(InputError, match="must depend on 3 fields, got 2 fields"):
            MultiDesign(compliance, three)


def test_shifts_that_are_not_found(monkeypatch):
    monkeypatch.setattr(softmax, "MOST_SWEEPS", 1)
    monkeypatch.setattr(softmax.Softmax, "_missed", lambda self, rho: (0.1, np.zeros(len(rho))))
    stage = softmax.Softmax(make_fields(rectangle(comm)))
    with pytest.raises(SolverError, match="no shifts of the logits reach all volumes"):
        stage.apply(np.zeros((3, stage._design.size)))


def test_half_of_a_symmetric_structure_counts_twice():
    mesh = rectangle(comm)
    plane = [SymmetryPlane((0.0, 0.0), (1.0, 0.0))]
    domains = [make_domain(mesh, volume_fraction=v, symmetry=plane) for v in FRACTIONS]
    functional = Product(domains)
    design = MultiDesign(functional, [DensityField(domain) for domain in domains])
    found = design.evaluate(design.initial())
    value, gradient = functional.value_and_gradient(found.rho)
    assert found.value == 2.0 * value
    np.testing.assert_array_equal(found.gradient, 2.0 * gradient.ravel())
