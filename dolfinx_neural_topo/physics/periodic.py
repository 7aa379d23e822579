"""States that repeat from cell to cell: opposite faces of a box share their degrees of freedom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from dolfinx import fem
from petsc4py import PETSc
from scipy.spatial import cKDTree

from dolfinx_neural_topo._communication import sum_replicated
from dolfinx_neural_topo._dolfinx import dof_points
from dolfinx_neural_topo._petsc import Owner
from dolfinx_neural_topo.errors import InputError, agree
from dolfinx_neural_topo.physics.nullspace import is_mixed

CLOSE = 1e-6  # distance, relative to the size of the box, at which points are the same


def read_axes(periodic: Any, dim: int) -> tuple[int, ...]:
    """Return the axes along which a state repeats, ascending, each once.

    Args:
        periodic: Numbers of axes, or True for all, or False for none.
        dim: Dimension of space.

    Raises:
        InputError: Something else.
    """
    if isinstance(periodic, bool):
        return tuple(range(dim)) if periodic else ()
    good = isinstance(periodic, Sequence) and not isinstance(periodic, str)
    good = good and all(isinstance(i, int | np.integer) and not isinstance(i, bool) for i in periodic)
    if not good or len(set(periodic)) != len(periodic) or not all(0 <= i < dim for i in periodic):
        raise InputError(
            f"periodic must be True, False or different axes of 0 ... {dim - 1} such as (0, 1), got "
            f"{periodic!r:.80}"
        )
    return tuple(sorted(int(i) for i in periodic))


class Periodicity(Owner):
    """Degrees of freedom on the far faces of a box count as those on the near faces.

    With P, which copies each value of the near faces to the far ones, the state is u = P w, and

        (P^T A P + D) w = P^T b,

    where D keeps the rows of the far faces, which are empty, regular. Sizes, order and owners of all vectors
    stay as they are.

    Args:
        V: Space of one value, or vector, at each node.
        bcs: Dirichlet conditions.
        axes: Axes along which the state repeats.

    Attributes:
        far: Whether an owned degree of freedom lies on a far face, shape (n,).

    Raises:
        InputError: Nodes of opposite faces that do not match, conditions on one of them alone, or a space
            without nodes.

    Note: Collective.
    """

    def __init__(self, V: fem.FunctionSpace, bcs: Sequence[fem.DirichletBC], axes: tuple[int, ...]):
        super().__init__()
        comm = V.mesh.comm
        x = None if is_mixed(V) else dof_points(V)
        agree(comm, "periodic needs a space of values at nodes, got another one" if x is None else None)
        assert x is not None
        index_map, size = V.dofmap.index_map, V.dofmap.index_map_bs
        first = index_map.local_range[0]
        partners = _partners(comm, x, first, axes)
        nodes = first + np.arange(len(x))
        target = np.where(partners < 0, nodes, partners)
        rows = (nodes[:, None] * size + np.arange(size)).ravel()
        columns = (target[:, None] * size + np.arange(size)).ravel()
        self.far = columns != rows
        self._P = self.own(_copying(comm, rows, columns, self.far, size * index_map.size_global))
        self._far_rows = rows[self.far].astype(PETSc.IntType)
        self._work = [self.own(self._P.createVecRight()) for _ in range(2)]
        self._folded: list[PETSc.Vec] = []
        agree(comm, self._one_sided(bcs))

    def _one_sided(self, bcs: Sequence[fem.DirichletBC]) -> str | None:
        held, copied = self._work
        held.set(0.0)
        for bc in bcs:
            rows = bc.dof_indices()[0]
            held.array_w[rows[rows < len(self.far)]] = 1.0
        self._P.mult(held, copied)
        if np.array_equal(copied.array_r, held.array_r):
            return None
        return (
            "bcs must hold on opposite faces of a periodic problem alike, got a node whose partner is free; "
            "way out: for a point, all corners of the cell"
        )

    def reduce(self, A: PETSc.Mat, result: PETSc.Mat | None, diagonal: float) -> PETSc.Mat:
        """Return P^T A P + D.

        Args:
            A: The matrix without periodicity.
            result: Of an earlier call, which is overwritten.
            diagonal: What D holds, zero for no D.

        Note: Collective.
        """
        result = A.PtAP(self._P, result=result)
        if diagonal:  # zeros need no entry, which the pattern of a form on facets may lack
            for row in self._far_rows:
                result.setValue(row, row, diagonal)
            result.assemble()
        return result

    def fold_rows(self, B: PETSc.Mat) -> PETSc.Mat:
        """Return P^T B. Note: Collective."""
        return self._P.transposeMatMult(B)

    def fold(self, bs: Sequence[PETSc.Vec]) -> list[PETSc.Vec]:
        """Return P^T b_i, valid until the next call.

        Note: Collective.
        """
        while len(self._folded) < len(bs):
            self._folded.append(self.own(self._P.createVecRight()))
        for b, folded in zip(bs, self._folded, strict=False):
            self._P.multTranspose(b, folded)
        return self._folded[: len(bs)]

    def unfold(self, xs: Sequence[PETSc.Vec]) -> None:
        """Let each x be P x.

        Note: Collective.
        """
        for x in xs:
            self._P.mult(x, self._work[1])
            self._work[1].copy(x)


def _partners(comm: Any, x: np.ndarray, first: int, axes: tuple[int, ...]) -> np.ndarray:
    """Return for each node on a far face the global number of the one it repeats, for others -1.

    Raises:
        InputError: Nodes of opposite faces do not match.
    """
    ends = [(points.min(axis=0), points.max(axis=0)) for points in comm.allgather(x) if len(points)]
    low, high = np.min([end[0] for end in ends], axis=0), np.max([end[1] for end in ends], axis=0)
    close, along = CLOSE * float((high - low).max()), list(axes)
    on_near, on_far = abs(x - low)[:, along] < close, abs(x - high)[:, along] < close
    for axis, near, far in zip(axes, *sum_replicated(comm, [on_near.sum(0), on_far.sum(0)]), strict=True):
        if near != far:
            raise InputError(
                "opposite faces of a periodic box must have the same nodes, got "
                f"{near:.0f} and {far:.0f} across axis {axis}"
            )
    moved, kept = on_far.any(axis=1), on_near.any(axis=1) & ~on_far.any(axis=1)
    offered = comm.allgather((x[kept], first + np.flatnonzero(kept)))
    points, numbers = (np.concatenate(parts) for parts in zip(*offered, strict=True))
    wanted = x[moved]
    wanted[:, along] = np.where(on_far[moved], low[along], wanted[:, along])
    distance, place = cKDTree(points).query(wanted, distance_upper_bound=close)
    lost = ~np.isfinite(distance)
    problem = None
    if lost.any():
        problem = (
            "opposite faces of a periodic box must have the same nodes, got none that the node at "
            f"{x[moved][lost][0].tolist()} could repeat"
        )
    agree(comm, problem)
    partners = np.full(len(x), -1, dtype=np.int64)
    partners[moved] = numbers[place]
    return partners


def _copying(comm: Any, rows: np.ndarray, columns: np.ndarray, far: np.ndarray, size: int) -> PETSc.Mat:
    """Return P, with zeros that are stored on the diagonal of rows of far faces."""
    P = PETSc.Mat().create(comm=comm)
    P.setSizes(((len(rows), size), (len(rows), size)))
    P.setType(PETSc.Mat.Type.AIJ)
    P.setPreallocationNNZ((2, 1))
    for row, column, is_far in zip(rows, columns, far, strict=True):
        P.setValue(row, column, 1.0)
        if is_far:
            P.setValue(row, row, 0.0)
    P.assemble()
    return P


def find_periodicity(
    V: fem.FunctionSpace, bcs: Sequence[fem.DirichletBC], periodic: Any, *, linear: bool
) -> Periodicity | None:
    """Return what joins opposite faces, or None where `periodic` names no axis; see `read_axes`.

    Raises:
        InputError: An equation that is not linear, or faces that do not match.

    Note: Collective.
    """
    axes = read_axes(periodic, V.mesh.geometry.dim)
    if axes and not linear:
        raise InputError("periodic needs a linear equation, got a nonlinear one")
    return Periodicity(V, bcs, axes) if axes else None
