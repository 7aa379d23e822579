"""Every paper task equals the reference in each support, load, design cell, category and mirror."""

import csv
from pathlib import Path

import numpy as np
import pytest
from skimage import draw

from dolfinx_neural_topo.tasks import PAPER_TASKS, antialias, get_task

DATA = Path(__file__).parents[1] / "data"
ROWS = {row["problem_name"]: row for row in csv.DictReader((DATA / "tasks.csv").open())}


@pytest.fixture(scope="module")
def reference():
    with np.load(DATA / "tasks.npz") as arrays:
        return dict(arrays)


def test_names_are_the_papers_in_its_order():
    assert list(PAPER_TASKS) == list(ROWS)
    assert len(PAPER_TASKS) == 116


@pytest.mark.parametrize("name", ROWS)
def test_task_equals_reference(name, reference):
    task, row = get_task(name), ROWS[name]
    assert task.name == name
    assert task.category == row["category"]
    assert task.shape == (int(row["width"]), int(row["height"]))
    assert task.volume_fraction == float(row["volume_fraction"])
    assert task.mirror == (row["mirror_left"] == "True", row["mirror_right"] == "True")
    np.testing.assert_array_equal(task.fixed, reference[f"{name}/fixed"])
    np.testing.assert_array_equal(task.load_at, reference[f"{name}/load_at"])
    components = task.load_at[:, -1]
    load = task.load.copy()
    if (
        len(np.unique(components)) == 2
    ):  # stored with y along the rows and turned as a whole, so x changes sign
        load[components == 0] *= -1.0
    np.testing.assert_allclose(load, reference[f"{name}/load"], rtol=1e-14)
    mask = np.ones(task.image_shape, dtype=bool) if task.void is None else ~task.void
    stored = reference.get(f"{name}/mask")
    if stored is None:
        assert mask.all()
    else:
        np.testing.assert_array_equal(
            mask, np.unpackbits(stored)[: mask.size].reshape(mask.shape).astype(bool)
        )


def _coverages(i, j, coverage):
    kept = coverage > 0
    nodes = zip(i[kept].tolist(), j[kept].tolist(), strict=True)
    return dict(zip(nodes, coverage[kept].tolist(), strict=True))


def _assert_same(ours, theirs):
    ours, theirs = _coverages(*ours), _coverages(*theirs)
    assert ours.keys() == theirs.keys()
    assert max(abs(ours[node] - theirs[node]) for node in ours) < 1e-12


@pytest.mark.parametrize(
    "size", [(64, 64), (64, 21), (64, 22), (128, 85), (50, 37), (7, 31), (13, 1), (9, 0)]
)
def test_lines_equal_scikit_image(size):
    width, height = size
    for ends in [(0, 0, width, height), (0, height, width, 0)]:
        _assert_same(antialias.line(*ends), draw.line_aa(*ends))


@pytest.mark.parametrize("radius", [1, 2, 4, 7, 8, 16, 31, 32, 64, 100, 128])
def test_circles_equal_scikit_image(radius):
    _assert_same(antialias.circle(radius, radius, radius), draw.circle_perimeter_aa(radius, radius, radius))
