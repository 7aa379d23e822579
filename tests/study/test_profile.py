"""The stopwatch counts every second once, the profile says what it promises, nothing stays behind."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from mpi4py import MPI
from petsc4py import PETSc

from dolfinx_neural_topo.cli.main import main
from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.optimize.record import Record
from dolfinx_neural_topo.physics.linear_solver import LinearSolver
from dolfinx_neural_topo.physics.operator import Operator
from dolfinx_neural_topo.study import stopwatch
from dolfinx_neural_topo.study.profile import bare_reference, profile, table
from dolfinx_neural_topo.study.stopwatch import STAGES, Stopwatch, watching
from dolfinx_neural_topo.tasks import get_task
from dolfinx_neural_topo.tasks.build import build

comm = MPI.COMM_WORLD
TASK = "mbb_beam_24x8_0.5"
KEYS = [
    "task", "method", "ranks", "cells", "dofs", "stages", "evaluation_seconds", "bare_seconds", "ratio",
    "matvec_seconds", "peak_rss_mb", "objective", "blas",
]  # fmt: skip


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only when told to."""

    class Clock:
        now = 0.0

        def perf_counter(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(stopwatch, "time", clock)
    return clock


def test_every_second_is_counted_once(clock):
    watch = Stopwatch()

    def inner():
        clock.now += 2.0

    def outer():
        clock.now += 1.0
        watch.timed("solver set-up", inner)()
        clock.now += 4.0
        watch.timed("solve", inner)()

    clock.now += 8.0
    watch.timed("solve", outer)()
    with watch.stage("adjoint"):
        watch.timed("solve", inner)()
    watch.lap()
    with pytest.raises(ValueError, match="broken"), watch.stage("filter"):
        clock.now += 16.0
        raise ValueError("broken")
    clock.now += 32.0
    watch.lap()
    first, second = watch.laps
    assert {k: v for k, v in first.items() if v} == {
        "solve": 7.0,
        "solver set-up": 2.0,
        "adjoint": 2.0,
        "everything else": 8.0,
    }
    assert {k: v for k, v in second.items() if v} == {"filter": 16.0, "everything else": 32.0}
    assert tuple(first) == STAGES


def test_nothing_stays_replaced():
    before = (Operator.assemble, LinearSolver.solve, Record.timed, Record.add)
    with pytest.raises(ValueError, match="broken"), watching(Stopwatch(), torch=True):
        assert Operator.assemble is not before[0]
        raise ValueError("broken")
    assert (Operator.assemble, LinearSolver.solve, Record.timed, Record.add) == before


@pytest.mark.parametrize(
    ("method", "used", "unused"),
    [
        (
            "evaluate",
            {"filter", "assembly", "solver set-up", "solve", "sensitivity"},
            {"optimizer", "sigmoid"},
        ),
        ("oc", {"filter", "assembly", "solve", "sensitivity", "optimizer"}, {"network forward", "adjoint"}),
        (
            "lean-cnn-lbfgs",
            {"network forward", "network backward", "transfer", "sigmoid", "optimizer"},
            {"adjoint"},
        ),
    ],
)
def test_stages_of_a_run(method, used, unused):
    result = profile(TASK, method, evaluations=4)
    assert set(result.stages) == set(STAGES)
    assert all(result.stages[stage] > 0.0 for stage in used | {"everything else"})
    assert all(result.stages[stage] == 0.0 for stage in unused)
    assert (result.task, result.method, result.ranks) == (TASK, method, comm.size)
    assert (result.cells, result.dofs) == (24 * 8, 2 * 25 * 9)
    assert result.ratio == result.evaluation_seconds / result.bare_seconds
    assert 0.0 < result.matvec_seconds < result.bare_seconds
    assert result.peak_rss_mb > 20.0 * comm.size
    assert comm.allgather(result) == [result] * comm.size
    text = table(result)
    assert all(stage in text for stage in STAGES) and f"ranks {comm.size}" in text and result.blas in text


def test_an_adjoint_is_a_stage_of_its_own():
    assert profile("mechanism_inverter_16x8_0.3", "mma-svanberg", evaluations=3).stages["adjoint"] > 0.0


def test_the_command_prints_one_object(capsys):
    assert main(["profile", TASK, "--evaluations", "3", "--json"]) == 0
    out = capsys.readouterr().out
    if comm.rank > 0:
        assert out == ""
        return
    result = json.loads(out)
    assert list(result) == KEYS
    assert result["blas"] not in ("", "unknown")


def test_the_command_prints_a_table(capsys):
    assert main(["profile", TASK, "--evaluations", "2"]) == 0
    assert ("peak memory" in capsys.readouterr().out) == (comm.rank == 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((TASK, "simulated-annealing"), "unknown method"),
        (("mbb_bean", "oc"), "mbb_beam"),
        ((TASK, "oc", 1), "evaluations must be at least 2"),
    ],
)
def test_refusals(arguments, message):
    task, method, *evaluations = arguments
    with pytest.raises(InputError, match=message):
        profile(task, method, evaluations=(evaluations or [3])[0])


def test_the_solver_can_be_named():
    assert profile(TASK, "oc", evaluations=2, solver="gmg").stages["solve"] > 0.0
    with pytest.raises(InputError, match="solver must be None or one of"):
        profile(TASK, evaluations=2, solver="umfpack")


@pytest.mark.parametrize("solver", ["direct", "amg", "gmg"])
def test_the_bare_reference_leaves_nothing_behind(solver):
    with build(get_task("cantilever_3d_8x4x4_0.3"), solver=solver) as built:
        rho = np.full(built.domain.num_owned_cells, 0.3)
        state, before = built.state, set(PETSc.Options().getAll())
        seconds, matvec = bare_reference(state, rho, repeats=1)
        assert 0.0 < matvec < seconds
        with pytest.raises(InputError, match="was destroyed"):  # a large one does not fit beside it
            built.functional.value(rho)
        assert set(PETSc.Options().getAll()) == before


def test_one_factorization_and_one_solve_an_evaluation():
    with build(get_task(TASK)) as built:
        x = built.design.initial()
        for count in range(1, 4):
            built.design.evaluate(x * (1.0 - 0.1 * count))
            state = built.state
            assert (state.num_factorizations, state.num_solves, state.num_adjoint_solves) == (count, count, 0)
        built.design.evaluate(x * 0.7)
        assert (state.num_factorizations, state.num_solves) == (3, 3)


def test_without_a_network_torch_is_never_loaded():
    if comm.rank == 0:  # a process of its own, which must not take part in this MPI run
        code = (
            "import sys; from dolfinx_neural_topo.study.profile import profile;"
            f"profile('{TASK}', 'oc', evaluations=2); print('torch' in sys.modules)"
        )
        launcher = ("OMPI_COMM", "PMIX", "PRTE", "PMI_", "HYDRA")
        env = {k: v for k, v in os.environ.items() if not k.startswith(launcher)}
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True
        )
        assert run.stdout.strip() == "False"
    comm.barrier()
