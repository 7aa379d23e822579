"""Every public name has an example in its docstring, and it is right: on any number of ranks."""

import doctest

import numpy as np
import pytest
import ufl
from dolfinx import fem, mesh
from mpi4py import MPI

import dolfinx_neural_topo as dnt
from dolfinx_neural_topo.physics import elasticity

NAMES = sorted(dnt._HOME)
comm = MPI.COMM_WORLD


@pytest.fixture(scope="module")
def known():
    """What examples use without making it: the cantilever of `docs/getting_started.md`, on 16 x 8 cells."""
    corners = [np.array([0.0, 0.0]), np.array([2.0, 1.0])]
    plate = mesh.create_rectangle(comm, corners, [16, 8], mesh.CellType.quadrilateral)
    rho = fem.Function(fem.functionspace(plate, ("DG", 0)))
    V = fem.functionspace(plate, ("Lagrange", 1, (2,)))
    Q = fem.functionspace(plate, ("Lagrange", 1))
    a = elasticity.bilinear_form(V, dnt.simp(rho, penalty=3.0), nu=0.3)
    L = ufl.dot(fem.Constant(plate, (0.0, 0.0)), ufl.TestFunction(V)) * ufl.dx
    left = fem.locate_dofs_geometrical(V, lambda x: np.isclose(x[0], 0.0))
    bcs = [fem.dirichletbc(np.zeros(2), left, V)]
    load = dnt.nodal_load(V, [(2.0, 0.5)], [(0.0, -1.0)])
    state = dnt.StateProblem((a, L), rho, bcs=bcs, nodal_loads=load, petsc_options_prefix="beam_")
    domain = dnt.DesignDomain(rho, volume_fraction=0.5)
    design = dnt.Design(dnt.Compliance(state), domain, filter=dnt.ConeFilter(domain, radius=0.3))
    half = np.full(domain.num_owned_cells, 0.5)
    modules = {"dnt": dnt, "np": np, "ufl": ufl, "fem": fem, "comm": comm}
    yield modules | {
        name: value for name, value in locals().items() if name not in ("corners", "left", "modules")
    }
    state.destroy()


@pytest.mark.parametrize("name", NAMES)
def test_example(name, known):
    finder = doctest.DocTestFinder(recurse=False)
    (example,) = finder.find(getattr(dnt, name), name, globs=dict(known))
    assert example.examples, f"{name} has no example in its docstring"
    said: list[str] = []
    flags = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL
    failed, _ = doctest.DocTestRunner(optionflags=flags).run(example, out=said.append)
    assert not failed, "".join(said)
