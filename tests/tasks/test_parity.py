"""The whole chain against an independent implementation: all 116 tasks, and four of them field by field."""

import csv
from pathlib import Path

import numpy as np
import pytest
from mpi4py import MPI

from dolfinx_neural_topo.tasks import get_task
from dolfinx_neural_topo.tasks.build import build

DATA = Path(__file__).parent.parent / "data"
ROWS = {row["problem_name"]: row for row in csv.DictReader((DATA / "reference_physics.csv").open())}
FIELDS = sorted(path.name[4:-4] for path in DATA.glob("ref_*.npz"))
# Uniform designs so ill-conditioned that solvers disagree by up to 2.4e-9. On mbb_beam_384x64_0.4 iterative
# refinement in extended precision showed the reference to be off; on l_shape_0.2_256x256_0.2 not tried.
ILL_CONDITIONED = {"mbb_beam_384x64_0.4", "l_shape_0.2_256x256_0.2"}
comm = MPI.COMM_WORLD


def evaluate(built, logits):
    """Compliance, its gradient by logits as an image, and the density as an image, for logits as an image."""
    evaluation = built.design.logits.evaluate(built.grid.to_cells(logits))
    return evaluation.value, built.grid.sum_cells(evaluation.gradient), built.grid.to_image(evaluation.rho)


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_values_and_gradient_norms(name):
    row = {key: float(value) for key, value in ROWS[name].items() if key != "problem_name"}
    task = get_task(name)
    with build(task, comm, constrain="design") as built:
        logits = np.random.RandomState(0).randn(*task.image_shape)  # the reference's generator
        value, gradient, rho = evaluate(built, logits)
        assert value == pytest.approx(row["c_random"], rel=1e-9)
        assert np.linalg.norm(gradient) == pytest.approx(row["grad_norm"], rel=1e-8)
        assert abs(gradient.sum()) <= 1e-8 * row["grad_norm"]
        assert rho.mean() == pytest.approx(row["mean_density"], rel=1e-9)
        uniform = built.design.evaluate(built.design.initial(), gradient=False)
        assert uniform.value == pytest.approx(row["c_uniform"], rel=3e-9 if name in ILL_CONDITIONED else 1e-9)


@pytest.mark.parametrize("name", FIELDS)
def test_whole_fields(name):
    reference = np.load(DATA / f"ref_{name}.npz")
    task = get_task(name)
    assert task.volume_fraction == reference["volfrac"]
    with build(task, comm, constrain="design") as built:
        value, gradient, rho = evaluate(built, reference["z"])
        assert value == pytest.approx(float(reference["compliance"]), rel=1e-9)
        np.testing.assert_allclose(rho, reference["x_phys"], atol=1e-12)
        scale = np.abs(reference["grad"]).max()
        np.testing.assert_allclose(gradient, reference["grad"], atol=1e-8 * scale)
        initial = built.design.evaluate(built.design.initial(), gradient=False)
        assert initial.value == pytest.approx(float(reference["c_uniform"]), rel=1e-9)
        np.testing.assert_allclose(built.grid.to_image(initial.rho), reference["x_uniform_phys"], atol=1e-12)
