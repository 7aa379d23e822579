"""Studies in worker processes, killed and continued, and the report; rank 0 does it all."""

import csv
import functools
import io
import json
import signal
import subprocess
import sys
import time

import pytest
from mpi4py import MPI

from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.study.live import LiveTable, duration
from dolfinx_neural_topo.study.plan import plan
from dolfinx_neural_topo.study.report import mirrored_picture, report
from dolfinx_neural_topo.study.store import Key, Store
from dolfinx_neural_topo.study.study import Workers, study

comm = MPI.COMM_WORLD
TASKS = "mbb_beam_16x8_0.5,roof_16x16_0.3"


def by_rank_zero(test):
    """Let rank 0 do the work of a test; the others wait for it where every test ends."""

    @functools.wraps(test)
    def wrapped(*arguments, **fixtures):
        if comm.rank == 0:
            test(*arguments, **fixtures)

    return wrapped


def command(folder, *more):
    arguments = ["study", "--tasks", TASKS, "--methods", "oc", "pixel-lbfgs", "--evaluations", "4"]
    return [sys.executable, "-m", "dolfinx_neural_topo", *arguments, "--out", str(folder), *more]


def keys_of(store):
    return [Key.of(record) for record in store.records()]


@pytest.mark.slow
class TestStudy:
    """Worker processes are started once, by rank 0; the others wait for it."""

    @by_rank_zero
    def test_killed_and_restarted_it_continues(self, tmp_path, serial):
        store = Store(tmp_path)
        process = subprocess.Popen(command(tmp_path), stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 240
        while not store.records():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        before = store.path.read_text()
        finished = subprocess.run(
            command(tmp_path, "--jobs", "2"), capture_output=True, text=True, check=False
        )
        assert finished.returncode == 0, finished.stderr
        assert "4 of 4 runs have results, 0 failed now" in finished.stdout
        assert store.path.read_text().startswith(before)
        assert sorted(keys_of(store)) == sorted(plan(TASKS, ["oc", "pixel-lbfgs"], [0], 4))
        assert not list((tmp_path / "runs").iterdir())
        leftover = tmp_path / "runs" / keys_of(store)[0].folder  # of a kill while its record is tidied up
        leftover.mkdir()
        (leftover / "log").touch()  # where the result is gone already, but not the rest
        again = subprocess.run(command(tmp_path), capture_output=True, text=True, check=True)
        assert not leftover.exists()
        assert again.stdout.count("\n") == 1  # nothing to do
        self.check_report(store, tmp_path / "report")

    def check_report(self, store, out):
        page = report(store, out).read_text()
        assert page.count("data:image/png;base64,") == 3
        assert 'src="http' not in page and "<script" not in page
        commit = store.records()[0]["provenance"]["commit"]
        assert commit is None or commit in page
        with (out / "tasks.csv").open() as file:
            rows = {row["task"]: row for row in csv.DictReader(file)}
        for record in store.records():
            assert rows[record["task"]][record["method"]].startswith(f"{record['compliance']:.6g}")
        with pytest.raises(InputError, match="no finished run of mma"):
            report(store, out, ["mma"])
        with pytest.raises(InputError, match="unknown method 'ocs'"):
            report(store, out, ["oc", "ocs"])
        mbb, roof = (
            next(r for r in store.records() if r["task"].startswith(name)) for name in ("mbb", "roof")
        )
        assert mirrored_picture(store, mbb).shape == (8, 32)
        assert mirrored_picture(store, roof).shape == (16, 64)

    @by_rank_zero
    def test_a_failed_run_is_recorded_and_the_rest_goes_on(self, tmp_path, serial, monkeypatch):
        monkeypatch.setenv("PETSC_OPTIONS", "-task_ksp_type cg -task_pc_type none -task_ksp_max_it 1")
        keys = plan("mbb_beam_16x8_0.5", ["oc", "pixel-lbfgs"], [0], 3)
        records = study(keys, Store(tmp_path), Workers())
        assert [record["status"] for record in records] == ["failed", "failed"]
        assert "exit status 2" in records[0]["error"] and "DIVERGED" in records[0]["error"]
        monkeypatch.delenv("PETSC_OPTIONS")
        records = study(keys, Store(tmp_path), Workers())
        assert [record["status"] for record in records] == ["ok", "ok"]
        assert len(Store(tmp_path).path.read_text().splitlines()) == 4

    @by_rank_zero
    def test_every_run_begins_where_it_was_told_to(self, tmp_path, serial):
        keys = plan("mbb_beam_16x8_0.5", ["oc", "cnn-lbfgs"], [0], 2, ["uniform", "network"])
        study(keys, Store(tmp_path), Workers())
        assert len(keys) == 3 and keys_of(Store(tmp_path)) == keys

    @by_rank_zero
    def test_big_tasks_run_on_several_ranks(self, tmp_path, serial):
        workers = Workers(ranks=2, ranks_from=128)
        (record,) = study(plan("mbb_beam_16x8_0.5", ["oc"], [0], 3), Store(tmp_path), workers)
        assert record["status"] == "ok", record
        assert (record["provenance"]["ranks"], record["provenance"]["threads"]) == (2, 1)

    @by_rank_zero
    def test_two_studies_in_one_folder_are_refused(self, tmp_path, serial):
        with Store(tmp_path).writing():
            second = subprocess.run(command(tmp_path), capture_output=True, text=True, check=False)
        assert second.returncode == 2
        assert "error: another study is writing to" in second.stderr


def test_workers_share_the_cores():
    environment = Workers(jobs=2, threads=3).environment(ranks=1)
    assert environment["OMP_NUM_THREADS"] == environment["OPENBLAS_NUM_THREADS"] == "3"
    shared = Workers(jobs=10**6).environment(ranks=1)
    assert shared["OMP_NUM_THREADS"] == "1"
    with pytest.raises(InputError, match="jobs must be at least 1, got 0"):
        Workers(jobs=0)


def test_time_left_follows_cells_and_budget(capsys):
    keys = plan("mbb_beam_16x8_0.5,mbb_beam_32x8_0.5", ["oc"], [0], 10)
    table = LiveTable(keys, [], jobs=1)
    assert table.seconds_left() is None
    table.add({**keys[0]._asdict(), "status": "ok", "compliance": 1.0, "seconds": 3.0, "cells": 128})
    assert table.seconds_left() == pytest.approx(6.0)
    table.add({**keys[1]._asdict(), "status": "failed", "error": "exit status 1\nout of memory"})
    table.finish()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("[1/2] mbb_beam_16x8_0.5 oc seed 0 from uniform: 1, 3.0 s, 0 min 6 s left")
    assert lines[1].endswith("FAILED, out of memory")
    assert lines[2] == "1 of 2 runs have results, 1 failed now"
    assert duration(4800.0) == "1 h 20 min"


def test_a_report_of_nothing_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no finished run"):
        report(Store(tmp_path), tmp_path / "report")


def test_json_of_the_schema(tmp_path):
    store = Store(tmp_path)
    with store.writing():
        store.append({**Key("a", "b", 0, "uniform", 1)._asdict(), "status": "failed", "error": "x"})
    assert set(json.loads(store.path.read_text())) == {"schema", *Key._fields, "status", "error"}


def test_a_terminal_gets_a_table_that_is_rewritten():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    keys = plan("mbb_beam_16x8_0.5", ["oc", "mma"], [0], 10)
    stream = Terminal()
    table = LiveTable(keys, [], jobs=1, stream=stream)
    table.show(keys[:1])
    shown = stream.getvalue().splitlines()
    assert [line.split() for line in shown[:3]] == [
        ["method", "done", "failed", "of"],
        ["oc", "0", "0", "1"],
        ["mma", "0", "0", "1"],
    ]
    assert shown[3] == "running: mbb_beam_16x8_0.5 oc seed 0 uniform"
    assert shown[4] == "time left: unknown time"
    table.finish()
    assert stream.getvalue().endswith("\033[5A\033[J0 of 2 runs have results, 0 failed now\n")
