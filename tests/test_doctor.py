"""What the command line says of the installation, and the exit status with it."""

import dataclasses
import re
import subprocess
import sys

import pytest
from mpi4py import MPI

from dolfinx_neural_topo.cli import checks, doctor
from dolfinx_neural_topo.cli.console import BAD_INPUT, FAILED
from dolfinx_neural_topo.cli.main import main

comm = MPI.COMM_WORLD
NAMES = [check.name for check in doctor.CHECKS]


def call(*arguments):
    try:
        return main(arguments)
    except SystemExit as error:
        return error.code


def test_version_names_all_that_computes(capfd):
    assert call("--version") == 0
    said = capfd.readouterr().out
    if comm.rank > 0:
        assert said == ""
        return
    found = dict(re.findall(r"^(\w+) +(\S.*)$", said, flags=re.MULTILINE))
    assert {"dolfinx_neural_topo", "dolfinx", "petsc", "torch", "mpi", "blas"} <= found.keys()
    assert "float64 scalars" in found["petsc"] and "core type" in found["blas"]
    assert "missing" not in said


def test_help_has_examples_and_statuses(capfd):
    assert call("--help") == 0
    said = capfd.readouterr().out
    if comm.rank == 0:
        assert "dnt run hook.toml" in said and "exit status:" in said
        for status in (0, FAILED, BAD_INPUT, 130):
            assert re.search(rf"^  {status} +\w", said, flags=re.MULTILINE)


@pytest.mark.slow
def test_doctor_finds_what_the_tests_need(serial):
    if comm.rank == 0:
        command = [sys.executable, "-m", "dolfinx_neural_topo", "doctor"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert all(f"ok       {name}: " in done.stdout for name in NAMES), done.stdout


def test_doctor_under_mpirun_is_refused(capfd):
    if comm.size > 1:
        assert call("doctor") == BAD_INPUT
    else:
        assert doctor.examine([]) == 0


@pytest.mark.parametrize("name", NAMES)
def test_what_is_missing_is_named_with_the_line_that_installs_it(name, capfd):
    def look():
        raise ImportError("no such thing\nmore")

    check = dataclasses.replace(doctor.CHECKS[NAMES.index(name)], look=look)
    assert doctor.examine([check]) == (FAILED if check.needed else 0)
    if comm.rank == 0:
        said = capfd.readouterr().out
        assert f"{name}: no such thing\n" in said and check.install in said
        assert ("Nothing works without" in said) == check.needed


def test_complex_numbers_and_versions_out_of_range_are_found(monkeypatch):
    from petsc4py import PETSc

    monkeypatch.setattr(PETSc, "ScalarType", complex)
    with pytest.raises(RuntimeError, match=r"complex128 scalars.*needed are float64"):
        checks.petsc_real()
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.12.0")
    with pytest.raises(RuntimeError, match=r"0\.12\.0, needed is 0\.9 to 0\.11"):
        checks.dolfinx()


def test_a_child_that_fails_gives_its_reason():
    if comm.rank == 0:
        with pytest.raises(RuntimeError, match="ValueError: why"):
            checks._child([sys.executable, "-c", "raise ValueError('why')"])
        with pytest.raises(RuntimeError, match="exit status 3"):
            checks._child([sys.executable, "-c", "raise SystemExit(3)"])


def test_doctor_speaks_where_dolfinx_is_missing(serial):
    code = "import sys; sys.modules['dolfinx'] = None; from dolfinx_neural_topo.cli import entry as run; "
    code += "sys.exit(run())"
    done = subprocess.run([sys.executable, "-c", code, "doctor"], capture_output=True, text=True, check=False)
    assert done.returncode == FAILED, done.stderr
    assert "MISSING  DOLFINx: " in done.stdout and "conda install" in done.stdout
    assert "Traceback" not in done.stderr
