"""Densities on disk: written on any number of ranks, read on any other."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from dolfinx import fem
from dolfinx.mesh import Mesh
from scipy.spatial import cKDTree

from dolfinx_neural_topo._dolfinx import geometry_nodes
from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.io._ranks import gather_rows, on_rank_zero
from dolfinx_neural_topo.io.gather import values_by_cell

_TOLERANCE = 1e-6  # of the mesh's extent: how far the midpoint of "the same cell" may be from the stored one


def write_density(path: str | Path, density: fem.Function) -> None:
    """Write a scalar DG0 function as .npz: each cell's value and midpoint.

    The file is written under another name first, so that a killed run leaves the old one or the new one,
    never half.

    Args:
        path: File to write, ending in .npz; its folder is made.
        density: Function with one value a cell.

    Raises:
        InputError: Not a scalar DG0 function, or `path` does not end in .npz.

    Note: Collective.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise InputError(f"path must end in .npz, got {path.name!r}")
    mesh = density.function_space.mesh
    values = gather_rows(mesh.comm, values_by_cell(density))
    midpoints = gather_rows(mesh.comm, _midpoints(mesh))

    def action() -> None:
        assert values is not None and midpoints is not None  # rank 0
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        with partial.open("wb") as file:
            np.savez_compressed(file, density=values, midpoints=midpoints)
        partial.replace(path)

    on_rank_zero(mesh.comm, action)


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
    mesh = density.function_space.mesh
    comm = mesh.comm
    owned = len(values_by_cell(density))
    midpoints = gather_rows(comm, _midpoints(mesh))
    found = on_rank_zero(comm, lambda: _look_up(Path(path), midpoints))
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
        with np.load(path, allow_pickle=False) as file:
            values, midpoints = file["density"], file["midpoints"]
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError) as error:
        raise InputError(f"path must be a file that write_density wrote, got {path}: {error}") from error
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
