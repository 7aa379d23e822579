"""What density and bridge tests share: meshes of each kind, fields that agree between ranks, a functional."""

import tempfile
from pathlib import Path

import dolfinx
import gmsh
import numpy as np
from mpi4py import MPI

from dolfinx_neural_topo.density import DesignDomain
from dolfinx_neural_topo.io import read_mesh

comm = MPI.COMM_WORLD
CellType = dolfinx.mesh.CellType


def rectangle(comm, width=12, height=8, cell_type=CellType.quadrilateral, lower=(0.0, 0.0)):
    """Unit squares (or halves of them)."""
    upper = (lower[0] + width, lower[1] + height)
    return dolfinx.mesh.create_rectangle(comm, [lower, upper], [width, height], cell_type)


def box(comm, shape=(8, 5, 4), cell_type=CellType.hexahedron):
    """Unit cubes (or tetrahedra in them)."""
    return dolfinx.mesh.create_box(comm, [np.zeros(3), np.array(shape, dtype=float)], shape, cell_type)


def gmsh_plate(comm):
    """A 12 x 8 plate with a hole, in triangles of unequal size."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(comm.bcast(folder, root=0)) / "plate.msh"
        if comm.rank == 0:
            gmsh.initialize(interruptible=False)
            gmsh.option.setNumber("General.Terminal", 0)
            plate, hole = gmsh.model.occ.addRectangle(0, 0, 0, 12, 8), gmsh.model.occ.addDisk(4, 4, 0, 2, 2)
            gmsh.model.occ.cut([(2, plate)], [(2, hole)])
            gmsh.model.occ.synchronize()
            gmsh.option.setNumber("Mesh.MeshSizeMin", 0.4)
            gmsh.option.setNumber("Mesh.MeshSizeMax", 0.9)
            gmsh.option.setNumber("Mesh.MeshSizeFromCurvature", 20)
            gmsh.model.mesh.generate(2)
            gmsh.write(str(path))
            gmsh.finalize()
        comm.barrier()
        return read_mesh(path, comm).mesh


MESHES = {
    "squares": rectangle,
    "triangles": lambda comm: rectangle(comm, cell_type=CellType.triangle),
    "gmsh": gmsh_plate,
    "cubes": box,
    "tetrahedra": lambda comm: box(comm, (5, 4, 3), CellType.tetrahedron),
}


def make_domain(mesh, **options):
    """Design domain on a mesh, half full unless told otherwise."""
    return DesignDomain(dolfinx.fem.functionspace(mesh, ("DG", 0)), **{"volume_fraction": 0.5, **options})


def seeded(domain, seed, low=0.0, high=1.0):
    """Random owned values that do not depend on the partition."""
    values = np.random.default_rng(seed).uniform(low, high, domain.num_global_cells)
    return values[domain.canonical_index]


def gathered(domain, values):
    """Owned values of all ranks in canonical order."""
    everywhere = np.zeros(domain.num_global_cells)
    everywhere[domain.canonical_index] = values
    return domain.comm.allreduce(everywhere, op=MPI.SUM)


def dot(domain, x, y):
    """Inner product over all cells."""
    return domain.comm.allreduce(float(x @ y), op=MPI.SUM)


class Polynomial:
    """J = sum_i v_i (a_i rho_i + c_i rho_i^3) + (sum_i v_i d_i rho_i)^2: nonlinear, and couples all cells."""

    name = "polynomial"

    def __init__(self, domain, seed=0):
        self.comm = domain.comm
        self._domain = domain
        self._linear, self._cubic, self._coupling = (seeded(domain, seed + k, -1.0, 2.0) for k in range(3))

    def value(self, rho):
        v = self._domain.cell_volumes
        local = dot(self._domain, v, self._linear * rho + self._cubic * rho**3)
        return local + dot(self._domain, v, self._coupling * rho) ** 2

    def value_and_gradient(self, rho):
        v = self._domain.cell_volumes
        coupling = 2.0 * dot(self._domain, v, self._coupling * rho)
        gradient = v * (self._linear + 3.0 * self._cubic * rho**2 + coupling * self._coupling)
        return self.value(rho), gradient


def taylor_orders(value, slope, steps=(1e-2, 5e-3, 2.5e-3)):
    """Orders at which |f(t) - f(0) - t f'(0)| falls; two at least for an exact derivative."""
    base = value(0.0)
    remainders = [abs(value(t) - base - t * slope) for t in steps]
    return np.diff(np.log(remainders)) / np.diff(np.log(steps))


def check_against_the_whole(ours, theirs, steps):
    """Check a neural design on all ranks: equal to that of one rank, second order; return an evaluation."""
    place = np.argsort(theirs.persistence.entries)[ours.persistence.entries]
    assert comm.allreduce(place.size) == theirs.persistence.entries.size
    np.testing.assert_array_equal(ours.initial(), theirs.initial()[place])
    direction = np.random.default_rng(4).standard_normal(theirs.persistence.entries.size)
    here, there = ours.initial() + 0.02 * direction[place], theirs.initial() + 0.02 * direction
    a, b = ours.evaluate(here), theirs.evaluate(there)
    assert abs(a.value - b.value) <= 1e-9 * abs(b.value)
    scale = np.abs(b.gradient).max()
    np.testing.assert_allclose(a.gradient, b.gradient[place], rtol=0, atol=1e-8 * scale)
    slope = comm.allreduce(a.gradient @ direction[place])
    value = {t: ours.evaluate(here + t * direction[place], gradient=False).value for t in (0, *steps)}
    assert (taylor_orders(value.__getitem__, slope, steps) > 1.9).all()
    return a
