"""One design problem with the physics of several meshes, made from one function."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from dolfinx import fem
from dolfinx.mesh import Mesh
from mpi4py import MPI

from dolfinx_neural_topo._communication import sum_replicated
from dolfinx_neural_topo.density import (
    CellGrid,
    Design,
    DesignDomain,
    MultiDesign,
    PMeanPooling,
    PooledFunctional,
)
from dolfinx_neural_topo.density.domain import bounding_box, canonical_index
from dolfinx_neural_topo.density.multi import require_one_density
from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.errors.kinds import shown
from dolfinx_neural_topo.optimize.ordering import CanonicalOrder
from dolfinx_neural_topo.physics import simp_penalty
from dolfinx_neural_topo.physics.algebra import density_space, problems_of
from dolfinx_neural_topo.physics.chain import living

Problem = Callable[[Any], Any]
Meshes = Callable[[MPI.Comm], Sequence[Any]]

FACTORS = (2, 4, 8)
"""How much wider the cells of the coarser levels of a structured grid are, where its size allows."""


REGION = 0.1
"""How far the bounding box of a coarser mesh may be from that of the fine one, relative to its extent."""


class Levels:
    """A design whose objective can also be had from coarser state problems, cheaply and nearly.

    Design variables, filter and volume are those of the fine mesh at every level. Level 0 is the design
    itself; at level k its density drives the functional of a coarser mesh through a `PMeanPooling`.

    Attributes:
        comm: Communicator.
        transfer: Map from an image to owned cells.
        order: Canonical order of the design cells.

    Args:
        design: The design on its own mesh.
        problem: Makes the objective of the design on another mesh: takes one of `meshes` and returns a
            functional of a DG0 density.
        meshes: Takes a communicator and returns the design's mesh followed by ever coarser ones of the same
            region (or what `problem` takes in place of a mesh). None for a structured grid, which coarsens
            itself.

    Raises:
        InputError: The mesh is no structured grid and `meshes` is None, or the design has constraints beside
            the volume, which neural starts cannot hold.

    Note: Collective.
    """

    def __init__(self, design: Design | MultiDesign, problem: Problem, meshes: Meshes | None = None):
        require_one_density(
            design,
            "multi-start",
            "its starts are images of one density on coarser meshes",
            "minimize(NeuralDesign(design, network), LBFGS()) for some seeds, or minimize(design, MMA())",
        )
        assert isinstance(design, Design)
        if design.constraints:
            raise InputError(
                f"design must have no constraint beside its volume, got {len(design.constraints)}; "
                "way out: minimize by MMA"
            )
        self.comm = design.comm
        self._problem, self._meshes = problem, meshes
        self._grid = CellGrid.find(design.domain.mesh)
        if meshes is None and self._grid is None:
            raise InputError(
                "meshes must be given where the mesh of the design is no evenly spaced grid of a rectangle "
                "or box: a function of a communicator that returns the mesh and ever coarser ones"
            )
        self.transfer = _transfer(design, self._grid)
        self.order = CanonicalOrder(design.comm, design.persistence.entries)
        self._made: list[Any] = []
        self._designs, self._weights = [design], [1.0]
        self._penalties = [_penalty(design.functional)]
        for mesh in self._coarser(self.comm):
            functional, made = _make(problem, mesh)
            self._made += made
            penalty = _penalty(functional)
            space = density_space(functional)
            pooling = PMeanPooling(design.domain, space, 1.0 if penalty is None else penalty)
            self._designs.append(design.with_objective(PooledFunctional(functional, pooling)))
            self._penalties.append(penalty)
            self._weights.append(space.dofmap.index_map.size_global / design.domain.num_global_cells)

    @property
    def num_levels(self) -> int:
        """Number of meshes."""
        return len(self._designs)

    @property
    def penalty(self) -> float:
        """Exponent of SIMP at all levels; for another material 1, and setting it does nothing."""
        return float(getattr(self._penalties[0], "value", 1.0))

    @penalty.setter
    def penalty(self, value: float) -> None:
        for penalty in self._penalties:
            if isinstance(penalty, fem.Constant):
                penalty.value = value

    def existing(self, level: int) -> int:
        """Return `level`, or the coarsest level there is."""
        return min(level, self.num_levels - 1)

    def design(self, level: int) -> Design:
        """Return the design with the physics of a level."""
        return self._designs[self.existing(level)]

    def weight(self, level: int) -> float:
        """Return the cells of a level relative to those of the full mesh."""
        return self._weights[self.existing(level)]

    def on(self, comm: MPI.Comm) -> Levels | None:
        """Make the same problem on another communicator.

        Args:
            comm: Some of this problem's ranks.

        Returns:
            The problem, to be closed, or None on all ranks where the mesh cannot be made again with its
            cells in the same order, or domain and filter hold forms of this mesh.

        Note: Collective, on `comm` and on all ranks of this problem.
        """
        design = self._designs[0]
        if design.domain.weight is not None or getattr(design.filter, "void_beyond", None) is not None:
            return None  # of this mesh
        cells = CanonicalOrder(self.comm, design.domain.canonical_index)
        midpoints = np.column_stack([cells.allgather(column) for column in design.domain.midpoints.T])
        solid, void = cells.allgather(design.domain.solid), cells.allgather(design.domain.void)
        made: list[Any] = []
        functional, error, same = None, None, False
        try:
            mesh = self._own(comm)[0] if self._meshes else self._grid.coarsened(1, comm)  # type: ignore
            functional, made = _make(self._problem, mesh)
            space = density_space(functional)
            index = canonical_index(space)
            own = space.tabulate_dof_coordinates()[: len(index)]
            tolerance = 1e-6 * np.ptp(midpoints, axis=0).max()
            same = space.dofmap.index_map.size_global == cells.size and np.allclose(
                own, midpoints[index], rtol=0.0, atol=tolerance
            )
        except Exception as problem:  # the other ranks wait for this one
            error = problem
        errors = [each for each in self.comm.allgather(error) if each is not None]
        if errors:
            raise error or errors[0]
        assert functional is not None
        if not self.comm.allreduce(same, op=MPI.LAND):
            _destroy(made)
            return None
        domain = DesignDomain(
            space,
            volume_fraction=design.domain.volume_fraction,
            solid=solid[index],
            void=void[index],
            symmetry=design.domain.symmetry,
            periodic=design.domain.periodic,
        )
        levels = Levels(design.on(functional, domain), self._problem, self._meshes)
        levels._made = [*made, *levels._made]
        return levels

    def close(self) -> None:
        """Free the state problems made here, not that of the design. Note: Collective."""
        _destroy(self._made)
        self._made = []

    def _own(self, comm: MPI.Comm) -> Sequence[Any]:
        """Return what the user's function gives, after a check."""
        assert self._meshes is not None
        meshes = self._meshes(comm)
        right = isinstance(meshes, (list, tuple)) and meshes
        if not right or not all(isinstance(_mesh(m), Mesh) for m in meshes):
            raise InputError(f"meshes must return a list of meshes, the finest first, got {meshes!r:.80}")
        return meshes

    def _coarser(self, comm: MPI.Comm) -> Iterator[Any]:
        """Yield the coarser meshes, finest first."""
        if self._meshes is not None:
            first, *coarser = self._own(comm)
            domain = self._designs[0].domain
            there = _mesh(first).topology.index_map(domain.mesh.topology.dim).size_global
            if there != domain.num_global_cells:
                raise InputError(
                    f"meshes must return the mesh of the design first, of {domain.num_global_cells} "
                    f"cells, got one of {there}"
                )
            for mesh in coarser:
                self._check_region(mesh)
                yield mesh
            return
        assert self._grid is not None
        for factor in FACTORS:
            mesh = self._grid.coarsened(factor)
            if mesh is None:
                return
            yield mesh

    def _check_region(self, coarser: Any) -> None:
        """Refuse a mesh of another region or in another unit of length, but not a coarser boundary."""
        fine, coarse = self._designs[0].domain.mesh, _mesh(coarser)
        here, there = (np.array(bounding_box(each.comm, each.geometry.x)) for each in (fine, coarse))
        if np.abs(there - here).max() > REGION * np.ptp(here, axis=0).max():
            reach = [f"{box[0].tolist()} to {box[1].tolist()}" for box in (here, there)]
            raise InputError(
                "meshes must return meshes of the same region: that of the design reaches from "
                f"{reach[0]}, a coarser one from {reach[1]}"
            )


def _penalty(functional: Any) -> fem.Constant | float | None:
    """Find the exponent of SIMP in the equation of a functional's state."""
    problems = problems_of(functional)
    equations = [problem.equation for problem in problems]
    forms = [form for e in equations for form in (e.a, *e.loads, e.residual) if form is not None]
    return simp_penalty(problems[0].rho, forms) if problems else None


def _transfer(design: Design, grid: CellGrid | None) -> Any:
    """Return a map from pixels as fine as the cells."""
    from dolfinx_neural_topo.bridge import PixelTransfer, SampledTransfer  # loads torch

    if grid is not None:
        return PixelTransfer(grid)
    domain = design.domain
    dim = domain.mesh.topology.dim
    lower, upper = domain.bounding_box()
    volume = float(sum_replicated(domain.comm, domain.cell_volumes.sum()))
    width = (volume / domain.num_global_cells) ** (1.0 / dim)
    counts = [max(1, round(extent / width)) for extent in (upper - lower)[:dim]]
    return SampledTransfer(domain, (*counts[2:], *counts[1::-1]))


def _mesh(thing: Any) -> Any:
    """Return a mesh, or that of something which carries one and its tags."""
    return getattr(thing, "mesh", thing)


def _make(problem: Problem, mesh: Any) -> tuple[Any, list[Any]]:
    """Make the functional of a mesh; return it and what is to be destroyed, which others may hold."""
    before = set(living())
    functional = problem(mesh)
    if isinstance(functional, type) or not hasattr(functional, "value_and_gradient"):
        raise InputError(f"problem must return a functional for a mesh, got {shown(functional)}")
    if density_space(functional).mesh.ufl_domain() != _mesh(mesh).ufl_domain():
        raise InputError("problem must return a functional on the mesh it is given, got one on another mesh")
    problems = problems_of(functional)
    mine = hasattr(functional, "destroy") and before.isdisjoint(problems)
    return functional, [*([functional] if mine else []), *(p for p in problems if p not in before)]


def _destroy(things: Iterable[Any]) -> None:
    for thing in things:
        thing.destroy()
