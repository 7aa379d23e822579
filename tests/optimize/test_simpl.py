"""SiMPL: known optima, the volume at every step, a falling objective, failures, refusals."""

from dataclasses import replace

import numpy as np
import pytest
from analytic import Bars
from dolfinx import fem, mesh
from mpi4py import MPI

from dolfinx_neural_topo.density import ConeFilter, Design, DesignDomain, HeavisideProjection
from dolfinx_neural_topo.errors import InputError, SolverError
from dolfinx_neural_topo.optimize import OC, Continuation, SiMPL, minimize
from dolfinx_neural_topo.tasks import mbb_beam
from dolfinx_neural_topo.tasks.build import build

comm = MPI.COMM_WORLD


def largest(values):
    return comm.allreduce(np.max(values, initial=0.0), op=MPI.MAX)


@pytest.mark.parametrize("distributed", [True, False])
def test_bars_reach_their_optimum(distributed):
    bars = Bars(distributed=distributed)
    result = minimize(bars, SiMPL(), evaluations=80)
    assert np.allclose(result.x, bars.optimum()[bars.index], atol=1e-5, rtol=0)
    assert max(result.history.violation) < 1e-12 and abs(result.volume - bars.fraction) < 1e-12


def test_more_ranks_than_cells():
    bars = Bars(n=2)
    assert np.allclose(
        minimize(bars, SiMPL(), evaluations=60).x, bars.optimum()[bars.index], atol=1e-6, rtol=0
    )


class _Cost:
    """sum_i c_i / (rho_i + 0.1), with c from the cell's place; plus a price per density."""

    name = "cost"

    def __init__(self, domain, price=0.0):
        self.comm, self.cost = domain.comm, 0.2 + np.cos(domain.midpoints[:, 0]) ** 2
        self.price = price

    def value(self, rho):
        return self.comm.allreduce(float(np.sum(self.cost / (rho + 0.1) + self.price * rho)))

    def value_and_gradient(self, rho):
        return self.value(rho), self.price - self.cost / (rho + 0.1) ** 2


def design(price=0.0, projection=None, **passive):
    rectangle = mesh.create_rectangle(comm, [(0, 0), (12, 6)], (12, 6), mesh.CellType.quadrilateral)
    domain = DesignDomain(fem.functionspace(rectangle, ("DG", 0)), volume_fraction=0.35, **passive)
    return Design(_Cost(domain, price), domain, filter=ConeFilter(domain, 1.7), projection=projection)


@pytest.mark.parametrize("projection", [None, HeavisideProjection(2.0, 0.5)], ids=["linear", "projected"])
def test_the_end_is_optimal_under_the_volume_after_filter_and_projection(projection):
    problem = design(projection=projection, solid=lambda x: x[0] < 1, void=lambda x: x[0] > 11)
    result = minimize(problem, SiMPL(), evaluations=300)
    assert max(abs(v - 0.35) for v in result.history.volume) < 1e-10
    end = problem.evaluate(result.x)
    ratio = -end.gradient / end.constraint_gradients[0]
    free = (result.x > 0.02) & (result.x < 0.98)
    values = np.concatenate(comm.allgather(ratio[free]))
    assert len(values) >= 20
    price = values.mean()
    assert np.ptp(values) < 0.02 * price
    assert np.all(ratio[result.x > 0.999] > 0.98 * price) and np.all(ratio[result.x < 0.001] < 1.02 * price)


def test_less_material_is_used_where_it_is_better():
    problem = design(price=4.0)
    result = minimize(problem, SiMPL(), evaluations=100)
    assert result.volume < 0.33 and max(result.history.violation) < 1e-12
    gradient = problem.evaluate(result.x).gradient
    assert largest(np.abs(gradient[result.x > 0.01])) < 0.02 and largest(-gradient) < 0.02


def test_a_start_of_zeros_and_ones_is_brought_inside_and_within_the_volume():
    with build(mbb_beam(18, 6, volume_fraction=0.5), comm) as task:
        full = task.design.initial()
        task.design.initial = lambda: np.round(np.linspace(0, 1, len(full)))
        seen = []
        result = minimize(task.design, SiMPL(), evaluations=15, callbacks=[lambda s: seen.append(s.x.copy())])
        accepted = np.minimum.accumulate(result.history.objective)
    assert largest(np.abs(seen[0] - np.round(seen[0]))) < 0.4 and np.min(seen[0], initial=1.0) > 0.0
    assert max(result.history.violation) < 1e-12
    assert accepted[-1] < 0.5 * accepted[0]


def test_a_beam_ends_as_good_as_with_oc():
    with build(mbb_beam(30, 10, volume_fraction=0.5), comm) as task:
        ours, theirs = (minimize(task.design, method(), evaluations=60) for method in (SiMPL, OC))
    assert ours.objective < 1.02 * theirs.objective


def test_a_failed_evaluation_halves_the_step():
    def fail(bars, x):
        raise SolverError("no convergence")

    points = []
    bars = Bars(fail_at={4}, fail=fail)
    minimize(bars, SiMPL(), evaluations=5, callbacks=[lambda step: points.append(step.x.copy())])
    base, failed, after = points[2:5]
    assert 0.3 < largest(np.abs(after - base)) / largest(np.abs(failed - base)) < 0.8


def test_a_change_of_the_objective_is_not_taken_for_a_rise():
    bars = Bars()
    bars.factor = 1.0
    exact = bars.exact

    def scaled(x):
        found = exact(x)
        return replace(found, value=bars.factor * found.value, gradient=bars.factor * found.gradient)

    bars.exact = scaled
    stages = Continuation(bars, [(0, 1.0), (5, 3.0)], attribute="factor")
    points = []
    result = minimize(
        bars, SiMPL(), evaluations=80, continuation=stages, callbacks=[lambda s: points.append(s.x.copy())]
    )
    assert any(np.array_equal(points[5], point) for point in points[:5])  # the iterate again
    assert np.allclose(result.x, bars.optimum()[bars.index], atol=1e-5, rtol=0)


def test_it_says_when_nothing_is_left_to_gain():
    for disturbance in np.random.default_rng(0).uniform(-1e-12, 1e-12, 40):  # rounding decided, in 3 of 100
        bars = Bars(n=2)
        start = bars.initial() * (1 + disturbance)
        bars.initial = lambda start=start: start
        result = minimize(bars, SiMPL(), evaluations=100)
        assert result.evaluations < 100 and "No step lowers the objective" in result.reason


@pytest.mark.parametrize(
    "arguments", [{"decrease": 0}, {"decrease": 1.0}, {"decrease": np.nan}, {"margin": 0}, {"margin": 0.5}]
)
def test_arguments_out_of_range(arguments):
    (name,) = arguments
    with pytest.raises(InputError, match=rf"{name} must (lie in \(0, |be a number)"):
        SiMPL(**arguments)


def test_refuses_unbounded_variables_and_two_constraints():
    with pytest.raises(InputError, match="SiMPL needs variables with finite bounds"):
        minimize(Bars(bounded=False), SiMPL(), evaluations=2)
    bars = Bars()
    once = bars.exact
    bars.exact = lambda x: replace(once(x), constraints=np.tile(once(x).constraints, 2))
    with pytest.raises(InputError, match="exactly one constraint, the volume, got 2; use MMA"):
        minimize(bars, SiMPL(), evaluations=2)
