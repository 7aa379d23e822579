"""Where the material may go: design cells, passive cells, volumes, and the amount of material allowed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dolfinx
import numpy as np
import ufl

from dolfinx_neural_topo._checks import SetOnce, check_number
from dolfinx_neural_topo._communication import max_replicated, sum_replicated
from dolfinx_neural_topo._dolfinx import original_cells, share
from dolfinx_neural_topo.density.markers import Marker, marked
from dolfinx_neural_topo.density.symmetry import SymmetryPlane, check_planes
from dolfinx_neural_topo.errors import InputError, agree, checked, collective
from dolfinx_neural_topo.physics.periodic import read_axes


class DesignDomain(SetOnce):
    """Cells of a mesh as design variables.

    Every cell is a design cell, solid (density 1) or void (density 0). The volume fraction counts
    solid cells as material and leaves void cells out:

        sum over design and solid cells of v_i rho_i  =  volume_fraction * sum over the same cells of v_i.

    With symmetry planes the mesh is the part of the structure on one side of all of them: filters see the
    mirror images, and a `Design` counts its objective `num_copies` times. A periodic domain is one cell of a
    pattern: filters reach over its edges into the next cell. (Its state needs `periodic` of its own.)

    Attributes:
        comm: Communicator of the mesh.
        mesh: The mesh.
        space: DG0 space of the density.
        num_owned_cells: Cells this rank owns.
        num_global_cells: Cells of the mesh.
        weight: Weight of volumes in UFL, or None.
        cell_dofs: DG0 degree of freedom of each owned cell of the mesh, shape (num_owned_cells,), int32.
        cell_volumes: Weighted volume (area in 2D) of owned cells, shape (num_owned_cells,), in DG0 dof order
            like all arrays here.
        midpoints: Midpoints of owned cells, shape (num_owned_cells, 3).
        design: True where the density is free, bool, shape (num_owned_cells,).
        solid: True where the density is 1.
        void: True where the density is 0.
        volume_fraction: Allowed material, in (0, 1].
        design_volume: Volume of all design cells.
        solid_volume: Volume of all solid cells.
        target_volume: Volume of material that design cells hold when the volume fraction is met.
        symmetry: Symmetry planes.
        periodic: Axes along which the structure repeats.

    Args:
        space_or_rho: DG0 function space, or a function in one.
        volume_fraction: Allowed material, in (solid volume / (design + solid volume), 1]; 1 where something
            else limits the material, such as a functional of the volume.
        solid: Marker of solid cells: a function of midpoints x with shape (3, n) that returns n bools, an
            array of bools on owned cells, or (cell_tags, value or values).
        void: Marker of void cells, likewise.
        weight: Weight of all volumes, in UFL and not negative, such as 2 pi r for the half section of a body
            of revolution, r = `ufl.SpatialCoordinate(mesh)[0]`.
        symmetry: Planes that the mesh touches but does not cross, perpendicular to each other.
        periodic: Axes along which the mesh, a box, repeats, such as (0, 1), or True for all.

    Raises:
        InputError: The space is not DG0, a marker is unusable, no cell is left to design, the volume
            fraction cannot be met, or the structure is to repeat across a symmetry plane.

    Note: Collective.

    Example:
        >>> held = dnt.DesignDomain(rho, volume_fraction=0.5, solid=lambda x: x[0] < 0.25)
        >>> comm.allreduce(int(held.solid.sum()))
        16
    """

    @collective
    def __init__(
        self,
        space_or_rho: dolfinx.fem.FunctionSpace | dolfinx.fem.Function,
        *,
        volume_fraction: float,
        solid: Marker | None = None,
        void: Marker | None = None,
        weight: Any = None,
        symmetry: Sequence[SymmetryPlane] = (),
        periodic: bool | Sequence[int] = False,
    ):
        is_function = isinstance(space_or_rho, dolfinx.fem.Function)
        self.space = space_or_rho.function_space if is_function else space_or_rho
        self.mesh = self.space.mesh
        self.comm = self.mesh.comm
        cell_map = self.mesh.topology.index_map(self.mesh.topology.dim)
        self.num_owned_cells = cell_map.size_local
        self.num_global_cells = cell_map.size_global
        dofs = self.space.dofmap.list
        if (
            dofs.shape[1:] != (1,)
            or self.space.dofmap.bs != 1
            or (self.space.dofmap.index_map.size_global != self.num_global_cells)
        ):
            raise InputError(
                "space_or_rho must be a DG0 space or a function in one (one value a cell), "
                f"got {self.space.ufl_element()}; use dolfinx.fem.functionspace(mesh, ('DG', 0))"
            )
        self.cell_dofs = dofs[: self.num_owned_cells, 0]
        self._nodes = self.mesh.geometry.x.copy()
        self.midpoints = self._midpoints()
        self.weight = weight
        self.cell_volumes = self._volumes()
        self.symmetry = check_planes(self.comm, symmetry, self.midpoints, self.mesh.geometry.x)
        self.periodic = self._read_periodic(periodic)
        self.solid = marked(self, solid, "solid")
        self.void = marked(self, void, "void")
        both = np.count_nonzero(self.solid & self.void)
        agree(self.comm, f"solid and void must not overlap, {both} cells are in both" if both else None)
        self.design = ~(self.solid | self.void)
        self.design_volume, self.solid_volume = sum_replicated(
            self.comm, [self.cell_volumes[self.design].sum(), self.cell_volumes[self.solid].sum()]
        )
        self.volume_fraction = check_number("volume_fraction", volume_fraction, "(0, 1]")
        self._check_volume_fraction()
        for array in (self.midpoints, self.cell_volumes, self.solid, self.void, self.design):
            array.flags.writeable = False  # what was made from them would not follow

    @property
    def num_copies(self) -> int:
        """How many mirror images of the mesh make up the whole structure: 2 for each symmetry plane."""
        return 2 ** len(self.symmetry)

    @collective
    def images(self, points: np.ndarray) -> np.ndarray:
        """Return points and where they are found again: mirror images, and those in the cells around.

        Args:
            points: Points of this rank, shape (n, 3).

        Returns:
            Shape (k n, 3), the points themselves first, then all of them at the next place.

        Note: Collective.
        """
        for plane in self.symmetry:
            points = np.vstack([points, plane.reflect(points)])
        low, high = self.bounding_box()
        for axis in self.periodic:
            period = np.eye(3)[axis] * (high - low)
            points = np.vstack([points, points - period, points + period])
        return points

    @property
    def target_volume(self) -> float:
        """Material that the design cells of the mesh may hold, in units of volume."""
        return self.volume_fraction * (self.design_volume + self.solid_volume) - self.solid_volume

    @property
    def canonical_index(self) -> np.ndarray:
        """Place of each owned cell in the mesh's input, independent of the partition; int64."""
        return canonical_index(self.space)

    @checked
    def expand(self, design_values: np.ndarray | float) -> np.ndarray:
        """Fill a density from its design cells: solid cells get 1, void cells 0.

        Args:
            design_values: Values of owned design cells, in their order, or one for all.

        Returns:
            Owned values, shape (num_owned_cells,).
        """
        rho = self.solid.astype(np.float64)
        num = np.count_nonzero(self.design)
        if np.shape(design_values) not in ((), (num,)):
            raise InputError(f"design_values must have shape ({num},), got {np.shape(design_values)}")
        rho[self.design] = design_values
        return rho

    @collective
    def bounding_box(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper corner of the mesh, each of shape (3,), the same on all ranks.

        Note: Collective.
        """
        x = self.mesh.geometry.x
        return bounding_box(self.comm, x)

    def require_unmoved(self) -> None:
        """Refuse a mesh whose nodes have moved on this rank: volumes and filters are those of before.

        Raises:
            InputError: They have.
        """
        if not np.array_equal(self._nodes, self.mesh.geometry.x):
            raise InputError(
                "the mesh must stay as it was when its DesignDomain was made, but nodes have moved; way out: "
                "a new domain, with filters and a design of its own"
            )

    def _midpoints(self) -> np.ndarray:
        cells = np.arange(self.num_owned_cells, dtype=np.int32)
        midpoints = np.empty((self.num_owned_cells, 3))
        midpoints[self.cell_dofs] = dolfinx.mesh.compute_midpoints(self.mesh, self.mesh.topology.dim, cells)
        return midpoints

    def cell_sizes(self) -> np.ndarray:
        """Return lengths of owned cells: the edge of a square or cube of the same, unweighted, volume."""
        return self._integrals(1) ** (1.0 / self.mesh.topology.dim)

    def _integrals(self, weight: Any) -> np.ndarray:
        form = weight * ufl.TestFunction(self.space) * ufl.dx(self.mesh)
        share(form.coefficients())
        return dolfinx.fem.assemble_vector(dolfinx.fem.form(form)).array[: self.num_owned_cells].copy()

    def _volumes(self) -> np.ndarray:
        volumes = self._integrals(1 if self.weight is None else self.weight)
        bad = np.count_nonzero(~(volumes > 0.0))
        agree(
            self.comm, f"weight must make the volume of every cell positive, {bad} are not" if bad else None
        )
        return volumes

    def _read_periodic(self, periodic: bool | Sequence[int]) -> tuple[int, ...]:
        axes = read_axes(periodic, self.mesh.geometry.dim)
        for plane in self.symmetry:
            if np.any(np.abs(plane.unit_normal[list(axes)]) > 1e-12):
                raise InputError(
                    f"periodic must not name an axis that a symmetry plane cuts, got {axes} and a plane with "
                    f"normal {tuple(plane.normal)}; way out: mesh the whole cell, or leave the axis out"
                )
        return axes

    def _check_volume_fraction(self) -> None:
        if self.design_volume == 0.0:
            raise InputError("solid and void leave no cell to design")
        least = self.solid_volume / (self.design_volume + self.solid_volume)
        if not least < self.volume_fraction <= 1.0:
            why = f" because solid cells alone fill {least:.6g}" if least else ""
            raise InputError(f"volume_fraction must lie in ({least:.6g}, 1]{why}, got {self.volume_fraction}")


def canonical_index(space: dolfinx.fem.FunctionSpace) -> np.ndarray:
    """Place in the mesh's input of each owned cell, in the order of a DG0 space; int64."""
    num_owned = space.dofmap.index_map.size_local
    index = np.empty(num_owned, dtype=np.int64)
    index[space.dofmap.list[:num_owned, 0]] = original_cells(space.mesh)[:num_owned]
    return index


@collective
def bounding_box(comm, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the smallest box around points of all ranks.

    Args:
        comm: Communicator.
        points: This rank's points, shape (n, 3); n may be 0.

    Returns:
        Lower and upper corner, each of shape (3,).

    Note: Collective.
    """
    huge = np.finfo(np.float64).max
    corners = np.vstack([(-points).max(axis=0, initial=-huge), points.max(axis=0, initial=-huge)])
    corners = max_replicated(comm, corners)
    return -corners[0], corners[1]
