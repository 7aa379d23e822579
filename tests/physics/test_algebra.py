"""Sums, products and powers of functionals by the chain rule, and functionals of one's own."""

import numpy as np
import physics_problems as problems
import pytest
import ufl

from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.physics import ReducedFunctional, random_density, taylor_test
from dolfinx_neural_topo.physics.algebra import density_space, num_solves, problems_of, settle


class Volume:
    """A functional of one's own: comm, value and value_and_gradient, and nothing else."""

    def __init__(self, state):
        self.comm, self._J = state.comm, ReducedFunctional(state.rho**2 * ufl.dx, state)

    def value(self, rho):
        return self._J.value(rho)

    def value_and_gradient(self, rho):
        return self._J.value_and_gradient(rho)


@pytest.mark.ranks
def test_arithmetic_has_values_and_second_order():
    with problems.cantilever() as problem:
        state, C = problem.state, problem.functional
        H, V = ReducedFunctional(ufl.dot(state.u, state.u) * ufl.dx, state), Volume(state)
        rho = random_density(state.rho.function_space, 0.3, 0.8)
        d = random_density(state.rho.function_space, -1.0, 1.0, 1)
        c, h, v = C.value(rho), H.value(rho), V.value(rho)
        for J, value in (
            (0.5 * C + 0.5 * H, 0.5 * c + 0.5 * h),
            (2 - C, 2 - c),
            (-C - 3 + V, -c - 3 + v),
            (V + C * H, v + c * h),
            (C / (1 + H), c / (1 + h)),
            (1 / C**0.5, c**-0.5),
            (sum([C, H, V]), c + h + v),
        ):
            assert J.value(rho) == pytest.approx(value, rel=1e-12)
            assert (taylor_test(J, rho, direction=d, step=5e-3) > 1.9).all(), J.name
        assert (0.5 * C + 0.5 * H).name == "(0.5 * compliance + 0.5 * J)"
        assert problems_of(C + H + V) == (state,)
        assert num_solves(C + V) == state.num_solves
        assert not settle(C + V)


def test_what_does_not_combine_is_refused():
    with problems.cantilever() as problem:
        C = problem.functional
        for wrong in ("C", None, np.ones(3), True, float("nan")):
            with pytest.raises(InputError, match="a functional combines with"):
                C + wrong
        with pytest.raises(InputError, match="power of a functional must be a number"):
            C**C
        with pytest.raises(InputError, match="must not be negative"):
            ((-C) ** 0.5).value()
        with pytest.raises(InputError, match="has no value where"):
            (1 / (0 * C)).value()
        own = Volume(problem.state)
        with pytest.raises(InputError, match="must tell its DG0 space"):
            taylor_test(own)
        own.space = problem.state.rho.function_space
        assert density_space(own) == problem.state.rho.function_space
        assert (taylor_test(own) > 1.9).all()
