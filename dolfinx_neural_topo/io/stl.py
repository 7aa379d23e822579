"""STL files for printing and CAD."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from dolfinx import fem

from dolfinx_neural_topo._files import as_path, in_a_sentence, replacing
from dolfinx_neural_topo.errors import InputError, collective
from dolfinx_neural_topo.io._ranks import on_rank_zero
from dolfinx_neural_topo.io.surface import Surface, closed_surface

_RECORD = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


@collective
def write_stl(
    path: str | Path,
    density: fem.Function,
    *,
    level: float | None = None,
    mirror: Sequence[tuple[int, float]] = (),
) -> Surface | None:
    """Write the closed surface of a three-dimensional design as binary STL.

    Walls are closed where material meets the edge of the domain; see `closed_surface` for the arguments.

    Args:
        path: File to write; its folder is made.
        density: Scalar DG0 function on tetrahedra or hexahedra, dimensionless, in [0, 1].
        level: Density of the surface, in (0, 1); by default that which encloses the design's material.
        mirror: Symmetry planes as (axis, position) at which the design is completed.

    Returns:
        The surface on rank 0 (points in the mesh's length unit); None on the other ranks.

    Raises:
        InputError: Wrong kind of function or mesh, `level` outside (0, 1), no material above the
            level, or so much grey that no level encloses the material.

    Note: Collective.
    """
    path = as_path(path)
    surface = closed_surface(density, level=level, mirror=mirror)

    def action() -> None:
        assert surface is not None  # rank 0
        if len(surface.triangles) == 0:
            raise InputError(
                f"density must exceed level = {level} somewhere to have a surface; lower the level"
            )
        corners = surface.points[surface.triangles]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        records = np.zeros(len(corners), dtype=_RECORD)
        records["normal"] = normals / np.linalg.norm(normals, axis=1, keepdims=True)
        records["corners"] = corners
        with in_a_sentence(path), replacing(path) as file:
            file.write(b"dolfinx_neural_topo".ljust(80))
            file.write(np.uint32(len(records)).tobytes())
            file.write(records.tobytes())

    on_rank_zero(density.function_space.mesh.comm, action)
    return surface
