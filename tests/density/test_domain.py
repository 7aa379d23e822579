import dolfinx
import numpy as np
import pytest
import ufl
from density_cases import MESHES, comm, dot, make_domain, rectangle

from dolfinx_neural_topo.density import DesignDomain, SymmetryPlane
from dolfinx_neural_topo.errors import InputError


@pytest.mark.parametrize("kind", MESHES)
def test_volumes_fill_the_mesh(kind):
    domain = make_domain(MESHES[kind](comm))
    total = dot(domain, domain.cell_volumes, np.ones(domain.num_owned_cells))
    exact = {"squares": 96.0, "triangles": 96.0, "cubes": 160.0, "tetrahedra": 60.0}
    if kind in exact:
        assert total == pytest.approx(exact[kind], rel=1e-13)
    else:  # the hole is a polygon inside a circle of radius 2
        assert 96.0 - 4.0 * np.pi < total < 96.0 - 3.9 * np.pi
    assert domain.design_volume == pytest.approx(total)


@pytest.mark.parametrize("kind", MESHES)
def test_arrays_follow_the_dofs(kind):
    domain = make_domain(MESHES[kind](comm))
    f = dolfinx.fem.Function(domain.space)
    f.interpolate(lambda x: x[0] + 10.0 * x[1] + 100.0 * x[2])
    # Interpolation into DG0 evaluates at the midpoint of the reference cell: the midpoint of affine cells.
    np.testing.assert_allclose(
        domain.midpoints @ [1.0, 10.0, 100.0], f.x.array[: domain.num_owned_cells], atol=1e-12
    )


def test_markers_of_all_kinds_agree():
    mesh = rectangle(comm)
    left, right = (lambda x: x[0] < 2.0), (lambda x: x[0] > 10.0)
    by_function = make_domain(mesh, solid=left, void=right)
    x = by_function.midpoints.T
    by_array = make_domain(mesh, solid=left(x), void=right(x))
    num_local = mesh.topology.index_map(2).size_local + mesh.topology.index_map(2).num_ghosts
    cells = np.arange(num_local, dtype=np.int32)
    middle = dolfinx.mesh.compute_midpoints(mesh, 2, cells).T
    values = np.where(left(middle), 3, np.where(right(middle), 5, 1)).astype(np.int32)
    tags = dolfinx.mesh.meshtags(mesh, 2, cells, values)
    by_tags = make_domain(mesh, solid=(tags, 3), void=(tags, [5, 6]))
    for other in (by_array, by_tags):
        np.testing.assert_array_equal(other.solid, by_function.solid)
        np.testing.assert_array_equal(other.void, by_function.void)
    assert by_function.solid_volume == pytest.approx(16.0)
    assert by_function.design_volume == pytest.approx(64.0)
    assert by_function.target_volume == pytest.approx(0.5 * 80.0 - 16.0)
    rho = by_function.expand(0.25)
    assert dot(by_function, by_function.cell_volumes, rho) == pytest.approx(16.0 + 0.25 * 64.0)


@pytest.mark.parametrize("volume_fraction", [0.0, 1.000001, 1.4, -0.1, float("nan")])
def test_volume_fraction_outside_the_interval(volume_fraction):
    with pytest.raises(InputError, match=r"volume_fraction must (lie in \(0, 1\]|be a number), got"):
        make_domain(rectangle(comm), volume_fraction=volume_fraction)


def test_volume_fraction_that_solid_cells_exceed():
    with pytest.raises(InputError, match=r"volume_fraction must lie in \(0.5, 1\] because solid cells"):
        make_domain(rectangle(comm), volume_fraction=0.4, solid=lambda x: x[0] < 6.0)


def test_no_cell_left():
    with pytest.raises(InputError, match="no cell to design"):
        make_domain(rectangle(comm), void=lambda x: x[0] > -1.0)


def test_overlapping_markers():
    with pytest.raises(InputError, match="must not overlap"):
        make_domain(rectangle(comm), solid=lambda x: x[0] < 3.0, void=lambda x: x[0] < 2.0)


def test_bad_marker_on_one_rank_raises_on_all():
    domain = make_domain(rectangle(comm))
    marker = np.zeros(domain.num_owned_cells, dtype=bool)
    if comm.rank == comm.size - 1:
        marker = np.append(marker, True)
    with pytest.raises(InputError, match="solid must give one bool per owned cell"):
        make_domain(domain.mesh, solid=marker)


def test_marker_that_is_no_bool():
    with pytest.raises(InputError, match="void must give one bool per owned cell"):
        make_domain(rectangle(comm), void=lambda x: x[0])


@pytest.mark.parametrize("element", [("Lagrange", 1), ("DG", 1), ("DG", 0, (2,))])
def test_space_must_be_dg0(element):
    space = dolfinx.fem.functionspace(rectangle(comm), element)
    with pytest.raises(InputError, match="space_or_rho must be a DG0 space"):
        DesignDomain(space, volume_fraction=0.5)


def test_function_serves_as_well_as_its_space():
    rho = dolfinx.fem.Function(dolfinx.fem.functionspace(rectangle(comm), ("DG", 0)))
    assert DesignDomain(rho, volume_fraction=0.5).space is rho.function_space


def test_cell_tags_of_another_mesh_are_refused():
    mesh, other = rectangle(comm), rectangle(comm)
    cells = np.arange(mesh.topology.index_map(2).size_local, dtype=np.int32)
    tags = dolfinx.mesh.meshtags(other, 2, cells, np.ones_like(cells))
    with pytest.raises(InputError, match="solid needs cell tags of the domain's mesh"):
        make_domain(mesh, solid=(tags, 2))
    tags = dolfinx.mesh.meshtags(mesh, 2, cells, np.ones_like(cells))
    with pytest.raises(InputError, match=r"solid must name tags that cells have, got \[2\]"):
        make_domain(mesh, solid=(tags, 2))


def test_symmetry_planes_are_checked():
    mesh = rectangle(comm)
    with pytest.raises(InputError, match="must lie on one side of the plane"):
        make_domain(mesh, symmetry=[SymmetryPlane((6.0, 0.0), (1.0, 0.0))])
    planes = [SymmetryPlane((0.0, 0.0), (1.0, 0.0)), SymmetryPlane((0.0, 0.0), (1.0, 1.0))]
    with pytest.raises(InputError, match="perpendicular"):
        make_domain(mesh, symmetry=planes)
    with pytest.raises(InputError, match="must touch the plane"):
        make_domain(mesh, symmetry=[SymmetryPlane((-1.0, 0.0), (1.0, 0.0))])
    for point, normal in (((0, 0), (0.0, 0.0)), ((0, 0), (np.nan, 1)), ((0, 0), (1, 0, 0)), (0.0, 1.0)):
        with pytest.raises(InputError, match=r"normal|coordinates|point must be a sequence"):
            SymmetryPlane(point, normal)
    both = [SymmetryPlane((0.0, 0.0), (2.0, 0.0)), SymmetryPlane((0.0, 8.0, 0.0), (0.0, 1.0, 0.0))]
    assert make_domain(mesh, symmetry=both).num_copies == 4
    with pytest.raises(
        InputError, match=r"periodic must not name an axis that a symmetry plane cuts, got \(0, 1\)"
    ):
        make_domain(mesh, symmetry=both[:1], periodic=True)
    assert make_domain(mesh, symmetry=both[:1], periodic=[1]).periodic == (1,)


def test_volumes_of_a_body_of_revolution():
    mesh = rectangle(comm, 12, 8, lower=(1.0, 0.0))
    r = ufl.SpatialCoordinate(mesh)[0]
    domain = make_domain(mesh, weight=2 * ufl.pi * r, volume_fraction=1.0)
    assert domain.design_volume == pytest.approx(np.pi * (13.0**2 - 1.0) * 8.0, rel=1e-13)
    assert domain.target_volume == domain.design_volume
    with pytest.raises(InputError, match="weight must make the volume of every cell positive"):
        make_domain(mesh, weight=r - 3.0)
