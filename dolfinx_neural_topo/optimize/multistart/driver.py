"""The run: starts, promotions, and what they found."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from dolfinx_neural_topo._checks import check_count, check_number
from dolfinx_neural_topo._files import as_path
from dolfinx_neural_topo.density import Design, MultiDesign
from dolfinx_neural_topo.errors import InputError, SolverError, collective, together
from dolfinx_neural_topo.optimize.checkpoint import held
from dolfinx_neural_topo.optimize.multistart import jobs
from dolfinx_neural_topo.optimize.multistart.alternatives import Distinct, fewer, unfinished
from dolfinx_neural_topo.optimize.multistart.display import Display
from dolfinx_neural_topo.optimize.multistart.found import Found
from dolfinx_neural_topo.optimize.multistart.levels import Levels, Meshes, Problem
from dolfinx_neural_topo.optimize.multistart.result import Multistart
from dolfinx_neural_topo.optimize.multistart.schedule import Round, Schedule, preset
from dolfinx_neural_topo.optimize.multistart.starts import get_parameterization, seed_of
from dolfinx_neural_topo.optimize.multistart.teams import Job, Teams


@collective(free=("callback", "progress"))
def minimize_multistart(
    design: Design | MultiDesign,
    problem: Problem,
    *,
    meshes: Meshes | None = None,
    schedule: Schedule | None = None,
    budget: float | None = None,
    seed: int = 0,
    parameterization: str = "network",
    alternatives: int = 1,
    min_distance: float = 0.1,
    last_stage: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    callback: Callable[[Found], None] | None = None,
    progress: bool | None = None,
) -> Multistart:
    """Minimize by many short starts on coarse physics, of which the best ones are polished on the full mesh.

        def problem(mesh):                      # PDE, boundary conditions, objective: on any mesh
            rho = fem.Function(fem.functionspace(mesh, ("DG", 0)))
            ...
            return dnt.Compliance(state)

        compliance = problem(mesh)
        domain = dnt.DesignDomain(compliance.state.rho, volume_fraction=0.4)
        design = dnt.Design(compliance, domain, filter=dnt.ConeFilter(domain, radius=0.04))
        found = dnt.minimize_multistart(design, problem, budget=140)

    With `alternatives` it returns several designs that are really different, each finished, to choose from:

        found = dnt.minimize_multistart(design, problem, budget=300, alternatives=5)
        for each in found.alternatives:     # best first
            print(each.objective, each.distance)
        built = [dnt.make_buildable(design, each) for each in found.alternatives]

    On several ranks independent starts run at the same time, each on a part of the ranks, with a problem of
    its own.

    Args:
        design: The problem on all ranks.
        problem: Makes its objective on another mesh: takes a mesh (one of `meshes`) and returns a functional
            of a DG0 density, as the objective of `design` is one. Called for coarser meshes and on parts of
            the ranks. State problems that it makes are destroyed at the end; ones that were there before are
            not.
        meshes: Takes a communicator and returns the mesh of the design, followed by ever coarser meshes of
            the same region; what it returns is handed to `problem`, and may carry tags. None for an evenly
            spaced grid of a rectangle or box, which coarsens itself.
        schedule: Starts and promotions; the preset for the number of cells if None.
        budget: Equivalent evaluations planned for; None leaves the schedule as it is. It gets as many starts
            as fit beside a last round of usual length, which then goes on as long as it gains: some runs take
            less and some more (see `Schedule.fitted`). What a run took is in the result.
        seed: Of all starts, zero or positive.
        parameterization: "network", or one of the controls "linear", "pixels" and "uniform" (of which one
            start is enough).
        alternatives: How many designs to finish, the best one included. There are fewer where the starts have
            led to fewer that differ; `reason` says so then. Each is planned for in the budget.
        min_distance: Least distance of any two of them, in (0, 1): the part of the material that lies
            elsewhere once both are cut to solid and void of the allowed volume, which is the volume of the
            cells that differ over twice the allowed volume.
        last_stage: Whether `make_buildable` goes on with what is found. Then the best design is the one that
            will be best when it is built, and it is left unfinished: the last stage does both better. In 3D
            four designs more begin at the uniform one.
        checkpoint: Beginning of the paths of files with finished starts, from which the run goes on if they
            exist. The caller removes them. One run at a time.
        callback: Called after each stage with everything it found, on all ranks.
        progress: True or False to show or hide how far the run is; None shows it on a terminal,
            and a line a minute elsewhere.

    Returns:
        The best design, the same for any number of ranks up to rounding.

    Raises:
        InputError: An unknown parameterization, a budget too small for the schedule, no `meshes` where the
            mesh is no grid, a design with constraints beside the volume, more alternatives than starts, or a
            distance out of range.
        CheckpointError: The files belong to another run.
        SolverError: No start could be evaluated.

    Note: Collective.

    Example:
        >>> def problem(mesh):
        ...     return dnt.Compliance(make_state(mesh))
        >>> found = dnt.minimize_multistart(design, problem, budget=140)  # doctest: +SKIP
    """

    def check() -> None:
        check_count("alternatives", alternatives)
        check_count("seed", seed, 0)
        check_number("min_distance", min_distance, "(0, 1)")

    together(design.comm, check, "the checks of minimize_multistart")
    path = None if checkpoint is None else as_path(checkpoint, "checkpoint")
    with held(design.comm, path), closing(Levels(design, problem, meshes)) as levels:
        run = _Run(levels, schedule, budget, seed, parameterization, path, alternatives, last_stage)
        run.display = Display(levels.comm, run.schedule, levels.weight, progress, alternatives=alternatives)
        run.callback = callback
        with closing(run.teams):
            run.start()
            run.promote()
            distinct = Distinct(levels, run.teams, min_distance)
            chosen = run.alternatives(distinct)
            run.display.finish(run.found[-1].reason)
            return run.result(distinct, chosen)


class _Run:
    """State of one run."""

    callback: Callable[[Found], None] | None
    display: Display

    def __init__(
        self,
        levels: Levels,
        schedule: Schedule | None,
        budget: float | None,
        seed: int,
        parameterization: str,
        checkpoint: Path | None,
        alternatives: int,
        last_stage: bool,
    ):
        design = levels.design(0)
        num_cells = design.domain.num_global_cells
        self.levels = levels
        schedule = preset(num_cells) if schedule is None else schedule
        schedule = schedule.for_last_stage(design.domain.mesh.topology.dim) if last_stage else schedule
        self.schedule = schedule if budget is None else schedule.fitted(budget, levels.weight, alternatives)
        if alternatives > self.schedule.num_starts:
            raise InputError(
                f"alternatives must be at most the number of starts, here {self.schedule.num_starts}, got "
                f"{alternatives}; way out: a larger budget or schedule"
            )
        self.wanted = alternatives
        self.starts = self.schedule.all_starts
        self.seed = seed
        self.prepare = get_parameterization(parameterization)
        fingerprint = {
            "schedule": repr(self.schedule),
            "seed": seed,
            "parameterization": parameterization,
            "cells": num_cells,
            "number of variables": levels.order.size,
            "volume fraction": design.domain.volume_fraction,
            "constrain": design.constrain,
        }
        self.teams = Teams(levels, checkpoint, fingerprint)
        self.found: list[Found] = []
        self.candidates: list[Found] = []

    def start(self) -> None:
        """Do all starts."""
        costs = [self.schedule.cost_of(each, self.levels.weight) for each in self.starts]
        self._do(self._leg, [Found(number, -1) for number in range(len(self.starts))], costs)

    def _leg(self, levels: Levels, each: Found, promotion: Round | None = None) -> Found:
        """Do a start, or go on with it in its own parameters at the level of a promotion."""
        leg = self.starts[each.start]
        prepare = self.prepare
        if each.start >= self.schedule.num_starts:
            prepare = get_parameterization("uniform")
        repair_level = self.schedule.level_of_repair(leg)
        if promotion is not None:
            repair_level = promotion.level
            leg = replace(
                leg,
                level=promotion.level,
                evaluations=promotion.evaluations,
                repair=promotion.repair,
                ramp=((0, 1.0),),
            )
        seed = seed_of(self.seed, each.start)
        return jobs.start(levels, each, leg, repair_level, prepare, seed, self.display)

    def promote(self) -> None:
        """Do all promotions, the last of which is the end of the best design."""
        for stage, promotion in enumerate(self.schedule.rounds):
            good = self._good(promotion)
            if not good:
                raise SolverError(f"No start could be evaluated: {self.candidates[0].reason}")
            chosen = [replace(self.teams.fetch(each), stage=stage) for each in good]
            if promotion.repair:
                job = self._leg
            else:
                job = partial(jobs.compare if promotion.trial else jobs.promote, display=self.display)
            self._do(partial(job, promotion=promotion), chosen, [1.0] * len(chosen))

    def _good(self, promotion: Round) -> list[Found]:
        """Return what a promotion takes, best first; up to the trial, networks are compared by themselves."""
        ranked = [each for each in self.candidates if math.isfinite(each.objective)]
        if not self.schedule.uniform or (ranked and ranked[0].trial):
            return ranked[: promotion.keep]
        number = self.schedule.num_starts
        networks = [each for each in ranked if each.start < number][: promotion.keep]
        uniform = [each for each in self.found if each.start >= number and math.isfinite(each.objective)]
        return [*networks, *uniform] if promotion.trial else networks

    def alternatives(self, distinct: Distinct) -> list[Found]:
        """Finish designs unlike those that are finished, until there are enough; return them, best first."""
        finish = self.schedule.rounds[-1]
        stage = last = len(self.schedule.rounds)
        while True:
            finished = sorted(
                (each for each in self.found if each.stage >= last),
                key=lambda each: (each.objective, each.start),
            )
            chosen = distinct.among(finished, most=self.wanted)
            missing = self.wanted - len(chosen)
            fresh = distinct.among(unfinished(self.found, last), chosen, missing) if missing else []
            if not fresh:
                return chosen
            before = [replace(self.teams.fetch(each), stage=stage) for each in fresh]
            job = partial(jobs.promote, display=self.display, promotion=finish)
            self._do(job, before, [1.0] * len(before))
            stage += 1

    def _do(self, job: Job, before: list[Found], costs: list[float]) -> None:
        """Do a job for each of `before`, record what they find, and rank it."""

        def shown(levels: Levels, each: Found) -> Found:
            found = job(levels, each)
            self.display.job(found.objective)
            return found

        self.display.stage(before[0].stage + 1, len(before), min(len(before), self.levels.comm.size))
        found = self.teams.map(shown, before, costs, earlier=self.display.earlier)
        self.found += found
        kind = self._kind(found[0])
        rivals = [each for each in [*found, *self.candidates] if self._kind(each) == kind]
        best: dict[int, Found] = {}  # a start may have been better before its last job
        for each in sorted(rivals, key=lambda each: (each.objective, each.start)):
            best.setdefault(each.start, each)
        self.candidates = list(best.values())
        if self.callback is not None:
            for each in found:
                self.callback(each)

    def _kind(self, found: Found) -> tuple[int, bool]:
        """Tell which objectives can be compared."""
        return self.levels.existing(found.level), found.trial

    def result(self, distinct: Distinct, chosen: list[Found]) -> Multistart:
        """Return the best design on the full mesh, and the alternatives."""
        design = self.levels.design(0)
        full = [each for each in self.found if each.level == 0 and not each.trial]
        best = self.teams.fetch(min(full, key=lambda each: each.objective))
        assert best.arrays is not None
        rho_design = design.domain.expand(self.levels.order.local(best.arrays["x"]))
        unwritten = self.teams.unwritten()
        history = np.minimum.accumulate([value for each in full for value in each.history])
        return Multistart(
            objective=best.objective,
            volume=best.volume,
            rho_design=rho_design,
            rho=design.rho_from_design(rho_design),
            found=tuple(self.found),
            history=[float(value) for value in history],
            reason=f"{unwritten} {self.found[-1].reason}{fewer(len(chosen), self.wanted)}".strip(),
            unsaved=bool(unwritten),
            alternatives=tuple(distinct.alternative(each, chosen[0]) for each in chosen),
        )
