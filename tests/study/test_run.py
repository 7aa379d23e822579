"""One run: every method, its record, the files, and the command line. On any number of ranks."""

import json

import numpy as np
import pytest
from mpi4py import MPI

from dolfinx_neural_topo.cli.console import BAD_INPUT
from dolfinx_neural_topo.cli.main import main
from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.study.methods import METHODS
from dolfinx_neural_topo.study.run import run
from dolfinx_neural_topo.tasks import get_task
from dolfinx_neural_topo.tasks.build import build

comm = MPI.COMM_WORLD
TASK = "mbb_beam_24x8_0.5"


@pytest.fixture
def folder(tmp_path):
    """One folder for all ranks."""
    return comm.bcast(tmp_path, root=0)


@pytest.mark.parametrize("method", [name for name in METHODS if not name.endswith("multistart")])
def test_every_method_improves_and_is_judged(method):
    seed = 1 if METHODS[method].neural else 0
    record = run(TASK, method, seed=seed, evaluations=12)
    with build(get_task(TASK), comm) as built:
        uniform = built.design.evaluate(built.design.initial(), gradient=False).value
    assert record["status"] == "ok"
    assert record["compliance"] < uniform
    assert record["analysis"]["compliance"] == pytest.approx(record["compliance"], rel=1e-8)
    assert record["analysis"]["threshold_compliance"] > 0
    assert 0 <= record["analysis"]["greyness"] <= 1
    assert record["analysis"]["components"] >= 1
    assert record["volume_exceeded"] == (record["volume"] > 0.5 + 1e-6)
    if record["volume"] == pytest.approx(0.5, abs=1e-9):
        assert record["exact_volume_compliance"] == pytest.approx(record["compliance"], rel=1e-6)
    elif record["volume_exceeded"]:
        assert record["exact_volume_compliance"] > record["compliance"]
    assert record["evaluations"] <= 12
    assert record["equivalent_evaluations"] <= record["evaluations"]
    assert len(record["history"]) == record["evaluations"]
    assert record["history"][-1] == pytest.approx(record["compliance"], rel=1e-6)
    assert record["provenance"]["ranks"] == comm.size
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_alternatives_leave_a_gallery(folder):
    record = run(TASK, "neural-multistart", evaluations=130, num_alternatives=2, out=folder)
    first, second = record["alternatives"]
    assert first["compliance"] == record["compliance"] <= second["compliance"]
    assert first["distance"] == 0.0 and second["distance"] >= 0.1
    images = np.load(folder / "alternatives.npz")["rho"]
    assert images.shape == (2, 8, 24)
    assert np.array_equal(images[0], np.load(folder / "density.npz")["rho"])
    assert (folder / "alternatives.png").stat().st_size > 1000


def test_alternatives_of_one_run_of_a_method_are_refused(capfd):
    assert main(["run", TASK, "--method", "oc", "--alternatives", "2"]) == BAD_INPUT
    assert comm.rank > 0 or "alternatives are for neural-multistart" in capfd.readouterr().err


@pytest.mark.parametrize(
    "method, held", [("cnn-lbfgs", "rho_design"), ("pixel-lbfgs", "rho_design"), ("oc", "rho")]
)
def test_methods_hold_the_volume_the_paper_holds(method, held, folder):
    run(TASK, method, evaluations=6, out=folder)
    with np.load(folder / "density.npz") as arrays:
        means = {name: arrays[name].mean() for name in arrays}
    assert means.pop(held) == pytest.approx(0.5, abs=1e-9)
    assert abs(means.popitem()[1] - 0.5) > 1e-6


def test_files_of_a_run(folder):
    record = run("crane_16x16_0.3", "oc", evaluations=5, out=folder / "run")
    assert json.loads((folder / "run" / "result.json").read_text()) == record
    with np.load(folder / "run" / "density.npz") as arrays:
        rho = arrays["rho"]
    void = get_task("crane_16x16_0.3").void
    assert rho.shape == (16, 16)
    assert not rho[void].any()
    assert rho[~void].mean() == pytest.approx(record["volume"], abs=1e-12)
    lines = (folder / "run" / "history.csv").read_text().splitlines()
    assert len(lines) == 6 and float(lines[-1].split(",")[1]) == record["history"][-1]
    if comm.rank == 0:
        from matplotlib.image import imread

        small = imread(folder / "run" / "design.png")
        assert small.shape[:2] == (16, 16)
        np.testing.assert_allclose(small[..., 0], 1 - rho, atol=0.01)
        assert (folder / "run" / "picture.png").stat().st_size > 1000
    assert not list((folder / "run").glob("checkpoint*"))


def test_a_result_is_not_replaced_by_another_run(folder):
    first = run(TASK, "oc", evaluations=2, out=folder)
    with pytest.raises(InputError, match=r"another run \(method oc, budget 2\).*another folder"):
        run(TASK, "mma", evaluations=3, out=folder)
    assert json.loads((folder / "result.json").read_text()) == first
    again = run(TASK, "oc", evaluations=2, out=folder)
    assert again["compliance"] == pytest.approx(first["compliance"], rel=1e-9)


def test_a_file_is_no_task(capfd):
    assert main(["run", __file__]) == main(["profile", __file__]) == BAD_INPUT
    assert comm.rank > 0 or "a problem file ends in .toml" in capfd.readouterr().err


def test_serial_equals_parallel():
    serial = run(TASK, "oc", evaluations=8, comm=MPI.COMM_SELF)
    parallel = run(TASK, "oc", evaluations=8)
    np.testing.assert_allclose(serial["history"], parallel["history"], rtol=1e-6)
    assert serial["analysis"]["components"] == parallel["analysis"]["components"]


def test_a_network_start_is_another_start():
    uniform = run(TASK, "mma-svanberg", evaluations=4)
    network = run(TASK, "mma-svanberg", evaluations=4, start="network:2")
    assert network["start"] == "network:2"
    assert network["history"][0] != pytest.approx(uniform["history"][0], rel=1e-3)


def test_coarse_levels_count_by_their_cells():
    record = run("mbb_beam_32x16_0.5", "coarse-to-fine", evaluations=10)
    assert record["evaluations"] == 10
    assert record["equivalent_evaluations"] == pytest.approx(3 / 16 + 3 / 4 + 4, abs=1e-3)
    assert record["history"][:6] == [None] * 6


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"task": "mbb_beem_24x8_0.5"}, "nearest: mbb_beam"),
        ({"method": "ox"}, "nearest: oc"),
        ({"start": "network"}, "start must be uniform or network:SEED"),
        ({"evaluations": 0}, "evaluations must be at least 1"),
        ({"method": "cnn-lbfgs", "start": "network:4"}, "its own random weights"),
        ({"method": "cnn-lbfgs", "start": "uniform"}, "its own random weights"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(InputError, match=message):
        run(**{"task": TASK, "method": "oc", **arguments})


def test_an_impossible_folder_is_refused_on_all_ranks(folder):
    if comm.rank == 0:
        (folder / "file").write_text("")
    comm.barrier()
    with pytest.raises(InputError, match="cannot be made"):
        run(TASK, "oc", evaluations=1, out=folder / "file" / "run")


def test_command_line_ends_in_a_summary(capfd):
    assert main(["run", TASK, "--method", "lean-cnn-lbfgs", "--evaluations", "3"]) == 0
    out = capfd.readouterr().out
    if comm.rank == 0:
        title, *lines = out.splitlines()
        assert title == f"{TASK} by lean-cnn-lbfgs, seed 0"
        assert [line.split()[0] for line in lines] == [
            "objective",
            "volume",
            "cut",
            "greyness",
            "cost",
            "ended",
            "files",
        ]
        assert lines[-1].endswith("none, since no --out was given")
    else:
        assert out == ""


def test_help_keeps_names_and_descriptions_apart(capfd, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit, match="0"):
        main(["run", "--help"])
    out = capfd.readouterr().out
    if comm.rank == 0:
        listed = out.partition("methods:\n")[2]
        assert max(map(len, out.splitlines())) <= 80
        for name in METHODS:
            assert f"\n  {name}  " in "\n" + listed


def test_command_line_ends_with_one_json_object_if_asked(capfd):
    assert main(["run", TASK, "--method", "oc", "--evaluations", "3", "--json"]) == 0
    out = capfd.readouterr().out
    if comm.rank == 0:
        record = json.loads(out.splitlines()[-1])
        assert {"task", "method", "seed", "compliance", "volume", "evaluations", "seconds"} <= set(record)
        assert (record["task"], record["method"], record["evaluations"]) == (TASK, "oc", 3)
    else:
        assert out == ""


def test_command_line_lists_tasks(capfd):
    assert main(["tasks", "hoop*"]) == 0
    out = capfd.readouterr().out
    if comm.rank == 0:
        assert [line.split()[0] for line in out.splitlines()] == [
            "task",
            *(f"hoop_{s}" for s in ("32x64_0.25", "64x128_0.2", "128x256_0.15")),
        ]


def test_command_line_explains_bad_input(capfd):
    assert main(["run", "mbb_beem_24x8_0.5"]) == 2
    assert main(["tasks", "nothing*"]) == 2
    with pytest.raises(SystemExit, match="2"):
        main(["run"])
    err = capfd.readouterr().err
    if comm.rank == 0:
        assert "error: unknown task 'mbb_beem_24x8_0.5'; nearest: mbb_beam" in err
        assert "matches no task" in err
        assert "the following arguments are required: TASK" in err
    else:
        assert err == ""
