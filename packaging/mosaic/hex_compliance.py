"""Compliance of a hexahedral mesh and its gradient by the density, as Mosaic's structural problem wants them.

Points and cells are arrays, densities belong to cells in the order given, supports and tractions are masks of
nodes: a facet at the boundary is in group k if all of its nodes are. This file knows nothing of Tesseract.
"""

import basix.ufl
import numpy as np
import ufl
from dolfinx import fem
from dolfinx import mesh as dmesh
from mpi4py import MPI

import dolfinx_neural_topo as dnt
from dolfinx_neural_topo.physics import elasticity

VTK_TO_TENSOR = [0, 1, 3, 2, 4, 5, 7, 6]  # DOLFINx counts the nodes of a hexahedron axis by axis


class HexCompliance:
    """C(rho) = f . u(rho) with E = E_max (xmin + rho^penal (1 - xmin)).

    Args:
        points: Nodes, shape (n, 3).
        cells: Nodes of each cell in VTK's order, shape (m, 8).
        fixed: Group of each node that is held, 0 for none, shape (n,).
        loaded: Group of each node with a traction, 0 for none, shape (n,).
        tractions: Traction of each group, shape (groups, 3).
        E_max: Young's modulus of solid.
        nu: Poisson's ratio.
        xmin: Stiffness of void over that of solid.
        penal: Exponent of SIMP.
    """

    def __init__(
        self, points, cells, fixed, loaded, tractions, *, E_max=70000.0, nu=0.3, xmin=1e-3, penal=3.0
    ):
        element = basix.ufl.element("Lagrange", "hexahedron", 1, shape=(3,))
        cells = np.asarray(cells, dtype=np.int64)[:, VTK_TO_TENSOR]
        x = np.asarray(points, dtype=np.float64)
        mesh = dmesh.create_mesh(MPI.COMM_SELF, cells=cells, x=x, e=ufl.Mesh(element))
        self.cell = mesh.topology.original_cell_index
        rho = fem.Function(fem.functionspace(mesh, ("DG", 0)), name="density")
        V = fem.functionspace(mesh, ("Lagrange", 1, (3,)))
        a = elasticity.bilinear_form(V, dnt.simp(rho, penalty=penal, E0=E_max, E_min=xmin * E_max), nu)
        facets, groups = self._groups(mesh, np.asarray(fixed))
        clamp = fem.locate_dofs_topological(V, 2, facets[groups > 0])
        facets, groups = self._groups(mesh, np.asarray(loaded))
        tags = dmesh.meshtags(mesh, 2, facets, groups.astype(np.int32))
        ds = ufl.Measure("ds", domain=mesh, subdomain_data=tags)
        v = ufl.TestFunction(V)
        L = sum(
            ufl.dot(fem.Constant(mesh, np.float64(t)), v) * ds(k)
            for k, t in enumerate(np.asarray(tractions), start=1)
        )
        bcs = [fem.dirichletbc(np.zeros(3), clamp, V)]
        # cells of the thin slab are long: multigrid, the choice for such boxes, takes 7 times as long
        self.state = dnt.StateProblem((a, L), rho, bcs=bcs, petsc_options_prefix="mosaic_", solver="direct")
        self.compliance = dnt.Compliance(self.state)

    def value(self, rho):
        """Return C at densities in the order of the cells given."""
        return self.compliance.value(self._own(rho))

    def value_and_gradient(self, rho):
        """Return C and dC/drho, both in the order of the cells given."""
        value, own = self.compliance.value_and_gradient(self._own(rho))
        gradient = np.empty_like(own)
        gradient[self.cell] = own
        return value, gradient

    def destroy(self):
        """Free the PETSc objects."""
        self.compliance.destroy()
        self.state.destroy()

    def _own(self, rho):
        return np.clip(np.asarray(rho, dtype=np.float64), 0.0, 1.0)[self.cell]

    @staticmethod
    def _groups(mesh, mask):
        """Return the facets at the boundary, and the group of each: that of its nodes, 0 if they differ."""
        mesh.topology.create_connectivity(2, 3)
        facets = dmesh.exterior_facet_indices(mesh.topology)
        nodes = dmesh.entities_to_geometry(mesh, 2, facets)
        of_nodes = mask[mesh.geometry.input_global_indices[nodes]]
        same = np.all(of_nodes == of_nodes[:, :1], axis=1)
        return facets, np.where(same, of_nodes[:, 0], 0)


def cantilever(nx, ny=None, nz=None, size=(2.0, 1.0, 1.0), force=1.0):
    """Return points, cells, masks and tractions of the cantilever in Mosaic: a slab two cells thick."""
    ny, nz = ny or 2, nz or max(1, nx // 2)
    axes = [np.linspace(0.0, length, n + 1) for length, n in zip(size, (nx, ny, nz), strict=True)]
    z, y, x = np.meshgrid(*axes[::-1], indexing="ij")
    points = np.column_stack([x.ravel(), y.ravel(), z.ravel()])
    number = np.arange(len(points)).reshape(nz + 1, ny + 1, nx + 1)
    corner = number[:-1, :-1, :-1].ravel()[:, None]
    up_y, up_z = nx + 1, (nx + 1) * (ny + 1)
    cells = corner + np.array([0, 1, 1 + up_y, up_y, up_z, 1 + up_z, 1 + up_y + up_z, up_y + up_z])
    fixed, loaded = (abs(points[:, 0] - end) < 1e-9 for end in (0.0, size[0]))
    tractions = np.array([[0.0, 0.0, -force / (size[1] * size[2])]])
    return points, cells, fixed.astype(int), loaded.astype(int), tractions
