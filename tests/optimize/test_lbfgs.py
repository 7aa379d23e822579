"""L-BFGS on problems with a known optimum, beside SciPy's, resumed, with failures, and split over ranks."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.optimize
from convex import Evaluation, Smooth, drive, quadratic, rosenbrock
from mpi4py import MPI

from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.optimize.lbfgs import LBFGS
from dolfinx_neural_topo.optimize.method import unit_scale

HARD_START = np.tile([-1.2, 1.0], 10)


def scipy_values(function, start, evaluations):
    values = []

    def record(x):
        value, gradient = function(x)
        values.append(value)
        return value, gradient

    options = {"maxfun": 10**6, "maxiter": 10**6, "ftol": 0.0, "gtol": 0.0, "maxcor": 10}
    scipy.optimize.minimize(record, start, jac=True, method="L-BFGS-B", options=options)
    return np.array(values[:evaluations])


@pytest.mark.parametrize("dtype, accuracy", [(np.float64, 1e-20), (np.float32, 1e-6)])
def test_rosenbrock_is_solved(dtype, accuracy):
    values, points, _ = drive(LBFGS, Smooth(rosenbrock, HARD_START, dtype=dtype), 220)
    assert values.min() < accuracy
    assert np.allclose(points[values.argmin()], 1.0, atol=10 * math.sqrt(accuracy))


@pytest.mark.parametrize("problem", ["rosenbrock", "quadratic"])
def test_the_path_is_that_of_scipy(problem):
    function, start = (rosenbrock, HARD_START) if problem == "rosenbrock" else (quadratic()[0], np.zeros(60))
    values, _, _ = drive(LBFGS, Smooth(function, start), 60)
    assert np.allclose(values, scipy_values(function, start, 60), rtol=1e-6)


@pytest.mark.parametrize("memory", [1, 3, 20])
def test_quadratic_is_solved_with_any_memory(memory):
    function, centre = quadratic(condition=100.0)
    values, points, _ = drive(lambda: LBFGS(memory), Smooth(function, np.zeros(60)), 250)
    assert values.min() < 1e-12
    assert np.allclose(points[values.argmin()], centre, atol=1e-5)


def test_parts_on_ranks_and_whole_give_the_same_path():
    whole, _, _ = drive(LBFGS, Smooth(rosenbrock, HARD_START), 40)
    parts, _, _ = drive(LBFGS, Smooth(rosenbrock, HARD_START, distributed=True), 40)
    assert np.allclose(whole, parts, rtol=1e-6)


def test_a_rank_without_entries():
    values, points, _ = drive(LBFGS, Smooth(lambda x: (float(x @ x), 2 * x), [3.0], distributed=True), 20)
    assert values.min() < 1e-20 and abs(points[values.argmin()][0]) < 1e-10


@pytest.mark.parametrize("distributed", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_resumed_at_any_evaluation_bit_for_bit(dtype, distributed):
    variables = Smooth(rosenbrock, HARD_START, dtype=dtype, distributed=distributed)
    reference, points, _ = drive(LBFGS, variables, 70)
    resumed, same_points, _ = drive(LBFGS, variables, 70, resume_at=range(0, 70, 2))
    assert np.array_equal(reference, resumed) and np.array_equal(points, same_points)


def test_two_runs_agree_bit_for_bit_and_a_method_can_be_used_again():
    variables, method = Smooth(rosenbrock, HARD_START), LBFGS()
    first, _, _ = drive(lambda: method, variables, 40)
    again, _, _ = drive(lambda: method, variables, 40)
    assert np.array_equal(first, again)


def test_the_storage_is_exact_when_it_wraps_around():
    """The direction equals that of the two-loop recursion on the last pairs, written out."""
    memory, n = 4, 30
    function, _ = quadratic(n)
    variables = Smooth(function, np.zeros(n))
    method = LBFGS(memory)
    method.start(variables)
    accepted = []
    for _ in range(25):
        x = method.ask()
        method.tell(x, variables.evaluate(x))
        base = method.state()["base"].copy()
        if not accepted or not np.array_equal(base, accepted[-1]):
            accepted.append(base)
    assert len(accepted) > 2 * memory
    gradients = [function(x)[1] for x in accepted]
    steps, changes = np.diff(accepted, axis=0)[-memory:], np.diff(gradients, axis=0)[-memory:]
    q, alphas = gradients[-1].copy(), []
    for s, y in zip(steps[::-1], changes[::-1], strict=True):
        alphas.append(s @ q / (s @ y))
        q -= alphas[-1] * y
    q *= steps[-1] @ changes[-1] / (changes[-1] @ changes[-1])
    for s, y, alpha in zip(steps, changes, alphas[::-1], strict=True):
        q += s * (alpha - y @ q / (s @ y))
    assert np.allclose(method.state()["direction"], -q, rtol=1e-8, atol=1e-10 * np.abs(q).max())


def test_failures_inside_the_search_shrink_the_step():
    failed = [3, 4, 9, 15, 16, 17]  # by number: whether the way leaves a region depends on the processor
    values, points, _ = drive(
        LBFGS, Smooth(rosenbrock, HARD_START), 300, fails=lambda number, x: number in failed
    )
    assert np.array_equal(np.flatnonzero(np.isinf(values)), failed)
    assert values.min() < 1e-12
    origin = [points[np.argmin(values[:k])] for k in failed]
    assert all(
        np.linalg.norm(points[k + 1] - x) < np.linalg.norm(points[k] - x)
        for k, x in zip(failed, origin, strict=True)
    )


def test_a_value_that_is_nan_counts_as_failed():
    variables, method = Smooth(rosenbrock, HARD_START), LBFGS()
    method.start(variables)
    method.tell(method.ask(), variables.evaluate(method.ask()))
    step = np.linalg.norm(method.ask() - HARD_START)
    method.tell(method.ask(), Evaluation(math.nan, np.full(20, math.nan)))
    assert np.linalg.norm(method.ask() - HARD_START) == pytest.approx(0.25 * step)


def test_repeated_failure_ends_with_a_reason():
    values, _, method = drive(LBFGS, Smooth(rosenbrock, HARD_START), 400, fails=lambda number, x: number > 12)
    assert "no decrease" in method.finished
    assert (
        len(values) == 13 + 20 + 20
    )  # once along the quasi-Newton direction, once along the steepest descent
    assert np.isfinite(values.min())


def test_a_stationary_start_ends_at_once():
    _, _, method = drive(LBFGS, Smooth(rosenbrock, np.ones(5)), 10)
    assert method.finished == "the gradient is zero"
    _, _, method = drive(LBFGS, Smooth(rosenbrock, np.zeros(5)), 10, fails=lambda number, x: True)
    assert "no finite value" in method.finished
    variables = Smooth(lambda x: (0.0, np.full(5, np.inf)), np.zeros(5))
    _, _, method = drive(LBFGS, variables, 10)
    assert method.finished == "the gradient is not finite"


def test_a_new_objective_is_followed_from_the_current_iterate():
    centre = [0.0]
    variables = Smooth(
        lambda x: (float((x - centre[0]) @ (x - centre[0])), 2 * (x - centre[0])), np.arange(6.0)
    )
    method = LBFGS()
    method.start(variables)
    for _ in range(10):
        x = method.ask()
        method.tell(x, variables.evaluate(x))
        if method.finished:
            break
    at = method.state()["base"].copy()
    centre[0] = 2.0
    method.finished = None
    method.objective_changed()
    assert np.array_equal(method.ask(), at)
    for _ in range(10):
        x = method.ask()
        method.tell(x, variables.evaluate(x))
        if method.finished:
            break
    assert np.allclose(method.state()["base"], 2.0, atol=1e-8)


def test_first_step_is_the_length_of_the_first_trial():
    for length in (1.0, 0.1):
        method = LBFGS(first_step=length)
        method.start(variables := Smooth(rosenbrock, HARD_START))
        first = method.ask().copy()
        method.tell(first, variables.evaluate(first))
        points = first, method.ask()
        assert np.linalg.norm(points[1] - points[0]) == pytest.approx(length)


def test_bad_arguments_are_refused():
    with pytest.raises(InputError, match="memory must be at least 1, got 0"):
        LBFGS(0)
    with pytest.raises(InputError, match="first_step must be positive and finite, got 0"):
        LBFGS(first_step=0.0)
    for decrease, curvature in ((0.5, 0.1), (0.0, 0.9), (0.1, 1.0)):
        with pytest.raises(InputError, match="0 < decrease < curvature < 1"):
            LBFGS(decrease=decrease, curvature=curvature)
    bounded = Smooth(rosenbrock, np.zeros(4))
    bounded.lower = 0.0
    with pytest.raises(InputError, match="no bounds"):
        LBFGS().start(bounded)
    with pytest.raises(InputError, match="float32 or float64"):
        LBFGS().start(Smooth(rosenbrock, np.zeros(4), dtype=np.int64))
    method = LBFGS()
    method.start(Smooth(rosenbrock, np.zeros(4)))
    with pytest.raises(InputError, match="no constraints, got 1"):
        method.tell(method.ask(), Evaluation(1.0, np.zeros(4), np.zeros(1), [np.zeros(4)]))


def test_products_of_many_float32_entries_are_summed_accurately():
    """Two million entries in blocks: the slope is right to 1e-6 where naive float32 sums are not."""
    n = 2_000_000
    scale = np.linspace(1.0, 2.0, n, dtype=np.float32)

    def function(x):
        return float(np.sum(scale * x * x, dtype=np.float64)), 2 * scale * x

    variables = SimpleNamespace(
        comm=MPI.COMM_SELF, lower=None, upper=None, initial=lambda: np.ones(n, np.float32)
    )
    method = LBFGS(2)
    method.start(variables)
    value, gradient = function(method.ask())
    method.tell(method.ask(), Evaluation(value, gradient))
    exact = -float(np.sum((unit_scale(4.0) * gradient.astype(np.float64)) ** 2))
    assert method.state()["slope"] == pytest.approx(exact, rel=1e-6)
