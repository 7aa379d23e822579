"""Adam beside torch's own loop, resumed, with failures."""

import numpy as np
import pytest
import torch
from convex import Evaluation, Smooth, drive, quadratic, rosenbrock

from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.optimize.adam import Adam, cosine
from dolfinx_neural_topo.optimize.method import unit_scale


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_steps_are_those_of_torch(dtype):
    function, _ = quadratic(20)
    start = np.linspace(-1, 1, 20)
    _, points, _ = drive(lambda: Adam(0.05), Smooth(function, start, dtype=dtype), 30)
    weights = torch.tensor(start.astype(dtype), requires_grad=True)
    optimizer = torch.optim.Adam([weights], lr=0.05)
    scale = unit_scale(np.abs(function(start)[1]).max())
    for point in points:
        assert np.array_equal(point, weights.detach().numpy())
        gradient = scale * function(weights.detach().numpy().astype(float))[1]
        weights.grad = torch.from_numpy(gradient.astype(dtype))
        optimizer.step()


def test_convex_problem_is_solved_with_a_schedule():
    function, centre = quadratic(20, condition=30.0)
    method = lambda: Adam(0.1, schedule=cosine(600))  # noqa: E731
    values, points, _ = drive(method, Smooth(function, np.zeros(20)), 600)
    assert values.min() < 1e-8
    assert np.allclose(points[-1], centre, atol=1e-3)


def test_the_learning_rate_can_be_changed_during_a_run():
    variables, method = Smooth(rosenbrock, np.zeros(4)), Adam(0.1)
    method.start(variables)
    steps = []
    for lr in (0.1, 0.01):
        method.lr = lr
        x = method.ask().copy()
        method.tell(x, Evaluation(1.0, np.ones(4)))  # a constant gradient: every step is lr
        steps.append(x - method.ask())
    assert np.allclose(steps, [[0.1] * 4, [0.01] * 4], rtol=1e-6)


def test_cosine_schedule():
    schedule = cosine(10, final=0.2)
    assert schedule(0) == 1.0 and schedule(10) == schedule(11) == pytest.approx(0.2)
    assert schedule(5) == pytest.approx(0.6)


@pytest.mark.parametrize("distributed", [False, True])
def test_resumed_at_any_evaluation_bit_for_bit(distributed):
    def method():
        return Adam(0.02, schedule=cosine(50))

    variables = Smooth(rosenbrock, np.zeros(8), dtype=np.float32, distributed=distributed)
    reference, points, _ = drive(method, variables, 50)
    resumed, same_points, _ = drive(method, variables, 50, resume_at=range(50))
    assert np.array_equal(reference, resumed) and np.array_equal(points, same_points)


def test_a_state_before_the_first_success_can_be_resumed():
    def fails(number, x):
        return number == 0

    variables = Smooth(rosenbrock, np.zeros(4))
    reference, _, _ = drive(Adam, variables, 6, fails=fails)
    resumed, _, _ = drive(Adam, variables, 6, fails=fails, resume_at=[0])
    assert np.array_equal(reference, resumed)


def test_failures_halve_the_last_step():
    function, _ = quadratic(20)
    values, points, _ = drive(
        lambda: Adam(0.05), Smooth(function, np.zeros(20)), 40, fails=lambda number, x: number in (3, 4)
    )
    assert np.allclose(points[4] - points[2], 0.5 * (points[3] - points[2]), rtol=1e-12)
    assert np.allclose(points[5] - points[2], 0.25 * (points[3] - points[2]), rtol=1e-12)
    assert values[-1] < values[5]


def test_bad_arguments_are_refused():
    with pytest.raises(InputError, match="lr must be positive, got 0"):
        Adam(0.0)
    with pytest.raises(InputError, match="betas must lie in"):
        Adam(betas=(0.9, 1.0))
    with pytest.raises(InputError, match="steps must be positive, got 0"):
        cosine(0)
    bounded = Smooth(rosenbrock, np.zeros(4))
    bounded.upper = 1.0
    with pytest.raises(InputError, match="no bounds"):
        Adam().start(bounded)
    method = Adam()
    method.start(Smooth(rosenbrock, np.zeros(4)))
    with pytest.raises(InputError, match="no constraints, got 1"):
        method.tell(method.ask(), Evaluation(1.0, np.zeros(4), np.zeros(1), [np.zeros(4)]))
