import numpy as np
import pytest
from density_cases import taylor_orders

from dolfinx_neural_topo.density import HeavisideProjection, ThreeFieldProjection
from dolfinx_neural_topo.errors import InputError

X = np.random.default_rng(0).random(50)


@pytest.mark.parametrize("beta", [0.1, 4.0, 64.0, 1000.0])
@pytest.mark.parametrize("eta", [0.0, 0.3, 0.5, 1.0])
def test_projection_is_a_step_between_0_and_1(beta, eta):
    projection = HeavisideProjection(beta, eta)
    np.testing.assert_allclose(projection.apply(np.array([0.0, 1.0])), [0.0, 1.0], atol=1e-14)
    assert (np.diff(projection.apply(np.sort(X))) >= 0.0).all()
    if beta == 1000.0 and 0.0 < eta < 1.0:
        np.testing.assert_allclose(
            projection.apply(np.array([eta - 0.01, eta + 0.01])), [0.0, 1.0], atol=1e-8
        )


def test_projection_equals_the_published_formula():
    beta, eta = 7.0, 0.4
    expected = (np.tanh(beta * eta) + np.tanh(beta * (X - eta))) / (
        np.tanh(beta * eta) + np.tanh(beta * (1 - eta))
    )
    np.testing.assert_allclose(HeavisideProjection(beta, eta).apply(X), expected, rtol=1e-14)


@pytest.mark.parametrize(
    "projection", [HeavisideProjection(5.0, 0.4), ThreeFieldProjection(5.0, 0.5, delta=0.25)]
)
def test_pullback(projection):
    weights, direction = np.random.default_rng(1).standard_normal((2, X.size))
    gradient = projection.pullback(weights, X, projection.apply(X))
    assert (
        taylor_orders(lambda t: weights @ projection.apply(X + t * direction), gradient @ direction) > 1.9
    ).all()


def test_three_fields_are_ordered_and_share_their_sharpness():
    fields = ThreeFieldProjection(8.0, delta=0.2)
    eroded, blueprint, dilated = (p.apply(X) for p in (fields.eroded, fields.intermediate, fields.dilated))
    assert (eroded < blueprint).all() and (blueprint < dilated).all()
    np.testing.assert_array_equal(fields.apply(X), blueprint)
    fields.beta = 16.0
    assert {p.beta for p in fields.realizations} == {16.0} == {fields.beta}


@pytest.mark.parametrize("beta", [0.0, -1.0, float("nan"), float("inf")])
def test_beta_must_be_positive(beta):
    with pytest.raises(InputError, match=r"beta must be (positive and finite|a number, got nan)"):
        HeavisideProjection(beta)
    projection = ThreeFieldProjection(2.0)
    with pytest.raises(InputError, match=r"beta must be (positive and finite|a number, got nan)"):
        projection.beta = beta
    assert {p.beta for p in projection.realizations} == {2.0}


def test_thresholds_must_lie_between_0_and_1():
    with pytest.raises(InputError, match=r"eta must lie in \[0, 1\], got 1.2"):
        HeavisideProjection(1.0, 1.2)
    with pytest.raises(InputError, match=r"delta must lie in \(0, min\(eta, 1 - eta\)\]"):
        ThreeFieldProjection(1.0, 0.7, delta=0.4)
