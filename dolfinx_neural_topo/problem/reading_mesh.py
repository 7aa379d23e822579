"""What a problem file says of its mesh, and the groups it defines on it."""

from __future__ import annotations

import math
from pathlib import Path

from dolfinx_neural_topo.io.step import UNITS
from dolfinx_neural_topo.problem.description import SIDES, Group, Mesh
from dolfinx_neural_topo.problem.document import Table

CAD = (".step", ".stp")


def read_mesh(table: Table) -> Mesh:
    """Read the table of the mesh: a file, a CAD part or a box."""
    if ("file" in table) == ("box" in table):
        raise table.error("file" if "file" in table else "", "[mesh] needs either file or box, with cells")
    if "file" in table and Path(table.text("file")).suffix.lower() in CAD:
        return _part(table)
    if "file" in table:
        files = (table.text("file"), *table.texts("coarser"))
        for name in files:
            _check_place(table, "file" if name == files[0] else "coarser", name)
        table.finish()
        return Mesh(table, files, None, 0)
    dim = len(table.values("box"))
    if dim not in (2, 3):
        raise table.error("box", f"box must be a list of 2 or 3 lengths, got {dim}")
    sizes, cells = table.numbers("box", dim), table.numbers("cells", dim)
    if min(sizes) <= 0.0:
        raise table.error("box", f"box must be positive lengths, got {sizes}")
    if any(count < 1 or count != int(count) for count in cells):
        raise table.error("cells", f"cells must be whole numbers from 1, got {cells}")
    table.finish()
    return Mesh(table, (), (sizes, [int(count) for count in cells]), dim)


def _check_place(table: Table, key: str, name: str) -> None:
    if ".." in Path(name).parts:
        raise table.error(
            key,
            f"{key} must lie in the folder of the problem file or below, so that a copy of both "
            f"can be run again, or be a whole path; got {name!r}",
        )


def _part(table: Table) -> Mesh:
    """Read what is said of a CAD part."""
    name, size = table.text("file"), table.number("size", above=0.0)
    _check_place(table, "file", name)
    coarser = table.values("coarser") if "coarser" in table else []
    if not all(isinstance(each, int | float) and size < each < math.inf for each in coarser):
        raise table.error("coarser", f"coarser must be sizes above {size:g} for a CAD part, got {coarser}")
    unit = table.text("unit", "m", tuple(UNITS))
    table.finish()
    return Mesh(table, (name,), None, 3, (size, *sorted(map(float, coarser))), unit)


def read_groups(top: Table, mesh: Mesh) -> list[Group]:
    """Read the groups that a file defines itself, no two of one name."""
    found: dict[str, Group] = {}
    for table in top.tables("group"):
        group = _group(table, mesh)
        if group.name in found:
            raise table.error("name", f"name {group.name!r} is that of another group already")
        found[group.name] = group
    return list(found.values())


def _group(table: Table, mesh: Mesh) -> Group:
    name, dim = table.text("name"), mesh.dim
    if "colour" in table:
        colour = table.numbers("colour", 3)
        if not mesh.sizes:
            raise table.error("colour", "colour chooses faces of a CAD part, this mesh is none; use within")
        if not all(each in range(256) for each in colour):
            raise table.error("colour", f"colour must be red, green and blue from 0 to 255, got {colour}")
        table.finish()
        red, green, blue = map(int, colour)
        return Group(name, [], [], (red, green, blue))
    corners = table.values("within")
    size = dim or len(corners[0] if corners and isinstance(corners[0], list) else [])
    right = len(corners) == 2 and size in (2, 3)
    right = right and all(isinstance(corner, list) and len(corner) == size for corner in corners)
    flat = [number for corner in corners for number in corner] if right else []
    if not right or any(isinstance(x, bool) or not isinstance(x, int | float) for x in flat):
        wanted = f"two corners of {dim} numbers" if dim else "two corners, each of 2 or 3 numbers"
        raise table.error("within", f"within must be {wanted}, [[x, y], [x, y]] in 2D")
    lower, upper = ([float(x) for x in corner] for corner in corners)
    if not all(a <= b for a, b in zip(lower, upper, strict=True)):
        raise table.error("within", f"within must be the lower and then the upper corner, got {corners}")
    if mesh.box is not None and name in SIDES[dim]:
        raise table.error("name", f"name {name!r} is a side of the box already; choose another one")
    table.finish()
    return Group(name, lower, upper)
