import numpy as np
import pytest
from density_cases import CellType, box, comm, dot, gmsh_plate, make_domain, rectangle, seeded

from dolfinx_neural_topo.bridge import PixelTransfer, PointTransfer, SampledTransfer
from dolfinx_neural_topo.density import CellGrid
from dolfinx_neural_topo.errors import InputError

CASES = {
    "pixels": (lambda: rectangle(comm), (8, 12), "grid"),
    "pixels-triangles": (lambda: rectangle(comm, cell_type=CellType.triangle), (8, 12), "grid"),
    "pixels-coarse": (lambda: rectangle(comm), (4, 6), "grid"),
    "voxels": (lambda: box(comm, (7, 5, 3)), (3, 5, 7), "grid"),
    "sampled": (lambda: gmsh_plate(comm), (10, 13), "sampled"),
    "sampled-line": (lambda: gmsh_plate(comm), (1, 7), "sampled"),
    "sampled-tetrahedra": (lambda: box(comm, (4, 3, 5), CellType.tetrahedron), (6, 2, 5), "sampled"),
}


def make_transfer(name):
    make_mesh, shape, kind = CASES[name]
    domain = make_domain(make_mesh())
    transfer = (
        PixelTransfer(CellGrid(domain.mesh, shape)) if kind == "grid" else SampledTransfer(domain, shape)
    )
    return domain, transfer


@pytest.mark.ranks
@pytest.mark.parametrize("name", CASES)
def test_transpose_and_what_a_rank_holds(name):
    domain, transfer = make_transfer(name)
    image = np.random.default_rng(0).standard_normal(transfer.shape)[transfer.tiles.part(transfer.shape)]
    y = seeded(domain, 1, -1.0, 1.0)
    transposed = transfer.apply_transpose(y)
    cells = transfer.apply(image)
    scale = np.sqrt(dot(domain, cells, cells) * dot(domain, y, y))
    assert transposed.shape == transfer.local_shape
    assert abs(comm.allreduce(np.vdot(transposed, image)) - dot(domain, y, cells)) <= 1e-12 * scale


@pytest.mark.parametrize("name", ["sampled", "sampled-tetrahedra"])
def test_sampling_is_exact_for_linear_images(name):
    """Between the outermost pixel centres a linear image is reproduced; y points up, rows go down."""
    domain, transfer = make_transfer(name)
    lower, upper = domain.bounding_box()
    dim = len(transfer.shape)
    centres = [(np.arange(n) + 0.5) / n for n in transfer.shape]
    centres[-2] = 1.0 - centres[-2]
    axes = [lower[dim - 1 - k] + c * (upper - lower)[dim - 1 - k] for k, c in enumerate(centres)]
    places = np.meshgrid(*axes, indexing="ij")
    tile = transfer.tiles.part(transfer.shape)
    image = sum((k + 1.0) * place for k, place in enumerate(reversed(places)))
    x = domain.midpoints[:, :dim]
    margin = np.array([0.5 / n for n in reversed(transfer.shape)]) * (upper - lower)[:dim]
    inside = ((x >= lower[:dim] + margin) & (x <= upper[:dim] - margin)).all(axis=1)
    assert comm.allreduce(inside.sum()) > 10
    np.testing.assert_allclose(
        transfer.apply(image[tile])[inside], (x @ np.arange(1.0, dim + 1.0))[inside], rtol=1e-12
    )
    np.testing.assert_allclose(transfer.apply(np.ones(transfer.local_shape)), 1.0, rtol=1e-14)


@pytest.mark.parametrize(
    ("make_mesh", "shape"), [(lambda: rectangle(comm), (8, 12)), (lambda: box(comm), (4, 5, 8))]
)
def test_sampling_a_grid_at_its_own_resolution_gives_its_pixels(make_mesh, shape):
    domain = make_domain(make_mesh())
    image = np.random.default_rng(0).standard_normal(shape)
    grid = CellGrid(domain.mesh, shape)
    transfer = PixelTransfer(grid)
    image = image[transfer.tiles.part(shape)]
    pixels = transfer.apply(image)
    np.testing.assert_allclose(SampledTransfer(domain, shape).apply(image), pixels, atol=1e-12)


def test_points_are_the_midpoints_of_owned_cells():
    for domain, dim in ((make_domain(gmsh_plate(comm)), 2), (make_domain(box(comm)), 3)):
        transfer = PointTransfer(domain)
        assert transfer.points.shape == (domain.num_owned_cells, dim)
        np.testing.assert_array_equal(transfer.points, domain.midpoints[:, :dim])
        values = seeded(domain, 1)
        assert transfer.apply(values) is values and transfer.apply_transpose(values) is values


@pytest.mark.parametrize("shape", [(8,), (2, 8, 12), (0, 3)])
def test_image_shape_that_does_not_fit_the_dimension(shape):
    with pytest.raises(InputError, match="shape must have 2 positive numbers"):
        SampledTransfer(make_domain(gmsh_plate(comm)), shape)
