"""A coarser state problem driven by the density of a fine mesh."""

from __future__ import annotations

from typing import Any, Protocol

import dolfinx
import numpy as np
from mpi4py import MPI
from scipy.spatial import cKDTree

from dolfinx_neural_topo._checks import check_number, owned_values
from dolfinx_neural_topo._communication import exchange, sum_replicated
from dolfinx_neural_topo._dolfinx import dg0_cells, original_cells
from dolfinx_neural_topo.density.domain import DesignDomain
from dolfinx_neural_topo.errors import InputError, checked, collective
from dolfinx_neural_topo.physics.algebra import problems_of

_EMPTY = 0.05
"""Part of the coarse cells that may hold no fine midpoint."""


class Penalty(Protocol):
    """Anything that holds the exponent of SIMP, such as a `fem.Constant`."""

    value: Any


class PMeanPooling:
    """Mean of order p of the fine cells in each coarse cell.

        rho_coarse_k = (sum_i w_i rho_i^p)^(1/p),    w_i = v_i / sum of v over the fine cells of coarse cell k

    With p the exponent of SIMP, E(rho_coarse) is the volume average of E(rho): the coarse problem needs no
    material law of its own. A fine cell belongs to the coarse cell whose midpoint is nearest to its own; on
    nested grids that is the cell it lies in. A coarse cell that gets none so (unstructured meshes have a few)
    takes the nearest fine cell, which then belongs to both. Both meshes may be partitioned in any way.

    Attributes:
        domain: Fine cells.
        space: DG0 space of the coarse cells.

    Args:
        domain: Design domain of the fine mesh.
        space: DG0 space on a coarser mesh of the same region, with the same communicator.
        penalty: Exponent p, at least 1; an object with `value` can change later, and is the exponent of the
            coarse problem's own SIMP law.

    Raises:
        InputError: Many coarse cells have no fine cell, or the meshes have different communicators.

    Note: Collective.
    """

    @collective
    def __init__(
        self, domain: DesignDomain, space: dolfinx.fem.FunctionSpace, penalty: float | Penalty = 3.0
    ):
        if MPI.Comm.Compare(domain.comm, space.mesh.comm) not in (MPI.IDENT, MPI.CONGRUENT):
            raise InputError("space must live on the same ranks as the fine mesh, got other ones")
        self.domain = domain
        self.space = space
        self._penalty = penalty
        check_number("penalty", self.penalty, "(0, inf)")
        self._num_coarse = space.dofmap.index_map.size_local
        self._cells, self._slots, wanted = self._parents()
        self._ends = np.cumsum([len(cells) for cells in wanted])
        self._served = exchange(domain.comm, wanted)
        volumes = domain.cell_volumes[self._cells]
        self._weights = volumes / self._spread(self._collect(volumes))

    @property
    def penalty(self) -> float:
        """The exponent p as it is now."""
        penalty: Any = self._penalty
        return float(getattr(penalty, "value", penalty))

    @collective(rho=owned_values)
    def apply(self, rho: np.ndarray) -> np.ndarray:
        """Pool a fine density.

        Args:
            rho: Owned fine values in [0, 1], shape (num_owned_cells,).

        Returns:
            Owned coarse values, shape (number of owned coarse cells,).

        Note: Collective.
        """
        p = self.penalty
        return self._collect(self._weights * np.maximum(rho[self._cells], 0.0) ** p) ** (1.0 / p)

    @collective
    def pullback(self, dJ_drho_coarse: np.ndarray, rho: np.ndarray, rho_coarse: np.ndarray) -> np.ndarray:
        """Gradient with respect to the fine density.

        In an empty coarse cell, where the mean has a corner, the slope is that of equal densities.

        Args:
            dJ_drho_coarse: Gradient on owned coarse cells.
            rho: Where `apply` was called.
            rho_coarse: What it returned.

        Returns:
            dJ_drho on owned fine cells.

        Note: Collective.
        """
        mean = self._spread(rho_coarse)
        ratio = np.divide(rho[self._cells], mean, out=np.ones_like(mean), where=mean > 0.0)
        slopes = self._spread(dJ_drho_coarse) * self._weights * ratio ** (self.penalty - 1.0)
        return np.bincount(self._cells, weights=slopes, minlength=len(rho))

    def _parents(self) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        """Find the pairs of fine and coarse cells, among all ranks' coarse midpoints.

        Returns:
            Of each pair the owned fine cell, and the place of the coarse cell among those this rank refers
            to; and for each rank the numbers (on that rank) of the coarse cells referred to.
        """
        comm = self.domain.comm
        own = self.space.tabulate_dof_coordinates()[: self._num_coarse]
        number = original_cells(self.space.mesh)[dg0_cells(self.space)[: self._num_coarse]]
        parts = comm.allgather((own, number))  # small beside the fine mesh, and dropped at the end
        starts = np.concatenate([[0], np.cumsum([len(points) for points, _ in parts])])
        numbers = np.concatenate([part for _, part in parts])
        points = np.concatenate([points for points, _ in parts])
        nearest = _nearest(points, numbers, self.domain.midpoints)
        empty = np.flatnonzero(sum_replicated(comm, np.bincount(nearest, minlength=len(points))) == 0)
        if len(empty) > _EMPTY * len(points):
            raise InputError(
                f"space must be coarser than the fine mesh, but {len(empty)} of its {len(points)} cells hold "
                "no fine midpoint; cells twice as wide everywhere, or wider, do"
            )
        mine, fine = self._nearest_fine(points[empty])
        nearest = np.concatenate([nearest, empty[mine]])
        cells, slots = np.unique(nearest, return_inverse=True)
        bounds = np.searchsorted(cells, starts)
        wanted = [cells[bounds[q] : bounds[q + 1]] - starts[q] for q in range(comm.size)]
        return np.concatenate([np.arange(len(self.domain.midpoints)), fine]), slots.reshape(-1), wanted

    def _nearest_fine(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return which points have their nearest fine cell on this rank, and that cell."""
        domain = self.domain
        own = domain.canonical_index
        distance, fine = np.full(len(points), np.inf), np.zeros(len(points), dtype=np.int64)
        if len(own) and len(points):
            fine = _nearest(domain.midpoints, own, points)
            distance = np.linalg.norm(domain.midpoints[fine] - points, axis=1)
        number = own[fine] if len(own) else np.zeros_like(fine)
        everyone = np.array(domain.comm.allgather(np.stack([distance, number])))  # few points
        least = everyone[:, 0].min(axis=0)
        tied = np.where(everyone[:, 0] <= least * (1.0 + 1e-9), everyone[:, 1], np.inf)
        mine = np.flatnonzero(tied.argmin(axis=0) == domain.comm.rank)
        return mine, fine[mine]

    def _collect(self, fine: np.ndarray) -> np.ndarray:
        """Sum values of pairs over coarse cells."""
        partial = np.bincount(self._slots, weights=fine, minlength=self._ends[-1])
        parts = exchange(self.domain.comm, np.split(partial, self._ends[:-1]))
        coarse = np.zeros(self._num_coarse)
        for cells, values in zip(self._served, parts, strict=True):
            coarse[cells] += values  # a rank names a cell once
        return coarse

    def _spread(self, coarse: np.ndarray) -> np.ndarray:
        """Give every pair the value of its coarse cell: the transpose of `_collect`."""
        parts = exchange(self.domain.comm, [coarse[cells] for cells in self._served])
        return np.concatenate(parts)[self._slots]


def _nearest(points: np.ndarray, numbers: np.ndarray, midpoints: np.ndarray) -> np.ndarray:
    """Return the place of the nearest point for each midpoint; of equally near ones that of the least number.

    Without that rule the choice, and so the result, would depend on the partition.
    """
    distance, place = cKDTree(points).query(midpoints, k=min(8, len(points)))
    if distance.ndim == 1:  # a single point
        return place
    tied = distance <= distance[:, :1] * (1.0 + 1e-9)
    rank = np.where(tied, numbers[place], np.iinfo(np.int64).max)
    return place[np.arange(len(place)), rank.argmin(axis=1)]


class PooledFunctional:
    """Functional of a fine density, evaluated on a coarser mesh: J(rho) = J_coarse(pooling(rho)).

    Attributes:
        comm: Communicator.
        functional: The coarse functional.
        pooling: The pooling.
        problems: State problems of the coarse functional.
        mesh: The fine mesh.
        name: Name in reports.

    Args:
        functional: Functional of a density on the coarse mesh.
        pooling: From the fine cells to those of `functional`.
    """

    @checked
    def __init__(self, functional: Any, pooling: PMeanPooling):
        self.functional = functional
        self.pooling = pooling
        self.comm = functional.comm
        self.problems = problems_of(functional)
        self.name = f"{getattr(functional, 'name', 'J')} on a coarser mesh"
        self.mesh = pooling.domain.mesh

    @collective
    def value(self, rho: np.ndarray) -> float:
        """Return J at a fine density on owned cells. Note: Collective."""
        return self.functional.value(self.pooling.apply(rho))

    @collective
    def value_and_gradient(self, rho: np.ndarray) -> tuple[float, np.ndarray]:
        """Return J and its gradient by the fine density, both on owned cells.

        Note: Collective.
        """
        rho_coarse = self.pooling.apply(rho)
        value, slope = self.functional.value_and_gradient(rho_coarse)
        return value, self.pooling.pullback(slope, rho, rho_coarse)
