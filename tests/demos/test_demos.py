"""The demos keep their conventions and run on any number of ranks, with the numbers they stand for."""

import ast
import runpy
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
    last = ast.parse(text).body[-1]
    assert ast.unparse(last).startswith("expect(comm, "), "the numbers it stands for come last"


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


@pytest.mark.slow
@each_demo
def test_demo_runs(demo, monkeypatch, capsys):
    topic = demo.stem.removeprefix("demo_")
    output = demo.parent / "output"
    if comm.rank == 0:
        for old in output.glob(f"{topic}*"):
            old.unlink()
    comm.barrier()
    monkeypatch.setattr(sys, "argv", [str(demo)])
    monkeypatch.syspath_prepend(str(demo.parent))
    runpy.run_path(str(demo), run_name="__main__")  # a number outside its bounds ends in SystemExit
    comm.barrier()
    assert comm.rank > 0 or "expected" in capsys.readouterr().out
    pictures = [path.stat().st_size for path in output.glob(f"{topic}*.png")]
    assert pictures and min(pictures) > 5000
    files = list(output.glob(f"{topic}*.xdmf"))
    assert files and min(file.with_suffix(".h5").stat().st_size for file in files) > 1000


def test_a_number_outside_is_named_and_explained(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(ROOT / "demos"))
    from expected import below, expect, near

    expect(comm, {"volume": (0.5, *near(0.5, 1e-9))})
    with pytest.raises(SystemExit) as ended:
        expect(comm, {"volume": (0.5, *near(0.5, 1e-9)), "compliance": (235.17, *below(230.0))})
    if comm.rank == 0:
        assert "not as expected: compliance is 235.17, expected -inf to 230." in ended.value.code
        assert "rounding" in ended.value.code and "volume" not in ended.value.code
    else:
        assert ended.value.code == 1
