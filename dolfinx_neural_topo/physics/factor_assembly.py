"""Faster ways to assemble forms that are, on each cell, a number times a matrix that never changes.

Whether a form is of that kind is found out by trying: element matrices are measured, and what comes of them
is compared with what DOLFINx assembles. Any other form is assembled by DOLFINx as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import scipy.sparse
import ufl
from dolfinx import fem
from mpi4py import MPI
from petsc4py import PETSc

from dolfinx_neural_topo._dolfinx import assemble_matrix, dg0_cells
from dolfinx_neural_topo._petsc import Owner, csr_values
from dolfinx_neural_topo.physics._boxes import find_box
from dolfinx_neural_topo.physics._stencil import StencilAssembly
from dolfinx_neural_topo.physics.nullspace import is_mixed

SAME = 1e-12  # relative difference to DOLFINx's matrix up to which the faster one is exact to rounding


SMALLEST = {2: 5_000, 3: 20_000}
"""Unknowns from which on the time saved is worth the preparation."""


def faster_assembly(a: ufl.Form) -> type[FactorAssembly] | None:
    """Return what to try on a bilinear form: cells only, in 2D on one rank, in 3D on a box, not small.

    Note: Collective.
    """
    V = a.arguments()[0].ufl_function_space()
    dim, size = V.mesh.topology.dim, V.dofmap.index_map.size_global * V.dofmap.index_map_bs
    cells = all(integral.integral_type() == "cell" for integral in a.integrals())
    if not cells or size < SMALLEST.get(dim, np.inf):
        return None
    if dim == 3:
        return None if find_box(V) is None else BoxAssembly
    points = V.ufl_element().family_name == "P" and not is_mixed(V)
    return CellAssembly if points and V.mesh.geometry.dim == 2 and V.mesh.comm.size == 1 else None


class FactorAssembly(Owner):
    """Assembly of a bilinear form a(u, v; rho) whose element matrices keep their directions.

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
        field = fem.Function(V)
        slopes = 1.0 / np.arange(1.0, 1.0 + V.mesh.geometry.dim * V.dofmap.bs).reshape(V.dofmap.bs, -1)
        x = V.tabulate_dof_coordinates()[:, : V.mesh.geometry.dim]
        field.x.array[:] = (x @ slopes.T).reshape(-1)
        energy, v = ufl.action(ufl.action(a, field), field), ufl.TestFunction(self._space)
        self._energy = compile(
            ufl.Form([integral.reconstruct(v * integral.integrand()) for integral in energy.integrals()])
        )
        self._work = fem.Function(self._space)
        self._measured = False
        self._prepare()

    def _prepare(self) -> None:
        """Make what a kind needs before it measures. Note: Collective."""

    def _energies(self) -> np.ndarray:
        """Return the energy of each owned cell in the fixed field, at the present density."""
        self._work.x.array[:] = 0.0
        fem.assemble_vector(self._work.x.array, self._energy)
        return self._work.x.array[: self._cells.size]

    def learn(self, A: PETSc.Mat) -> bool:
        """Compare with DOLFINx at a generic density; measure element matrices first, or where they changed.

        Args:
            A: Matrix to work in.

        Returns:
            Whether the form can be assembled this way; the same on all ranks.

        Note: Collective.
        """
        held = self._rho.x.array.copy()
        try:
            if not (self._measured and self._agrees(A)):
                with np.errstate(all="ignore"):  # cells without the density have no energy to measure by
                    self._measured = self._measure(A) and self._agrees(A)
            return self._measured
        finally:
            self._rho.x.array[:] = held

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

    def _measure(self, A: PETSc.Mat) -> bool:
        """Measure element matrices in a matrix to work in; return whether that was possible."""
        raise NotImplementedError

    def assemble(self, A: PETSc.Mat, diagonal: float = 1.0) -> None:
        """Compute the values of A at the present density.

        Args:
            A: The matrix.
            diagonal: What to put in the rows of Dirichlet degrees of freedom.

        Note: Collective.
        """
        raise NotImplementedError


class BoxAssembly(FactorAssembly):
    """On a box, whose cells all have the same element matrix up to their factors; on any number of ranks."""

    def _prepare(self) -> None:
        box = find_box(self._V, self._bcs)
        assert box is not None
        self._stencil = self.own(StencilAssembly(self._V, box, self._space))

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

    def assemble(self, A: PETSc.Mat, diagonal: float = 1.0) -> None:
        """See `FactorAssembly`."""
        self._stencil.factors[:] = self._energies()
        self._stencil.assemble(A, diagonal)


class CellAssembly(FactorAssembly):
    """On any mesh in one process: each cell has an element matrix of its own, and a place for each entry.

    All values of the matrix are then the product of a sparse matrix with the factors. Every cell keeps the
    rounding that DOLFINx gives it: one rounding shared by all would add up over a grid, and a direct solver
    shows that (2e-9 of the compliance at 384 x 64).
    """

    def _measure(self, A: PETSc.Mat) -> bool:
        """Take the element matrices of cells without a common node from one matrix without conditions."""
        V, values = self._V, csr_values(A)[0]
        block = np.arange(V.dofmap.bs)
        nodes = V.dofmap.list[self._cells]
        dofs = (nodes[:, :, None] * V.dofmap.bs + block).reshape(len(nodes), -1)
        starts, columns, _ = A.getValuesCSR()
        rows = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        width = A.getSize()[1]
        keys = rows * width + columns  # ascending
        places = np.searchsorted(keys, dofs[:, :, None] * width + dofs[:, None, :]).reshape(len(dofs), -1)
        fixed = np.zeros(width, dtype=bool)
        for bc in self._bcs:
            fixed[bc.dof_indices()[0]] = True
        self._zeros = np.flatnonzero(fixed[rows] | fixed[columns])
        self._ones = np.flatnonzero(fixed[rows] & (rows == columns))
        elements = np.empty(places.shape)
        rho = self._rho.x.array
        dofs_of_rho = self._space.dofmap.list[self._cells, 0]

        def look(density: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
            rho[:] = density
            assemble_matrix(A, self._form, [])
            return values.copy(), self._energies()[dofs_of_rho]

        random = np.random.default_rng(0)
        base, void = look(0.0)
        for cells in _apart(nodes, V.dofmap.index_map.size_local):
            density = np.zeros(rho.shape)
            density[dofs_of_rho[cells]] = random.uniform(0.5, 1.0, len(cells))
            with_them, energies = look(density)
            difference = with_them[places[cells]] - base[places[cells]]
            elements[cells] = difference / (energies - void)[cells, None]
        if not np.isfinite(elements).all():
            return False
        _balance(elements.reshape(len(nodes), -1, dofs.shape[1] // len(block), len(block)))
        self._values = scipy.sparse.csr_matrix(
            (elements.ravel(), (places.ravel(), np.repeat(dofs_of_rho, places.shape[1]))),
            shape=(len(columns), len(rho)),
        )
        return True

    def assemble(self, A: PETSc.Mat, diagonal: float = 1.0) -> None:
        """See `FactorAssembly`."""
        values = csr_values(A)[0]
        values[:] = self._values @ self._energies()
        values[self._zeros] = 0.0
        values[self._ones] = diagonal
        A.assemble()
        A.stateIncrease()


def _balance(elements: np.ndarray) -> None:
    """Let element matrices whose rows sum to zero but for rounding do so on the average over cells.

    Measured ones have sums of -1e-17 in the mean, which a grid adds up. A cell's own rounding stays.

    Args:
        elements: Shape (cells, rows, nodes, components); changed.
    """
    sums = elements.sum(axis=2)
    if abs(sums).max() < 1e-13 * abs(elements).max():
        rows = np.arange(elements.shape[1])
        elements[:, rows, rows // elements.shape[3], :] -= sums


def _apart(nodes: np.ndarray, num_nodes: int) -> Iterator[np.ndarray]:
    """Split cells into sets of which no two have a common node.

    Args:
        nodes: Nodes of each cell, shape (n, nodes of a cell).
        num_nodes: Number of all nodes.
    """
    rank = np.random.default_rng(0).permutation(len(nodes))
    left = np.arange(len(nodes))
    while left.size:
        chosen, free = [], left
        while free.size:  # a cell that is the first at all its nodes enters, its neighbours leave
            first = np.full(num_nodes, len(nodes))
            np.minimum.at(first, nodes[free], rank[free, None])
            enters = (first[nodes[free]] == rank[free, None]).all(axis=1)
            chosen.append(free[enters])
            taken = np.zeros(num_nodes, dtype=bool)
            taken[nodes[free[enters]]] = True
            free = free[~taken[nodes[free]].any(axis=1)]
        yield np.concatenate(chosen)
        left = np.setdiff1d(left, np.concatenate(chosen), assume_unique=True)
