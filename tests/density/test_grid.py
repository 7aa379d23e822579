import numpy as np
import pytest
from density_cases import CellType, box, comm, dot, gmsh_plate, make_domain, rectangle, seeded

from dolfinx_neural_topo.density import CellGrid
from dolfinx_neural_topo.errors import InputError

GRIDS = {
    "squares": (lambda: rectangle(comm, lower=(3.0, -2.0)), (8, 12), 1),
    "triangles": (lambda: rectangle(comm, cell_type=CellType.triangle), (8, 12), 2),
    "cubes": (lambda: box(comm, (7, 5, 3)), (3, 5, 7), 1),
    "tetrahedra": (lambda: box(comm, (4, 3, 5), CellType.tetrahedron), (5, 3, 4), 6),
}


@pytest.mark.parametrize("kind", GRIDS)
def test_pixels_lie_where_the_convention_says(kind):
    make_mesh, shape, num_shared = GRIDS[kind]
    domain = make_domain(make_mesh())
    grid = CellGrid(domain.mesh, shape)
    assert grid.cells_per_pixel == num_shared
    lower, upper = domain.bounding_box()
    cells = np.floor(domain.midpoints - lower).astype(int)
    expected = (upper[1] - lower[1]).astype(int) - 1 - cells[:, 1]
    indices = np.indices(shape)
    np.testing.assert_array_equal(grid.to_cells(indices[-1]), cells[:, 0])
    np.testing.assert_array_equal(grid.to_cells(indices[-2]), expected)
    if len(shape) == 3:
        np.testing.assert_array_equal(grid.to_cells(indices[0]), cells[:, 2])


@pytest.mark.parametrize("kind", GRIDS)
def test_images_survive_the_round_trip_and_the_transpose_is_one(kind):
    make_mesh, shape, _ = GRIDS[kind]
    domain = make_domain(make_mesh())
    grid = CellGrid(domain.mesh, shape)
    image = np.random.default_rng(3).random(shape)
    np.testing.assert_allclose(grid.to_image(grid.to_cells(image)), image, rtol=1e-14)
    y = seeded(domain, 4)
    summed = grid.sum_cells(y)
    assert np.vdot(summed, image) == pytest.approx(dot(domain, y, grid.to_cells(image)), rel=1e-12)
    assert comm.bcast(summed.tobytes()) == summed.tobytes()


@pytest.mark.parametrize("shape", [(12, 8), (8, 13), (16, 24)])
def test_shape_that_does_not_fit(shape):
    with pytest.raises(InputError, match="does not fit the mesh"):
        CellGrid(rectangle(comm), shape)


def test_mesh_that_is_no_grid():
    with pytest.raises(InputError, match="sample the image instead"):
        CellGrid(gmsh_plate(comm), (8, 12))


@pytest.mark.parametrize("shape", [(8,), (1, 8, 12), (0, 12)])
def test_shape_of_the_wrong_dimension(shape):
    with pytest.raises(InputError, match=r"shape must be \(H, W\)"):
        CellGrid(rectangle(comm), shape)


def test_image_of_the_wrong_size_on_one_rank():
    grid = CellGrid(rectangle(comm), (8, 12))
    image = np.zeros((12, 8) if comm.rank == comm.size - 1 else (8, 12))
    with pytest.raises(InputError, match=r"image must have shape \(8, 12\), got \(12, 8\)"):
        grid.to_cells(image)
