"""Cuts, pieces and widths: the same on any number of ranks, and right where the answer is known."""

import numpy as np
import pytest
from density_cases import MESHES, CellType, box, comm, gathered, make_domain, rectangle, seeded
from dolfinx.mesh import create_box, create_rectangle
from mpi4py import MPI
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from dolfinx_neural_topo.density import CellGrid, SymmetryPlane
from dolfinx_neural_topo.density.cut import cut
from dolfinx_neural_topo.density.length_scale import least_width, length_scale
from dolfinx_neural_topo.density.pieces import joints, pieces
from dolfinx_neural_topo.density.widths import least_gap, least_member
from dolfinx_neural_topo.errors import InputError


@pytest.mark.parametrize("kind", MESHES)
@pytest.mark.parametrize("steps", [0, 5], ids=["distinct", "ties"])
def test_cut_and_its_pieces_are_those_of_one_rank(kind, steps):
    results = []
    for each in (MPI.COMM_SELF, comm):
        domain = make_domain(MESHES[kind](each), volume_fraction=0.37)
        density = seeded(domain, 3)
        rho = cut(domain, np.round(density * steps) / steps if steps else density)
        labels, count = pieces(domain, rho > 0.5)
        results.append((gathered(domain, rho), gathered(domain, labels), count))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1], results[1][1])
    assert results[0][2] == results[1][2] > 1


def test_cut_takes_the_densest_cells_and_all_the_volume():
    domain = make_domain(rectangle(comm), volume_fraction=0.3, void=lambda x: x[0] > 10.0)
    density = seeded(domain, 0)
    rho, exact = cut(domain, density), cut(domain, density, exact_volume=True)
    whole, values = gathered(domain, rho), gathered(domain, density)
    assert set(np.unique(whole)) == {0.0, 1.0}
    assert whole.sum() == int(domain.target_volume + 1e-9)
    free = gathered(domain, domain.design.astype(float)) > 0
    assert values[free & (whole == 1.0)].min() > values[free & (whole == 0.0)].max()
    assert gathered(domain, exact).sum() == pytest.approx(domain.target_volume, abs=1e-12)
    assert np.count_nonzero(gathered(domain, np.abs(exact - rho))) <= 1


def test_cells_that_come_first_and_never():
    domain = make_domain(rectangle(comm), volume_fraction=0.25)
    first, never = domain.midpoints[:, 0] < 2.0, domain.midpoints[:, 0] > 6.0
    rho = cut(domain, domain.midpoints[:, 0], first=first, never=never)
    assert np.all(rho[first] == 1.0)
    assert np.all(rho[never] == 0.0)
    assert gathered(domain, rho).sum() == 24


@pytest.mark.ranks
@pytest.mark.parametrize("periodic", [True, [0], [1]])
def test_pieces_join_over_the_sides_of_a_periodic_cell(periodic):
    domain = make_domain(rectangle(comm, 24, 16), periodic=periodic)
    grid = CellGrid(domain.mesh, (16, 24))
    solid = seeded(domain, 5) > 0.45
    labels, count = ndimage.label(grid.to_image(solid.astype(float)))

    def meet_of(image, axes):
        sides = [(image[:, 0], image[:, -1])] * (axes != [1]) + [(image[0], image[-1])] * (axes != [0])
        return [pair for here, there in sides for pair in zip(here, there, strict=True)]

    pairs = np.array([pair for pair in meet_of(labels, periodic) if all(pair)]) - 1
    graph = coo_matrix((np.ones(len(pairs)), pairs.T), shape=(count, count))
    expected = connected_components(graph, directed=False)[0]
    mine, found = pieces(domain, solid)
    assert found == expected < count
    whole = grid.to_image(mine.astype(float))
    for here, there in meet_of(whole, periodic):
        assert here == there or min(here, there) < 0


def test_pieces_agree_with_another_program():
    domain = make_domain(rectangle(comm, 24, 16))
    grid = CellGrid(domain.mesh, (16, 24))
    solid = seeded(domain, 5) > 0.45
    _, count = pieces(domain, solid)
    assert count == ndimage.label(grid.to_image(solid.astype(float)))[1]


def test_nothing_is_no_piece():
    domain = make_domain(rectangle(comm))
    assert pieces(domain, np.zeros(domain.num_owned_cells, dtype=bool))[1] == 0


@pytest.mark.parametrize("kind", ["quadrilateral", "triangle"])
@pytest.mark.parametrize("width", [1, 3, 4])
def test_widths_of_a_bar_and_of_a_slit(kind, width):
    domain = make_domain(rectangle(comm, 24, 18, getattr(CellType, kind)))
    bar = np.abs(domain.midpoints[:, 1] - 6.0 - width / 2) < width / 2
    block = domain.midpoints[:, 1] > 12.0
    assert least_member(domain, bar | block) == pytest.approx(width, abs=0.8)
    assert least_gap(domain, ~bar) == pytest.approx(width, abs=0.8)
    assert least_member(domain, np.ones_like(bar)) > 15.0
    assert least_gap(domain, np.ones_like(bar)) == np.inf


@pytest.mark.ranks
@pytest.mark.parametrize("width", [3, 5])
@pytest.mark.parametrize("kind", ["quadrilateral", "triangle", "hexahedron", "tetrahedron"])
def test_widths_on_distorted_cells(kind, width):
    """They were too small by two of the largest cells: 0 for bars of three tetrahedra."""
    cells = getattr(CellType, kind)
    flat = kind in ("quadrilateral", "triangle")
    mesh = rectangle(comm, 24, 24, cells) if flat else box(comm, (12, 12, 12), cells)
    x = mesh.geometry.x
    x[:, :2] += 0.25 * np.sin(7.0 * x[:, :2] + 5.0 * x[:, 1::-1])
    domain = make_domain(mesh)
    size = float(np.mean(gathered(domain, domain.cell_sizes())))
    middle = np.mean(gathered(domain, domain.midpoints[:, 0] - domain.midpoints[:, 1]))
    across = (domain.midpoints[:, 0] - domain.midpoints[:, 1] - middle) / np.sqrt(2.0)
    bar = np.abs(across) < width * size / 2
    assert least_member(domain, bar) == pytest.approx(width * size, abs=size)
    assert least_gap(domain, ~bar) == pytest.approx(width * size, abs=size)


def test_a_rim_along_the_edge_is_no_tip():
    domain = make_domain(rectangle(comm, 36, 24))
    x, y = domain.midpoints[:, 0], domain.midpoints[:, 1]
    assert 1.5 < least_member(domain, (x < 27.0) | (y > 22.0)) <= 4.5  # 2 wide, up to twice that is promised


def test_material_goes_on_behind_a_symmetry_plane_and_in_the_next_cell():
    strip = lambda domain: domain.midpoints[:, 0] < 2.0  # noqa: E731
    alone = make_domain(rectangle(comm, 24, 18))
    mirrored = make_domain(rectangle(comm, 24, 18), symmetry=[SymmetryPlane((0.0, 0.0), (1.0, 0.0))])
    assert least_member(alone, strip(alone)) == pytest.approx(2.0, abs=0.5)
    assert least_member(mirrored, strip(mirrored)) == pytest.approx(4.0, abs=0.5)
    repeated = make_domain(rectangle(comm, 24, 18), periodic=True)
    both_ends = strip(repeated) | (repeated.midpoints[:, 0] > 23.0)
    assert least_member(repeated, both_ends) == pytest.approx(3.0, abs=0.5)


def test_least_width_is_the_published_one_in_one_dimension():
    for delta in (0.05, 0.1, 0.2, 0.25):
        assert least_width(delta, 1) == pytest.approx(2.0 * np.sqrt(delta), abs=1e-3)


@pytest.mark.parametrize("dim", [2, 3])
def test_length_scale_gives_the_widths_asked_for(dim):
    scale = length_scale(3.0, 2.0, dim)
    assert scale.radius * least_width(scale.delta_eroded, dim) == pytest.approx(3.0, rel=1e-3)
    assert scale.radius * least_width(scale.delta_dilated, dim) == pytest.approx(2.0, rel=1e-3)


@pytest.mark.parametrize("widths", [(0.0, None), (None, np.inf), (None, None)])
def test_widths_without_sense_are_refused(widths):
    with pytest.raises(InputError, match="min_"):
        length_scale(*widths, 2)


@pytest.mark.ranks
@pytest.mark.parametrize(
    ("kind", "solid", "joining"),
    [
        ("quadrilateral", [(0, 0), (1, 1), (2, 2)], 2),  # a diagonal bar: one cell a corner, not two
        ("quadrilateral", [(0, 0), (2, 0)], 0),  # a gap of one cell is no corner
        ("quadrilateral", [(0, 0), (1, 1), (1, 0)], 0),  # one piece already
        ("hexahedron", [(0, 0, 0), (1, 1, 0)], 1),  # an edge
        ("triangle", [(0, 0), (1, 1)], 1),
    ],
)
def test_pieces_that_meet_at_a_corner_are_joined_by_as_few_cells_as_it_takes(kind, solid, joining):
    dim = 3 if kind == "hexahedron" else 2
    sizes = [4, 3, 2][:dim]
    create = create_box if dim == 3 else create_rectangle
    results = []
    for each in (MPI.COMM_SELF, comm):
        corners = [(0.0,) * dim, tuple(map(float, sizes))]
        domain = make_domain(create(each, corners, sizes, CellType[kind]), volume_fraction=0.5)
        places = np.floor(domain.midpoints[:, :dim]).astype(int)
        bar = np.isin(places @ [100, 10, 1][:dim], np.array(solid) @ [100, 10, 1][:dim])
        density = 0.5 - 1e-2 * domain.midpoints[:, 1]  # the lower one of two cells
        labels, count = pieces(domain, bar)
        filled = joints(domain, labels, count, density)
        assert each.allreduce(int(filled.sum())) == joining
        assert not (filled & bar).any()
        if joining:
            assert pieces(domain, bar | filled)[1] == 1
        results.append(gathered(domain, filled))
    np.testing.assert_array_equal(results[0], results[1])
