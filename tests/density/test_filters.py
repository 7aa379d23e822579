import dolfinx
import numpy as np
import pytest
import ufl
from density_cases import MESHES, comm, dot, gathered, make_domain, rectangle, seeded

from dolfinx_neural_topo._communication import max_replicated
from dolfinx_neural_topo.density import CellGrid, ConeFilter, HelmholtzFilter, SymmetryPlane
from dolfinx_neural_topo.errors import InputError, SolverError

ITERATIVE = {"ksp_type": "cg", "ksp_rtol": 1e-13, "pc_type": "gamg"}
FILTERS = {
    "cone": ConeFilter,
    "helmholtz": HelmholtzFilter,
    "helmholtz-amg": lambda domain, radius: HelmholtzFilter(domain, radius, petsc_options=ITERATIVE),
}


def release(stage):
    if isinstance(stage, HelmholtzFilter):
        stage.destroy()


def same_solve(name):
    """How equal two runs of one computation are: MUMPS on several ranks does not repeat its last bits."""
    return {"rtol": 0.0, "atol": 0.0 if name == "cone" or comm.size == 1 else 1e-14}


def passive(mesh):
    """A domain with solid cells on the left and void ones in the upper right corner."""
    return make_domain(mesh, solid=lambda x: x[0] < 1.0, void=lambda x: (x[0] > 4.0) & (x[1] > 3.0))


@pytest.mark.ranks
@pytest.mark.parametrize("kind", MESHES)
@pytest.mark.parametrize("name", FILTERS)
def test_transpose_constants_and_passive_cells(kind, name):
    domain = passive(MESHES[kind](comm))
    stage = FILTERS[name](domain, 1.7)
    x, y = seeded(domain, 1), seeded(domain, 2, -1.0, 1.0)
    Hx, HTy = stage.apply(x), stage.apply_transpose(y)
    scale = np.sqrt(dot(domain, Hx, Hx) * dot(domain, y, y))
    assert abs(dot(domain, Hx, y) - dot(domain, x, HTy)) <= 1e-12 * scale
    np.testing.assert_allclose(stage.pullback(y, x, Hx), HTy, **same_solve(name))
    constant = np.full(domain.num_owned_cells, 0.3)
    np.testing.assert_allclose(stage.apply(constant), 0.3, rtol=1e-12)
    frozen = ~domain.design
    np.testing.assert_array_equal(Hx[frozen], x[frozen])
    np.testing.assert_array_equal(HTy[frozen], y[frozen])
    assert np.abs(gathered(domain, Hx - x)).max() > 0.1
    # Nothing outside the design domain is seen from inside.
    outside = np.where(frozen, 7.0, x)
    np.testing.assert_allclose(stage.apply(outside)[domain.design], Hx[domain.design], **same_solve(name))
    release(stage)


@pytest.mark.ranks
@pytest.mark.parametrize("kind", MESHES)
def test_cone_equals_its_formula(kind):
    domain = passive(MESHES[kind](comm))
    midpoints = np.column_stack([gathered(domain, domain.midpoints[:, k]) for k in range(3)])
    design = gathered(domain, domain.design) > 0.5
    distance = np.linalg.norm(midpoints[:, None] - midpoints[None], axis=2)
    weights = np.maximum(0.0, 1.7 - distance) * np.outer(design, design) + np.diag(~design)
    H = weights / weights.sum(axis=1, keepdims=True)
    x = seeded(domain, 5)
    stage = ConeFilter(domain, 1.7)
    np.testing.assert_allclose(gathered(domain, stage.apply(x)), H @ gathered(domain, x), rtol=1e-12)
    np.testing.assert_allclose(
        gathered(domain, stage.apply_transpose(x)), H.T @ gathered(domain, x), rtol=1e-12
    )


def test_helmholtz_solves_its_equation():
    """rho = cos(pi x / L) has the answer rho / (1 + kappa pi^2 / L^2), up to the mesh width squared."""
    errors = []
    for n in (40, 80):
        mesh = dolfinx.mesh.create_rectangle(
            comm, [(0, 0), (1, 4 / n)], [n, 4], dolfinx.mesh.CellType.quadrilateral
        )
        domain = make_domain(mesh)
        with HelmholtzFilter(domain, 0.8) as stage:
            rho = np.cos(np.pi * domain.midpoints[:, 0])
            exact = rho / (1.0 + 0.8**2 / 12.0 * np.pi**2)
            errors.append(comm.allreduce(np.abs(stage.apply(rho) - exact).max(initial=0.0), max))
    assert errors[1] < 1e-3
    assert 3.5 < errors[0] / errors[1] < 4.5


@pytest.mark.parametrize("kind", ["squares", "triangles", "cubes"])
def test_helmholtz_keeps_bounds_and_volume(kind):
    domain = make_domain(MESHES[kind](comm))
    with HelmholtzFilter(domain, 0.5) as stage:
        step = (seeded(domain, 7) > 0.5).astype(float)
        filtered = stage.apply(step)
        assert filtered.min(initial=0.0) >= -1e-14
        assert filtered.max(initial=1.0) <= 1.0 + 1e-14
        v = domain.cell_volumes
        assert dot(domain, v, filtered) == pytest.approx(dot(domain, v, step), rel=1e-12)


@pytest.mark.ranks
@pytest.mark.parametrize("name", ["cone", "helmholtz"])
def test_symmetric_half_equals_the_whole(name):
    """A quarter with two planes filters as the whole plate does with a mirrored density."""
    whole = make_domain(rectangle(comm, 12, 8))
    planes = [SymmetryPlane((6.0, 0.0), (1.0, 0.0)), SymmetryPlane((0.0, 4.0), (0.0, 1.0))]
    part = make_domain(rectangle(comm, 6, 4), symmetry=planes)

    def field(x):  # symmetric about both planes, rough enough to notice
        return np.sin(3.1 * np.abs(x[:, 0] - 6.0)) + np.cos(2.3 * np.abs(x[:, 1] - 4.0))

    stages = [FILTERS[name](domain, 2.6) for domain in (whole, part)]
    results = [
        gathered(domain, stage.apply(field(domain.midpoints)))
        for stage, domain in zip(stages, (whole, part), strict=True)
    ]
    places = [
        np.column_stack([gathered(domain, domain.midpoints[:, k]) for k in (1, 0)])
        for domain in (whole, part)
    ]
    quarter = (places[0] < [4.0, 6.0]).all(axis=1)
    sort = [np.lexsort(places[0][quarter].T), np.lexsort(places[1].T)]
    np.testing.assert_allclose(results[0][quarter][sort[0]], results[1][sort[1]], rtol=1e-11, atol=1e-12)
    x, y = seeded(part, 1), seeded(part, 2)
    assert dot(part, stages[1].apply(x), y) == pytest.approx(
        dot(part, x, stages[1].apply_transpose(y)), rel=1e-12
    )
    for stage in stages:
        release(stage)


@pytest.mark.ranks
@pytest.mark.parametrize("name", ["cone", "helmholtz"])
@pytest.mark.parametrize(("periodic", "axis"), [(True, 0), ((0, 1), 1), ((0,), 0), ((1,), 1)])
def test_a_pattern_filters_alike_wherever_its_cell_begins(name, periodic, axis):
    domain = make_domain(rectangle(comm, 12, 8), periodic=periodic)
    grid = CellGrid(domain.mesh, (8, 12))
    rough = np.random.default_rng(3).random((8, 12))
    moved = np.roll(rough, 5, axis=1 - axis)  # columns are axis 0
    stage = FILTERS[name](domain, 2.6)
    here, there = (grid.to_image(stage.apply(grid.to_cells(image))) for image in (rough, moved))
    np.testing.assert_allclose(np.roll(here, 5, axis=1 - axis), there, rtol=1e-11)
    x, y = seeded(domain, 1), seeded(domain, 2)
    assert dot(domain, stage.apply(x), y) == pytest.approx(
        dot(domain, x, stage.apply_transpose(y)), rel=1e-12
    )
    release(stage)


@pytest.mark.parametrize("radius", [0.3, 0.5, 1.0])
def test_radius_that_reaches_no_neighbour(radius):
    with pytest.raises(InputError, match=f"radius {radius} reaches no neighbouring midpoint.*identity"):
        ConeFilter(make_domain(rectangle(comm)), radius)


def test_radius_larger_than_the_domain():
    domain = make_domain(rectangle(comm, 12, 5))
    ConeFilter(domain, 13.0)
    with pytest.raises(InputError, match=r"radius 13\.1 is larger than the domain, whose diagonal is 13;"):
        ConeFilter(domain, 13.1)


@pytest.mark.parametrize("stage", [ConeFilter, HelmholtzFilter])
@pytest.mark.parametrize("radius", [0.0, -1.0, float("nan"), float("inf")])
def test_radius_must_be_positive(stage, radius):
    with pytest.raises(InputError, match=r"radius must be (positive and finite|a number, got nan)"):
        stage(make_domain(rectangle(comm)), radius)


@pytest.mark.parametrize("stage", [ConeFilter, HelmholtzFilter])
def test_a_radius_stays(stage):
    """An assignment changed nothing, in silence."""
    made = stage(make_domain(rectangle(comm)), 2.0)
    with pytest.raises(AttributeError, match="radius"):
        made.radius = 3.0
    assert made.radius == 2.0


def test_helmholtz_that_does_not_converge():
    domain = make_domain(rectangle(comm))
    options = {"ksp_type": "cg", "ksp_max_it": 1, "pc_type": "none", "ksp_rtol": 1e-13}
    with (
        HelmholtzFilter(domain, 3.0, petsc_options=options, petsc_options_prefix="stuck_") as stage,
        pytest.raises(
            SolverError, match="filter solver 'stuck_' failed with DIVERGED_MAX_IT after 1 iterations"
        ),
    ):
        stage.apply(seeded(domain, 1))


@pytest.mark.ranks
@pytest.mark.parametrize("name", FILTERS)
def test_ranks_without_design_cells_or_any_cell(name):
    """The design is one corner, and the second mesh has fewer cells than three ranks need."""
    corner = make_domain(rectangle(comm, 24, 16), void=lambda x: (x[0] > 5.0) | (x[1] > 4.0))
    if comm.size > 2:
        assert comm.allreduce(corner.design.sum(), min) == 0
    for domain in (corner, make_domain(rectangle(comm, 2, 1))):
        stage = FILTERS[name](domain, 1.5)
        x, y = seeded(domain, 1), seeded(domain, 2)
        assert dot(domain, stage.apply(x), y) == pytest.approx(
            dot(domain, x, stage.apply_transpose(y)), rel=1e-12
        )
        np.testing.assert_allclose(stage.apply(np.ones_like(x)), 1.0, rtol=1e-12)
        release(stage)


@pytest.mark.ranks
def test_helmholtz_with_void_beyond_the_boundary():
    """Where the mesh ends at void, the filter gives what it gives inside a larger mesh of void."""
    domain = make_domain(rectangle(comm))
    ds = ufl.Measure("ds", domain.mesh)
    with HelmholtzFilter(domain, 3.0, void_beyond=ds) as stage, HelmholtzFilter(domain, 3.0) as plain:
        x, y = seeded(domain, 1), seeded(domain, 2)
        assert dot(domain, stage.apply(x), y) == pytest.approx(
            dot(domain, x, stage.apply_transpose(y)), rel=1e-12
        )
        full = stage.apply(np.ones_like(x))
        assert (full < plain.apply(np.ones_like(x))).all()
        assert max_replicated(comm, full.max(initial=0.0)) < 1.0
    strip = make_domain(dolfinx.mesh.create_rectangle(comm, [(0.0, 0.0), (12.0, 0.02)], [400, 1]))
    facets = dolfinx.mesh.locate_entities_boundary(strip.mesh, 1, lambda x: np.isclose(x[0], 0.0))
    tags = dolfinx.mesh.meshtags(strip.mesh, 1, facets, np.ones(facets.size, dtype=np.int32))
    ds = ufl.Measure("ds", strip.mesh, subdomain_data=tags)(1)
    with HelmholtzFilter(strip, 3.0, void_beyond=ds) as stage:
        decay = 0.5 * np.exp(-strip.midpoints[:, 0] / (3.0 / 12**0.5))  # of a half space of material
        np.testing.assert_allclose(stage.apply(np.ones(strip.num_owned_cells)), 1.0 - decay, atol=1e-3)


@pytest.mark.ranks
def test_helmholtz_keeps_the_volume_of_a_body_of_revolution():
    mesh = rectangle(comm)
    domain = make_domain(mesh, weight=ufl.SpatialCoordinate(mesh)[0])
    x = seeded(domain, 1)
    with HelmholtzFilter(domain, 3.0) as stage:
        volume = dot(domain, domain.cell_volumes, x)
        assert dot(domain, domain.cell_volumes, stage.apply(x)) == pytest.approx(volume, rel=1e-12)
        np.testing.assert_allclose(stage.apply(np.ones_like(x)), 1.0, rtol=1e-12)


def test_helmholtz_that_is_told_to_be_loose():
    domain = make_domain(rectangle(comm))
    loose = {"ksp_type": "cg", "pc_type": "jacobi", "ksp_rtol": 0.9}
    with (
        HelmholtzFilter(domain, 3.0, petsc_options=loose) as stage,
        pytest.raises(SolverError, match="or a smaller ksp_rtol"),
    ):
        stage.apply(seeded(domain, 1))
    with pytest.raises(InputError, match="nothing in 'helmholtz_filter_' has read pc_tpye"):
        HelmholtzFilter(domain, 3.0, petsc_options={"pc_tpye": "lu"})
