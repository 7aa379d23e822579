"""Constraints for methods that know none, on problems with known optima and on a structure."""

import numpy as np
import pytest
from analytic import Valley, split
from mpi4py import MPI

from dolfinx_neural_topo.density.design import Evaluation
from dolfinx_neural_topo.errors import InputError, SolverError
from dolfinx_neural_topo.optimize import LBFGS, MMA, OC, Adam, AugmentedLagrangian, SciPyLBFGSB, minimize

comm = MPI.COMM_WORLD


class Projection(Valley):
    """The point of {sum x <= 1, x_0 <= 0.05, sum x >= -50} nearest to `target`: 0.5 |x - target|^2."""

    def __init__(self, n=20, comm=comm, dtype=np.float64):
        super().__init__(n, comm, dtype)
        self.target = np.linspace(0.5, -0.2, n)

    def initial(self):
        return np.full(len(self.index), 0.3, dtype=self.dtype)

    def evaluate(self, x, gradient=True):
        self.num_solves += 1
        whole = self.whole(x)
        first = np.eye(self.n)[0]
        rows = np.array([np.ones(self.n), first / 0.05, -np.ones(self.n) / 50])[:, self.index]
        g = np.array([whole.sum() - 1.0, whole[0] / 0.05 - 1.0, -whole.sum() / 50 - 1.0])
        error = whole - self.target
        return Evaluation(
            0.5 * error @ error, error[self.index].astype(self.dtype), g, rows.astype(self.dtype),
            whole[self.index], whole[self.index], 0.5,
        )  # fmt: skip

    def optimum(self):
        """x_0 at its bound; the rest moved by the same amount until the sum is 1."""
        x = self.target.copy()
        x[0] = 0.05
        x[1:] -= (x.sum() - 1.0) / (self.n - 1)
        return x


@pytest.mark.parametrize("on", [comm, MPI.COMM_SELF], ids=["all ranks", "one rank"])
def test_finds_the_optimum_and_the_multipliers(on):
    problem = Projection(comm=on)
    lagrangian = AugmentedLagrangian(LBFGS(), tolerance=1e-5, evaluations=40)
    result = minimize(problem, lagrangian, evaluations=4000)
    assert "constraints are met to" in result.reason
    x = problem.whole(result.last.x)
    np.testing.assert_allclose(x, problem.optimum(), atol=1e-4)
    scale = problem.evaluate(problem.initial()).value
    shift = problem.target[1] - problem.optimum()[1]
    known = np.array([shift, 0.05 * (problem.target[0] - 0.05 - shift), 0.0]) / scale
    np.testing.assert_allclose(lagrangian.multipliers, known, atol=2e-3 * known[0])


@pytest.mark.parametrize("method", [LBFGS, Adam])
def test_a_failed_evaluation_makes_the_method_step_back(method):
    """It was handed on with its constraints, which the method refused."""
    problem = Projection()
    exact, count = problem.evaluate, iter(range(100))

    def evaluate(x, gradient=True):
        if next(count) in (3, 4):
            raise SolverError("no convergence")
        return exact(x, gradient)

    problem.evaluate = evaluate
    result = minimize(problem, AugmentedLagrangian(method()), evaluations=12)
    assert np.isinf(result.history.objective).tolist() == [k in (3, 4) for k in range(12)]
    assert result.last.number == 12


def test_any_unconstrained_method_will_do():
    problem = Projection()
    result = minimize(
        problem, AugmentedLagrangian(Adam(lr=0.01), evaluations=40, penalty=2.0), evaluations=800
    )
    np.testing.assert_allclose(problem.whole(result.x), problem.optimum(), atol=0.02)


def test_single_precision_keeps_its_type():
    problem = Projection(dtype=np.float32)
    lagrangian = AugmentedLagrangian(LBFGS())
    result = minimize(problem, lagrangian, evaluations=400)
    assert result.x.dtype == np.float32
    np.testing.assert_allclose(problem.whole(result.last.x), problem.optimum(), atol=5e-3)


def test_without_constraints_it_is_the_method_itself():
    alone = minimize(Valley(), LBFGS(), evaluations=15)
    wrapped = minimize(Valley(), AugmentedLagrangian(LBFGS(), evaluations=100), evaluations=15)
    assert wrapped.history.objective[:2] == alone.history.objective[:2]  # later ones by a scaled first step
    assert wrapped.objective < 0.2 * alone.history.objective[0]


def test_a_resumed_run_ends_as_one_that_was_not_stopped(tmp_path_factory):
    path = comm.bcast(tmp_path_factory.mktemp("lagrangian") / "run.npz", root=0)
    straight = minimize(Projection(), AugmentedLagrangian(LBFGS(), evaluations=7), evaluations=40)
    for evaluations in (5, 18, 40):
        problem = Projection()
        lagrangian = AugmentedLagrangian(LBFGS(), evaluations=7)
        resumed = minimize(problem, lagrangian, evaluations=evaluations, checkpoint=path, checkpoint_every=3)
    assert resumed.history.objective == straight.history.objective
    np.testing.assert_array_equal(resumed.last.x, straight.last.x)


def test_order_of_a_vector_does_not_matter():
    """Entries dealt to ranks like cards: all ranks hold the same multipliers."""
    lagrangian = AugmentedLagrangian(LBFGS())
    minimize(Projection(), lagrangian, evaluations=50)
    assert len({tuple(each) for each in comm.allgather(lagrangian.multipliers.tolist())}) == 1
    assert len(split(7, comm)) <= 7


@pytest.mark.parametrize("method", [OC(), MMA(), SciPyLBFGSB(), "LBFGS", LBFGS])
def test_methods_that_cannot_change_their_objective_are_refused(method):
    with pytest.raises(
        InputError,
        match=r"method must be (an unconstrained .*LBFGS\(\) or Adam|an object with ask)",
    ):
        AugmentedLagrangian(method)


@pytest.mark.parametrize("name", ["evaluations", "penalty", "tolerance"])
@pytest.mark.parametrize("value", [0, -1.0, np.nan, np.inf])
def test_numbers_out_of_range_are_refused(name, value):
    with pytest.raises(InputError, match=f"{name} must be (positive|a number|a whole number).*got {value}"):
        AugmentedLagrangian(LBFGS(), **{name: value})
