"""Planes at which a structure is its own mirror image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from mpi4py import MPI

from dolfinx_neural_topo._checks import check_number
from dolfinx_neural_topo._communication import max_replicated
from dolfinx_neural_topo.errors import InputError, checked


@checked
@dataclass(frozen=True)
class SymmetryPlane:
    """A plane that bounds the modelled part of a symmetric structure.

    Attributes:
        point: Any point of the plane, two or three coordinates.
        normal: A normal of the plane, of any length but zero, as many coordinates.

    Example:
        >>> middle = dnt.SymmetryPlane(point=(2.0, 0.0), normal=(1.0, 0.0))
        >>> dnt.DesignDomain(rho, volume_fraction=0.5, symmetry=[middle]).num_copies
        2
    """

    point: Sequence[float]
    normal: Sequence[float]

    @checked
    def distance(self, points: np.ndarray) -> np.ndarray:
        """Signed distance of points, shape (n, 3), from the plane: shape (n,)."""
        return (points - self._padded(self.point)) @ self.unit_normal

    @checked
    def reflect(self, points: np.ndarray) -> np.ndarray:
        """Mirror images of points, shape (n, 3)."""
        return points - 2.0 * np.outer(self.distance(points), self.unit_normal)

    def __post_init__(self):
        if np.shape(self.point) not in ((2,), (3,)) or np.shape(self.normal) != np.shape(self.point):
            raise InputError(
                "a symmetry plane must have a point and a normal of two or three coordinates each, "
                f"got {self.point!r} and {self.normal!r}"
            )
        for value in (*self.point, *self.normal):
            check_number("coordinates of a symmetry plane", value)
        if not np.any(self.normal):
            raise InputError("normal of a symmetry plane must not be zero")

    @property
    def unit_normal(self) -> np.ndarray:
        """Normal of length one, shape (3,)."""
        normal = self._padded(self.normal)
        return normal / np.linalg.norm(normal)

    @staticmethod
    def _padded(vector: Sequence[float]) -> np.ndarray:
        return np.pad(np.asarray(vector, dtype=np.float64), (0, 3 - len(vector)))


def check_planes(
    comm: MPI.Comm, planes: Sequence[SymmetryPlane], midpoints: np.ndarray, corners: np.ndarray
) -> tuple[SymmetryPlane, ...]:
    """Refuse planes that cross a mesh, do not touch it or are not perpendicular to each other.

    Args:
        comm: Communicator of the mesh.
        planes: The planes.
        midpoints: Midpoints of this rank's cells, shape (n, 3).
        corners: Nodes of the mesh on this rank, shape (m, 3).

    Returns:
        The planes.

    Note: Collective.
    """
    planes = tuple(planes)
    for k, plane in enumerate(planes):
        if any(abs(plane.unit_normal @ other.unit_normal) > 1e-12 for other in planes[:k]):
            raise InputError("symmetry planes must be perpendicular to each other")
        distance = plane.distance(midpoints)
        huge = np.finfo(np.float64).max
        least, most = max_replicated(
            comm, [(-distance).max(initial=-huge), distance.max(initial=-huge)]
        ) * np.array([-1.0, 1.0])
        if least < 0.0 < most:
            raise InputError(
                f"symmetry: the mesh must lie on one side of the plane through {tuple(plane.point)} with "
                f"normal {tuple(plane.normal)}, its cells reach from {least:.6g} "
                f"to {most:.6g}; mesh one part only"
            )
        away = np.abs(plane.distance(corners))
        gap, size = max_replicated(comm, [-away.min(initial=huge), away.max(initial=0.0)])
        if -gap > 1e-8 * size:
            raise InputError(
                f"symmetry: the mesh must touch the plane through {tuple(plane.point)} with normal "
                f"{tuple(plane.normal)}, its nearest corner is {-gap:.6g} away; move the plane there"
            )
    return planes
