"""Statistics: those of the published table come out as the paper prints them; our own records likewise."""

import numpy as np
import pytest

from dolfinx_neural_topo.study import listing, statistics, tables
from dolfinx_neural_topo.study.published import PAPER_METHODS, best_known, published
from dolfinx_neural_topo.tasks import PAPER_TASKS


def test_published_table_has_all_tasks_and_known_digits():
    assert list(published("typical")) == list(PAPER_TASKS)
    assert published("typical")["mbb_beam_96x32_0.5"]["oc"] == 210.507
    assert best_known("mbb_beam_96x32_0.5") == 205.486
    assert best_known("mbb_beam_60x20_0.5") is None


@pytest.mark.parametrize(
    "kind, means, wins",
    [
        ("typical", [0.0193, 0.0265, 0.0531, 0.3531], [49, 61, 28, 0]),
        ("best", [0.0026, 0.0084, 0.0374, 0.1350], [94, 72, 19, 0]),
    ],
)
def test_errors_and_wins_of_the_paper(kind, means, wins):
    errors = statistics.relative_errors(
        {task: dict(row) for task, row in published(kind).items()}, PAPER_METHODS
    )
    assert [len(errors[name]) for name in PAPER_METHODS] == [116] * 4
    np.testing.assert_allclose([errors[name].mean() for name in PAPER_METHODS], means, atol=6e-5)
    assert list(statistics.wins(errors).values()) == wins


def run(task, method, compliance, seed=0, start="uniform", neural=False, budget=200, **more):
    analysis = {
        "compliance": compliance,
        "threshold_compliance": 2 * compliance,
        "greyness": 0.2,
        "components": 1,
    }
    where = {
        "commit": "abc",
        "versions": {"numpy": "2"},
        "blas": "b",
        "ranks": 1,
        "threads": 1,
        "machine": "m",
    }
    return {
        **{"task": task, "method": method, "seed": seed, "start": start, "budget": budget, "status": "ok"},
        **{
            "neural": neural,
            "compliance": compliance,
            "exact_volume_compliance": compliance * 1.01,
            "volume": 0.5,
        },
        **{"volume_exceeded": False, "evaluations": budget, "equivalent_evaluations": float(budget)},
        **{"solves": budget, "seconds": 2.0, "cells": 3072, "history": [2 * compliance, compliance]},
        **{"analysis": analysis, "provenance": where},
        **more,
    }


FAILED = {"method": "oc", "seed": 0, "start": "uniform", "budget": 200, "status": "failed", "error": "x"}
RECORDS = [
    *(run("mbb_beam_96x32_0.5", "cnn-lbfgs", 200.0 + s, s, f"network:{s}", True) for s in (0, 5, 1)),
    run("mbb_beam_96x32_0.5", "mma", 210.0),
    run("mbb_beam_96x32_0.5", "mma", 190.0, 0, "network:3"),
    run("hoop_32x64_0.25", "cnn-lbfgs", 0.9, 0, "network:0", True, volume_exceeded=True),
    run("hoop_32x64_0.25", "mma", 0.8),
    {"task": "hoop_32x64_0.25", **FAILED},
]


def test_typical_is_the_median_from_the_own_start_and_best_the_minimum_of_all():
    typical, best = (statistics.table(RECORDS, kind) for kind in ("typical", "best"))
    assert typical["mbb_beam_96x32_0.5"] == {"cnn-lbfgs": 201.0, "mma": 210.0}
    assert best["mbb_beam_96x32_0.5"] == {"cnn-lbfgs": 200.0, "mma": 190.0}
    exact = statistics.table(RECORDS, "best", "exact_volume_compliance")
    assert exact["mbb_beam_96x32_0.5"]["mma"] == pytest.approx(191.9)


def test_errors_use_common_tasks_only_and_hold_for_negative_objectives():
    values = {"a": {"x": 1.0, "y": 1.5}, "b": {"x": -1.0, "y": -2.0}, "c": {"x": 3.0}}
    errors = statistics.relative_errors(values, ["x", "y"])
    np.testing.assert_allclose(errors["x"], [0.0, 0.5])
    np.testing.assert_allclose(errors["y"], [0.5, 0.0])
    assert statistics.wins(errors) == {"x": 1, "y": 1}


def test_budgets_become_columns():
    records = [*RECORDS, run("hoop_32x64_0.25", "mma", 0.7, budget=1000)]
    assert set(statistics.groups(records)["hoop_32x64_0.25"]) == {"cnn-lbfgs", "mma @200", "mma @1000"}


def test_table_by_task_shows_spread_published_values_and_marks():
    table = tables.by_task(RECORDS)
    assert table.header == ["task", "cnn-lbfgs", "cnn-lbfgs, published", "mma", "mma, published"]
    mbb, hoop = table.rows
    assert mbb[:3] == ["mbb_beam_96x32_0.5", "201 [200 to 205] / 200", "206.454 / 205.486"]
    assert hoop[1] == "0.9 * 0.909"


def test_distance_from_the_published_runs():
    header, *rows = (tables.against_published(RECORDS).header, *tables.against_published(RECORDS).rows)
    cnn, mma = (dict(zip(header, row, strict=True)) for row in rows)
    lowest = [best_known("mbb_beam_96x32_0.5"), best_known("hoop_32x64_0.25")]
    ratios = [201.0 / lowest[0], 0.9 / lowest[1]]
    assert (cnn["tasks"], cnn["method"], mma["method"]) == ("small tasks (2)", "cnn-lbfgs", "mma")
    assert cnn["over best published"] == f"{np.sqrt(np.prod(ratios)):.4f}"
    assert cnn["worst"] == f"{max(ratios):.3f}" and cnn["below"] == "1"
    paper = [published("typical")[task]["mma"] for task in ("mbb_beam_96x32_0.5", "hoop_32x64_0.25")]
    assert mma["published, typical"] == f"{np.sqrt(np.prod(np.divide(paper, lowest))):.4f}"
    assert mma["over own published"] == f"{np.sqrt(210.0 / paper[0] * 0.8 / paper[1]):.4f}"
    other = [
        run("mbb_beam_96x32_0.5", "coarse-to-fine", 210.0),
        run("mbb_beam_60x20_0.5", "coarse-to-fine", 9.0),
    ]
    (row,) = tables.against_published(other).rows
    assert row[0] == "small tasks (1)" and row[-2:] == ["", ""]


def test_cost_counts_all_runs_and_failures_are_listed():
    cost = {row[0]: row for row in tables.cost(RECORDS).rows}
    assert cost["cnn-lbfgs"][1:6] == ["2", "2.0", "800", "800", "800"]
    assert listing.failures(RECORDS).rows == [["hoop_32x64_0.25", "oc", "0", "uniform", "x"]]


def test_columns_have_names_of_their_own():
    found = [tables.by_task(RECORDS), tables.against_published(RECORDS), tables.cost(RECORDS)]
    found += [tables.quality(RECORDS), tables.summary(RECORDS, "compliance", "Own"), listing.runs(RECORDS)]
    for table in found:
        assert len(set(table.header)) == len(table.header)
        assert table.rows and {len(row) for row in table.rows} == {len(table.header)}
