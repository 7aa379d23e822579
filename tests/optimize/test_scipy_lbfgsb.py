"""SciPy's L-BFGS-B behind ask and tell: the evaluations of SciPy alone, resumed, bounded, with failures."""

import numpy as np
import pytest
import scipy.optimize
from convex import Evaluation, Smooth, drive, quadratic, rosenbrock

from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.optimize.scipy_lbfgsb import SciPyLBFGSB

START = np.tile([-1.2, 1.0], 4)


@pytest.mark.parametrize("bounds", [None, (-1.5, 0.7)])
@pytest.mark.parametrize("distributed", [False, True])
def test_the_evaluations_are_those_of_scipy(distributed, bounds):
    expected = []

    def record(x):
        expected.append(np.array(x))
        return rosenbrock(x)

    variables = Smooth(rosenbrock, np.clip(START, -1.5, 0.7), distributed=distributed)
    limits = None
    if bounds is not None:
        variables.lower, variables.upper = bounds[0], np.full(len(variables.initial()), bounds[1])
        limits = [bounds] * 8
    options = {"maxfun": 10**6, "maxiter": 10**6, "ftol": 0.0, "gtol": 0.0}
    scipy.optimize.minimize(
        record, variables.start, jac=True, method="L-BFGS-B", bounds=limits, options=options
    )
    values, points, _ = drive(SciPyLBFGSB, variables, 40)
    count = min(40, len(expected))
    assert len(values) == count and np.array_equal(points, expected[:count])


def test_it_ends_with_the_words_of_scipy_at_the_optimum():
    function, centre = quadratic(condition=10.0)
    values, points, method = drive(SciPyLBFGSB, Smooth(function, np.zeros(60)), 300)
    assert method.finished.startswith("SciPy's L-BFGS-B ended: ")
    assert np.allclose(points[values.argmin()], centre, atol=1e-8)


def test_one_bound_alone():
    variables = Smooth(lambda x: (float(x @ x), 2 * x), np.full(5, 3.0))
    variables.lower = 1.0
    _, points, _ = drive(SciPyLBFGSB, variables, 20)
    assert np.array_equal(points[-1], np.ones(5))


def test_resumed_at_any_evaluation_bit_for_bit():
    variables = Smooth(rosenbrock, START)
    reference, points, _ = drive(SciPyLBFGSB, variables, 30)
    resumed, same_points, _ = drive(SciPyLBFGSB, variables, 30, resume_at=[0, 7, 8, 20])
    assert np.array_equal(reference, resumed) and np.array_equal(points, same_points)


def test_failures_send_the_search_back():
    def fails(number, x):
        return number > 0 and np.any(np.abs(x) > 1.02)

    values, points, _ = drive(SciPyLBFGSB, Smooth(rosenbrock, 0.5 * START), 200, fails=fails)
    assert np.isinf(values).any() and values.min() < 1e-12
    for k in np.flatnonzero(np.isinf(values[:-1])):
        best = points[np.argmin(values[:k])]
        assert np.linalg.norm(points[k + 1] - best) < np.linalg.norm(points[k] - best)


def test_bad_arguments_are_refused():
    with pytest.raises(InputError, match="memory must be at least 1, got 0"):
        SciPyLBFGSB(0)
    method = SciPyLBFGSB()
    method.start(Smooth(rosenbrock, np.zeros(4)))
    with pytest.raises(InputError, match="no constraints, got 1"):
        method.tell(method.ask(), Evaluation(1.0, np.zeros(4), np.zeros(1), [np.zeros(4)]))
    method.close()
