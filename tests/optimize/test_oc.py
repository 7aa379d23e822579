"""Optimality criteria: the published history, a known optimum, refusals."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from analytic import Bars
from dolfinx import fem, mesh
from mpi4py import MPI

from dolfinx_neural_topo.density import ConeFilter, Design, DesignDomain, HeavisideProjection
from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.optimize import OC, minimize
from dolfinx_neural_topo.tasks import mbb_beam
from dolfinx_neural_topo.tasks.build import build

comm = MPI.COMM_WORLD
REFERENCE = Path(__file__).parents[1] / "data" / "oc_mbb60x20_history.csv"


def test_mbb_beam_retraces_the_published_history():
    _, expected, largest_changes = np.loadtxt(REFERENCE, delimiter=",", skiprows=1)[:100].T
    changes = []
    with build(mbb_beam(60, 20, volume_fraction=0.5), comm) as task:
        before = task.design.initial()

        def change(step):
            nonlocal before
            changes.append(comm.allreduce(np.max(np.abs(step.x - before), initial=0.0), op=MPI.MAX))
            before = step.x.copy()

        result = minimize(task.design, OC(), evaluations=100, callbacks=[change])
    error = np.abs(np.array(result.history.objective) / expected - 1)
    assert error[:10].max() < 1e-9
    assert error.max() < 1e-5
    assert np.allclose(changes[1:], largest_changes[:99], atol=1e-5, rtol=0)
    assert abs(result.volume - 0.5) < 1e-10 and max(result.history.violation) < 1e-10


@pytest.mark.parametrize("distributed", [True, False])
def test_bars_reach_their_optimum(distributed):
    bars = Bars(distributed=distributed)
    result = minimize(bars, OC(), evaluations=30)
    assert np.allclose(result.last.x, bars.optimum()[bars.index], atol=1e-12, rtol=0)
    assert abs(result.volume - bars.fraction) < 1e-14


def test_more_ranks_than_cells():
    bars = Bars(n=2)
    result = minimize(bars, OC(), evaluations=30)
    assert np.allclose(result.last.x, bars.optimum()[bars.index], atol=1e-12, rtol=0)


def test_the_move_limit_holds_and_an_excess_of_volume_is_worked_off():
    bars = Bars(fraction=0.4)
    bars.initial = lambda: np.full(len(bars.index), 0.9)
    points = []
    result = minimize(
        bars, OC(move=0.1), evaluations=12, callbacks=[lambda step: points.append(step.x.copy())]
    )
    steps = np.abs(np.diff(points, axis=0))
    assert np.all(steps <= 0.1 + 1e-14) and comm.allreduce(steps.max(initial=0), op=MPI.MAX) > 0.099
    assert result.history.violation[0] > 1 and abs(result.last.volume - 0.4) < 1e-14
    assert result.history.objective[0] < result.best.objective  # the start was better, but not allowed


def test_a_projected_volume_is_met_exactly():
    rectangle = mesh.create_rectangle(comm, [(0, 0), (12, 4)], (12, 4), mesh.CellType.quadrilateral)
    rho = fem.Function(fem.functionspace(rectangle, ("DG", 0)))
    domain = DesignDomain(rho, volume_fraction=0.45)
    design = Design(
        _Cost(domain), domain, filter=ConeFilter(domain, 1.5), projection=HeavisideProjection(4.0, 0.5)
    )
    result = minimize(design, OC(), evaluations=8)
    assert max(abs(v - 0.45) for v in result.history.volume) < 1e-10
    assert result.history.objective[-1] < result.history.objective[0]


class _Cost:
    """sum_i c_i / (rho_i + 0.1), with c from the cell's place."""

    name = "cost"

    def __init__(self, domain):
        self.comm, self.cost = domain.comm, 1.0 + np.cos(domain.midpoints[:, 0]) ** 2

    def value(self, rho):
        return self.comm.allreduce(float(np.sum(self.cost / (rho + 0.1))))

    def value_and_gradient(self, rho):
        return self.value(rho), -self.cost / (rho + 0.1) ** 2


@pytest.mark.parametrize("arguments", [{"move": 0}, {"move": 1.5}, {"damping": 0}, {"damping": -1}])
def test_arguments_out_of_range(arguments):
    (name,) = arguments
    with pytest.raises(InputError, match=rf"{name} must lie in \(0, 1\]"):
        OC(**arguments)


def test_refuses_unbounded_variables_and_two_constraints():
    with pytest.raises(InputError, match="needs bounded variables"):
        minimize(Bars(bounded=False), OC(), evaluations=2)
    bars = Bars()
    once = bars.exact

    def twice(x):
        found = once(x)
        return replace(found, constraints=np.tile(found.constraints, 2))

    bars.exact = twice
    with pytest.raises(InputError, match="exactly one constraint, the volume, got 2; use MMA"):
        minimize(bars, OC(), evaluations=2)
