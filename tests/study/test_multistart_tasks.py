from contextlib import contextmanager

import pytest
from mpi4py import MPI

from dolfinx_neural_topo.optimize.multistart import Levels
from dolfinx_neural_topo.optimize.multistart.schedule import FINISH, FINISH_RESERVE
from dolfinx_neural_topo.study.methods import METHODS
from dolfinx_neural_topo.study.run import run
from dolfinx_neural_topo.tasks import get_task
from dolfinx_neural_topo.tasks.build import build
from dolfinx_neural_topo.tasks.coarse import meshes, problem

comm = MPI.COMM_WORLD


@contextmanager
def levels_of(name):
    task = get_task(name)
    with build(task, comm) as built:
        levels = Levels(built.design, problem(task), meshes(task))
        yield levels
        levels.close()


@pytest.mark.parametrize(
    "name", ["l_shape_0.4_64x64_0.4", "crane_32x32_0.3", "cantilever_3d_32x16x16_0.12", "heat_sink_64x64_0.4"]
)
def test_coarser_physics_is_nearly_that_of_the_task(name):
    """The same load on larger cells: the stiffness of a coarser grid is a little too high."""
    dim = get_task(name).dim
    with levels_of(name) as levels:
        x = levels.design(0).initial()
        fine, *coarse = (levels.design(level).evaluate(x, gradient=False).value for level in range(3))
        assert [levels.weight(level) for level in range(3)] == [1.0, 2.0**-dim, 4.0**-dim]
    assert 0.75 * fine < coarse[0] < 1.1 * fine
    assert 0.5 * fine < coarse[1] < 1.2 * fine


@pytest.mark.parametrize("name", ["mechanism_inverter_80x40_0.3", "pipe_bend_20x20_0.25"])
def test_patches_have_coarser_grids_where_they_fit(name):
    with levels_of(name) as levels:
        x = levels.design(0).initial()
        fine, coarse = (levels.design(level).evaluate(x, gradient=False).value for level in range(2))
        assert levels.num_levels == 2  # ports end at multiples of two cells
    assert fine * coarse > 0.0
    assert abs(coarse - fine) < 0.3 * abs(fine)


def test_sizes_that_cannot_be_halved_have_one_level():
    with levels_of("mbb_beam_25x10_0.5") as levels:
        assert levels.num_levels == 1


@pytest.mark.parametrize("method", ["neural-multistart", "linear-multistart", "pixel-multistart"])
def test_a_run_ends_when_it_gains_no_more_and_keeps_its_volume(method, tmp_path_factory):
    folder = comm.bcast(tmp_path_factory.mktemp("run"), root=0)
    record = run("mbb_beam_32x16_0.5", method, evaluations=50, seed=1, out=folder, progress=False)
    assert METHODS[method].neural
    assert 30 < record["equivalent_evaluations"] <= 50 - FINISH_RESERVE + FINISH.evaluations
    assert "gained less than" in record["reason"]
    assert 100 < record["solves"] <= record["evaluations"]
    assert not record["volume_exceeded"]
    assert record["compliance"] == pytest.approx(record["analysis"]["compliance"], rel=1e-9)
    assert record["history"][-1] == pytest.approx(record["compliance"], rel=1e-6)
    assert not list(folder.glob("checkpoint-*"))
    uniform = run("mbb_beam_32x16_0.5", "mma-svanberg", evaluations=1, progress=False)
    assert record["compliance"] < 0.5 * uniform["compliance"]


def test_the_rival_makes_all_its_starts_on_the_full_grid():
    budget = 2 * (36 + 2) + FINISH_RESERVE
    record = run("mbb_beam_24x8_0.5", "mma-multistart", evaluations=budget, progress=False)
    assert record["equivalent_evaluations"] == record["evaluations"]
    assert 2 * 38 + 10 <= record["evaluations"] <= 2 * 38 + FINISH.evaluations
    assert not record["volume_exceeded"] and "gained less than" in record["reason"]
