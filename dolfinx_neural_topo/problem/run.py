"""From a problem file to a design and the files that it leaves."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from dolfinx import fem
from mpi4py import MPI

from dolfinx_neural_topo import io
from dolfinx_neural_topo._files import as_path, one_writer, replacing
from dolfinx_neural_topo.density import ConeFilter, Design, DesignDomain, HelmholtzFilter, LocalVolume
from dolfinx_neural_topo.density.symmetry import SymmetryPlane
from dolfinx_neural_topo.errors import InputError, Interrupted, agree, attempt, collective
from dolfinx_neural_topo.io._ranks import on_rank_zero, require
from dolfinx_neural_topo.optimize import Built, make_buildable
from dolfinx_neural_topo.optimize.buildable.fields import width_scale
from dolfinx_neural_topo.optimize.result import FEASIBLE
from dolfinx_neural_topo.physics import Compliance, StateProblem
from dolfinx_neural_topo.problem.description import Problem, Widths
from dolfinx_neural_topo.problem.optimize import optimize
from dolfinx_neural_topo.problem.physics import objective, state_problem
from dolfinx_neural_topo.problem.reading import read_problem
from dolfinx_neural_topo.problem.region import regions
from dolfinx_neural_topo.study import provenance

_CHECKPOINT = re.compile(r"checkpoint(-stage\d+-start\d+)?(\.previous)?\.npz")


@collective
def run_file(
    path: str | Path,
    out: str | Path | None = None,
    *,
    comm: MPI.Comm = MPI.COMM_WORLD,
    progress: bool | None = None,
) -> tuple[dict[str, Any], str]:
    """Design what a problem file describes.

    Args:
        path: TOML file, see the page "Run from a file" of the documentation.
        out: Folder for copies of the problem file and its meshes, `result.json`, `density.npz`,
            `history.csv`, `design.png`, `design.xdmf` and, in 3D, `design.stl`; checkpoints while it runs,
            from which the same call goes on. None for the name of the file without its ending.
        comm: Ranks that work on it together.
        progress: As for `minimize`.

    Returns:
        The record that is in `result.json`, and some lines of text about it; the same on all ranks. Where
        files or checkpoints could not be written its `status` is "failed", with an `error`. `violation` is
        the largest excess over a bound, relative to it: 0 where all constraints are obeyed.

    Raises:
        InputError: Something in the file is wrong; with the line. The folder cannot be used.
        Interrupted: A signal ended the run; the same call continues it.

    Note: Collective.
    """
    problem = read_problem(path, comm)
    folder = Path(problem.document.path.stem) if out is None else as_path(out, "out")
    with ExitStack() as stack:
        trouble = None
        if comm.rank == 0:
            try:
                stack.enter_context(one_writer(folder, "run"))
                _copy(problem, folder)
            except InputError as error:
                trouble = f"out: {error}"
            except OSError as error:
                trouble = f"out: {folder} cannot be written to: {error.strerror}"
        agree(comm, trouble)
        return _run(problem, folder, comm, progress)


def _copy(problem: Problem, folder: Path) -> None:
    """Copy problem and meshes into the folder, so that it can be run again from there.

    Raises:
        InputError: The folder holds an unfinished run of something else.
    """
    copies = {problem.document.path.name: problem.document.text.encode()}
    beside = [str(Path(name).with_suffix(".h5")) for name in problem.mesh.files if name.endswith(".xdmf")]
    for name in (*problem.mesh.files, *beside):
        source = problem.folder / name
        if not Path(name).is_absolute() and source.is_file():  # another one is refused when it is read
            copies[name] = source.read_bytes()
    unfinished = bool(_checkpoints(folder))
    for name, content in copies.items():
        copy = folder / name
        if copy.exists() and copy.read_bytes() == content:
            continue
        if unfinished:
            raise InputError(
                f"{folder} holds an unfinished run of another problem ({name} differs); choose another "
                "folder, or remove its checkpoints"
            )
        (folder / "result.json").unlink(missing_ok=True)  # of what was there before
        with replacing(copy) as file:
            file.write(content)


def _checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a run."""
    return [path for path in folder.glob("checkpoint*") if _CHECKPOINT.fullmatch(path.name)]


def _run(problem: Problem, folder: Path, comm: MPI.Comm, progress: bool | None) -> tuple[dict[str, Any], str]:
    meshes = regions(problem, comm)
    if problem.output.picture:
        require(comm, "matplotlib" if meshes[0].mesh.topology.dim == 2 else "pyvista", "[output] picture")
    with ExitStack() as stack:
        state = stack.enter_context(state_problem(problem, meshes[0]))
        design = _design(problem, meshes[0], state)
        for owner in (design.filter, design.functional, *(limit for limit, _ in design.constraints)):
            if hasattr(owner, "destroy"):
                stack.callback(owner.destroy)
        if problem.buildable is not None:
            _check_widths(problem.buildable, design.domain)
        result = optimize(problem, design, folder, progress)
        if getattr(result, "interrupted", False):
            raise Interrupted(f"{result.reason} The same command continues it.")
        built = None
        if problem.buildable is not None and not result.unsaved:
            widths = {name: getattr(problem.buildable, name) for name in ("min_member", "min_gap")}
            with problem.buildable.table.at(next((n for n, width in widths.items() if width), "")):
                built = make_buildable(design, result, **widths, progress=progress)
        record = comm.bcast(_record(problem, result, built, comm), root=0)
        _, trouble = attempt(
            comm,
            lambda: _write(problem, folder, state, record, result, built),
            (InputError, OSError, RuntimeError),
        )
    if trouble is not None:
        why = getattr(trouble, "strerror", None) or trouble
        record |= {
            "status": "failed",
            "error": f"the files of the run could not be written to {folder}: {why}",
        }
    return record, _describe(record, built, folder)


def _design(problem: Problem, region: io.TaggedMesh, state: StateProblem) -> Design:
    """Return the design problem. Note: Collective."""
    given = problem.design
    table = given.table
    marked = {}
    for name in ("solid", "void"):
        with table.at(name):
            marked[name] = _cells(region, getattr(given, name), state.rho)
    planes = [SymmetryPlane(*plane) for plane in given.symmetry]
    with table.at("symmetry" if planes else "volume"):
        domain = DesignDomain(state.rho, volume_fraction=given.volume, symmetry=planes, **marked)
    with table.at("radius"):
        kind = {"cone": ConeFilter, "helmholtz": HelmholtzFilter}[given.filter]
        stage = kind(domain, radius=given.radius)
    limits: list[tuple[Any, float]] = []
    for constraint in problem.constraints:
        with constraint.table.at("radius" if constraint.radius else "kind"):
            if constraint.radius is None:
                limits.append((Compliance(state), constraint.bound))
            else:
                limits.append((LocalVolume(domain, constraint.radius), constraint.bound))
    with table.at("objective"):
        return Design(objective(problem, state), domain, filter=stage, constraints=limits)


def _check_widths(asked: Widths, domain: DesignDomain) -> None:
    """Refuse widths that the mesh has not, now and not at the end of a long run. Note: Collective."""
    for name, widths in (("min_member", (asked.min_member, None)), ("min_gap", (None, asked.min_gap))):
        if any(widths):
            with asked.table.at(name):
                width_scale(domain, *widths)


def _cells(region: io.TaggedMesh, names: list[str], rho: fem.Function) -> Any:
    """Return a marker of the owned cells in some groups."""
    inside = None
    for name in names:
        here = region.owned_cells(name)
        inside = here if inside is None else inside | here
    if inside is None:
        return None
    marked = inside.copy()
    marked[rho.function_space.dofmap.list[: len(inside), 0]] = inside
    return marked


def _record(problem: Problem, result: Any, built: Built | None, comm: MPI.Comm) -> dict[str, Any]:
    volume = problem.design.volume
    violation = result.best.violation if hasattr(result, "best") else max(result.volume / volume - 1.0, 0.0)
    return {
        "status": "failed" if result.unsaved else "ok",
        **({"error": result.reason} if result.unsaved else {}),
        "title": problem.title,
        "problem": problem.document.path.name,
        "equation": problem.equation,
        "objective_name": problem.design.objective,
        "method": problem.method.name,
        "seed": problem.method.seed,
        "objective": result.objective,
        "volume": result.volume,
        "volume_fraction": volume,
        "violation": violation if violation > FEASIBLE else 0.0,
        "evaluations": result.evaluations,
        "equivalent_evaluations": getattr(result, "equivalent_evaluations", float(result.evaluations)),
        "solves": result.solves,
        "reason": result.reason,
        "built": None if built is None else built.summary(),
        "provenance": provenance.describe(comm),
    }


def _write(
    problem: Problem, folder: Path, state: StateProblem, record: dict, result: Any, built: Built | None
) -> None:
    """Write the files of a run, `result.json` last, and then remove the checkpoints. Note: Collective."""
    from dolfinx_neural_topo import plotting

    grey = io.as_function(result.rho, state.rho, name="density")
    fields = [grey]
    if built is not None:
        fields.append(io.as_function(built.rho, state.rho, name="built"))
    io.write_density(folder / "density.npz", fields[-1])
    solid = state.mesh.topology.dim == 3
    if problem.output.picture:
        (plotting.plot_solid if solid else plotting.plot_density)(
            folder / "design.png", fields[-1], title=problem.title
        )
    if problem.output.paraview:
        state.solve(result.rho if built is None else built.rho)
        io.write_paraview(folder / "design.xdmf", *fields, *state.states)
    if problem.output.stl and solid:
        io.write_stl(folder / "design.stl", fields[-1])

    def finish() -> None:
        history = result.history if isinstance(result.history, list) else result.history.objective
        rows = ["evaluation,objective", *(f"{k},{value}" for k, value in enumerate(history, start=1))]
        (folder / "history.csv").write_text("\n".join(rows) + "\n")
        with replacing(folder / "result.json") as file:
            file.write(json.dumps(record, allow_nan=False, indent=1).encode() + b"\n")
        for checkpoint in _checkpoints(folder) if record["status"] == "ok" else ():
            checkpoint.unlink()

    on_rank_zero(state.comm, finish)


def _describe(record: dict[str, Any], built: Built | None, folder: Path) -> str:
    evaluations, equivalent = record["evaluations"], record["equivalent_evaluations"]
    coarse = f" ({equivalent:.0f} when coarse ones count by their cells)" if equivalent < evaluations else ""
    lines = {
        record["objective_name"]: f"{record['objective']:.6g}",
        "volume": f"{record['volume']:.5f} of {record['volume_fraction']:g}",
        **({"limits": f"exceeded, by {record['violation']:.2g} of a bound"} if record["violation"] else {}),
        "cost": f"{evaluations} evaluations{coarse}, {record['solves']} solves"
        + (f"; {built.evaluations} and {built.solves} of the last stage" if built is not None else ""),
        "ended": record["reason"],
    }
    if built is not None:
        lines["built"] = str(built).removeprefix("built: ")
    lines["files"] = f"{folder}/"
    width = max(map(len, lines))
    return "\n".join([record["title"], *(f"  {name:<{width}} {text}" for name, text in lines.items())])
