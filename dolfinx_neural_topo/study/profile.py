"""What an evaluation costs, stage by stage, beside a bare assembly and solve measured in the same run."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import dolfinx.fem.petsc as fem_petsc
import numpy as np
from dolfinx import fem
from mpi4py import MPI
from petsc4py import PETSc

from dolfinx_neural_topo._petsc import options
from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.physics import nullspace
from dolfinx_neural_topo.physics.forms import FAST
from dolfinx_neural_topo.physics.solvers import choose
from dolfinx_neural_topo.physics.state import StateProblem
from dolfinx_neural_topo.study import provenance
from dolfinx_neural_topo.study.job import Job
from dolfinx_neural_topo.study.methods import get_method
from dolfinx_neural_topo.study.stopwatch import STAGES, Stopwatch, watching
from dolfinx_neural_topo.study.store import Key
from dolfinx_neural_topo.tasks import Task, get_task
from dolfinx_neural_topo.tasks.build import build

EVALUATE = "evaluate"
"""Pseudo-method: objective and gradient at one density after the other, without network and optimizer."""

WITHOUT_TORCH = (EVALUATE, "oc", "mma", "mma-svanberg", "coarse-to-fine")


@dataclass(frozen=True)
class Profile:
    """Costs of a run; seconds are those of rank 0.

    Attributes:
        task: Name of the task.
        method: Name of the method.
        ranks: Number of ranks.
        cells: Number of cells.
        dofs: Number of unknowns of the state.
        stages: Median seconds of each stage of an evaluation.
        evaluation_seconds: Mean seconds of a whole evaluation. The first is left out: it compiles and
            allocates.
        bare_seconds: Seconds of assembling the last matrix by DOLFINx, setting up PETSc's solver of the same
            kind, and solving once from zero to the same tolerance (sum of medians).
        ratio: evaluation_seconds / bare_seconds.
        matvec_seconds: Median seconds of a product of that matrix with a vector.
        peak_rss_mb: Peak memory of the run (before the bare reference), summed over ranks, MB.
        objective: What the run ended with: that of its best design, for "evaluate" of its last density.
        blas: The BLAS in use.
    """

    task: str
    method: str
    ranks: int
    cells: int
    dofs: int
    stages: dict[str, float]
    evaluation_seconds: float
    bare_seconds: float
    ratio: float
    matvec_seconds: float
    peak_rss_mb: float
    objective: float
    blas: str


def profile(
    task: str,
    method: str = EVALUATE,
    *,
    evaluations: int = 12,
    solver: str | None = None,
    comm: MPI.Comm = MPI.COMM_WORLD,
) -> Profile:
    """Run a method on a task and measure where the time goes.

    Args:
        task: Name of the task.
        method: Name of a method, or "evaluate".
        evaluations: Number of evaluations, at least 2.
        solver: Preset of the linear solver, of the bare reference as well; chosen by size if None.
        comm: Ranks that work on it together.

    Returns:
        The profile, the same on all ranks.

    Raises:
        InputError: Unknown task, method or solver, or fewer than 2 evaluations.

    Note: Collective.
    """
    problem = get_task(task)
    if evaluations < 2:
        raise InputError(f"evaluations must be at least 2 (the first is a warm-up), got {evaluations}")
    if method != EVALUATE:
        get_method(method)
    watch = Stopwatch()
    with watching(watch, torch=method not in WITHOUT_TORCH):
        run = _evaluate_only if method == EVALUATE else _minimize
        rho, objective = run(
            Job(problem, comm, _key(problem, method, evaluations), progress=False, solver=solver), watch
        )
    peak = comm.reduce(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, root=0)
    with build(problem, comm, petsc_options_prefix="bare_", solver=solver) as built:
        bare, matvec = bare_reference(built.state, built.grid.to_cells(rho))
        dofs = built.state.V.dofmap.index_map.size_global * built.state.V.dofmap.index_map_bs
    laps = watch.laps[1:]
    seconds = sum(sum(lap.values()) for lap in laps) / len(laps)
    return comm.bcast(
        Profile(
            task=problem.name,
            method=method,
            ranks=comm.size,
            cells=problem.num_cells,
            dofs=dofs,
            stages={stage: median(lap[stage] for lap in laps) for stage in STAGES},
            evaluation_seconds=seconds,
            bare_seconds=bare,
            ratio=seconds / bare,
            matvec_seconds=matvec,
            peak_rss_mb=peak or 0.0,
            objective=objective,
            blas=provenance.blas(),
        ),
        root=0,
    )


def _key(task: Task, method: str, evaluations: int) -> Key:
    neural = method != EVALUATE and get_method(method).neural
    return Key(task.name, method, 0, "network:0" if neural else "uniform", evaluations)


def _evaluate_only(job: Job, watch: Stopwatch) -> tuple[np.ndarray, float]:
    """Evaluate random densities that change by a tenth each time; return the last one, an image."""
    with build(job.task, job.comm, solver=job.solver) as built:
        shake = np.random.default_rng(0)
        x = built.design.initial()
        cells = built.design.persistence.entries
        for _ in range(job.budget):
            factors = shake.uniform(0.9, 1.1, built.domain.num_global_cells)[cells]
            evaluation = built.design.evaluate(np.clip(x * factors, 0.0, 1.0))
            watch.lap()
        return built.grid.to_image(evaluation.rho), evaluation.value


def _minimize(job: Job, watch: Stopwatch) -> tuple[np.ndarray, float]:
    result = get_method(job.key.method).optimize(job)
    return result.rho, result.compliance


def bare_reference(state: StateProblem, rho: np.ndarray, repeats: int = 5) -> tuple[float, float]:
    """Measure DOLFINx and PETSc alone on the matrix of a state problem.

    Args:
        state: The state problem, of which the form, the conditions, the load and the solver's options are
            used. It is destroyed before the measurement: a large one does not fit twice.
        rho: Density on owned cells.
        repeats: Number of measurements of each part, after one that warms up; 1 where that one takes
            over 10 s.

    Returns:
        Seconds of assembly, solver set-up and one solve from zero (sum of medians); median seconds of a
        product of the matrix with a vector.

    Note: Collective.
    """
    state.solve(rho)
    given, traits, name = state._operator.solver.options, state._operator.traits, state._operator._preset
    assert traits is not None  # known since the solve
    b = state._load_cases.loads.vectors[0].copy()
    state.destroy()
    form = fem.form(state.equation.a, jit_options={"cffi_extra_compile_args": FAST})
    A = fem_petsc.create_matrix(form)
    x = A.createVecRight()
    ksp = PETSc.KSP().create(state.comm)
    ksp.setOptionsPrefix("reference_")
    ksp.setOperators(A)

    def assemble() -> None:
        A.zeroEntries()
        fem_petsc.assemble_matrix(A, form, list(state.bcs))  # type: ignore[arg-type]
        A.assemble()
        A.setOption(PETSc.Mat.Option.SPD, traits.definite)

    def set_up() -> None:
        ksp.setOperators(A)
        ksp.setUp()
        ksp.getPC().setUp()

    def solve() -> None:
        x.set(0.0)
        ksp.solve(b, x)

    assemble()
    preset = choose(name, traits)
    modes = (
        nullspace.attach_near_nullspace(A, nullspace.free_motions(state.V)[1])
        if preset.near_nullspace
        else []
    )
    if preset.configure is not None:
        preset.configure(ksp)
    with options("reference_", given):
        ksp.setFromOptions()
        parts = (assemble, set_up, solve)
        warm_up = state.comm.allreduce(sum(map(_seconds, parts)), op=MPI.MAX)
        times = [[_seconds(part) for part in parts] for _ in range(1 if warm_up > 10.0 else repeats)]
    matvec = median(_seconds(lambda: A.mult(b, x)) for _ in range(20))
    for thing in (ksp, A, b, x, *modes):
        thing.destroy()
    return sum(median(column) for column in zip(*times, strict=True)), matvec


def _seconds(function: Callable[[], object]) -> float:
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def table(result: Profile) -> str:
    """Return a profile as text."""
    about = provenance.describe(MPI.COMM_SELF)
    lines = [
        f"{result.task}, {result.method}: {result.cells} cells, {result.dofs} unknowns",
        f"ranks {result.ranks}, threads {about['threads']}, BLAS {result.blas}",
        "",
        f"{'stage':<20}{'ms':>12}{'matvecs':>10}{'of bare':>9}",
    ]
    rows = [
        *result.stages.items(),
        ("evaluation (mean)", result.evaluation_seconds),
        ("bare", result.bare_seconds),
    ]
    for name, seconds in rows:
        matvecs, share = seconds / result.matvec_seconds, seconds / result.bare_seconds
        lines.append(f"{name:<20}{1e3 * seconds:>12.3f}{matvecs:>10.1f}{share:>9.3f}")
    return "\n".join([*lines, "", f"peak memory {result.peak_rss_mb:.0f} MB"])
