"""Assembly on a box whose cells all have the same element matrix, up to a factor each.

The rows of a node depend on the factors of the cells around it alone. So all rows together are the product of
a tall matrix (factors of the cells around each node) with a small one (element matrix spread over the
stencil), which BLAS computes several times faster than quadrature does, at the cost of some bytes a node.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from dolfinx import fem
from mpi4py import MPI
from petsc4py import PETSc

from dolfinx_neural_topo._dolfinx import dg0_cells
from dolfinx_neural_topo._petsc import Owner, csr_values
from dolfinx_neural_topo.physics._boxes import Box, are_fixed
from dolfinx_neural_topo.physics._lattice import OUTSIDE, Lattice

CHUNK = 1024  # nodes at a time: intermediate arrays stay in the cache


@dataclass(frozen=True)
class _Part:
    """Columns of all rows that PETSc keeps in one array of values: those of own nodes, or of other ranks'.

    Attributes:
        nodes: Owned nodes whose rows have such columns, ascending.
        order: Places in the stencil of these columns, in the order of the columns, padded, uint8.
        count: Number of these columns (counted in nodes) of each node.
        start: Where the values of each node's rows begin.
        zeros: Places of values in rows or columns of fixed degrees of freedom.
        ones: Those of them on the diagonal.
    """

    nodes: np.ndarray
    order: np.ndarray
    count: np.ndarray
    start: np.ndarray
    zeros: np.ndarray
    ones: np.ndarray


class StencilAssembly(Owner):
    """Values of a matrix of multilinear elements from one factor for each cell.

    Attributes:
        factors: Factors of this rank's cells in the order of the DG0 space, to be written before `assemble`.

    Args:
        V: Multilinear elements on a box.
        box: That box, with the Dirichlet conditions.
        space: DG0 space of the factors.

    Note: Collective.
    """

    def __init__(self, V: fem.FunctionSpace, box: Box, space: fem.FunctionSpace):
        super().__init__()
        dim = len(box.lines)
        self.corners = np.array(list(product((0, 1), repeat=dim)))
        self._stencil = np.array(list(product((-1, 0, 1), repeat=dim)))
        self.block_size = box.fixed.shape[1]
        cells = dg0_cells(space)[: space.dofmap.index_map.size_local]
        corners = box.locate(V.tabulate_dof_coordinates())[V.dofmap.list[cells]]
        self.cells = corners.min(axis=1)  # lattice coordinates
        self._connect_cells(box)
        self._parts = self._columns(box)
        self._spread = np.zeros((len(self.corners), 0))

    def _connect_cells(self, box: Box) -> None:
        """Find the cells around each node, and arrange for the factors of those of other ranks."""
        lattice = Lattice(box.comm, tuple(n - 1 for n in box.shape), self.cells)
        around = lattice.numbers(box.nodes[:, None, :] - self.corners)
        lattice.destroy()
        num_owned = len(self.cells)
        local = around - lattice.start
        foreign = (around != OUTSIDE) & ((local < 0) | (local >= num_owned))
        others, back = np.unique(around[foreign], return_inverse=True)
        local[foreign] = num_owned + back
        local[around == OUTSIDE] = num_owned + others.size
        self._around = local.astype(np.int32)
        self._all = np.zeros(num_owned + others.size + 1)  # the last one stands for what lies outside
        self.factors, received = self._all[:num_owned], self._all[num_owned:-1]
        self._sent = self.own(PETSc.Vec().createWithArray(self.factors, (num_owned, None), comm=box.comm))
        self._received = self.own(PETSc.Vec().createWithArray(received, comm=MPI.COMM_SELF))
        where = PETSc.IS().createGeneral(others.astype(PETSc.IntType), comm=MPI.COMM_SELF)
        self._scatter = self.own(PETSc.Scatter().create(self._sent, where, self._received, None))
        where.destroy()

    def _columns(self, box: Box) -> list[_Part]:
        """Find out in which order PETSc keeps the columns of each row."""
        lattice = Lattice(box.comm, box.shape, box.nodes)
        numbers = lattice.numbers(box.nodes[:, None, :] + self._stencil)
        lattice.destroy()
        own = (numbers >= lattice.start) & (numbers < lattice.start + len(box.nodes))
        others = (numbers != OUTSIDE) & ~own
        components = np.arange(self.block_size)
        fixed = np.zeros((*numbers.shape, self.block_size), dtype=bool)
        fixed[own] = box.fixed[numbers[own] - lattice.start]
        fixed[others] = are_fixed(box, numbers[others][:, None] * self.block_size + components)
        masks = [own] if box.comm.size == 1 else [own, others]
        return [
            self._part(np.where(mask, numbers, np.iinfo(np.int64).max), mask, fixed, box) for mask in masks
        ]

    def _part(self, key: np.ndarray, mask: np.ndarray, fixed: np.ndarray, box: Box) -> _Part:
        count = np.count_nonzero(mask, axis=1)
        nodes = np.flatnonzero(count)
        order, count = np.argsort(key[nodes], axis=1, kind="stable").astype(np.uint8), count[nodes]
        block = self.block_size
        start = np.append(0, np.cumsum(count) * block * block)
        # Only rows with something fixed in their stencil: a small part of all.
        concerned = np.flatnonzero(
            (fixed[nodes] & mask[nodes][:, :, None]).any(axis=(1, 2)) | box.fixed[nodes].any(axis=1)
        )
        zeros, ones = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
        centre = len(self._stencil) // 2
        for k in np.array_split(concerned, max(1, concerned.size // CHUNK)):
            at = order[k]
            columns = np.take_along_axis(fixed[nodes[k]], at[:, :, None].astype(np.intp), axis=1)
            cleared = box.fixed[nodes[k]][:, :, None, None] | columns[:, None, :, :]
            diagonal = (at == centre)[:, None, :, None] & np.eye(block, dtype=bool)[:, None, :]
            present = np.broadcast_to(np.arange(len(self._stencil)) < count[k][:, None], at.shape)
            present = np.broadcast_to(present[:, None, :, None], cleared.shape)
            place = (
                np.cumsum(present.reshape(len(k), int(np.prod(present.shape[1:]))), axis=1).reshape(
                    present.shape
                )
                - 1
            )
            place += start[k][:, None, None, None]
            zeros.append(place[cleared & present])
            ones.append(place[cleared & present & diagonal])
        return _Part(nodes, order, count, start, np.concatenate(zeros), np.concatenate(ones))

    def set_element_matrix(self, K: np.ndarray) -> None:
        """Set the element matrix for factor 1.

        Args:
            K: Shape (corners, block size, corners, block size), corners in the order of `corners`.
        """
        shape = (len(self.corners), self.block_size, len(self._stencil), self.block_size)
        spread, three = np.zeros(shape), 3 ** np.arange(self.corners.shape[1])[::-1]
        for a, here in enumerate(self.corners):
            for b, there in enumerate(self.corners):
                spread[a, :, (there - here + 1) @ three, :] += K[a, :, b, :]
        self._spread = spread.reshape(len(self.corners), -1)

    def assemble(self, A: PETSc.Mat, diagonal: float) -> None:
        """Write the values of a matrix with the pattern of V, diagonal for fixed degrees of freedom.

        Note: Collective.
        """
        self._scatter.scatter(self._sent, self._received)
        for part, values in zip(self._parts, csr_values(A), strict=True):
            for begin in range(0, part.nodes.size, CHUNK):
                self._fill(part, slice(begin, min(begin + CHUNK, part.nodes.size)), values)
            values[part.zeros] = 0.0
            values[part.ones] = diagonal
        A.assemble()
        A.stateIncrease()

    def _fill(self, part: _Part, chunk: slice, values: np.ndarray) -> None:
        """Write the values of some nodes' rows."""
        order, block, width = part.order[chunk], self.block_size, len(self._stencil)
        stencil = self._all[self._around[part.nodes[chunk]]] @ self._spread
        # Entries in PETSc's order are (node, row of the node, neighbour), each of `block` values.
        place = order[:, None, :] + width * np.arange(len(order) * block).reshape(-1, block, 1)
        present = np.arange(width) < part.count[chunk, None]
        if not present.all():
            place = place[np.broadcast_to(present[:, None, :], place.shape)]
        target = values[part.start[chunk.start] : part.start[chunk.stop]].reshape(-1, block)
        stencil.reshape(-1, block).take(place.reshape(-1), axis=0, out=target, mode="clip")
