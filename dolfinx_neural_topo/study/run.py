"""One run of one method on one task: the design, its independent analysis, and what is said of it."""

from __future__ import annotations

import math
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

from dolfinx_neural_topo._checks import check_count, check_memory
from dolfinx_neural_topo._files import as_path
from dolfinx_neural_topo.errors import InputError, Interrupted
from dolfinx_neural_topo.io._ranks import on_rank_zero
from dolfinx_neural_topo.study import alternatives, analysis, independent, provenance
from dolfinx_neural_topo.study.folder import held, write
from dolfinx_neural_topo.study.job import Job, Outcome, check_seed, network_seed
from dolfinx_neural_topo.study.methods import METHODS, get_method
from dolfinx_neural_topo.study.store import SCHEMA, Key, Record
from dolfinx_neural_topo.tasks import Task, get_task
from dolfinx_neural_topo.tasks.build import build

WORSE = 2.0
"""Compliance of a cut relative to the design's, from which on `describe` says that it is no part."""

VOLUME_TOLERANCE = 1e-6
"""Excess of the physical volume fraction up to which a design counts as allowed."""

SOFT_VOID = 0.01
"""Density of the void of a thresholded design, a millionth in stiffness: pieces that are cut off leave the
equations solvable, and the compliance shows them by its size."""


_LOGIT_CLIP = 1e-9


def run(
    task: str,
    method: str,
    *,
    seed: int = 0,
    evaluations: int = 200,
    start: str | None = None,
    num_alternatives: int = 1,
    out: str | Path | None = None,
    comm: MPI.Comm = MPI.COMM_WORLD,
    progress: bool | None = None,
) -> Record:
    """Design one task by one method.

    Args:
        task: Name of the task.
        method: Name of the method; "-built" at its end makes the design buildable, within the budget.
        seed: Seed of the method's network; methods without one ignore it.
        evaluations: Budget of evaluations; what multi-start plans for (see `minimize_multistart`).
        start: "uniform" or "network:SEED" for methods that start from a density; None for the method's own
            start.
        num_alternatives: How many designs to finish that differ from each other (multi-start alone, see
            `minimize_multistart`); the record is that of the best.
        out: Folder for `result.json` (the record), `density.npz` (images `rho` and `rho_design`),
            `picture.png`, `design.png` (one pixel a cell) and `history.csv`; with alternatives
            `alternatives.npz` (their images, best first) and `alternatives.png`; checkpoints while it runs.
            None writes nothing.
        comm: Ranks that work on it together.
        progress: Whether to show the progress line; None shows it on a terminal, and a line a
            minute elsewhere.

    Returns:
        The record, the same on all ranks:

        - key: `task`, `method`, `seed`, `start`, `budget`; `schema`, `neural`, `finished` (UTC);
        - `status`: "ok", or "failed" with an `error` where checkpoints or files could not be written;
        - `compliance`: objective of the best design, `volume`: its physical volume fraction,
          `volume_fraction`: the allowed one, `volume_exceeded`: whether it is above by more than 1e-6;
        - `analysis`: what another program says of that design, for 2D elasticity NumPy and SciPy alone (see
          `independent`), else a fresh problem: `compliance` of the same density, `greyness`, and of the
          design thresholded at exactly the allowed volume, or as it was built, its compliance
          (`threshold_compliance`) and number of pieces (`components`);
        - `built`, of a method with "-built" at its end: what is known of the 0-1 design that was made, which
          is then the design of the record (see `optimize.buildable.Built`);
        - `alternatives`, if more than one was asked for: `compliance`, `volume`, `distance` from the best one
          and `start` of each, best first;
        - `exact_volume_compliance`: compliance after the design was shifted to exactly the allowed volume;
        - `cells`, `evaluations`, `equivalent_evaluations` (weighted by cells), `solves`, `seconds`, `reason`;
        - `history`: lowest objective after each evaluation on the task's own grid, null before the first
          allowed one;
        - `provenance`: commit, versions, blas, ranks, threads, machine.

    Raises:
        InputError: An unknown task or method, a start that does not suit the method, a folder that cannot be
            written to, that another process writes to, or that holds the result of another run.
        Interrupted: A signal ended the run.

    Note: Collective.
    """
    problem = get_task(task)
    chosen = get_method(method)
    check_seed(seed)
    start = start or (f"network:{seed}" if chosen.neural else "uniform")
    if chosen.neural and network_seed(start) != seed:
        raise InputError(
            f"{method} starts from its own random weights: give --seed {seed} alone, got start {start!r}"
        )
    network_seed(start)
    if evaluations < 1:
        raise InputError(f"evaluations must be at least 1, got {evaluations}")
    check_count("alternatives", num_alternatives)
    if num_alternatives > 1 and not chosen.several:
        several = ", ".join(name for name, each in METHODS.items() if each.several)
        raise InputError(f"alternatives are for {several}, got method {method}")
    check_memory(comm, problem.name, problem.num_cells)
    key = Key(problem.name, method, seed if chosen.neural else 0, start, evaluations)
    if out is None:
        return _run(Job(problem, comm, key, None, progress, alternatives=num_alternatives))
    folder = as_path(out, "out")
    with held(folder, key, comm):
        return _run(Job(problem, comm, key, folder, progress, alternatives=num_alternatives))


def _run(job: Job) -> Record:
    """Do one run in a folder that is this process's own. Note: Collective."""
    problem, comm, key, folder = job.task, job.comm, job.key, job.folder
    chosen = get_method(key.method)
    begin = time.perf_counter()
    try:
        outcome = chosen.optimize(job)
    except KeyboardInterrupt as error:
        then = "nothing is kept without --out" if folder is None else "the same command continues it"
        raise KeyboardInterrupt(f"{error or 'a signal'}; {then}") from error
    seconds = time.perf_counter() - begin
    if outcome.interrupted:
        raise Interrupted(
            f"stopped by a signal after {outcome.evaluations} evaluations; the same command continues it"
        )
    record = {
        "schema": SCHEMA,
        **key._asdict(),
        "status": "failed" if outcome.unsaved else "ok",
        **({"error": outcome.reason} if outcome.unsaved else {}),
        "neural": chosen.neural,
        **_judge(problem, outcome, comm),
        "cells": problem.num_cells,
        "evaluations": outcome.evaluations,
        "equivalent_evaluations": round(outcome.equivalent_evaluations, 3),
        "solves": outcome.solves,
        "seconds": round(seconds, 3),
        "reason": outcome.reason,
        **({} if outcome.built is None else {"built": outcome.built}),
        **({"alternatives": alternatives.listed(outcome.alternatives)} if outcome.alternatives else {}),
        "history": [float(f"{value:.7g}") if math.isfinite(value) else None for value in outcome.history],
        "provenance": provenance.describe(comm),
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    record = comm.bcast(record, root=0)  # clocks and processors differ
    trouble = None
    if folder is not None and comm.rank == 0:
        try:
            write(folder, record, outcome, problem)
        except (OSError, InputError) as error:
            why = getattr(error, "strerror", None) or error
            trouble = f"the files of the run could not be written to {folder}: {why}"
    trouble = comm.bcast(trouble, root=0)
    return record if trouble is None else {**record, "status": "failed", "error": trouble}


def _judge(task: Task, outcome: Outcome, comm: MPI.Comm) -> dict[str, Any]:
    """Analyse a design anew, where possible by other means than made it. Note: Collective."""
    design_cells = np.ones(task.image_shape, dtype=bool) if task.void is None else ~task.void
    solid = outcome.rho  # a built design may use less than the allowed volume
    if outcome.built is None:
        solid = analysis.threshold(outcome.rho, design_cells, task.volume_fraction)
    with build(task, comm, constrain="physical", petsc_options_prefix="analysis_") as built:

        def compliance(image: np.ndarray) -> float:
            if independent.applies(task):
                return comm.bcast(on_rank_zero(comm, lambda: independent.compliance(task, image)), root=0)
            return built.functional.value(built.grid.to_cells(image))

        if outcome.built is None:
            clipped = np.clip(outcome.rho_design, _LOGIT_CLIP, 1.0 - _LOGIT_CLIP)
            logits = built.grid.to_cells(np.log(clipped / (1.0 - clipped)))
            exact = built.design.rho_from_design(built.design.logits.apply(logits))
        else:
            exact = built.grid.to_cells(outcome.rho)  # its volume is exact
        return {
            "compliance": outcome.compliance,
            "volume": outcome.volume,
            "volume_fraction": task.volume_fraction,
            "volume_exceeded": bool(outcome.volume > task.volume_fraction + VOLUME_TOLERANCE),
            "exact_volume_compliance": built.functional.value(exact),
            "analysis": {
                "compliance": compliance(outcome.rho),
                "threshold_compliance": compliance(np.maximum(solid, SOFT_VOID)),
                "components": analysis.components(solid),
                "greyness": analysis.greyness(outcome.rho, design_cells),
            },
        }


def summary(record: Record) -> dict[str, Any]:
    """Return a record without its history: one line on a terminal."""
    return {name: value for name, value in record.items() if name != "history"}


def describe(record: Record) -> str:
    """Return what a person wants to know of a run: a few lines on a terminal."""
    judged = record["analysis"]
    pieces = f"{judged['components']} piece" + "s" * (judged["components"] != 1)
    ratio = judged["threshold_compliance"] / (record["compliance"] or math.inf)
    worse = f", {ratio:.3g} times the objective: --buildable makes a part of it" if ratio > WORSE else ""
    of_volume = "" if "built" in record else " of that volume"
    lines = {
        "objective": f"{record['compliance']:.6g} (analysed anew: {judged['compliance']:.6g})",
        "volume": f"{record['volume']:.5f} of {record['volume_fraction']:g}"
        + ", exceeded" * record["volume_exceeded"],
        "cut": f"{judged['threshold_compliance']:.6g} as solid and void{of_volume}, in {pieces}{worse}",
        "greyness": f"{judged['greyness']:.3f}",
        "cost": f"{record['evaluations']} evaluations, worth {record['equivalent_evaluations']:.0f} on the "
        f"full grid; {record['seconds']:.1f} s",
        "ended": record["reason"],
    }
    if "built" in record:
        widths = [record["built"][name] for name in ("min_member", "min_gap")]
        member, gap = ("no end" if width is None else f"{width:.3g} cells" for width in widths)
        lines["widths"] = f"members from {member}, gaps from {gap}"
    if "alternatives" in record:
        lines["choice"] = alternatives.described(record["alternatives"])
    title = f"{record['task']} by {record['method']}" + f", seed {record['seed']}" * record["neural"]
    return "\n".join([title, *(f"  {name:<10} {text}" for name, text in lines.items())])
