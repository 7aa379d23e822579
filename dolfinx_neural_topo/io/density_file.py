"""Densities on disk: written on any number of ranks, read on any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from dolfinx import fem
from dolfinx.mesh import Mesh
from scipy.spatial import cKDTree

from dolfinx_neural_topo._dolfinx import geometry_nodes
from dolfinx_neural_topo._files import array_file, as_path, in_a_sentence, replacing
from dolfinx_neural_topo.errors import InputError, collective
from dolfinx_neural_topo.io._ranks import gather_rows, on_rank_zero
from dolfinx_neural_topo.io.gather import finite_by_cell, function_of_cells, values_by_cell

_FLOAT = np.dtype(np.float64)
_LARGEST = 2**34  # bytes of an array after decompression
_RANGE = 1e-6  # excess over [0, 1] that rounding explains
_TOLERANCE = 1e-6  # of the mesh's extent: how far the midpoint of "the same cell" may be from the stored one


@collective
def write_density(path: str | Path, density: fem.Function) -> None:
    """Write a scalar DG0 function as .npz: each cell's value and midpoint.

    The file is written under another name first, so that a killed run leaves the old one or the new one,
    never half.

    Args:
        path: File to write, ending in .npz; its folder is made.
        density: Function with one value a cell.

    Raises:
        InputError: Not a scalar DG0 function, a value that is not finite, or `path` does not end in .npz.

    Note: Collective.
    """
    path = as_path(path, suffix=".npz")
    mesh = function_of_cells(density).function_space.mesh
    values = gather_rows(mesh.comm, finite_by_cell(density))
    midpoints = gather_rows(mesh.comm, _midpoints(mesh))

    def action() -> None:
        assert values is not None and midpoints is not None  # rank 0
        with in_a_sentence(path), replacing(path) as file:
            np.savez_compressed(file, density=values, midpoints=midpoints)

    on_rank_zero(mesh.comm, action)


@collective
def read_density(path: str | Path, density: fem.Function) -> None:
    """Fill a scalar DG0 function from a file that `write_density` wrote, on any number of ranks.

    Cells are recognized by their midpoints, so the mesh may be distributed or numbered in another way.

    Args:
        path: File to read.
        density: Function with one value a cell, on the same geometry; ghosts are updated too.

    Raises:
        InputError: Not a density file, or one of another mesh.
        FileNotFoundError: No such file.

    Note: Collective.
    """
    path = as_path(path)
    mesh = function_of_cells(density).function_space.mesh
    comm = mesh.comm
    owned = len(values_by_cell(density))
    midpoints = gather_rows(comm, _midpoints(mesh))
    found = on_rank_zero(comm, lambda: _look_up(path, midpoints))
    counts = comm.gather(owned, root=0)
    mine = np.empty(owned)
    comm.Scatterv((found, counts) if comm.rank == 0 else None, mine, root=0)
    density.x.array[density.function_space.dofmap.list[:owned, 0]] = mine
    density.x.scatter_forward()


def _midpoints(mesh: Mesh) -> np.ndarray:
    """Return the mean of each owned cell's geometry nodes, shape `(owned cells, 3)`."""
    owned = mesh.topology.index_map(mesh.topology.dim).size_local
    nodes = geometry_nodes(mesh)[:owned]
    return mesh.geometry.x[nodes].mean(axis=1).reshape(-1, 3)


def _look_up(path: Path, wanted: np.ndarray | None) -> np.ndarray:
    """Return the stored values of the cells at the wanted midpoints, on rank 0."""
    assert wanted is not None
    try:
        with array_file(path, most=max(_LARGEST, path.stat().st_size)) as arrays:
            values, midpoints = arrays["density"], arrays["midpoints"]
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"path must be a file that write_density wrote, got {path}: {error}") from error
    if values.ndim != 1 or midpoints.shape != (len(values), 3) or {values.dtype, midpoints.dtype} != {_FLOAT}:
        raise InputError(
            f"{path} holds arrays of shapes {values.shape} and {midpoints.shape}, of {values.dtype} and "
            f"{midpoints.dtype}; expected one float64 a cell and its midpoint"
        )
    if not (np.all(np.isfinite(values)) and np.all(np.isfinite(midpoints))):
        raise InputError(f"{path} holds densities or midpoints that are not finite")
    if values.size and not -_RANGE <= values.min() <= values.max() <= 1.0 + _RANGE:
        raise InputError(
            f"{path} holds densities from {values.min():.4g} to {values.max():.4g}, expected [0, 1]"
        )
    if len(values) != len(wanted):
        raise InputError(f"{path} holds a density on {len(values)} cells, but the mesh has {len(wanted)}")
    distance, row = cKDTree(midpoints).query(wanted)
    extent = float(np.linalg.norm(np.ptp(midpoints, axis=0)))
    if np.max(distance) > _TOLERANCE * extent or len(np.unique(row)) != len(row):
        raise InputError(
            f"{path} belongs to another mesh: cell midpoints differ by up to {np.max(distance):.3g}; "
            "read it on the mesh it was written on"
        )
    return np.ascontiguousarray(values[row], dtype=np.float64)
