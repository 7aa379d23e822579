"""Tasks on DOLFINx meshes: supports, loads, an independent assembly, other equations, coarser grids."""

import numpy as np
import pytest
from mpi4py import MPI

from dolfinx_neural_topo import tasks
from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.physics import taylor_test
from dolfinx_neural_topo.study import independent
from dolfinx_neural_topo.tasks.build import build
from dolfinx_neural_topo.tasks.coarse import coarsen

comm = MPI.COMM_WORLD


def density_image(task):
    """A grey density that depends on the pixel alone."""
    image = np.random.default_rng(3).uniform(0.05, 1.0, task.image_shape)
    return image if task.void is None else np.where(task.void, 0.0, image)


@pytest.mark.parametrize(
    "task",
    [
        tasks.two_level_bridge(12, 10),
        tasks.dam(9, 11),
        tasks.crane(12, 12),
        tasks.l_shape(15, 10),
        tasks.hoop(8, 16),
        tasks.pure_bending_moment(10, 20),
    ],
    ids=lambda task: task.name,
)
def test_compliance_equals_that_of_numpy_and_scipy_alone(task):
    image = density_image(task)
    with build(task, comm) as built:
        assert built.functional.value(built.grid.to_cells(image)) == pytest.approx(
            independent.compliance(task, image), rel=1e-9
        )


@pytest.mark.parametrize(
    "task",
    [
        tasks.mbb_beam(18, 6),
        tasks.torsion_3d(8, 4, 6),
        tasks.heat_sink(10, 8),
        tasks.mechanism_inverter(16, 8),
        tasks.pipe_bend(10, 10),
    ],
    ids=lambda task: task.name,
)
def test_serial_equals_parallel(task):
    image = density_image(task)
    found = []
    for each in (MPI.COMM_SELF, comm):
        with build(task, each) as built:
            value, gradient = built.functional.value_and_gradient(built.grid.to_cells(image))
            found.append((value, built.grid.sum_cells(gradient)))
    (value, gradient), (value_p, gradient_p) = found
    assert value == pytest.approx(value_p, rel=1e-9)
    np.testing.assert_allclose(gradient, gradient_p, atol=1e-9 * np.abs(gradient).max())


@pytest.mark.parametrize(
    "task",
    [
        tasks.heat_sink(12, 12),
        tasks.mechanism_inverter(40, 20),
        tasks.pipe_bend(10, 10),
        tasks.double_pipe(12, 12),
    ],
    ids=lambda task: task.name,
)
def test_gradients_of_other_equations(task):
    with build(task, comm) as built:
        assert min(taylor_test(built.functional)) > 1.9
        assert built.design.evaluate(built.design.initial()).volume == pytest.approx(
            task.volume_fraction, abs=1e-12
        )


def test_both_kinds_of_volume():
    task = tasks.mbb_beam(24, 8)
    logits = np.random.default_rng(0).normal(size=task.image_shape)
    volumes = {}
    for constrain in ("design", "physical"):
        with build(task, comm, constrain=constrain) as built:
            rho_design = built.design.logits.apply(built.grid.to_cells(logits))
            image = built.grid.to_image(rho_design)
            volumes[constrain] = (image.mean(), built.design.volume(built.design.rho_from_design(rho_design)))
    assert volumes["design"][0] == pytest.approx(0.5, abs=1e-12)
    assert abs(volumes["design"][1] - 0.5) > 1e-6
    assert volumes["physical"][1] == pytest.approx(0.5, abs=1e-12)


@pytest.mark.parametrize(
    "name", ["mbb_beam_96x32_0.5", "crane_64x64_0.3", "staircase_64x64_0.3", "torsion_3d_32x16x16_0.1"]
)
def test_coarser_tasks_keep_resultants_and_symmetry(name):
    task = tasks.get_task(name)
    coarse = coarsen(task, 2)
    assert coarse.shape == tuple(cells // 2 for cells in task.shape)
    assert coarse.mirror == task.mirror
    for component in range(task.dim):
        fine_rows, rows = task.load_at[:, -1] == component, coarse.load_at[:, -1] == component
        assert coarse.load[rows].sum() == pytest.approx(task.load[fine_rows].sum(), abs=1e-14)
        np.testing.assert_allclose(
            2 * coarse.load[rows] @ coarse.load_at[rows, :-1],
            task.load[fine_rows] @ task.load_at[fine_rows, :-1],
            atol=1e-12,
        )
    with build(coarse, comm) as built:
        assert np.isfinite(built.functional.value(built.grid.to_cells(density_image(coarse))))


def test_coarsening_gives_the_task_of_that_size():
    coarse, expected = coarsen(tasks.cantilever_beam_full(96, 32), 4), tasks.cantilever_beam_full(24, 8)
    np.testing.assert_array_equal(coarse.fixed, expected.fixed)
    np.testing.assert_array_equal(coarse.load_at, expected.load_at)
    np.testing.assert_array_equal(coarse.load, expected.load)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: coarsen(tasks.mbb_beam(18, 9), 2), "each side must be a multiple"),
        (lambda: coarsen(tasks.mbb_beam(12, 4), 2), "at least 4 coarser cells"),
        (lambda: coarsen(tasks.pipe_bend(16, 16), 2), "openings have no coarser form"),
        (lambda: tasks.mechanism_inverter(stiffness=0.0), "stiffness must be positive"),
        (lambda: tasks.double_pipe(64, 4), "must span at least a cell"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(InputError, match=message):
        call()
