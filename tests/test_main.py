"""The command line: a sentence and an exit status for whatever a user can do, and never a traceback."""

import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
from mpi4py import MPI

from dolfinx_neural_topo._files import one_writer
from dolfinx_neural_topo.cli import main as command_line
from dolfinx_neural_topo.study.methods import METHODS

comm = MPI.COMM_WORLD
TASK = "mbb_beam_24x8_0.5"
SHORT_RUN = ["run", TASK, "--method", "oc", "--evaluations", "3"]
COMMAND = [sys.executable, "-m", "dolfinx_neural_topo"]


@pytest.fixture
def folder(tmp_path):
    """One folder on all ranks."""
    return comm.bcast(tmp_path, root=0)


def status(arguments, capfd):
    """Return the exit status and what rank 0 said on standard error."""
    try:
        code = command_line.main([str(argument) for argument in arguments])
    except SystemExit as error:
        code = error.code
    said = comm.bcast(capfd.readouterr().err, root=0)
    assert "Traceback" not in said
    return code, said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "mbb_beam_99999999x99999999_0.5"], "has 1e+16 cells; at most 2147483647"),
        (["run", TASK, "--seed", "1e23"], "invalid int value: '1e23'"),
        (["run", TASK, "--seed", 10**23], "seed must lie in [0, 2^63), got 100000000000000000000000"),
        (["run", TASK, "--seed", -1], "seed must lie in [0, 2^63), got -1"),
        (["run", TASK, "--method", "oc", "--start", f"network:{10**30}"], "seed must lie in"),
        (["run", TASK, "--out", ""], "out must be a path, got ''"),
        (["run", TASK, "--out", "file"], "the folder file cannot be made or written to: File exists"),
        (["run", TASK, "--out", "file/below"], "cannot be made or written to: Not a directory"),
        (["run", TASK, "--out", "locked"], "another run is writing to locked (process"),
    ],
)
def test_unusable_input_ends_with_status_2_before_anything_is_computed(
    arguments, words, folder, capfd, monkeypatch
):
    def optimize(job):
        raise AssertionError("a run began")

    for name, method in METHODS.items():
        monkeypatch.setitem(METHODS, name, dataclasses.replace(method, optimize=optimize))
    monkeypatch.chdir(folder)
    (folder / "file").touch()
    comm.barrier()
    locked = "locked" in arguments and comm.rank == 0
    with one_writer(folder / "locked", "run") if locked else nullcontext():
        code, said = status(arguments, capfd)
    assert code == command_line.BAD_INPUT
    assert words in said


def test_a_full_disk_fails_the_run_and_gives_back_what_was_found(folder, capfd, monkeypatch):
    def no_space(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    code = command_line.main([*SHORT_RUN, "--json", "--out", str(folder / "run")])
    assert code == command_line.FAILED
    printed = capfd.readouterr()
    if comm.rank == 0:
        record = json.loads(printed.out.splitlines()[-1])
        assert record["status"] == "failed" and record["compliance"] > 0.0
        assert "No space left on device" in record["error"] and "intact" not in record["error"]
        assert f"error: {record['error']}" in printed.err
        assert not (folder / "run" / "result.json").exists()


def test_a_finished_run_removes_its_own_checkpoints_only(folder, capfd):
    others = ["mma-0-uniform-3.npz", "oc-0-uniform-30.npz", "oc-0-uniform-30-4.npz"]
    own = ["oc-0-uniform-3-4.npz.77.tmp", "oc-0-uniform-3-old.npz"]
    if comm.rank == 0:
        for name in (*others, *own):
            (folder / f"checkpoint-{TASK}-{name}").touch()
    comm.barrier()
    assert command_line.main([*SHORT_RUN, "--out", str(folder)]) == 0
    comm.barrier()
    left = sorted(file.name for file in folder.glob("checkpoint-*"))
    assert left == sorted(f"checkpoint-{TASK}-{name}" for name in others)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("method", ["oc", "neural-multistart"])
def test_signals_end_a_run_with_status_130_and_a_sentence(number, method, tmp_path, serial):
    out = tmp_path / "run"
    process = subprocess.Popen(
        [*COMMAND, "run", "mbb_beam_96x32_0.5", "--method", method, "--evaluations", "100000", "--out", out],
        stderr=subprocess.PIPE,
        text=True,
    )
    _wait_for(lambda: list(out.glob("checkpoint-*")))  # under way, all of it loaded
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == command_line.INTERRUPTED
    assert "Traceback" not in said and "error: stopped by" in said


def test_ranks_end_when_mpirun_is_killed(tmp_path, serial):
    out = tmp_path / "run"
    run = [*COMMAND, "run", "mbb_beam_96x32_0.5", "--method", "oc", "--evaluations", "100000", "--out", out]
    process = subprocess.Popen(["mpirun", "--oversubscribe", "-n", "2", *run], stderr=subprocess.DEVNULL)
    _wait_for(lambda: (out / "lock").exists() and (out / "lock").read_text())
    rank = int((out / "lock").read_text().split()[1])
    process.kill()
    process.wait()
    _wait_for(lambda: not _lives(rank))


def _wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _lives(number):
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
