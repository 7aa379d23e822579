"""Free sizes and parameters, names, patterns and refusals."""

import numpy as np
import pytest

from dolfinx_neural_topo import tasks
from dolfinx_neural_topo.errors import InputError


@pytest.mark.parametrize("family", tasks.FAMILIES)
def test_each_family_takes_other_sizes(family):
    builder = tasks.FAMILIES[family]
    default = builder()
    shape = tuple(n + 2 * (i + 1) for i, n in enumerate(default.shape))
    if family == "hoop":
        shape = (40, 80)
    task = builder(*shape, volume_fraction=0.35)
    assert task.shape == shape
    assert task.volume_fraction == 0.35
    assert task.name == f"{default.category}_{'x'.join(map(str, shape))}_0.35"
    assert tasks.get_task(task.name).name == task.name
    if task.physics in ("elasticity", "heat"):
        assert np.abs(task.load).sum() > 0
        assert len(task.fixed) > 0
    else:
        assert task.parameters


def test_parameters_reach_the_structure():
    assert (tasks.staircase(storeys=5).load < 0).sum() > (tasks.staircase(storeys=2).load < 0).sum()
    floors = tasks.multistory_building(32, 64, interval=8).load_at[:, 1]
    assert sorted(set(floors.tolist())) == list(range(0, 65, 8))
    assert tasks.l_shape(aspect=0.3).category == "l_shape_0.3"
    assert tasks.crane(80, 80, volume_fraction=0.22).name == "crane_80x80_0.22"


def test_three_dimensional_loads_have_the_stated_resultants():
    def resultant(task):
        forces = np.zeros(3)
        np.add.at(forces, task.load_at[:, -1], task.load)
        return forces

    np.testing.assert_allclose(resultant(tasks.cantilever_3d(8, 6, 4)), [0, -1, 0], atol=1e-14)
    np.testing.assert_allclose(resultant(tasks.mbb_beam_3d(8, 6, 4)), [0, -0.25, 0], atol=1e-14)
    np.testing.assert_allclose(resultant(tasks.bridge_3d(8, 6, 4)), [0, -0.25, 0], atol=1e-14)
    bar = tasks.torsion_3d(8, 6, 4)
    np.testing.assert_allclose(resultant(bar), [0, 0, 0], atol=1e-14)
    y, z = 3 - bar.load_at[:, 1], bar.load_at[:, 2] - 2
    moments = np.where(bar.load_at[:, -1] == 2, y, -z) * bar.load
    np.testing.assert_allclose(moments, 0.25)


def test_patterns():
    assert len(tasks.find_tasks()) == 116 + len(tasks.OTHER_TASKS)
    assert tasks.find_tasks("hoop*, mbb_beam_96*".replace(" ", "")) == [
        "mbb_beam_96x32_0.5",
        "hoop_32x64_0.25",
        "hoop_64x128_0.2",
        "hoop_128x256_0.15",
    ]
    assert tasks.find_tasks("mbb_beam_60x20_0.5") == ["mbb_beam_60x20_0.5"]


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: tasks.get_task("mbb_beem_96x32_0.5"), "nearest: mbb_beam_96x32_0.5"),
        (lambda: tasks.get_task("mbb_beam"), "a name is FAMILY_WxH_VOLUMEFRACTION"),
        (lambda: tasks.get_task("mbb_beam_0.3_96x32_0.5"), "unknown task"),
        (lambda: tasks.get_task("mbb_beam"), "after mbb_beam come numbers as in mbb_beam_96x32_0.5"),
        (lambda: tasks.get_task("l_shape_64x64_0.4"), "nearest: l_shape_0.4_64x64_0.4"),
        (lambda: tasks.get_task("mbb_beam_96x32x8_0.5"), "has 2 dimensions"),
        (lambda: tasks.get_task("mbb_beam_96x2_0.5"), "height must be"),
        (lambda: tasks.get_task("hoop_32x65_0.5"), "twice the width"),
        (lambda: tasks.find_tasks("nothing*"), "matches no task"),
        (lambda: tasks.mbb_beam(volume_fraction=1.4), r"must lie in \(0, 1\), got 1.4"),
        (lambda: tasks.l_shape(aspect=0.0), "aspect must lie"),
        (lambda: tasks.l_shape(4, 4, aspect=0.05), "choose a larger grid"),
        (lambda: tasks.thin_support_bridge(clearance=1.0), "clearance must lie"),
        (lambda: tasks.staircase(storeys=0), "storeys must lie"),
        (lambda: tasks.staggered_points(interval=3), "interval must be even"),
        (lambda: tasks.multistory_building(interval=0), "interval must lie"),
        (lambda: tasks.mbb_beam(60.5, 20), "width must be a whole number"),
    ],
)
def test_refusals_name_the_way_out(call, message):
    with pytest.raises(InputError, match=message):
        call()
