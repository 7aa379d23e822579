import itertools

import numpy as np
import pytest
from density_cases import (
    MESHES,
    Polynomial,
    box,
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
    Casting,
    CellGrid,
    ConeFilter,
    Design,
    Extrusion,
    HeavisideProjection,
    OverhangFilter,
    SymmetryPlane,
    ThreeFieldProjection,
)
from dolfinx_neural_topo.errors import InputError

STAGES = [OverhangFilter, Casting, Extrusion]
GRIDS = ["squares", "triangles", "cubes", "tetrahedra"]


def passive(mesh, **options):
    """A domain with solid cells in a corner and void ones in the middle."""
    return make_domain(
        mesh,
        volume_fraction=0.4,
        solid=lambda x: (x[0] < 1.0) & (x[1] > 2.0),
        void=lambda x: (x[0] > 2.0) & (x[0] < 4.0) & (x[1] > 1.0) & (x[1] < 3.0),
        **options,
    )


def directions(domain):
    dim = domain.mesh.topology.dim
    return [sign * unit for unit in np.eye(dim) for sign in (1.0, -1.0)]


def image(domain, values):
    """Pixel values in the axes x, y (, z), upwards, the same on all ranks."""
    pixels = CellGrid.find(domain.mesh).to_image(values)
    return np.flip(pixels, axis=-2).T


@pytest.mark.ranks
@pytest.mark.parametrize("kind", GRIDS)
@pytest.mark.parametrize("stage", STAGES)
def test_pullback_and_passive_cells(kind, stage):
    domain = passive(MESHES[kind](comm))
    x, change = 0.4 * seeded(domain, 1, 0.98, 1.02), seeded(domain, 2, -1.0, 1.0)  # where minima are smooth
    x, change = np.where(domain.design, x, domain.solid), np.where(domain.design, change, 0.0)
    weights = seeded(domain, 3, -1.0, 1.0)
    for direction in directions(domain):
        made = stage(domain, direction)
        y = made.apply(x)
        slope = dot(domain, made.pullback(weights, x, y), change)
        if stage is Extrusion:
            assert dot(domain, weights, made.apply(change)) == pytest.approx(slope, rel=1e-12, abs=1e-13)
        else:
            steps = (1e-5, 5e-6, 2.5e-6)
            value = lambda t, made=made: dot(domain, weights, made.apply(x + t * change))  # noqa: E731
            assert (taylor_orders(value, slope, steps) > 1.9).all()
            one_cell_a_pixel = domain.mesh.topology.cell_name() in ("quadrilateral", "hexahedron")
            assert (y <= x + 1e-12).all() or stage is Casting or not one_cell_a_pixel
        np.testing.assert_array_equal(y[~domain.design], x[~domain.design])


@pytest.mark.ranks
@pytest.mark.parametrize("kind", GRIDS)
@pytest.mark.parametrize("stage", STAGES)
def test_serial_equals_parallel(kind, stage):
    results = []
    for each in (comm, MPI.COMM_SELF):
        domain = passive(MESHES[kind](each))
        x, weights = seeded(domain, 1), seeded(domain, 2, -1.0, 1.0)
        made = [stage(domain, direction) for direction in directions(domain)]
        results.append(
            [
                gathered(domain, field)
                for each_stage in made
                for field in (each_stage.apply(x), each_stage.pullback(weights, x, each_stage.apply(x)))
            ]
        )
    np.testing.assert_allclose(*results, rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("kind", GRIDS)
@pytest.mark.parametrize("stage", STAGES)
def test_uniform_densities_and_full_ones_stay(kind, stage):
    domain = make_domain(MESHES[kind](comm), volume_fraction=0.3)
    for direction in directions(domain):
        for level in (0.0, 1.0) if stage is Casting else (0.0, 0.3, 1.0):
            np.testing.assert_allclose(
                stage(domain, direction).apply(np.full(domain.num_owned_cells, level)), level, atol=1e-12
            )


@pytest.mark.ranks
def test_extrusion_is_the_mean_along_its_axis():
    domain = make_domain(box(comm))
    x = seeded(domain, 1)
    for axis, unit in enumerate(np.eye(3)):
        made = image(domain, Extrusion(domain, unit).apply(x))
        expected = np.broadcast_to(image(domain, x).mean(axis=axis, keepdims=True), made.shape)
        np.testing.assert_allclose(made, expected, rtol=1e-12)


@pytest.mark.ranks
@pytest.mark.parametrize("make", [rectangle, box])
def test_nothing_solid_overhangs_and_nothing_is_undercut(make):
    """On 0-1 densities both stages are exact: what they keep is the largest part that is supported."""
    domain = make_domain(make(comm))
    x = (seeded(domain, 4) < 0.7).astype(float)
    kept = {OverhangFilter: OverhangFilter.apply, Casting: Casting.kept}
    for axis, unit in enumerate(np.eye(domain.mesh.topology.dim)):
        wanted = np.moveaxis(image(domain, x), axis, 0)
        printed, cast = wanted.copy(), np.minimum.accumulate(wanted, axis=0)
        for below, layer in itertools.pairwise(printed):
            padded = np.pad(below, 1)
            around = [np.roll(padded, shift, axis=k) for k in range(below.ndim) for shift in (1, -1)]
            layer *= np.maximum.reduce([padded, *around])[(slice(1, -1),) * below.ndim]
        for stage, expected in ((OverhangFilter, printed), (Casting, cast)):
            made = np.moveaxis(image(domain, kept[stage](stage(domain, unit), x)), axis, 0)
            np.testing.assert_allclose(made, expected, atol=1e-12)
        assert printed.sum() > cast.sum()


@pytest.mark.ranks
@pytest.mark.parametrize("kind", GRIDS)
def test_densities_of_a_column_say_how_high_it_is_filled(kind):
    domain = make_domain(MESHES[kind](comm), volume_fraction=0.3)
    pixels, x = CellGrid.find(domain.mesh), seeded(domain, 1)
    x = pixels.to_cells(pixels.to_image(x))
    for axis, unit in enumerate(np.eye(domain.mesh.topology.dim)):
        heights = image(domain, x).mean(axis=axis)
        made = np.moveaxis(image(domain, Casting(domain, unit).apply(x)), axis, 0)
        assert (np.diff(made, axis=0) <= 1e-12).all()
        assert np.abs(made.sum(axis=0) - len(made) * heights).max() < 1.0  # cells; half a front at most
        assert (np.abs(made - np.round(made)) > 1e-12).sum(axis=0).max() <= 3
        order = np.argsort(heights, axis=None)
        assert (np.diff(made.sum(axis=0).reshape(-1)[order]) >= -1e-12).all()


def test_what_is_above_a_void_cell_stays_void_up_to_a_solid_one():
    places = {"void": lambda x: (x[0] < 2.0) & (abs(x[1] - 2.5) < 0.6)}
    places["solid"] = lambda x: (x[0] < 1.0) & (abs(x[1] - 4.5) < 0.6)
    domain = make_domain(rectangle(comm, 4, 8), volume_fraction=0.5, **places)
    stage = Casting(domain, (0.0, 1.0))
    full = domain.expand(1.0)
    for made in (image(domain, stage.apply(full)), image(domain, stage.kept(full))):
        columns = ["".join(str(int(value)) for value in column) for column in made]
        assert columns == ["11001111", "11000000", "11111111", "11111111"]


def test_a_strut_at_45_degrees_arrives_whole_and_one_in_the_air_not_at_all():
    domain = make_domain(rectangle(comm, 40, 40))
    x, y = domain.midpoints[:, 0], domain.midpoints[:, 1]
    strut = (np.abs(x - y) < 0.5).astype(float)
    stage = OverhangFilter(domain, (0.0, 1.0))
    np.testing.assert_allclose(stage.apply(strut), strut, atol=1e-12)
    np.testing.assert_array_equal(stage.apply(np.where(y > 5.0, strut, 0.0)), 0.0)


@pytest.mark.ranks
def test_half_of_a_symmetric_part_prints_as_the_whole():
    whole = make_domain(rectangle(comm, 12, 8))
    half = make_domain(rectangle(comm, 6, 8), symmetry=[SymmetryPlane((6.0, 0.0), (1.0, 0.0))])
    made = []
    for domain in (whole, half):
        x, y = domain.midpoints[:, 0], domain.midpoints[:, 1]
        field = 0.5 + 0.5 * np.sin(7.0 * np.abs(x - 6.0) + 3.0 * y)
        made.append(image(domain, OverhangFilter(domain, (0, 1)).apply(field)))
    np.testing.assert_allclose(made[0][:6], made[1], atol=1e-12)


@pytest.mark.ranks
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("projection", [lambda: None, lambda: HeavisideProjection(4.0), ThreeFieldProjection])
@pytest.mark.parametrize("constrain", ["physical", "design"])
def test_chain_holds_the_volume_of_what_is_made(stage, projection, constrain):
    domain = passive(rectangle(comm))
    made = stage(domain, (0.0, -1.0))
    projection = projection(3.0) if projection is ThreeFieldProjection else projection()
    design = Design(
        Polynomial(domain),
        domain,
        filter=ConeFilter(domain, 1.8),
        manufacturing=[made],
        projection=projection,
        constrain=constrain,
        constraints=[(Polynomial(domain, seed=10), 5.0)],
    )
    logits, change = seeded(domain, 1, -3.0, 3.0), seeded(domain, 2, -1.0, 1.0)
    base = design.logits.evaluate(logits)
    held = base.rho if constrain == "physical" else base.rho_design
    assert design.volume(held) == pytest.approx(0.4, rel=1e-12)
    steps = (1e-4, 5e-5, 2.5e-5)
    trials = {t: design.logits.evaluate(logits + t * change, gradient=False) for t in (0.0, *steps)}
    assert (taylor_orders(lambda t: trials[t].value, dot(domain, base.gradient, change), steps) > 1.9).all()
    x = design.initial()
    assert abs(design.evaluate(x).constraints[0]) < 1e-12
    x, change = x * seeded(domain, 5, 0.5, 1.0)[domain.design], change[domain.design]
    base = design.evaluate(x)
    for k in range(2):
        slope = dot(domain, base.constraint_gradients[k], change)
        step = 1e-7
        difference = [design.evaluate(x + s * change, gradient=False).constraints[k] for s in (step, -step)]
        assert (difference[0] - difference[1]) / (2.0 * step) == pytest.approx(slope, rel=1e-5, abs=1e-7)


def test_the_same_stages_on_another_domain():
    domain, other = make_domain(rectangle(comm)), make_domain(rectangle(comm, 6, 4))
    made = [stage(domain, (0, -1)) for stage in STAGES]
    moved = Design(Polynomial(domain), domain, manufacturing=made).on(Polynomial(other), other)
    assert [type(stage) for stage in moved.manufacturing] == STAGES
    assert all(stage.domain is other and stage.direction == (0, -1) for stage in moved.manufacturing)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    "direction", [(1.0, 1.0), (0.0, 0.0), (0.0, 0.0, 1.0), (1.0,), (0.0, float("nan")), (0.0, float("inf"))]
)
def test_directions_that_are_no_axis(stage, direction):
    with pytest.raises(
        InputError, match=r"direction(\[1\] must be a number, got nan| must lie along an axis of the grid)"
    ):
        stage(make_domain(rectangle(comm)), direction)


def test_a_direction_that_is_no_axis_on_one_rank():
    direction = (0.0, 1.0) if comm.rank < comm.size - 1 else (1.0, 1.0)
    said = (
        "must lie along an axis of the grid" if comm.size == 1 else "of Casting must be the same on all ranks"
    )
    with pytest.raises(InputError, match=f"direction {said}"):
        Casting(make_domain(rectangle(comm)), direction)


@pytest.mark.parametrize("stage", STAGES)
def test_meshes_that_are_no_grid(stage):
    with pytest.raises(InputError, match="domain must have an evenly spaced grid"):
        stage(make_domain(MESHES["gmsh"](comm)), (0, 1))


def test_cells_that_are_not_square():
    mesh = rectangle(comm)
    mesh.geometry.x[:, 0] *= 2.0
    with pytest.raises(InputError, match=r"cells as wide as high.*got cells of 2 x 1"):
        OverhangFilter(make_domain(mesh), (0, 1))
    Casting(make_domain(mesh), (0, 1))


def test_symmetry_planes_across_the_direction():
    for normal in (1.0, -1.0):
        domain = make_domain(rectangle(comm), symmetry=[SymmetryPlane((0.0, 0.0), (0.0, normal))])
        for direction in ((0, 1), (0, -1)):
            with pytest.raises(InputError, match="direction must lie in all symmetry planes"):
                OverhangFilter(domain, direction)
        Casting(domain, (0, 1))
        OverhangFilter(domain, (1, 0))
        with pytest.raises(InputError, match="must not point towards a symmetry plane"):
            Casting(domain, (0, -1))


def test_a_stage_of_another_domain_or_a_volume_out_of_reach():
    domain, other = make_domain(rectangle(comm)), make_domain(rectangle(comm))
    with pytest.raises(InputError, match="manufacturing must be made for the domain"):
        Design(Polynomial(domain), domain, manufacturing=[Extrusion(other, (0, 1))])
    hollow = make_domain(rectangle(comm), volume_fraction=0.6, void=lambda x: (x[1] < 7.0) & (x[1] > 1.0))
    with pytest.raises(InputError, match=r"volume_fraction must lie in \(0, 0\.5\) with these stages"):
        Design(Polynomial(hollow), hollow, manufacturing=[OverhangFilter(hollow, (0, 1))])
