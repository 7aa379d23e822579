"""Parts from CAD: a STEP file, meshed by gmsh on rank 0, with groups of faces and solids by name."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from dolfinx.mesh import GhostMode
from mpi4py import MPI

from dolfinx_neural_topo.errors import InputError, collective
from dolfinx_neural_topo.io.msh import Loaded, load_msh, read_by
from dolfinx_neural_topo.io.tagged import TaggedMesh

UNITS = {"m": "M", "cm": "CM", "mm": "MM", "um": "UM", "in": "INCH", "ft": "FT"}
"""Units of length, and what gmsh calls them."""

_PADDING = 1e-7  # what gmsh adds to a box on each side

Selector = str | tuple[int, int, int] | Callable[[np.ndarray, np.ndarray], bool]
"""A label, a colour, or whether the corners of a box (lowest, highest; shape (3,) each) are wanted."""


@collective
def read_step(
    path: str | Path,
    comm: MPI.Comm = MPI.COMM_WORLD,
    *,
    size: float,
    groups: Mapping[str, Selector] | None = None,
    cells: Mapping[str, Selector] | None = None,
    unit: str = "m",
    ghost_mode: GhostMode = GhostMode.shared_facet,
) -> TaggedMesh:
    """Mesh the solids of a STEP file by tetrahedra.

    Faces that solids share become one, so that parts that touch hold together. Mesh a second time with a
    larger `size` for the coarse meshes of `minimize_multistart`.

    Args:
        path: STEP file. It is data; nothing in it is run.
        comm: Ranks to distribute the mesh over. Rank 0 meshes.
        size: Largest edge of a cell, in `unit`.
        groups: Name of each group of faces, and how it is chosen: by colour, (red, green, blue) from 0 to
            255; by a predicate of the lowest and highest corner of the face's box (in `unit`, to about
            1e-7); or by label, where the file has labels of faces. A face may be in several groups.
        cells: The same for solids, for parts that stay solid or void.
        unit: Unit of the mesh: "m", "cm", "mm", "um", "in" or "ft". That of the file is converted.
        ghost_mode: As for `read_mesh`.

    Returns:
        Mesh and groups.

    Raises:
        FileNotFoundError: No such file.
        InputError: Not a STEP file, no solid in it, a group that nothing matches, a size that is not
            positive, an unknown unit, no gmsh, or a shape that gmsh cannot mesh.

    Note: Collective.

    Example:
        >>> read_step(
        ...     "meshes/plate.step",
        ...     size=0.005,
        ...     groups={
        ...         "clamped": lambda low, high: high[0] < 1e-6,
        ...         "bolt": (255, 0, 0),
        ...     },
        ... ).facet_groups
        {'clamped': 1, 'bolt': 2}
    """
    groups, cells = dict(groups or {}), dict(cells or {})
    if not isinstance(size, (int, float)) or not 0.0 < size < np.inf:
        raise InputError(f"size must be a positive length, got {size!r}")
    if unit not in UNITS:
        raise InputError(f"unit must be one of {', '.join(UNITS)}, got {unit!r}")
    for name, selector in {**groups, **cells}.items():
        _check_selector(name, selector)
    return read_by(lambda path: _load(path, float(size), groups, cells, unit), path, comm, ghost_mode)


def _check_selector(name: Any, selector: Any) -> None:
    colour = isinstance(selector, tuple) and len(selector) == 3
    if (
        not name
        or not isinstance(name, str)
        or not (isinstance(selector, str) or callable(selector) or colour)
    ):
        raise InputError(
            f"group {name!r} must be a label, a colour (red, green, blue) or a function of two corners, "
            f"got {selector!r}"
        )


def _load(
    path: Path, size: float, groups: dict[str, Selector], cells: dict[str, Selector], unit: str
) -> Loaded:
    """Mesh in gmsh and read what it writes.

    Raises:
        InputError: See `read_step`.
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        if not file.read(256).lstrip().startswith(b"ISO-10303-21;"):
            raise InputError("not a STEP file (its first line is ISO-10303-21;)")
    with _gmsh() as gmsh, tempfile.TemporaryDirectory() as folder:
        gmsh.option.setString("Geometry.OCCTargetUnit", UNITS[unit])
        gmsh.option.setNumber("Mesh.MeshSizeMax", size)
        try:
            looks = _import(gmsh, path)
        except Exception as error:  # gmsh raises nothing more special
            raise InputError(f"gmsh cannot read it: {error}") from error
        if not any(dimension == 3 for dimension, _ in looks):
            raise InputError("holds no solid; export the part as a solid body")
        for dimension, chosen in ((2, groups), (3, cells)):
            for number, (name, selector) in enumerate(chosen.items(), 1):
                tags = _choose(name, selector, dimension, looks)
                gmsh.model.addPhysicalGroup(dimension, tags, number, name)
        written = Path(folder) / "mesh.msh"
        try:
            gmsh.model.mesh.generate(3)
            gmsh.write(str(written))
        except Exception as error:
            raise InputError(f"gmsh cannot mesh it with size {size:g} {unit}: {error}") from error
        return load_msh(written)


Look = tuple[str, tuple[int, int, int], np.ndarray, np.ndarray]
"""Label, colour, lowest and highest corner."""


def _import(gmsh: Any, path: Path) -> dict[tuple[int, int], Look]:
    """Import shapes and join what touches; return how each face and solid looks."""
    model = gmsh.model
    model.occ.importShapes(str(path), highestDimOnly=False, format="step")
    model.occ.synchronize()
    solids = model.getEntities(3)
    looks = {solid: (model.getEntityName(*solid), model.getColor(*solid)[:3]) for solid in solids}
    if len(solids) > 1:
        _, parts = model.occ.fragment(solids, [])
        model.occ.synchronize()
        looks = {part: looks[solid] for solid, found in zip(solids, parts, strict=True) for part in found}
    looks |= {face: (model.getEntityName(*face), model.getColor(*face)[:3]) for face in model.getEntities(2)}
    boxes = {shape: np.reshape(model.getBoundingBox(*shape), (2, 3)) for shape in looks}
    return {
        shape: (
            label.rpartition("/")[2],
            tuple(colour),
            boxes[shape][0] + _PADDING,
            boxes[shape][1] - _PADDING,
        )
        for shape, (label, colour) in looks.items()
    }


def _choose(name: str, selector: Selector, dimension: int, looks: dict[tuple[int, int], Look]) -> list[int]:
    """Return the faces or solids that a selector matches; where there are none, say what there is."""
    found = {tag: look for (d, tag), look in looks.items() if d == dimension}
    try:
        tags = [tag for tag, look in found.items() if _matches(selector, look)]
    except Exception as error:  # of the user's function
        raise InputError(f"the function of group {name!r} failed: {error!r}") from error
    if tags:
        return tags
    labels = sorted({look[0] for look in found.values() if look[0]})
    raise InputError(
        f"group {name!r} matches none of its {len(found)} {'faces' if dimension == 2 else 'solids'}, which "
        f"have the labels {labels or 'none'} and the colours {sorted({look[1] for look in found.values()})}"
    )


def _matches(selector: Selector, look: Look) -> bool:
    label, colour, low, high = look
    if callable(selector):
        return bool(selector(low.copy(), high.copy()))
    return selector == label if isinstance(selector, str) else tuple(selector) == colour


@contextmanager
def _gmsh() -> Iterator[Any]:
    """Lend gmsh with an empty model; leave a session of the caller's own as it was."""
    try:
        import gmsh
    except ImportError as error:
        raise InputError(
            "STEP files are meshed by gmsh, which is missing; way out: pip install gmsh"
        ) from error
    strings = ["Geometry.OCCTargetUnit"]
    numbers = {
        "General.Terminal": 0.0,
        "Geometry.OCCImportLabels": 1.0,
        "Mesh.SaveAll": 1.0,
        "Mesh.MshFileVersion": 4.1,
        "Mesh.Binary": 1.0,
        "Mesh.MeshSizeMax": 1.0,
    }
    running = gmsh.isInitialized()
    if not running:
        gmsh.initialize(readConfigFiles=False, interruptible=False)
    before = {name: gmsh.option.getNumber(name) for name in numbers}
    texts = {name: gmsh.option.getString(name) for name in strings}
    current = gmsh.model.getCurrent() if running else ""
    gmsh.model.add("dolfinx_neural_topo")
    try:
        for name, value in numbers.items():
            gmsh.option.setNumber(name, value)
        yield gmsh
    finally:
        if running:
            gmsh.model.remove()
            gmsh.model.setCurrent(current)
            for name, value in before.items():
                gmsh.option.setNumber(name, value)
            for name, text in texts.items():
                gmsh.option.setString(name, text)
        else:
            gmsh.finalize()
