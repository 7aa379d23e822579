"""Three-dimensional designs: the closed isosurface, lit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from dolfinx import fem

from dolfinx_neural_topo.errors import InputError, collective
from dolfinx_neural_topo.io._ranks import on_rank_zero, require
from dolfinx_neural_topo.io.surface import Surface, closed_surface
from dolfinx_neural_topo.plotting._display import off_screen

_WINDOW = (1200, 900)  # pixels
_FILLED = 0.88  # of half the picture; the title is in the rim


@collective
def plot_solid(
    path: str | Path,
    density: fem.Function,
    *,
    level: float | None = None,
    mirror: Sequence[tuple[int, float]] = (),
    view: tuple[float, float, float] = (1.0, -1.6, 0.9),
    up: tuple[float, float, float] = (0.0, 0.0, 1.0),
    title: str | None = None,
) -> None:
    """Render the surface of a three-dimensional design.

    Args:
        path: PNG file to write; its folder is made.
        density: Scalar DG0 function on tetrahedra or hexahedra, dimensionless, in [0, 1].
        level: Density of the surface, in (0, 1); by default that which encloses the design's material.
        mirror: Symmetry planes as (axis, position) at which the design is completed.
        view: Direction from the design to the eye.
        up: Direction that points upwards in the picture.
        title: Text at the upper edge.

    Raises:
        InputError: Wrong kind of function or mesh, or no material above the level.
        ImportError: PyVista is missing; the message has the line that installs it.
        RuntimeError: There is no display and none can be started.

    Note: Collective; rank 0 renders.
    """
    comm = density.function_space.mesh.comm
    require(comm, "pyvista", "plot_solid")
    surface = closed_surface(density, level=level, mirror=mirror)

    def action() -> None:
        assert surface is not None  # rank 0
        if len(surface.triangles) == 0:
            raise InputError(f"density must exceed level = {level} somewhere to be seen; lower the level")
        with off_screen():
            _render(Path(path), surface, view, up, title)

    on_rank_zero(comm, action)


def _zoom(camera: Any, points: np.ndarray) -> float:
    """Return the factor at which points fill the picture, but for a rim."""
    eye = np.array(camera.position)
    ahead = np.array(camera.focal_point) - eye
    ahead /= np.linalg.norm(ahead)
    right = np.cross(ahead, camera.up)
    right /= np.linalg.norm(right)
    depth = (points - eye) @ ahead
    high = np.abs((points - eye) @ np.cross(right, ahead)) / depth
    wide = np.abs((points - eye) @ right) / depth * _WINDOW[1] / _WINDOW[0]
    return float(_FILLED * np.tan(np.radians(0.5 * camera.view_angle)) / max(high.max(), wide.max()))


def _render(
    path: Path, surface: Surface, view: Sequence[float], up: Sequence[float], title: str | None
) -> None:
    """Draw the surface with three lights, sharp at the domain's edges."""
    import pyvista

    triangles = np.insert(surface.triangles, 0, 3, axis=1).ravel()
    solid = pyvista.PolyData(surface.points, triangles)
    plotter: Any = pyvista.Plotter(off_screen=True, window_size=list(_WINDOW), lighting="light kit")
    plotter.set_background("white")
    plotter.add_mesh(
        solid, color="#cfdbe6", smooth_shading=True, split_sharp_edges=True, feature_angle=60.0, specular=0.2
    )
    plotter.add_mesh(solid.outline(), color="gray", line_width=1)
    if title is not None:
        plotter.add_text(title, font_size=12, color="black", position="upper_edge")
    plotter.view_vector(view, viewup=up)
    plotter.camera.zoom(_zoom(plotter.camera, np.array(solid.outline().points)))
    plotter.enable_anti_aliasing("ssaa")
    path.parent.mkdir(parents=True, exist_ok=True)
    plotter.screenshot(str(path))
    plotter.close()
