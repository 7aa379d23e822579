"""What a problem file says, read and checked before anything is computed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mpi4py import MPI

from dolfinx_neural_topo._files import as_path
from dolfinx_neural_topo.errors import InputError, agree
from dolfinx_neural_topo.problem.document import Document, Table

AXES = "xyz"
SIDES = {2: ("left", "right", "bottom", "top"), 3: ("left", "right", "front", "back", "bottom", "top")}
"""Groups that a box has without being told: lower and upper side along each axis."""

METHODS = ("mma", "oc", "lbfgs", "adam", "multistart")
NETWORKS = ("fourier", "lean", "paper")


@dataclass(frozen=True)
class Group:
    """A part of the mesh with a name: what lies within a box, faces at the boundary and cells alike."""

    name: str
    lower: list[float]
    upper: list[float]


@dataclass(frozen=True)
class Support:
    """Where the state is zero: on a group or at a point, in all components or some."""

    table: Table
    on: str | None
    at: list[float] | None
    components: list[int]


@dataclass(frozen=True)
class Load:
    """A load of one case: a total spread over a group, or on each unit of area; at a point; in all cells."""

    table: Table
    case: str
    on: str | None
    at: list[float] | None
    total: list[float] | None
    density: list[float] | None


@dataclass(frozen=True)
class Constraint:
    """A limit beside the volume."""

    table: Table
    kind: str
    bound: float
    radius: float | None


@dataclass(frozen=True)
class Problem:
    """A whole problem; attributes are named as the keys of the file are.

    Attributes:
        document: The file.
        dim: Dimension of space; 0 for a mesh file, which tells it later.
    """

    document: Document
    title: str
    equation: str
    files: tuple[str, ...]
    box: tuple[list[float], list[int]] | None
    groups: tuple[Group, ...]
    material: dict[str, float | str]
    supports: tuple[Support, ...]
    loads: tuple[Load, ...]
    design: dict
    constraints: tuple[Constraint, ...]
    method: dict
    network: dict
    buildable: dict | None
    output: dict

    @property
    def folder(self) -> Path:
        """Folder that paths in the file start from."""
        return self.document.path.parent

    @property
    def names(self) -> set[str]:
        """Names of all groups that are in use."""
        used = {s.on for s in self.supports if s.on} | {load.on for load in self.loads if load.on}
        return used | {*self.design["solid"], *self.design["void"]}


def read_problem(path: str | Path, comm: MPI.Comm = MPI.COMM_WORLD) -> Problem:
    """Read a problem file.

    Args:
        path: TOML file.
        comm: Ranks that need it; rank 0 reads.

    Returns:
        The problem. What only the mesh can tell, such as whether a group exists, is not checked yet.

    Raises:
        InputError: The file cannot be read, or something in it is wrong; with the line.

    Note: Collective.
    """
    path = as_path(path, "the problem file", ".toml")
    content = problem = None
    if comm.rank == 0:
        try:
            content = path.read_bytes()
        except OSError as error:
            problem = f"the problem file {path} cannot be read: {error.strerror}"
    agree(comm, problem)
    return _read(Document(path, comm.bcast(content, root=0)))


def _read(document: Document) -> Problem:
    top = document.top
    title = top.text("title", document.path.stem)
    equation = top.text("equation", choices=("elasticity", "heat"))
    files, box, dim = _mesh(top.table("mesh", required=True))
    elastic = equation == "elasticity"
    groups = [_group(table, dim) for table in top.tables("group")]
    supports = [_support(table, dim, elastic) for table in top.tables("support")]
    loads = [_load(table, dim, elastic) for table in top.tables("load")]
    for name, found in (("support", supports), ("load", loads)):
        if not found:
            raise document.error((), f"[[{name}]] is missing: at least one is needed")
    constraints = [_constraint(table) for table in top.tables("constraint")]
    design = _design(top.table("design", required=True), elastic, bool(constraints))
    method = _method(top.table("method"), bool(constraints))
    problem = Problem(
        document,
        title,
        equation,
        files,
        box,
        tuple(groups),
        _material(top.table("material"), elastic),
        tuple(supports),
        tuple(loads),
        design,
        tuple(constraints),
        method,
        _network(top.table("network"), method, "network" in top),
        _buildable(top.table("buildable"), design) if "buildable" in top else None,
        _output(top.table("output")),
    )
    top.finish()
    return problem


def _mesh(table: Table) -> tuple[tuple[str, ...], tuple | None, int]:
    """Return the files, or sizes and cells of a box, and the dimension where it is known."""
    if ("file" in table) == ("box" in table):
        raise table.error("file" if "file" in table else "", "[mesh] needs either file or box, with cells")
    if "file" in table:
        files = (table.text("file"), *table.texts("coarser"))
        for name in files:
            if ".." in Path(name).parts:
                key = "file" if name == files[0] else "coarser"
                raise table.error(
                    key,
                    f"{key} must lie in the folder of the problem file or below, so that a copy of both "
                    f"can be run again, or be a whole path; got {name!r}",
                )
        table.finish()
        return files, None, 0
    dim = len(table.values("box"))
    if dim not in (2, 3):
        raise table.error("box", f"box must be a list of 2 or 3 lengths, got {dim}")
    sizes, cells = table.numbers("box", dim), table.numbers("cells", dim)
    if min(sizes) <= 0.0:
        raise table.error("box", f"box must be positive lengths, got {sizes}")
    if any(count < 1 or count != int(count) for count in cells):
        raise table.error("cells", f"cells must be whole numbers from 1, got {cells}")
    table.finish()
    return (), (sizes, [int(count) for count in cells]), dim


def _group(table: Table, dim: int) -> Group:
    name = table.text("name")
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
    if dim and name in SIDES[dim]:
        raise table.error("name", f"name {name!r} is a side of the box already; choose another one")
    table.finish()
    return Group(name, lower, upper)


def _place(table: Table, dim: int) -> tuple[str | None, list[float] | None]:
    """Return the name of a group, or a point."""
    on = table.text("on", None)
    at = table.numbers("at", dim or len(table.values("at"))) if "at" in table else None
    if (on is None) == (at is None):
        raise table.error("on", "give either on (the name of a group) or at (a vertex of the mesh)")
    return on, at


def _support(table: Table, dim: int, elastic: bool) -> Support:
    on, at = _place(table, dim)
    components: list[int] = []
    if elastic:
        axes = AXES[: dim or 3]
        fixed = table.texts("fix") or list(axes)
        if any(axis not in axes for axis in fixed) or any(len(axis) > 1 for axis in fixed):
            raise table.error("fix", f"fix must hold some of {', '.join(axes)}, got {fixed}")
        components = sorted({AXES.index(axis) for axis in fixed}) if "fix" in table else []
    table.finish()
    return Support(table, on, at, components)


def _load(table: Table, dim: int, elastic: bool) -> Load:
    case = table.text("case", "")
    total, density = ("force", "traction") if elastic else ("power", "flux")
    if not elastic and "source" in table:
        source = [table.number("source")]
        table.finish()
        return Load(table, case, None, None, None, source)
    on, at = _place(table, dim)
    kind = total if total in table else density
    if (total in table) == (density in table) or (at is not None and kind == density):
        ways = f"{total} (in all)" if at is not None else f"either {total} (in all) or {density} (per area)"
        raise table.error(kind, f"[[load]] needs {ways}")
    if elastic:
        value = table.numbers(kind, dim or len(table.values(kind)))
    else:
        value = [table.number(kind)]
    table.finish()
    return Load(table, case, on, at, *((value, None) if kind == total else (None, value)))


def _material(table: Table, elastic: bool) -> dict[str, float | str]:
    names: dict = {"solid": table.number("E" if elastic else "conductivity", 1.0, above=0.0)}
    names["void"] = table.number("void", 1e-9 if elastic else 1e-3, above=0.0, to=0.5)
    names["penalty"] = table.number("penalty", 3.0, above=0.0)
    if elastic:
        names["nu"] = table.number("nu", 0.3)
        names["model"] = table.text("model", None, ("plane_stress", "plane_strain", "3d"))
    table.finish()
    return names | {"table": table}


def _design(table: Table, elastic: bool, constrained: bool) -> dict:
    objectives = ("compliance", "volume") if elastic else ("compliance", "mean temperature", "volume")
    objective = table.text("objective", "compliance", objectives)
    if objective == "volume" and not constrained:
        raise table.error("objective", "the least volume is none at all: add a [[constraint]]")
    least_is_best = {"default": 1.0} if objective == "volume" else {}
    found = {
        "objective": objective,
        "volume": table.number("volume", above=0.0, to=1.0, **least_is_best),
        "solid": table.texts("solid"),
        "void": table.texts("void"),
        "filter": table.text("filter", "cone", ("cone", "helmholtz")),
        "radius": table.number("radius", above=0.0),
        "symmetry": [],
    }
    for plane in table.tables("symmetry"):
        size = len(plane.values("point"))
        found["symmetry"].append((plane.numbers("point", size), plane.numbers("normal", size)))
        if not any(found["symmetry"][-1][1]) or size not in (2, 3):
            raise plane.error("normal", "a plane needs a point and a normal that is not zero")
        plane.finish()
    table.finish()
    return found | {"table": table}


def _constraint(table: Table) -> Constraint:
    kind = table.text("kind", choices=("compliance", "local volume"))
    bound = table.number("at_most", above=0.0)
    radius = table.number("radius", above=0.0) if kind == "local volume" else None
    table.finish()
    return Constraint(table, kind, bound, radius)


def _method(table: Table, constrained: bool) -> dict:
    found = {
        "name": table.text("name", "mma", METHODS),
        "evaluations": table.count("evaluations", 100),
        "seed": table.count("seed", 0, least=0),
    }
    if constrained and found["name"] in ("oc", "multistart"):
        raise table.error(
            "name",
            f'"{found["name"]}" holds the volume alone, no [[constraint]]; use "mma", "lbfgs" or "adam"',
        )
    table.finish()
    return found | {"table": table}


def _network(table: Table, method: dict, given: bool) -> dict:
    if given and method["name"] not in ("lbfgs", "adam"):
        raise table.error("kind", f'[network] is for method "lbfgs" or "adam", not for "{method["name"]}"')
    found = {
        "kind": table.text("kind", "fourier", NETWORKS),
        "length_scale": table.number("length_scale", None, above=0.0),
        "image": [],
    }
    if "image" in table:
        found["image"] = [int(n) for n in table.numbers("image", len(table.values("image")))]
    table.finish()
    return found | {"table": table}


def _buildable(table: Table, design: dict) -> dict:
    if design["objective"] == "volume":
        raise InputError(
            str(table.error("", "[buildable] cuts at a given volume, not where it is the objective"))
        )
    found = {name: table.number(name, None, above=0.0) for name in ("min_member", "min_gap")}
    table.finish()
    return found | {"table": table}


def _output(table: Table) -> dict:
    found = {name: table.flag(name, True) for name in ("picture", "paraview", "stl")}
    table.finish()
    return found
