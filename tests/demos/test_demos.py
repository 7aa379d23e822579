"""The demos keep their conventions and run, alone and on two ranks, with their own numbers asserted."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mpi4py import MPI

comm = MPI.COMM_WORLD
ROOT = Path(__file__).parents[2]
DEMOS = sorted((ROOT / "demos").glob("demo_*.py"))
each_demo = pytest.mark.parametrize("demo", DEMOS, ids=lambda path: path.stem)


def test_there_are_demos():
    assert len(DEMOS) >= 10


@each_demo
def test_conventions(demo):
    text = demo.read_text()
    cells = text.split("# %%")
    assert text.count("\n") < 200
    assert text.startswith("# %% [markdown]\n# # ")
    assert "$$" in cells[1], "the first cell states the problem in mathematics"
    assert f"./with-fenicsx python3 demos/{demo.name}" in cells[1]
    assert f"./with-fenicsx mpirun -n 2 python3 demos/{demo.name}" in cells[1]
    assert any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(text)))


@each_demo
def test_only_the_public_interface_is_used(demo):
    for node in ast.walk(ast.parse(demo.read_text())):
        if isinstance(node, ast.ImportFrom):
            names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [part for alias in node.names for part in alias.name.split(".")]
        else:
            continue
        assert not [name for name in names if name.startswith("_") and name != "__future__"]


def clean_environment():
    """Return the environment without what an MPI library leaves there for its own process."""
    mine = ("PMIX_", "OMPI_COMM", "OMPI_UNIVERSE", "OMPI_APP", "OMPI_FIRST", "OMPI_FILE", "PRTE_LAUNCHED")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(mine)}
    path = environment.get("PYTHONPATH")
    return {
        **environment,
        "PYTHONPATH": str(ROOT) + (os.pathsep + path if path else ""),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }


if comm.size == 1:  # on several ranks every rank would start its own

    @pytest.mark.slow
    @pytest.mark.timeout(1200)
    @pytest.mark.parametrize("ranks", [1, 2])
    @each_demo
    def test_demo_runs(demo, ranks):
        topic = demo.stem.removeprefix("demo_")
        output = demo.parent / "output"
        for old in output.glob(f"{topic}*"):
            old.unlink()
        launcher = [] if ranks == 1 else ["mpirun", "-n", str(ranks)]
        finished = subprocess.run(
            [*launcher, sys.executable, str(demo)],
            cwd=ROOT,
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=1100,
        )
        assert finished.returncode == 0, finished.stdout[-3000:] + finished.stderr[-3000:]
        pictures = [path.stat().st_size for path in output.glob(f"{topic}*.png")]
        assert pictures and min(pictures) > 5000
        for file in output.glob(f"{topic}*.xdmf"):
            assert file.with_suffix(".h5").stat().st_size > 1000
        assert list(output.glob(f"{topic}*.xdmf"))
