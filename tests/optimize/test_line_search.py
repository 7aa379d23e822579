"""The line search alone, on the functions of Moré and Thuente's paper."""

import math
from functools import partial

import numpy as np
import pytest

from dolfinx_neural_topo.optimize.line_search import StrongWolfe


def phi1(a, beta=2.0):
    return -a / (a**2 + beta), (a**2 - beta) / (a**2 + beta) ** 2


def phi2(a, beta=0.004):
    return (a + beta) ** 5 - 2 * (a + beta) ** 4, 5 * (a + beta) ** 4 - 8 * (a + beta) ** 3


def phi3(a, beta=0.01, wiggles=39):
    if a <= 1 - beta:
        value, slope = 1 - a, -1.0
    elif a >= 1 + beta:
        value, slope = a - 1, 1.0
    else:
        value, slope = (a - 1) ** 2 / (2 * beta) + beta / 2, (a - 1) / beta
    frequency = wiggles * math.pi / 2
    return (
        value + 2 * (1 - beta) / (wiggles * math.pi) * math.sin(frequency * a),
        slope + (1 - beta) * math.cos(frequency * a),
    )


def phi4(a, beta1, beta2):
    g1, g2 = (math.sqrt(1 + b**2) - b for b in (beta1, beta2))
    r1, r2 = math.sqrt((1 - a) ** 2 + beta2**2), math.sqrt(a**2 + beta1**2)
    return g1 * r1 + g2 * r2, -g1 * (1 - a) / r1 + g2 * a / r2


# function, decrease, curvature; first step, evaluations, accepted step (tables I to VI of the paper)
PUBLISHED = [
    (phi1, 1e-3, 0.1, [(1e-3, 6, 1.4), (1e-1, 3, 1.4), (1e1, 1, 10), (1e3, 4, 37)]),
    (phi2, 0.1, 0.1, [(1e-3, 12, 1.6), (1e-1, 8, 1.6), (1e1, 8, 1.6), (1e3, 11, 1.6)]),
    (phi3, 0.1, 0.1, [(1e-3, 12, 1.0), (1e-1, 12, 1.0), (1e1, 10, 1.0), (1e3, 13, 1.0)]),
    (
        partial(phi4, beta1=0.001, beta2=0.001),
        1e-3,
        1e-3,
        [(1e-3, 4, 0.085), (1e-1, 1, 0.1), (1e1, 3, 0.35), (1e3, 4, 0.83)],
    ),
    (
        partial(phi4, beta1=0.01, beta2=0.001),
        1e-3,
        1e-3,
        [(1e-3, 6, 0.075), (1e-1, 3, 0.078), (1e1, 7, 0.073), (1e3, 8, 0.076)],
    ),
    (
        partial(phi4, beta1=0.001, beta2=0.01),
        1e-3,
        1e-3,
        [(1e-3, 13, 0.93), (1e-1, 11, 0.93), (1e1, 8, 0.92), (1e3, 11, 0.92)],
    ),
]
CASES = [(phi, *bounds, *row) for phi, *bounds, rows in PUBLISHED for row in rows]


def run(search, phi, first, fails=lambda step: False):
    value, slope = phi(0.0)
    search.begin(value, slope, first)
    trials = []
    verdict = "go on"
    while verdict == "go on":
        trials.append(search.step)
        verdict = search.tell(math.inf, 0.0) if fails(search.step) else search.tell(*phi(search.step))
    return verdict, trials


@pytest.mark.parametrize("phi, decrease, curvature, first, evaluations, accepted", CASES)
def test_published_searches(phi, decrease, curvature, first, evaluations, accepted):
    search = StrongWolfe(decrease, curvature, width=1e-10)
    verdict, trials = run(search, phi, first)
    (value0, slope0), (value, slope) = phi(0.0), phi(search.step)
    assert verdict == "accepted" and len(trials) == evaluations
    assert value <= value0 + decrease * search.step * slope0
    assert abs(slope) <= curvature * abs(slope0)
    assert search.step == pytest.approx(accepted, rel=0.03)  # two digits are printed


def test_failed_trials_shrink_the_step_and_wall_it_off():
    def phi(a):
        return (a - 3.0) ** 2, 2.0 * (a - 3.0)

    search = StrongWolfe()
    verdict, trials = run(search, phi, 64.0, fails=lambda step: step > 2.0)
    assert verdict == "accepted" and 0 < search.step <= 2.0
    assert trials[:4] == [64.0, 16.0, 4.0, 1.0]

    verdict, trials = run(StrongWolfe(curvature=0.05), phi, 1.0, fails=lambda step: step > 2.9)
    assert verdict == "accepted" and sum(step > 2.9 for step in trials) <= 2


def test_everything_failing_ends_the_search():
    verdict, trials = run(StrongWolfe(trials=6), phi1, 1.0, fails=lambda step: True)
    assert verdict == "failed" and len(trials) == 6
    assert np.allclose(trials, 0.25 ** np.arange(6))


def test_an_ascent_that_looks_like_descent_ends_the_search():
    verdict, trials = run(StrongWolfe(), lambda a: (a, -1.0 if a == 0 else 1.0), 1.0)
    assert verdict == "failed" and len(trials) <= 20


def test_state_continues_bitwise():
    for phi, decrease, curvature, first, *_ in CASES:
        _, trials = run(StrongWolfe(decrease, curvature), phi, first)
        search = StrongWolfe(decrease, curvature)
        search.begin(*phi(0.0), first)
        for step in trials:
            other = StrongWolfe(decrease, curvature)
            other.restore(search.state())
            search = other
            assert search.step == step
            search.tell(*phi(step))
