"""Displacements and stresses of a design: coloured, warped, only where there is material."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from dolfinx import fem

from dolfinx_neural_topo.errors import InputError, collective
from dolfinx_neural_topo.io._ranks import on_rank_zero, require
from dolfinx_neural_topo.io.gather import GatheredMesh, gather_cell_values, gather_corner_values, gather_mesh
from dolfinx_neural_topo.plotting import _canvas
from dolfinx_neural_topo.plotting._display import off_screen
from dolfinx_neural_topo.plotting.density import Polygons, draw

_VTK_CELLS = {"tetrahedron": 10, "hexahedron": 12}
_WARP = 0.1  # largest displacement in the picture, relative to the domain, where no scale is given

_BAR = {"color": "black", "position_x": 0.2, "width": 0.6, "fmt": "%.3g"}  # inside the frame, labels too


@dataclass(frozen=True)
class _Scene:
    """What is drawn: cells with material, at their warped points, one number each."""

    points: np.ndarray
    cells: np.ndarray
    cell_name: str
    values: np.ndarray


@collective
def plot_field(
    path: str | Path,
    field: fem.Function,
    *,
    density: fem.Function | None = None,
    level: float = 0.5,
    displacement: fem.Function | None = None,
    scale: float | None = None,
    label: str | None = None,
    title: str | None = None,
    view: tuple[float, float, float] = (1.0, -1.6, 0.9),
) -> None:
    """Colour the material of a design by a field, on the warped mesh where a displacement is given.

    Args:
        path: Picture file to write; its folder is made.
        field: Scalar DG0 function (von Mises stress, see `io.cell_mean`), or a continuous scalar or vector
            function, of which the length is shown.
        density: Scalar DG0 function; cells below `level` are left out. None shows all cells.
        level: Density from which a cell is shown.
        displacement: Vector function by which the mesh is moved.
        scale: Factor on the displacement; by default one that makes the largest a tenth of the domain.
        label: Text beside the colour scale; the field's name by default.
        title: Text above the picture.
        view: Direction from the design to the eye, in three dimensions.

    Raises:
        InputError: A displacement of the wrong number of components, or no cell at or above the level.
        ImportError: matplotlib (2D) or PyVista (3D) is missing.

    Note: Collective.
    """
    mesh = field.function_space.mesh
    flat = mesh.topology.dim == 2
    if displacement is not None and displacement.ufl_shape != (mesh.geometry.dim,):
        raise InputError(
            f"displacement must be a vector of {mesh.geometry.dim}, got shape {displacement.ufl_shape}"
        )
    require(mesh.comm, "matplotlib" if flat else "pyvista", "plot_field")
    gathered = gather_mesh(mesh)
    values = _one_a_cell(field, gathered)
    solid = None if density is None else gather_cell_values(density, gathered)
    moved = None if displacement is None else gather_corner_values(displacement, gathered)
    text = label or field.name

    def action() -> None:
        assert gathered is not None and values is not None  # rank 0
        shown = np.ones(len(values), dtype=bool) if solid is None else solid >= level
        if not shown.any():
            raise InputError(f"density must reach level = {level} somewhere to be seen; lower the level")
        points = gathered.points if moved is None else _warp(gathered.points, moved, scale)
        scene = _Scene(points, gathered.cells[shown], gathered.cell_name, values[shown])
        if flat:
            _draw_plane(path, scene, text, title)
        else:
            with off_screen():
                _render(Path(path), scene, text, title, view)

    on_rank_zero(mesh.comm, action)


@collective
def plot_displacement(path: str | Path, displacement: fem.Function, **options: Any) -> None:
    """Draw the warped design coloured by the length of its displacement; see `plot_field` for the options.

    Note: Collective.
    """
    plot_field(path, displacement, displacement=displacement, **{"label": "displacement", **options})


def _one_a_cell(field: fem.Function, gathered: GatheredMesh | None) -> np.ndarray | None:
    """Gather one number a cell: the field's value, or the mean length at the corners."""
    if field.function_space.ufl_element().degree == 0:
        return gather_cell_values(field, gathered)
    values = gather_corner_values(field, gathered)
    if values is None or gathered is None:
        return None
    length = values[:, 0] if values.shape[1] == 1 else np.linalg.norm(values, axis=1)
    return length[gathered.cells].mean(axis=1)


def _warp(points: np.ndarray, moved: np.ndarray, scale: float | None) -> np.ndarray:
    """Add the scaled displacement."""
    if scale is None:
        largest = float(np.linalg.norm(moved, axis=1).max())
        scale = _WARP * float(np.ptp(points, axis=0).max()) / largest if largest > 0 else 1.0
    warped = points.copy()
    warped[:, : moved.shape[1]] += scale * moved
    return warped


def _draw_plane(path: str | Path, scene: _Scene, label: str, title: str | None) -> None:
    """Draw a plane scene with matplotlib."""
    picture = Polygons(scene.points[scene.cells][..., :2], scene.values)
    low, high = float(scene.values.min()), float(scene.values.max())
    with _canvas.drawing(path, lambda: _canvas.fitting(picture.extent)) as axes:
        draw(axes, picture, colorbar=True, show_mesh=False, cmap="viridis", vmin=low, vmax=high)
        axes.set_title(title or label, fontsize=10)


def _render(path: Path, scene: _Scene, label: str, title: str | None, view: Sequence[float]) -> None:
    """Render a scene in space with PyVista."""
    import pyvista

    width = scene.cells.shape[1]
    kinds = np.full(len(scene.cells), _VTK_CELLS[scene.cell_name], dtype=np.uint8)
    grid = pyvista.UnstructuredGrid(np.insert(scene.cells, 0, width, axis=1).ravel(), kinds, scene.points)
    grid.cell_data[label] = scene.values
    plotter: Any = pyvista.Plotter(off_screen=True, window_size=[1200, 900], lighting="light kit")
    plotter.set_background("white")
    plotter.add_mesh(grid, scalars=label, cmap="viridis", scalar_bar_args=_BAR)
    if title is not None:
        plotter.add_text(title, font_size=12, color="black", position="upper_edge")
    plotter.view_vector(view, viewup=(0.0, 0.0, 1.0))
    plotter.enable_anti_aliasing("ssaa")
    path.parent.mkdir(parents=True, exist_ok=True)
    plotter.screenshot(str(path))
    plotter.close()
