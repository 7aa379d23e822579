"""The loop: budgets, reasons, best design, failures, continuation, callbacks, progress, library threads."""

import io
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from analytic import Bars, Valley
from mpi4py import MPI

from dolfinx_neural_topo.errors import InputError, SolverError
from dolfinx_neural_topo.optimize import (
    GCMMA,
    LBFGS,
    MMA,
    OC,
    Continuation,
    NLoptMMA,
    RelativeProgress,
    SciPyLBFGSB,
    minimize,
)
from dolfinx_neural_topo.optimize.method import Method
from dolfinx_neural_topo.optimize.progress import Progress
from dolfinx_neural_topo.optimize.result import Candidate, History
from dolfinx_neural_topo.optimize.run import MAX_FAILURES

comm = MPI.COMM_WORLD


class Listed(Method):
    """Asks for constant densities from a list."""

    name = "listed"

    def __init__(self, levels):
        self.levels = levels
        self.changes = []
        self.closed = 0

    def start(self, variables):
        self.shape = variables.initial().shape
        self.told = []

    def ask(self):
        return np.full(self.shape, self.levels[len(self.told)])

    def tell(self, x, evaluation):
        self.told.append(evaluation)
        if len(self.told) == len(self.levels):
            self.finished = "The list is at its end."

    def objective_changed(self):
        self.changes.append(len(self.told))

    def close(self):
        self.closed += 1


def test_result_of_a_list():
    bars = Bars(fraction=0.4)
    method = Listed([0.3, 0.5, 0.4, 0.2])
    result = minimize(bars, method, evaluations=10)
    assert result.reason == "The list is at its end." and not result.interrupted
    assert result.evaluations == result.solves == 4 and method.closed == 1
    assert result.best.number == 3  # 0.5 is lower, but holds too much
    assert result.objective == result.history.objective[2] > result.history.objective[1]
    assert abs(result.volume - 0.4) < 1e-14 and abs(result.last.volume - 0.2) < 1e-14
    assert np.array_equal(result.x, np.full(len(bars.index), 0.4))
    assert np.array_equal(result.rho, result.x) and np.array_equal(result.rho_design, result.x)
    assert np.allclose(result.history.violation, [0, 0.25, 0, 0], atol=1e-14)
    minimum = result.history.running_minimum()
    assert minimum.tolist() == [*[result.history.objective[0]] * 2, *[result.history.objective[2]] * 2]
    assert set(result.seconds) == {"evaluate", "method", "callbacks", "checkpoint", "total"}
    assert result.seconds["total"] == pytest.approx(sum(v for k, v in result.seconds.items() if k != "total"))
    assert "listed: objective" in str(result) and "evaluation 3 of 4" in str(result)


def test_where_nothing_is_feasible_the_least_violating_design_is_best():
    result = minimize(Bars(fraction=0.4), Listed([0.9, 0.6, 0.8]), evaluations=3)
    assert result.reason.endswith("the best one exceeds constraint 0 by 0.5 of its bound.")
    assert result.best.number == 2 and result.history.running_minimum().tolist() == [np.inf] * 3


def test_candidates_compare_by_stage_then_violation_then_objective():
    def candidate(stage, objective, level):
        return Candidate(1, stage, objective, 0.5, np.array([level]), *[np.zeros(1)] * 3)

    assert candidate(0, 5.0, 0.0).better_than(None)
    assert candidate(1, 9.0, 0.1).better_than(candidate(0, 1.0, 0.0))
    assert candidate(0, 9.0, 1e-7).better_than(candidate(0, 1.0, 1e-3))
    assert candidate(0, 1.0, 1e-7).better_than(candidate(0, 2.0, -0.5))
    assert not candidate(0, 1.0, 0.0).better_than(candidate(0, 1.0, 0.0))


def test_budget_of_evaluations_and_of_seconds():
    result = minimize(Bars(), OC(), evaluations=7)
    assert result.evaluations == 7 and result.reason == "The budget of 7 evaluations is used up."
    result = minimize(Bars(), OC(), evaluations=10**6, seconds=0.3, callbacks=[lambda step: time.sleep(0.02)])
    assert 2 <= result.evaluations <= 15 and result.reason == "The budget of 0.3 seconds is used up."
    assert comm.allreduce(result.seconds["total"], op=MPI.MAX) >= 0.3
    assert 0 < result.history.seconds[0] < result.history.seconds[-1] <= result.seconds["total"]


@pytest.mark.parametrize("name", ["evaluations", "seconds", "checkpoint_every"])
def test_budgets_must_be_positive(name):
    with pytest.raises(InputError, match=f"{name} must be positive, got 0"):
        minimize(Bars(), OC(), **{name: 0})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"evaluations": np.inf}, "evaluations must be a whole number, got inf"),
        ({"evaluations": 2.5}, "evaluations must be a whole number, got 2.5"),
        ({"checkpoint_every": "3"}, "checkpoint_every must be a whole number, got '3'"),
        ({"seconds": np.nan}, "seconds must be a number or None, got nan"),
        ({"callbacks": print}, r"way out: callbacks=\[\.\.\.\]"),
        ({"callbacks": [3]}, r"callbacks\[0\] must be a function, got 3"),
        (
            {"method": OC},
            r"got the class OC; way out: an object, such as OC\(",
        ),
    ],
)
def test_nonsense_on_one_rank_is_refused_on_all(arguments, words):
    given = {"method": OC(), "evaluations": 2, **(arguments if comm.rank == comm.size - 1 else {})}
    with pytest.raises(InputError, match=words):
        minimize(Bars(), **given)


def test_stops_when_progress_ends():
    result = minimize(Bars(), OC(), evaluations=100, stop=RelativeProgress(1e-4, 5))
    assert result.reason == "The objective gained less than 0.0001 of itself in 5 evaluations."
    assert 6 <= result.evaluations < 30
    minimum = result.history.running_minimum()
    assert minimum[-6] - minimum[-1] < 1e-4 * minimum[-6] and minimum[-7] - minimum[-2] >= 1e-4 * minimum[-7]


def test_progress_is_judged_within_a_stage_and_among_feasible_designs():
    rule = RelativeProgress(0.1, 2)
    values = [9.0, 5.0, 5.0, 5.0]
    history = History(values, [0.5] * 4, [0.0] * 4, [0.0] * 4, [0] * 4)
    assert rule(history) is not None
    history.stage = [0, 0, 1, 1]
    assert rule(history) is None
    history.stage, history.violation = [0] * 4, [1.0, 1.0, 1.0, 0.0]
    assert rule(history) is None
    assert rule(History()) is None


@pytest.mark.parametrize(
    ("arguments", "words"), [((0.0, 5), "tolerance must be positive"), ((0.1, 0), "window must be")]
)
def test_rules_refuse_nonsense(arguments, words):
    with pytest.raises(InputError, match=words):
        RelativeProgress(*arguments)


def test_callbacks_see_each_step_and_may_end_the_run():
    seen = []

    def look(step):
        seen.append(
            (step.number, step.evaluation.value, step.best.objective, len(step.history), step.method.name)
        )
        return "Enough." if step.number == 4 and comm.rank == comm.size - 1 else None

    result = minimize(Bars(), OC(), evaluations=50, callbacks=[look])
    assert result.reason == "Enough." and result.evaluations == 4
    assert seen == [
        (k, result.history.objective[k - 1], min(result.history.objective[:k]), k, "OC") for k in range(1, 5)
    ]


def test_steps_show_the_point_that_was_evaluated():
    """LBFGS moves x in place."""
    valley = Valley()
    values = []
    result = minimize(
        valley, LBFGS(), evaluations=9, callbacks=[lambda s: values.append(valley.evaluate(s.x).value)]
    )
    assert values == result.history.objective
    assert valley.evaluate(result.x).value == result.objective


def _nan_value(bars, x):
    return replace(bars.exact(x), value=float("nan"))


def _inf_constraint(bars, x):
    return replace(bars.exact(x), constraints=np.array([np.inf]))


def _nan_gradient_on_one_rank(bars, x):
    found = bars.exact(x)
    if bars.comm.rank == bars.comm.size - 1:
        return replace(found, gradient=np.full(len(x), np.nan))
    return found


def _no_solve(bars, x):
    raise SolverError("the solver gave up")


FAILURES = [_nan_value, _inf_constraint, _nan_gradient_on_one_rank, _no_solve]


@pytest.mark.parametrize("fail", FAILURES)
@pytest.mark.parametrize("method", [OC, MMA, GCMMA, NLoptMMA])
def test_failures_are_survived(method, fail):
    bars = Bars(n=24, fail_at=(2, 5, 6), fail=fail)
    result = minimize(bars, method(), evaluations=40)
    assert result.evaluations == 40
    failed = ~np.isfinite(result.history.objective)
    assert np.flatnonzero(failed).tolist() == [1, 4, 5]
    assert np.isnan(np.array(result.history.volume)[failed]).all()
    optimum = bars.optimum()
    assert result.objective < np.sum(bars.cost / optimum) * (1 + 1e-3)


@pytest.mark.parametrize("method", [OC, MMA, GCMMA, NLoptMMA])
def test_repeated_failure_ends_the_run_with_the_best_design(method):
    result = minimize(Bars(n=24, fail_at=range(4, 99), fail=_no_solve), method(), evaluations=50)
    assert result.evaluations == 3 + MAX_FAILURES
    assert result.reason.startswith(f"The last {MAX_FAILURES} evaluations failed: the solver gave up")
    assert result.objective == min(result.history.objective) and np.all(np.isfinite(result.rho))


def test_a_method_that_finds_no_next_design_ends_the_run_with_the_best_one():
    class Lost(Listed):
        def ask(self):
            if len(self.told) + 1 == len(self.levels):
                raise SolverError("nothing fits")
            return super().ask()

    method = Lost([0.4, 0.3, 0.2])
    result = minimize(Bars(fraction=0.4), method, evaluations=3)
    assert result.evaluations == 2 and result.best.number == 1 and method.closed == 1
    assert result.reason == "listed found no next design: nothing fits"
    with pytest.raises(SolverError, match="nothing fits"):
        minimize(Bars(fraction=0.4), Lost([0.4]), evaluations=3)


def test_steps_shrink_towards_the_last_good_point():
    points = []
    bars = Bars(n=24, fail_at=(2, 3, 4), fail=_nan_value)
    minimize(bars, OC(), evaluations=4, callbacks=[lambda step: points.append(step.x.copy())])
    steps = [comm.allreduce(np.max(np.abs(x - points[0]), initial=0), op=MPI.MAX) for x in points[1:]]
    assert np.allclose(steps, [0.2, 0.1, 0.05], atol=1e-12)


def test_a_best_design_that_cannot_be_solved_exactly_is_not_lost(monkeypatch):
    undisturbed = minimize(Bars(n=24), OC(), evaluations=4)
    bars = Bars(n=24, fail_at=(5,), fail=_no_solve)
    monkeypatch.setattr(bars, "settle", lambda: True)
    result = minimize(bars, OC(), evaluations=4)
    assert result.objective == undisturbed.objective and np.array_equal(result.x, undisturbed.x)
    assert "The best design is that of a rough solve: the solver gave up" in result.reason


@pytest.mark.parametrize("fail", FAILURES)
def test_a_start_that_fails_is_an_error_on_all_ranks(fail):
    method = Listed([0.4])
    with pytest.raises(SolverError, match="The start cannot be evaluated"):
        minimize(Bars(fail_at=(1,), fail=fail), method)
    assert method.closed == 1


@pytest.mark.parametrize(
    ("error", "words"),
    [(InputError, "logits must be finite"), (ZeroDivisionError, "division"), (MemoryError, "too much")],
)
def test_an_evaluation_may_fail_in_any_way_on_any_rank(error, words):
    def fail(bars, x):
        found = bars.exact(x)
        if comm.rank == comm.size - 1:
            raise error(words)
        return found

    undisturbed = minimize(Bars(n=24), MMA(), evaluations=30)
    result = minimize(Bars(n=24, fail_at=(5, 9), fail=fail), MMA(), evaluations=32)
    assert result.evaluations == 32 and np.isinf(result.history.objective).sum() == 2
    assert result.objective < undisturbed.objective * (1 + 1e-3)
    with pytest.raises(error, match=words):
        minimize(Bars(n=24, fail_at=(1,), fail=fail), MMA(), evaluations=3)


def test_a_callback_that_raises_on_one_rank_ends_the_run_on_all_with_a_checkpoint(tmp_path):
    path = comm.bcast(tmp_path) / "run.npz"

    def stumble(step):
        if step.number == 3 and comm.rank == comm.size - 1:
            raise KeyError("callback")

    with pytest.raises(KeyError, match="callback"):
        minimize(Bars(n=24), OC(), evaluations=9, checkpoint=path, callbacks=[stumble])
    assert path.exists()
    result = minimize(Bars(n=24), OC(), evaluations=9, checkpoint=path)
    undisturbed = minimize(Bars(n=24), OC(), evaluations=9)
    assert result.history.objective == undisturbed.history.objective


def test_other_errors_pass_and_close_the_method():
    method = Listed([0.4])

    def wrong(bars, x):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        minimize(Bars(fail_at=(1,), fail=wrong), method)
    assert method.closed == 1


class Scaled(Bars):
    """The objective times a factor that a continuation changes."""

    factor = 1.0

    def exact(self, x):
        found = super().exact(x)
        return replace(found, value=self.factor * found.value, gradient=self.factor * found.gradient)


def test_continuation_sets_values_tells_the_method_and_restarts_the_best():
    bars, method = Scaled(fraction=0.4), Listed([0.40, 0.39, 0.38, 0.37, 0.36, 0.35])
    method.lr = 0.0
    rates = []
    result = minimize(
        bars,
        method,
        continuation=[
            Continuation(bars, [(0, 1.0), (2, 10.0), (4, 100.0)], attribute="factor"),
            Continuation(method, [(0, 0.1), (3, 0.01)], attribute="lr", changes_objective=False),
        ],
        callbacks=[lambda step: rates.append(method.lr)],
        stop=lambda history: "Stopped." if len(history) >= 3 else None,
    )
    assert result.reason == "Stopped." and result.evaluations == 5  # not before the last stages are seen
    assert result.history.stage == [0, 0, 1, 1, 2] and method.changes == [2, 4]
    assert rates == [0.1, 0.1, 0.1, 0.01, 0.01]
    assert result.history.objective[2] > 9 * result.history.objective[1]
    assert result.best.number == 5 and result.best.stage == 2


def test_continuation_by_library_methods_starts_again_from_the_best():
    bars = Scaled(n=20)
    stages = Continuation(bars, [(0, 1.0), (15, 3.0)], attribute="factor")
    points = []
    result = minimize(
        bars,
        NLoptMMA(),
        evaluations=40,
        continuation=stages,
        callbacks=[lambda step: points.append(step.x.copy())],
    )
    best = int(np.argmin(result.history.objective[:15]))
    assert np.array_equal(points[15], points[best])
    assert result.objective < 3 * np.sum(bars.cost / bars.optimum()) * (1 + 1e-3)


@pytest.mark.parametrize("method", [OC, MMA, GCMMA])
def test_continuation_leads_to_the_same_optimum(method):
    bars = Scaled(n=20)
    stages = Continuation(bars, [(0, 1.0), (5, 0.2), (10, 3.0)], attribute="factor")
    result = minimize(bars, method(), evaluations=50, continuation=stages)
    assert np.allclose(result.x, bars.optimum()[bars.index], atol=1e-4)


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ([], "stages must begin at evaluation 0"),
        ([(1, 2.0)], "stages must begin at evaluation 0"),
        ([(0, 1.0), (5, 2.0), (5, 3.0)], "increasing evaluation numbers"),
    ],
)
def test_continuation_refuses_wrong_stages(stages, words):
    with pytest.raises(InputError, match=words):
        Continuation(Scaled(), stages, attribute="factor")


def test_continuation_refuses_a_missing_attribute():
    with pytest.raises(InputError, match="target has no attribute 'value': Scaled; name it by attribute="):
        Continuation(Scaled(), [(0, 1.0)])


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_line():
    stream = Terminal()
    line = Progress(comm, 200, stream=stream)
    line.update(12, 123.456, 120.0, 0.5, 0.125, 1.5)
    line.finish("Done.")
    text = "evaluation 12/200  objective 123.456, best 120  volume 0.5000  0.125 s each  0:24 left"
    expected = f"\r\033[K{text}\nDone.\n"
    assert stream.getvalue() == (expected if comm.rank == 0 else "")


def test_progress_with_a_time_budget_and_hours():
    stream = io.StringIO()
    Progress(comm, 10**6, seconds=7200.0, show=True, stream=stream).update(1, 1.0, 1.0, 0.5, 2.0, 10.0)
    assert stream.getvalue().endswith("1:59:50 left\n" if comm.rank == 0 else "")


@pytest.mark.parametrize(
    ("stream", "show", "lines"), [(io.StringIO, None, 0), (Terminal, False, 0), (io.StringIO, True, 4)]
)
def test_progress_is_quiet_where_no_terminal_is(stream, show, lines, monkeypatch):
    stream = stream()
    monkeypatch.setattr("sys.stderr", stream)
    minimize(Bars(), OC(), evaluations=3, progress=show)
    monkeypatch.undo()
    assert stream.getvalue().count("\n") == (lines if comm.rank == 0 else 0)


def test_a_log_gets_a_line_a_minute(monkeypatch):
    stream, now = io.StringIO(), 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    line = Progress(comm, 200, stream=stream)
    for k in range(1, 13):
        now = 11.0 * k  # a line after 66 and after 132 seconds
        line.update(k, 1.0, 1.0, 0.5, 11.0, now)
    line.finish("Done.")
    starts = [each[:17] for each in stream.getvalue().splitlines()]
    expected = ["evaluation 6/200 ", "evaluation 12/200", "Done."]
    assert starts == (expected if comm.rank == 0 else [])


@pytest.mark.parametrize("method", [NLoptMMA, SciPyLBFGSB])
def test_no_thread_outlives_a_run(method):
    variables = Bars() if method is NLoptMMA else Valley()
    before = threading.active_count()
    for _ in range(3):
        minimize(variables, method(), evaluations=5)
    assert threading.active_count() == before


def test_an_error_in_a_library_reaches_the_caller():
    with pytest.raises(InputError, match="no constraints, got 1"):
        minimize(Bars(), SciPyLBFGSB(), evaluations=5)
    assert not any(thread.name == SciPyLBFGSB.name for thread in threading.enumerate())


def test_nlopt_refuses_a_negative_tolerance_and_names_the_missing_package(monkeypatch):
    with pytest.raises(InputError, match="tolerance must not be negative, got -1"):
        NLoptMMA(tolerance=-1)
    monkeypatch.setitem(__import__("sys").modules, "nlopt", None)
    with pytest.raises(InputError, match="NLoptMMA needs the package nlopt: pip install nlopt"):
        minimize(Bars(), NLoptMMA())


def test_nlopt_without_constraints_or_bounds():
    valley = Valley(n=2)
    result = minimize(valley, NLoptMMA(), evaluations=200)
    assert result.objective < 0.05 * result.history.objective[0]


def test_a_method_object_can_be_used_again():
    for method, variables in (
        (OC(), Bars),
        (MMA(), Bars),
        (GCMMA(), Bars),
        (NLoptMMA(), Bars),
        (LBFGS(), Valley),
    ):
        first, second = (minimize(variables(), method, evaluations=12) for _ in range(2))
        assert first.history.objective == second.history.objective
