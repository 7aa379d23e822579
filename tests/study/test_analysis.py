"""Images: thresholding at the exact volume, greyness, pieces."""

import numpy as np
import pytest

from dolfinx_neural_topo.study import analysis


@pytest.mark.parametrize("fraction", [0.11, 0.3, 0.5, 0.987])
def test_threshold_has_exactly_the_volume_and_keeps_the_densest(fraction):
    rho = np.random.default_rng(0).uniform(size=(7, 9))
    design = np.ones(rho.shape, dtype=bool)
    design[:3, 5:] = False
    solid = analysis.threshold(rho, design, fraction)
    assert solid[design].mean() == pytest.approx(fraction, abs=1e-14)
    assert not solid[~design].any()
    assert rho[design & (solid > 0)].min() >= rho[design & (solid == 0)].max(initial=0.0)
    assert ((solid > 0) & (solid < 1)).sum() <= 1


def test_threshold_of_a_uniform_density_still_has_the_volume():
    solid = analysis.threshold(np.full((4, 5), 0.5), np.ones((4, 5), dtype=bool), 0.5)
    assert solid.sum() == 10


def test_greyness():
    design = np.array([[True, True, False]])
    assert analysis.greyness(np.array([[0.0, 1.0, 0.5]]), design) == 0.0
    assert analysis.greyness(np.array([[0.5, 0.5, 0.0]]), design) == 1.0


def test_pieces_touch_along_edges():
    assert analysis.components(np.array([[1.0, 0.0], [0.0, 1.0]])) == 2
    assert analysis.components(np.array([[1.0, 0.5], [0.4, 1.0]])) == 1
    assert analysis.components(np.zeros((3, 3))) == 0
    cube = np.zeros((2, 2, 2))
    cube[0, 0, 0] = cube[1, 1, 0] = 1.0
    assert analysis.components(cube) == 2
