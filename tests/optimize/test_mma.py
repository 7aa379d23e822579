"""MMA and GCMMA: Svanberg's test problems, known optima, NLopt, several constraints, any number of ranks."""

from dataclasses import replace

import numpy as np
import pytest
import ufl
from analytic import Bars, split
from dolfinx import fem, mesh
from mpi4py import MPI

from dolfinx_neural_topo.density import ConeFilter, Design, DesignDomain
from dolfinx_neural_topo.density.design import Evaluation
from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.optimize import GCMMA, MMA, NLoptMMA, minimize, mma, mma_subproblem
from dolfinx_neural_topo.physics import (
    Compliance,
    ReducedFunctional,
    StateProblem,
    elasticity,
    nodal_load,
    simp,
)
from dolfinx_neural_topo.tasks import mbb_beam
from dolfinx_neural_topo.tasks.build import build

comm = MPI.COMM_WORLD
METHODS = [MMA, GCMMA]


class Whole:
    """Variables from a function of the whole vector: value, gradient, constraints g <= 0, their gradients."""

    def __init__(self, function, start, lower, upper, comm=MPI.COMM_WORLD):
        self.function, self.start, self.comm = function, np.array(start, dtype=float), comm
        self.index = split(len(start), comm)
        self.lower, self.upper = (
            np.full(len(start), bound, dtype=float)[self.index] for bound in (lower, upper)
        )

    def initial(self):
        return self.start[self.index]

    def whole(self, x):
        result = np.zeros(len(self.start))
        result[self.index] = x
        return self.comm.allreduce(result)

    def evaluate(self, x, gradient=True):
        value, slope, levels, slopes = self.function(self.whole(x))
        slopes = np.array(slopes)[:, self.index]
        return Evaluation(float(value), slope[self.index], np.array(levels), slopes, x, x, float("nan"))


def cantilever(x):
    """Weight of five hollow boxes, tip deflection at most 1. Svanberg 1987, section 5.1."""
    stiffness = np.array([61.0, 37.0, 19.0, 7.0, 1.0])
    return 0.0624 * x.sum(), np.full(5, 0.0624), [np.sum(stiffness / x**3) - 1], [-3 * stiffness / x**4]


def two_bar_truss(x):
    """Weight by cross-section a and half-distance b of the supports, two stresses. Svanberg 1987, 5.2."""
    a, b = x
    root = np.sqrt(1 + b**2)
    levels, slopes = [], []
    for sign in (1, -1):
        both = 8 / a + sign / (a * b)
        levels.append(0.124 * root * both - 1)
        slopes.append([-0.124 * root * both / a, 0.124 * (b / root * both - sign * root / (a * b**2))])
    return a * root, np.array([root, a * b / root]), levels, slopes


@pytest.mark.parametrize(
    "method", [MMA(), MMA(move=1.0, growth=1.2), GCMMA()], ids=["recipe", "svanberg", "gcmma"]
)
def test_the_cantilever_of_1987(method):
    beam = Whole(cantilever, np.full(5, 5.0), 1.0, 10.0)
    result = minimize(beam, method, evaluations=40)
    assert abs(result.history.objective[0] - 1.56) < 1e-12
    assert abs(result.objective - 1.340) < 5e-4
    assert np.allclose(beam.whole(result.x), [6.016, 5.309, 4.494, 3.502, 2.153], atol=2e-3)
    assert result.best.violation <= 1e-6


@pytest.mark.parametrize("method", METHODS)
def test_the_two_bar_truss_of_1987(method):
    truss = Whole(two_bar_truss, [1.5, 0.5], [0.2, 0.1], [4.0, 1.6])
    result = minimize(truss, method(), evaluations=40)
    assert abs(result.objective - 1.51) < 5e-3
    assert np.allclose(truss.whole(result.x), [1.41, 0.38], atol=5e-3)
    assert result.best.violation <= 1e-6


class Quadratics:
    """Minimize x'Sx subject to x'Px >= n/2, x'Qx >= n/2, |x_i| <= 1: not convex. Svanberg 2002, 7."""

    def __init__(self, n):
        i, j = np.mgrid[0:n, 0:n]
        angle = (i + j) / (2 * n - 2)
        weight = (1 + np.abs(i - j)) * np.log(n)
        self.s = (2 + np.sin(4 * np.pi * angle)) / weight
        self.p = (1 + 2 * angle) / weight
        self.q = (3 - 2 * angle) / weight
        self.n = n

    def __call__(self, x):
        half = self.n / 2
        levels = [1 - x @ self.p @ x / half, 1 - x @ self.q @ x / half]
        return x @ self.s @ x, 2 * self.s @ x, levels, [-2 * self.p @ x / half, -2 * self.q @ x / half]


@pytest.mark.parametrize(
    ("method", "evaluations"), [(MMA(growth=1.2), 150), (GCMMA(), 400)], ids=["mma", "gcmma"]
)
def test_svanbergs_quadratics_of_2002(method, evaluations):
    """From one half the way leads to 6.6054748590, where the first-order conditions hold."""
    function = Quadratics(30)
    variables = Whole(function, np.full(30, 0.5), -1.0, 1.0, MPI.COMM_SELF)
    result = minimize(variables, method, evaluations=evaluations)
    assert result.best.violation <= 1e-6
    assert abs(result.objective / 6.6054748590 - 1) < 1e-6
    x = variables.whole(result.x)
    _, slope, _, slopes = function(x)
    at_bound = np.abs(x) > 1 - 1e-6
    multipliers = np.linalg.lstsq(np.array(slopes).T[~at_bound], -slope[~at_bound])[0]
    rest = slope + multipliers @ slopes
    assert multipliers.min() > 0.1 and np.abs(rest[~at_bound]).max() < 1e-3  # the slope itself is up to 5
    assert 0 < at_bound.sum() < 15 and (np.sign(x) * rest)[at_bound].max() < 0


def test_gcmma_never_rises_and_stays_feasible():
    accepted = []
    method = GCMMA()
    take = method._accept
    method._accept = lambda x, found: (
        accepted.append((found.value, found.constraints.max())),
        take(x, found),
    )
    minimize(Whole(Quadratics(30), np.full(30, 0.9), -1.0, 1.0), method, evaluations=80)
    values, levels = np.array(accepted).T
    assert 10 < len(values) < 80  # some points were refused
    assert np.all(np.diff(values) <= 1e-9 * values[:-1]) and levels.max() <= 1e-9


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("distributed", [True, False])
def test_bars_reach_their_optimum(method, distributed):
    bars = Bars(n=60, distributed=distributed)
    result = minimize(bars, method(), evaluations=60)
    assert np.allclose(result.x, bars.optimum()[bars.index], atol=1e-6, rtol=0)
    assert max(result.history.violation) <= 1e-9


def test_agrees_with_nlopt_on_the_mbb_beam():
    """With penalty 1 the problem is convex: one optimum for all."""
    with build(mbb_beam(30, 10, volume_fraction=0.5), MPI.COMM_SELF, penalty=1.0) as task:
        ours, theirs = (minimize(task.design, method(), evaluations=100) for method in (MMA, NLoptMMA))
    assert abs(ours.objective / theirs.objective - 1) < 2e-4
    assert max(ours.history.violation) <= 1e-8 and ours.volume <= 0.5 + 1e-8


@pytest.mark.parametrize(
    ("method", "tolerance"),
    [(MMA, 1e-9), (GCMMA, 1e-9), (NLoptMMA, 1e-6)],  # NLopt's dual solver makes 1e-8 of a rounding error
)
def test_a_beam_on_all_ranks_equals_one_on_each(method, tolerance):
    histories = []
    for c in (MPI.COMM_SELF, comm):
        with build(mbb_beam(18, 6, volume_fraction=0.5), c) as task:
            histories.append(minimize(task.design, method(), evaluations=12).history.objective)
    assert np.allclose(*histories, rtol=tolerance, atol=0)


def test_second_compliance_and_displacement_as_constraints():
    """A cantilever for a load at the tip, while a load at mid-span is limited in work and in deflection."""
    rectangle = mesh.create_rectangle(comm, [(0, 0), (16, 6)], (16, 6), mesh.CellType.quadrilateral)
    rho = fem.Function(fem.functionspace(rectangle, ("DG", 0)))
    V = fem.functionspace(rectangle, ("Lagrange", 1, (2,)))
    clamped = fem.locate_dofs_geometrical(V, lambda x: np.isclose(x[0], 0))
    a = elasticity.bilinear_form(V, simp(rho), 0.3, model="plane_stress")
    loads = [nodal_load(V, [place], [(0.0, -1.0)]) for place in ((16, 0), (8, 6))]
    bcs = [fem.dirichletbc(np.zeros(2), clamped, V)]
    with StateProblem(
        (a, [None, None]), rho, bcs=bcs, nodal_loads=loads, petsc_options_prefix="two_"
    ) as state:
        first, second = (Compliance(state, weights=weights) for weights in ((1, 0), (0, 1)))
        deflection = ReducedFunctional(-state.states[1][1] * ufl.dx, state, name="mean deflection")
        domain = DesignDomain(rho, volume_fraction=0.5)
        cone = ConeFilter(domain, 1.5)
        free = minimize(Design(first, domain, filter=cone), MMA(), evaluations=30)
        bounds = 0.9 * second.value(free.rho), 0.8 * deflection.value(free.rho)
        design = Design(
            first, domain, filter=cone, constraints=[(second, bounds[0]), (deflection, bounds[1])]
        )
        result = minimize(design, MMA(), evaluations=50)
        reached = second.value(result.rho) / bounds[0], deflection.value(result.rho) / bounds[1]
    assert result.best.constraints.shape == (3,) and result.best.violation <= 1e-6
    assert max(reached) <= 1 + 1e-6 and max(reached) > 1 - 1e-3  # one of them is active
    assert result.volume <= 0.5 + 1e-8 and result.objective > free.objective * 1.001


@pytest.mark.parametrize("method", METHODS)
def test_serial_equals_parallel(method):
    function, start = Quadratics(20), np.linspace(0.4, 0.9, 20)
    serial, parallel = (
        minimize(Whole(function, start, -1.0, 1.0, c), method(), evaluations=25)
        for c in (MPI.COMM_SELF, comm)
    )
    assert np.allclose(serial.history.objective, parallel.history.objective, rtol=1e-9, atol=0)


def test_more_ranks_than_cells():
    bars = Bars(n=2)
    result = minimize(bars, MMA(), evaluations=40)
    assert np.allclose(result.x, bars.optimum()[bars.index], atol=1e-6, rtol=0)


def test_only_numbers_of_the_size_of_the_constraints_cross_ranks(monkeypatch):
    sizes, total = [], mma.total

    def recording(comm, values):
        sizes.append(np.size(values))
        return total(comm, values)

    monkeypatch.setattr(mma, "total", recording)
    monkeypatch.setattr(mma_subproblem, "total", recording)
    quadratics = Whole(Quadratics(40), np.full(40, 0.5), -1.0, 1.0, MPI.COMM_SELF)
    minimize(quadratics, MMA(), evaluations=20)
    assert len(sizes) > 60 and max(sizes) == 1 + 2 + 2**2


def test_constraints_that_cannot_be_met_are_violated_least():
    bars = Bars(n=30, fraction=0.005)  # below the lower bound of every bar
    bars.initial = lambda: np.full(len(bars.index), 0.5)
    result = minimize(bars, MMA(), evaluations=40)
    assert np.allclose(result.last.x, bars.lower, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_a_bound_in_a_wrong_unit_is_violated_least(method):
    with build(mbb_beam(24, 12, volume_fraction=0.4), comm) as task:
        compliance, domain = task.design.functional, task.design.domain
        stiffest = compliance.value(np.ones(domain.num_owned_cells))
        constraints = [(compliance, 1e-7 * stiffest)]
        design = Design(compliance, domain, filter=ConeFilter(domain, 2.0), constraints=constraints)
        result = minimize(design, method(), evaluations=20)
    assert result.evaluations == 20
    assert result.reason.endswith("exceeds constraint 1 (compliance) by 1e+07 of its bound.")
    assert result.objective == pytest.approx(stiffest, rel=1e-3)


def test_redundant_and_inactive_constraints():
    bars = Bars(n=30)
    once = bars.exact

    def thrice(x):
        found = once(x)
        slope = found.constraint_gradients[0]
        levels = found.constraints[0] - np.array([0.0, 0.0, 5.0])
        return replace(found, constraints=levels, constraint_gradients=np.array([slope, slope, slope]))

    bars.exact = thrice
    result = minimize(bars, MMA(), evaluations=60)
    assert np.allclose(result.x, bars.optimum()[bars.index], atol=1e-6, rtol=0)


def test_a_failure_halves_the_step():
    bars = Bars(n=30, fail_at=(2, 3), fail=lambda bars, x: _nan(bars.exact(x)))
    points = []
    minimize(bars, MMA(), evaluations=4, callbacks=[lambda step: points.append(step.x.copy())])
    steps = [comm.allreduce(np.max(np.abs(x - points[0]), initial=0), op=MPI.MAX) for x in points[1:]]
    assert steps[1] <= steps[0] / 1.9 and steps[2] <= steps[1] / 1.9


def _nan(found):
    return replace(found, value=float("nan"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"move": 0}, r"move must lie in \(0, 1\], got 0"),
        ({"growth": 0.9}, "growth must be at least 1 and finite, got 0.9"),
        ({"shrink": 1.1}, r"shrink must lie in \(0, 1\], got 1.1"),
        ({"initial": 0}, r"initial must lie in \(0, 1\], got 0"),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_arguments_out_of_range(method, arguments, words):
    with pytest.raises(InputError, match=words):
        method(**arguments)


def test_gcmma_refuses_no_inner_iterations():
    with pytest.raises(InputError, match="inner must be at least 1, got 0"):
        GCMMA(inner=0)


@pytest.mark.parametrize("method", METHODS)
def test_refuses_unbounded_variables(method):
    with pytest.raises(InputError, match="finite bounds"):
        minimize(Bars(bounded=False), method(), evaluations=2)


class Flat(Bars):
    """Nothing to gain anywhere: NLopt asks for its start for ever."""

    def exact(self, x):
        return replace(super().exact(x), value=1.0, gradient=np.zeros(len(x)))


def test_nlopt_that_stands_still_ends_the_run():
    result = minimize(Flat(), NLoptMMA(), evaluations=400)
    assert "same point" in result.reason
    assert result.evaluations < 400
    assert result.objective == 1.0
