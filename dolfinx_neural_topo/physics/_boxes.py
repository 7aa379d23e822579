"""Grids that are boxes: nodes found by coordinates, nested coarser boxes, and the interpolation between them.

A box is a tensor product of lines, not necessarily evenly spaced. The next coarser box keeps every second
line and the last one, so that every box can be coarsened, whatever its numbers of cells are. A coarse node
belongs to the rank that owns the fine node at its place: no rank ever holds more than its share of a grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from dolfinx import fem
from mpi4py import MPI
from petsc4py import PETSc

from dolfinx_neural_topo.physics._lattice import Lattice

TOLERANCE = 1e-6  # of a cell's width: how far a node may lie off its line


@dataclass(frozen=True)
class Box:
    """The share of one rank in a grid of nodes.

    Attributes:
        comm: Communicator of the grid.
        lines: Coordinates of the grid lines in each direction, ascending, the same on all ranks.
        nodes: Numbers of the lines on which each owned node lies, shape (owned nodes, directions), int64.
        fixed: Whether each owned degree of freedom is fixed, shape (owned nodes, block size).
    """

    comm: MPI.Intracomm
    lines: tuple[np.ndarray, ...]
    nodes: np.ndarray
    fixed: np.ndarray

    @property
    def num_global_nodes(self) -> int:
        """Number of nodes on all ranks."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of nodes in each direction."""
        return tuple(line.size for line in self.lines)

    def locate(self, x: np.ndarray) -> np.ndarray:
        """Return the numbers of the lines on which nodes lie, shape (nodes, directions), int64.

        Args:
            x: Coordinates of nodes, shape (nodes, 3).
        """
        half = [0.5 * np.diff(line).min() for line in self.lines]
        columns = [np.searchsorted(line, x[:, k] - half[k]) for k, line in enumerate(self.lines)]
        return np.column_stack(columns)

    def coarsen(self) -> tuple[Box, np.ndarray]:
        """Return the box of every second line (and the last), and which owned nodes are also its nodes."""
        last = np.array([line.size - 1 for line in self.lines])
        kept = np.all((self.nodes % 2 == 0) | (self.nodes == last), axis=1)
        lines = tuple(np.append(line[:-1:2], line[-1]) for line in self.lines)
        return Box(self.comm, lines, (self.nodes[kept] + 1) // 2, self.fixed[kept]), kept


def find_box(V: fem.FunctionSpace, bcs: Sequence[fem.DirichletBC] = ()) -> Box | None:
    """Recognize a space of bilinear or trilinear elements on a mesh that is a box of axis-parallel cells.

    Args:
        V: Any space. A box needs Lagrange elements of degree 1 on quadrilaterals or hexahedra, blocked or
            not.
        bcs: Dirichlet conditions on V or its components.

    Returns:
        The box, or None, on all ranks alike.

    Note: Collective.
    """
    mesh, dim = V.mesh, V.mesh.topology.dim
    element = V.ufl_element()
    if (
        mesh.topology.cell_name() not in ("quadrilateral", "hexahedron")
        or mesh.geometry.dim != dim
        or element.family_name != "P"
        or element.embedded_subdegree != 1
        or (V.dofmap.index_map_bs == 1 and V.num_sub_spaces > 0)
    ):
        return None
    x = V.tabulate_dof_coordinates()[:, :dim]
    corners = x[V.dofmap.list[: mesh.topology.index_map(dim).size_local]]
    low, high = corners.min(axis=1, keepdims=True), corners.max(axis=1, keepdims=True)
    off = np.minimum(corners - low, high - corners) > TOLERANCE * (high - low)
    if mesh.comm.allreduce(bool(off.any()), op=MPI.LOR):
        return None
    x = x[: V.dofmap.index_map.size_local]
    width = mesh.comm.allreduce(float((high - low).min(initial=np.inf)), op=MPI.MIN)
    lines = tuple(_lines(mesh.comm, x[:, axis], TOLERANCE * width) for axis in range(dim))
    num_nodes, num_cells = V.dofmap.index_map.size_global, mesh.topology.index_map(dim).size_global
    if (
        np.prod([line.size for line in lines]) != num_nodes
        or np.prod([line.size - 1 for line in lines]) != num_cells
    ):
        return None
    fixed = np.zeros((x.shape[0], V.dofmap.index_map_bs), dtype=bool)
    for bc in bcs:
        dofs, _ = bc.dof_indices()
        fixed.reshape(-1)[dofs[dofs < fixed.size]] = True
    box = Box(mesh.comm, lines, np.empty((0, dim), dtype=np.int64), fixed)
    return replace(box, nodes=box.locate(x))


def _lines(comm: MPI.Intracomm, x: np.ndarray, tolerance: float) -> np.ndarray:
    def distinct(values):
        values = np.sort(values)
        return values[np.diff(values, prepend=-np.inf) > tolerance]

    return distinct(np.concatenate(comm.allgather(distinct(x))))


def interpolation(fine: Box, coarse: Box, kept: np.ndarray) -> PETSc.Mat:
    """Assemble multilinear interpolation from a coarse box to the fine one, blocked like the states.

    Fixed degrees of freedom are kept apart: coinciding ones are copied, and neither do other fixed fine ones
    take anything nor do fixed coarse ones give anything.

    Returns:
        Matrix of shape (fine degrees of freedom, coarse degrees of freedom), which the caller destroys.

    Note: Collective.
    """
    row, ends, weight = _scalar_entries(fine)
    lattice = Lattice(coarse.comm, coarse.shape, coarse.nodes)
    column = lattice.numbers(ends)
    lattice.destroy()
    num_rows, num_columns, block_size = fine.nodes.shape[0], coarse.nodes.shape[0], fine.fixed.shape[1]
    order = np.lexsort((column, row))
    row, column, weight = row[order], column[order], weight[order]
    rows = (row[:, None] * block_size + np.arange(block_size)).astype(PETSc.IntType)
    columns = (column[:, None] * block_size + np.arange(block_size)).astype(PETSc.IntType)
    keeps = ~(fine.fixed[row] | are_fixed(coarse, columns)) | kept[row][:, None]
    # Entries are sorted by node; a stable sort by degree of freedom keeps the columns of a row ascending.
    rows, columns, values = rows[keeps], columns[keeps], np.broadcast_to(weight[:, None], keeps.shape)[keeps]
    order = np.argsort(rows, kind="stable")
    start = np.zeros(num_rows * block_size + 1, dtype=PETSc.IntType)
    np.cumsum(np.bincount(rows, minlength=num_rows * block_size), out=start[1:])
    size = ((num_rows * block_size, None), (num_columns * block_size, None))
    P = PETSc.Mat().createAIJ(
        size, bsize=block_size, csr=(start, columns[order], values[order]), comm=fine.comm
    )
    P.assemble()
    return P


def _scalar_entries(fine: Box) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return row (owned fine node), column (natural coarse node) and weight of one component's entries."""
    left, right, share = [], [], []
    for axis, line in enumerate(fine.lines):
        i = fine.nodes[:, axis]
        between = (i % 2 == 1) & (i < line.size - 1)
        below, above = np.where(between, i - 1, i), np.where(between, i + 1, i)
        left.append((below + 1) // 2)
        right.append((above + 1) // 2)
        length = np.where(between, line[above] - line[below], 1.0)
        share.append((line[i] - line[below]) / length)
    rows, columns, weights = [], [], []
    for corner in product((False, True), repeat=len(fine.lines)):
        weight = np.prod([s if far else 1.0 - s for far, s in zip(corner, share, strict=True)], axis=0)
        row = np.flatnonzero(weight)
        ends = [(r if far else l)[row] for far, l, r in zip(corner, left, right, strict=True)]
        rows.append(row)
        columns.append(np.column_stack(ends))
        weights.append(weight[row])
    return np.concatenate(rows), np.concatenate(columns), np.concatenate(weights)


def are_fixed(box: Box, dofs: np.ndarray) -> np.ndarray:
    """Return which of some degrees of freedom, given by global numbers, are fixed.

    Note: Collective.
    """
    wanted, back = np.unique(dofs, return_inverse=True)
    fixed = PETSc.Vec().createMPI((box.fixed.size, None), comm=box.comm)
    fixed.array_w[:] = box.fixed.reshape(-1)
    found = PETSc.Vec().createSeq(wanted.size)
    where = PETSc.IS().createGeneral(wanted.astype(PETSc.IntType), comm=MPI.COMM_SELF)
    scatter = PETSc.Scatter().create(fixed, where, found, None)
    scatter.scatter(fixed, found)
    answer = found.array_r[back.reshape(dofs.shape)] > 0.5
    for thing in (scatter, where, found, fixed):
        thing.destroy()
    return answer
