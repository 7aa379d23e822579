"""Which runs a study asks for, and the names it refuses."""

import pytest

from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.study.methods import METHODS, get_method
from dolfinx_neural_topo.study.plan import missing, parse_seeds, plan
from dolfinx_neural_topo.study.store import Key

TASK = "mbb_beam_96x32_0.5"


def test_neural_methods_run_once_a_seed_and_others_once():
    keys = plan(TASK, ["cnn-lbfgs", "oc"], [0, 2], 50)
    assert keys == [
        Key(TASK, "cnn-lbfgs", 0, "network:0", 50),
        Key(TASK, "cnn-lbfgs", 2, "network:2", 50),
        Key(TASK, "oc", 0, "uniform", 50),
    ]


def test_network_starts_give_every_method_the_same_ensemble():
    keys = plan(TASK, ["cnn-lbfgs", "mma"], [0, 1], 50, ["uniform", "network"])
    assert {key.start for key in keys if key.method == "cnn-lbfgs"} == {"network:0", "network:1"}
    assert [key.start for key in keys if key.method == "mma"] == ["uniform", "network:0", "network:1"]


def test_small_tasks_come_first():
    keys = plan("mbb_beam_384x128_0.3,hoop*,mbb_beam_96x32_0.5", ["oc"], [0], 10)
    sizes = ["32x64", "96x32", "64x128", "128x256", "384x128"]
    assert [key.task.split("_")[-2] for key in keys] == sizes


def test_failed_runs_are_missing():
    keys = plan(TASK, ["oc", "mma"], [0], 50)
    records = [{**keys[0]._asdict(), "status": "ok"}, {**keys[1]._asdict(), "status": "failed"}]
    assert missing(keys, records) == [keys[1]]


@pytest.mark.parametrize("text, seeds", [("3", [3]), ("0-4", [0, 1, 2, 3, 4]), ("5,0-1,1", [0, 1, 5])])
def test_seeds(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: parse_seeds("4-0"), "seeds must look like"),
        (lambda: parse_seeds("-1"), "seeds must look like"),
        (lambda: plan("nothing*", ["oc"], [0], 1), "matches no task"),
        (lambda: plan(TASK, ["cnn-lbfg"], [0], 1), "nearest: cnn-lbfgs"),
        (lambda: plan(TASK, ["oc"], [0], 0), "evaluations must be at least 1"),
        (lambda: plan(TASK, ["oc"], [0], 1, ["random"]), "starts must be among uniform, network"),
        (lambda: get_method("zzz"), "methods are: cnn-lbfgs"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_the_papers_methods_are_there():
    assert {"cnn-lbfgs", "pixel-lbfgs", "mma", "oc"} <= set(METHODS)
