"""From a TOML file to a description, with every mistake named by its line."""

from __future__ import annotations

import errno
import math
from pathlib import Path

from mpi4py import MPI

from dolfinx_neural_topo._files import as_path
from dolfinx_neural_topo.errors import agree, collective
from dolfinx_neural_topo.problem.description import (
    AXES,
    Constraint,
    Load,
    Material,
    Network,
    Output,
    Problem,
    Region,
    Search,
    Support,
    Widths,
)
from dolfinx_neural_topo.problem.document import Document, Table
from dolfinx_neural_topo.problem.reading_mesh import read_groups, read_mesh

METHODS = ("mma", "oc", "simpl", "lbfgs", "adam", "multistart")
NETWORKS = ("fourier", "lean", "paper")


@collective
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
            if path.exists() and not path.is_file():  # a pipe would keep the reader waiting
                raise OSError(errno.EINVAL, "it is no file")
            content = path.read_bytes()
        except OSError as error:
            problem = f"the problem file {path} cannot be read: {error.strerror}"
    agree(comm, problem)
    return _read(Document(path, comm.bcast(content, root=0)))


def _read(document: Document) -> Problem:
    top = document.top
    title = top.text("title", document.path.stem)
    equation = top.text("equation", choices=("elasticity", "heat"))
    elastic = equation == "elasticity"
    mesh = read_mesh(top.table("mesh", required=True))
    constraints = [_constraint(table) for table in top.tables("constraint")]
    design = _design(top.table("design", required=True), elastic, bool(constraints))
    method = _method(top.table("method"), bool(constraints))
    problem = Problem(
        document,
        title,
        equation,
        mesh,
        groups=read_groups(top, mesh),
        material=_material(top.table("material"), elastic),
        supports=[_support(table, mesh.dim, elastic) for table in top.tables("support")],
        loads=[_load(table, mesh.dim, elastic) for table in top.tables("load")],
        design=design,
        constraints=constraints,
        method=method,
        network=_network(top.table("network"), method, "network" in top),
        buildable=_widths(top.table("buildable"), design) if "buildable" in top else None,
        output=_output(top.table("output")),
    )
    top.finish()
    for name, found in (("support", problem.supports), ("load", problem.loads)):
        if not found:
            raise document.missing(f"[[{name}]], at least one,")
    return problem


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
        given = table.texts("fix")
        fixed = given if "fix" in table else list(axes)
        if not fixed or any(axis not in list(axes) for axis in fixed):
            raise table.error("fix", f"fix must hold some of {', '.join(axes)}, got {fixed}")
        components = sorted({AXES.index(axis) for axis in fixed}) if "fix" in table else []
    table.finish()
    return Support(table, on, at, components)


def _load(table: Table, dim: int, elastic: bool) -> Load:
    case = table.text("case", "")
    if "'" in case or not case.isprintable():
        raise table.error("case", f"case must be one line of text without ', got {case!r}")
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


def _material(table: Table, elastic: bool) -> Material:
    found = Material(
        table,
        solid=table.number("E" if elastic else "conductivity", 1.0, above=0.0),
        void=table.number("void", 1e-9 if elastic else 1e-3, above=0.0, to=0.5),
        penalty=table.number("penalty", 3.0, above=0.0),
        nu=table.number("nu", 0.3) if elastic else 0.3,
        model=table.text("model", None, ("plane_stress", "plane_strain", "3d")) if elastic else None,
    )
    table.finish()
    return found


def _design(table: Table, elastic: bool, constrained: bool) -> Region:
    objectives = ("compliance", "volume") if elastic else ("compliance", "mean temperature", "volume")
    objective = table.text("objective", "compliance", objectives)
    if objective == "volume" and not constrained:
        raise table.error("objective", "the least volume is none at all: add a [[constraint]]")
    any_volume = {"default": 1.0} if objective == "volume" else {}
    found = Region(
        table,
        objective,
        volume=table.number("volume", above=0.0, to=1.0, **any_volume),
        solid=table.texts("solid"),
        void=table.texts("void"),
        filter=table.text("filter", "cone", ("cone", "helmholtz")),
        radius=table.number("radius", above=0.0),
        symmetry=[_plane(plane) for plane in table.tables("symmetry")],
    )
    table.finish()
    return found


def _plane(table: Table) -> tuple[list[float], list[float]]:
    size = len(table.values("point"))
    point, normal = table.numbers("point", size), table.numbers("normal", size)
    if not any(normal) or size not in (2, 3):
        raise table.error("normal", "a plane needs a point and a normal that is not zero")
    table.finish()
    return point, normal


def _constraint(table: Table) -> Constraint:
    kind = table.text("kind", choices=("compliance", "local volume"))
    local = kind == "local volume"
    bound = table.number("at_most", above=0.0, to=1.0 if local else math.inf)
    radius = table.number("radius", above=0.0) if local else None
    table.finish()
    return Constraint(table, kind, bound, radius)


def _method(table: Table, constrained: bool) -> Search:
    found = Search(
        table,
        table.text("name", "mma", METHODS),
        table.count("evaluations", 100),
        table.count("seed", 0, least=0),
    )
    if constrained and found.name in ("oc", "simpl", "multistart"):
        raise table.error(
            "name", f'"{found.name}" holds the volume alone, no [[constraint]]; use "mma", "lbfgs" or "adam"'
        )
    table.finish()
    return found


def _network(table: Table, method: Search, given: bool) -> Network:
    if given and method.name not in ("lbfgs", "adam"):
        raise table.error("kind", f'[network] is for method "lbfgs" or "adam", not for "{method.name}"')
    kind = table.text("kind", "fourier", NETWORKS)
    points = kind == "fourier"
    length = table.number("length_scale", None, above=0.0) if points else None
    image = table.numbers("image", len(table.values("image"))) if "image" in table and not points else []
    if any(n < 1 or n != int(n) for n in image):
        raise table.error("image", f"image must be whole numbers from 1, got {image}")
    table.finish()
    return Network(table, kind, length, [int(n) for n in image])


def _widths(table: Table, design: Region) -> Widths:
    if design.objective == "volume":
        raise table.error("", "[buildable] cuts at a given volume, not where it is the objective")
    least = [table.number(name, None, above=0.0) for name in ("min_member", "min_gap")]
    table.finish()
    return Widths(table, *least)


def _output(table: Table) -> Output:
    found = Output(*(table.flag(name, True) for name in ("picture", "paraview", "stl")))
    table.finish()
    return found
