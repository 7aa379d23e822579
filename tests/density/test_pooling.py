import dolfinx
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

from dolfinx_neural_topo.density import PMeanPooling, PooledFunctional
from dolfinx_neural_topo.errors import InputError

CellType = dolfinx.mesh.CellType


def coarse_rectangle(comm, factor, width=12, height=8, cell_type=CellType.quadrilateral):
    upper = (float(width), float(height))
    return dolfinx.mesh.create_rectangle(
        comm, [(0.0, 0.0), upper], [width // factor, height // factor], cell_type
    )


def coarse_box(comm, shape=(8, 4, 4)):
    return dolfinx.mesh.create_box(comm, [np.zeros(3), np.array(shape, float)], [n // 2 for n in shape])


PAIRS = {
    "squares 2x": (rectangle, lambda comm: coarse_rectangle(comm, 2)),
    "squares 4x": (rectangle, lambda comm: coarse_rectangle(comm, 4)),
    "gmsh triangles in squares": (MESHES["gmsh"], lambda comm: coarse_rectangle(comm, 4)),
    "squares in triangles": (rectangle, lambda comm: coarse_rectangle(comm, 4, cell_type=CellType.triangle)),
    "tetrahedra in cubes": (
        lambda comm: box(comm, (8, 4, 4), CellType.tetrahedron),
        lambda comm: coarse_box(comm),
    ),
    "triangles, some without a midpoint": (
        lambda comm: rectangle(comm, cell_type=CellType.triangle),
        lambda comm: dolfinx.mesh.create_rectangle(
            comm, [(0.0, 0.0), (12.0, 8.0)], [11, 6], CellType.triangle
        ),
    ),
}  # fmt: skip


def make(kind, comm, penalty=3.0):
    fine, coarse = PAIRS[kind]
    domain = make_domain(fine(comm))
    coarse_domain = make_domain(coarse(comm))
    return domain, coarse_domain, PMeanPooling(domain, coarse_domain.space, penalty)


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_equal_densities_are_kept(kind, value):
    domain, _, pooling = make(kind, comm)
    rho_coarse = pooling.apply(np.full(domain.num_owned_cells, value))
    np.testing.assert_allclose(rho_coarse, value, rtol=1e-14)


@pytest.mark.parametrize("factor", [2, 4])
def test_modulus_is_the_block_mean_of_the_fine_one(factor):
    domain = make_domain(rectangle(comm))
    coarse = make_domain(coarse_rectangle(comm, factor))
    rho = seeded(domain, 1)
    E_coarse = PMeanPooling(domain, coarse.space, 3.0).apply(rho) ** 3

    x, y, _ = np.floor(domain.midpoints / factor).astype(int).T
    sums = np.zeros((8 // factor, 12 // factor))
    np.add.at(sums, (y, x), rho**3)
    comm.Allreduce(MPI.IN_PLACE, sums)
    x, y, _ = np.floor(coarse.midpoints / factor).astype(int).T
    np.testing.assert_allclose(E_coarse, sums[y, x] / factor**2, rtol=1e-13)


@pytest.mark.parametrize("kind", [kind for kind in PAIRS if "without" not in kind])
def test_stiffness_is_kept_in_total(kind):
    """The sum of v E over the coarse cells is that over the fine ones, where none belongs to two."""
    domain, coarse, pooling = make(kind, comm)
    rho = seeded(domain, 2)
    fine_total = dot(domain, domain.cell_volumes, rho**3)
    shares = pooling._collect(domain.cell_volumes)  # equal to the coarse volumes on nested meshes
    assert dot(coarse, shares, pooling.apply(rho) ** 3) == pytest.approx(fine_total, rel=1e-13)
    if "squares" in kind and "triangles" not in kind:
        np.testing.assert_allclose(shares, coarse.cell_volumes, rtol=1e-13)


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("penalty", [1.0, 1.5, 3.0])
def test_pullback_by_taylor(kind, penalty):
    domain, coarse, pooling = make(kind, comm, penalty)
    functional = PooledFunctional(with_state(Polynomial(coarse)), pooling)
    rho, direction = seeded(domain, 3, 0.1, 0.9), seeded(domain, 4, -1.0, 1.0)
    value, gradient = functional.value_and_gradient(rho)
    assert value == functional.value(rho)
    orders = taylor_orders(lambda t: functional.value(rho + t * direction), dot(domain, gradient, direction))
    assert orders.min() > 1.9


def with_state(functional):
    functional.state = None
    return functional


def test_pullback_where_cells_are_empty():
    domain, coarse, pooling = make("squares 2x", comm)
    rho = np.where(domain.midpoints[:, 0] < 6.0, 0.0, seeded(domain, 5))
    rho_coarse = pooling.apply(rho)
    gradient = pooling.pullback(np.ones(coarse.num_owned_cells), rho, rho_coarse)
    empty = domain.midpoints[:, 0] < 6.0
    np.testing.assert_allclose(gradient[empty], 0.25)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("kind", PAIRS)
def test_serial_equals_parallel(kind):
    results = []
    for each in (MPI.COMM_SELF, comm):
        domain, coarse, pooling = make(kind, each)
        rho = seeded(domain, 6)
        rho_coarse = pooling.apply(rho)
        gradient = pooling.pullback(seeded(coarse, 7), rho, rho_coarse)
        results.append((gathered(coarse, rho_coarse), gathered(domain, gradient)))
    for serial, parallel in zip(*results, strict=True):
        np.testing.assert_allclose(parallel, serial, rtol=1e-12, atol=1e-14)


def test_penalty_follows_a_constant():
    mesh = rectangle(comm)
    penalty = dolfinx.fem.Constant(mesh, 3.0)
    domain, coarse = make_domain(mesh), make_domain(coarse_rectangle(comm, 2))
    pooling = PMeanPooling(domain, coarse.space, penalty)
    rho = seeded(domain, 8)
    cubic = pooling.apply(rho)
    penalty.value = 1.0
    np.testing.assert_allclose(pooling.apply(rho), PMeanPooling(domain, coarse.space, 1.0).apply(rho))
    assert dot(coarse, np.ones(len(cubic)), np.abs(cubic - pooling.apply(rho))) > 0.1


def test_a_finer_mesh_is_refused():
    domain = make_domain(coarse_rectangle(comm, 2))
    with pytest.raises(InputError, match="must be coarser"):
        PMeanPooling(domain, make_domain(rectangle(comm)).space)


def test_other_ranks_are_refused():
    if comm.size == 1:  # any communicator of one rank is like another
        other = MPI.COMM_SELF
        PMeanPooling(make_domain(rectangle(comm)), make_domain(coarse_rectangle(other, 2)).space)
        return
    with pytest.raises(InputError, match="same ranks"):
        PMeanPooling(make_domain(rectangle(comm)), make_domain(coarse_rectangle(MPI.COMM_SELF, 2)).space)
