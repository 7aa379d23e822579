"""The unit of the objective changes no step: loads in N or kN, moduli in Pa or GPa."""

from functools import partial

import numpy as np
import pytest
from convex import Smooth, drive, rosenbrock

from dolfinx_neural_topo.optimize.adam import Adam
from dolfinx_neural_topo.optimize.lbfgs import LBFGS
from dolfinx_neural_topo.optimize.method import unit_scale
from dolfinx_neural_topo.optimize.nlopt_mma import NLoptMMA
from dolfinx_neural_topo.optimize.scipy_lbfgsb import SciPyLBFGSB
from dolfinx_neural_topo.optimize.threaded import LibraryMethod


def scaled(unit, x):
    value, gradient = rosenbrock(x)
    return unit * value, unit * gradient


@pytest.mark.ranks
@pytest.mark.parametrize("method", [LBFGS, Adam, SciPyLBFGSB, NLoptMMA])
@pytest.mark.parametrize("unit", [2.0**-100, 2.0**-40, 2.0**70])
@pytest.mark.parametrize("distributed", [False, True])
def test_steps_are_the_same_in_any_unit(method, unit, distributed):
    """Adam has an absolute epsilon; squares of float32 gradients above 1e19 overflow."""
    library = issubclass(method, LibraryMethod)  # in usual units its evaluations are the library's own
    reference = partial(scaled, 2.0**40 if library else 1.0)
    start = np.linspace(-1.0, 1.0, 8)
    options = {"dtype": np.float32, "distributed": distributed}
    _, expected, _ = drive(method, Smooth(reference, start, **options), 30)
    _, points, _ = drive(method, Smooth(partial(scaled, unit), start, **options), 30)
    assert len(points) == len(expected) and np.array_equal(points, expected)
    assert np.abs(points[-1] - start).max() > 0.05


def test_the_scale_is_a_power_of_two_that_float32_holds():
    assert (
        unit_scale(0.75) == 1.0 and unit_scale(3.0) == 0.25 and unit_scale(0.0) == unit_scale(np.inf) == 1.0
    )
    for largest in (1e-300, 1e300):
        assert 0.0 < np.float32(unit_scale(largest)) < np.inf
