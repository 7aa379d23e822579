"""A faster way to assemble forms that are, on each cell of a box, a number times always the same matrix.

Whether a form is of that kind is found out by trying: its element matrix is measured, and what comes of it is
compared with what DOLFINx assembles. Any other form is assembled by DOLFINx as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import ufl
from dolfinx import fem
from mpi4py import MPI
from petsc4py import PETSc

from dolfinx_neural_topo._dolfinx import assemble_matrix, dg0_cells
from dolfinx_neural_topo._petsc import Owner
from dolfinx_neural_topo.physics._boxes import find_box
from dolfinx_neural_topo.physics._stencil import StencilAssembly

SAME = 1e-12  # relative difference to DOLFINx's matrix up to which the faster one is exact to rounding


SMALLEST = 20_000
"""Unknowns from which on the time saved is worth the preparation."""

LOWEST_DIMENSION = 3
"""In 2D the factorization dwarfs the assembly. And cells that share one rounding of their matrix add it up:
2e-9 of the compliance at 384 x 64, which a direct solver shows."""


def is_worth_while(a: ufl.Form) -> bool:
    """Return whether to try a `BoxAssembly` on a bilinear form: cells only, on a 3D box that is not small.

    Note: Collective.
    """
    V = a.arguments()[0].ufl_function_space()
    if V.mesh.topology.dim < LOWEST_DIMENSION:
        return False
    large = V.dofmap.index_map.size_global * V.dofmap.index_map_bs >= SMALLEST
    cells = all(integral.integral_type() == "cell" for integral in a.integrals())
    return large and cells and find_box(V) is not None


class BoxAssembly(Owner):
    """Assembly of a bilinear form a(u, v; rho) whose element matrices differ by a factor only.

    The factor of a cell is its energy in a fixed field of constant gradient, which a linear form on DG0 gives
    for any dependence on the density, constants included.

    Args:
        a: The form in UFL.
        form: The same, compiled.
        bcs: Dirichlet conditions.
        rho: Density.
        compile: What compiles UFL forms.

    Note: Collective.
    """

    def __init__(
        self,
        a: ufl.Form,
        form: fem.Form,
        bcs: Sequence[fem.DirichletBC],
        rho: fem.Function,
        compile: Callable[[ufl.Form], fem.Form],
    ):
        super().__init__()
        self._form, self._bcs, self._rho = form, list(bcs), rho
        V, self._space = a.arguments()[0].ufl_function_space(), rho.function_space
        self._V, self._cells = V, dg0_cells(self._space)[: self._space.dofmap.index_map.size_local]
        box = find_box(V, bcs)
        assert box is not None
        self._stencil = self.own(StencilAssembly(V, box, self._space))
        field = fem.Function(V)
        slopes = 1.0 / np.arange(1.0, 1.0 + V.mesh.geometry.dim * V.dofmap.bs).reshape(V.dofmap.bs, -1)
        x = V.tabulate_dof_coordinates()[:, : V.mesh.geometry.dim]
        field.x.array[:] = (x @ slopes.T).reshape(-1)
        energy, v = ufl.action(ufl.action(a, field), field), ufl.TestFunction(self._space)
        self._energy = compile(
            ufl.Form([integral.reconstruct(v * integral.integrand()) for integral in energy.integrals()])
        )
        self._work = fem.Function(self._space)

    def _energies(self) -> np.ndarray:
        """Return the energy of each owned cell in the fixed field, at the present density."""
        self._work.x.array[:] = 0.0
        fem.assemble_vector(self._work.x.array, self._energy)
        return self._work.x.array[: self._cells.size]

    def learn(self, A: PETSc.Mat) -> bool:
        """Measure the element matrix, and compare with DOLFINx at a generic density.

        Args:
            A: Matrix to work in.

        Returns:
            Whether the form can be assembled this way; the same on all ranks.

        Note: Collective.
        """
        held = self._rho.x.array.copy()
        try:
            found = self._measure(A)
            return found and self._agrees(A)
        finally:
            self._rho.x.array[:] = held

    def _measure(self, A: PETSc.Mat) -> bool:
        """Take the element matrix of one cell from the difference of two matrices without conditions."""
        comm, V = self._rho.function_space.mesh.comm, self._V
        dofs = V.dofmap.list[self._cells]
        inner = np.flatnonzero((dofs < V.dofmap.index_map.size_local).all(axis=1))
        rank = comm.allreduce(comm.rank if inner.size else comm.size, op=MPI.MIN)
        if rank == comm.size:
            return False
        cell = inner[0] if rank == comm.rank else -1
        corners, block = dofs.shape[1], V.dofmap.bs
        element, energy = np.zeros((corners, block, corners, block)), 0.0
        for density, sign in ((0.0, -1.0), (1.0, 1.0)):
            self._rho.x.array[:] = 0.0
            if cell >= 0:
                self._rho.x.array[cell] = density
            self._rho.x.scatter_forward()
            assemble_matrix(A, self._form, [])
            energies = self._energies()
            if cell >= 0:
                element += sign * self._element(A, dofs[cell])
                energy += sign * energies[cell]
        K = comm.bcast(element / energy if cell >= 0 else None, root=rank)
        if not np.isfinite(K).all():
            return False
        self._stencil.set_element_matrix(K)
        return True

    def _element(self, A: PETSc.Mat, nodes: np.ndarray) -> np.ndarray:
        """Read the entries between the nodes of a cell, its corners in the order of the stencil."""
        x, block = self._V.tabulate_dof_coordinates()[nodes], self._V.dofmap.bs
        far = x[:, : self._stencil.corners.shape[1]] > x.mean(axis=0)[: self._stencil.corners.shape[1]]
        place = np.argsort(far @ 2 ** np.arange(far.shape[1])[::-1])
        first = A.getOwnershipRange()[0]
        rows = (first + nodes[place][:, None] * block + np.arange(block)).astype(PETSc.IntType).reshape(-1)
        return A.getValues(rows, rows).reshape(len(nodes), block, len(nodes), block)

    def _agrees(self, A: PETSc.Mat) -> bool:
        """Compare the products with random vectors of both matrices, densities 0 and 1 among generic ones."""
        random = np.random.default_rng(A.comm.rank)
        values = self._rho.x.array
        values[:] = np.clip(random.uniform(-0.1, 1.1, values.size), 0.0, 1.0)
        self._rho.x.scatter_forward()
        x, y = A.createVecs()
        difference = y.duplicate()
        x.array_w[:] = random.standard_normal(x.local_size)
        assemble_matrix(A, self._form, self._bcs)
        A.mult(x, y)
        self.assemble(A)
        A.mult(x, difference)
        difference.axpy(-1.0, y)
        same = difference.norm(PETSc.NormType.INFINITY) <= SAME * y.norm(PETSc.NormType.INFINITY)
        for vector in (x, y, difference):
            vector.destroy()
        return bool(same)

    def assemble(self, A: PETSc.Mat, diagonal: float = 1.0) -> None:
        """Compute the values of A at the present density.

        Args:
            A: The matrix.
            diagonal: What to put in the rows of Dirichlet degrees of freedom.

        Note: Collective.
        """
        self._stencil.factors[:] = self._energies()
        self._stencil.assemble(A, diagonal)
