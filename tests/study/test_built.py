"""Methods followed by the last stage: what a run leaves behind."""

import dataclasses
import json

import numpy as np
import pytest
from mpi4py import MPI

from dolfinx_neural_topo.cli.main import main
from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.study.job import Outcome
from dolfinx_neural_topo.study.methods import get_method
from dolfinx_neural_topo.study.run import _judge, run
from dolfinx_neural_topo.tasks import get_task

comm = MPI.COMM_WORLD


@pytest.fixture
def folder(tmp_path):
    """One folder for all ranks."""
    return comm.bcast(tmp_path, root=0)


def test_a_run_ends_in_a_cut_that_another_program_judges(folder, capfd):
    arguments = ["mbb_beam_24x12_0.5", "--method", "mma-svanberg", "--evaluations", "70"]
    assert main(["run", *arguments, "--buildable", "--out", str(folder)]) == 0
    comm.barrier()
    assert not list(folder.glob("checkpoint*"))
    record = json.loads((folder / "result.json").read_text())
    built = record["built"]
    assert {"compliance", "volume", "components", "min_member", "min_gap", "pieces_carry_loads"} <= set(built)
    assert record["method"] == "mma-svanberg-built"
    assert (built["components"], built["pieces_carry_loads"], built["reason"]) == (1, True, "")
    assert built["compliance"] == record["compliance"] < built["grey"]
    assert record["analysis"]["compliance"] == pytest.approx(record["compliance"], rel=1e-6)
    assert record["analysis"]["components"] == 1
    assert record["equivalent_evaluations"] == 10 + built["evaluations"] <= 70
    assert record["history"][:-1] == [None] * (len(record["history"]) - 1)
    rho = np.load(folder / "density.npz")["rho"]
    assert np.count_nonzero((rho > 0) & (rho < 1)) <= 1
    assert rho.mean() == pytest.approx(0.5, abs=1e-12)
    capfd.readouterr()


def test_a_built_design_of_less_volume_is_judged_as_it_is():
    task = get_task("mbb_beam_24x12_0.5")
    rho = np.zeros(task.image_shape)
    rho[4:8] = 1.0  # a third, where half is allowed
    made = Outcome(rho, rho, 1.0, 1 / 3, 1, 1.0, 1, [1.0], "", built={})
    assert _judge(task, made, comm)["analysis"]["components"] == 1
    assert _judge(task, dataclasses.replace(made, built=None), comm)["analysis"]["components"] == 2


def test_a_budget_without_room_for_the_last_stage_is_refused():
    with pytest.raises(InputError, match="more than 60, which the last stage"):
        run("mbb_beam_24x12_0.5", "mma-built", evaluations=60, progress=False)
    with pytest.raises(InputError, match="more than 160"):
        run("mechanism_inverter_20x12_0.3", "mma-built", evaluations=160, progress=False)
    with pytest.raises(InputError, match=r"evaluations without the 60 of the last stage must be .* got 20"):
        run("mbb_beam_24x12_0.5", "neural-multistart-built", evaluations=80, progress=False)


def test_every_method_has_a_built_one():
    method = get_method("cnn-lbfgs-built")
    assert method.name == "cnn-lbfgs-built"
    assert method.neural
    with pytest.raises(InputError, match="each also with -built at its end"):
        get_method("cnn-built-lbfgs")
