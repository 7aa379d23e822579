import dataclasses
import errno
import os
from functools import partial

import dolfinx
import numpy as np
import pytest
from dolfinx import fem
from mpi4py import MPI

from dolfinx_neural_topo.density import ConeFilter, Design, DesignDomain
from dolfinx_neural_topo.density.cut import cut
from dolfinx_neural_topo.errors import CheckpointError, InputError, NeuralTopoError, SolverError
from dolfinx_neural_topo.optimize import make_buildable
from dolfinx_neural_topo.optimize.buildable.sharpen import trial
from dolfinx_neural_topo.optimize.multistart import (
    Levels,
    Round,
    Schedule,
    Starts,
    distance,
    jobs,
    minimize_multistart,
    preset,
    starts,
)
from dolfinx_neural_topo.optimize.multistart.schedule import FINISH_RESERVE, PLENTY
from dolfinx_neural_topo.optimize.multistart.teams import share
from dolfinx_neural_topo.physics import Compliance, StateProblem, heat, ramp, simp, simp_penalty

comm = MPI.COMM_WORLD
SIZE = 16
ROUNDING = 0.0 if comm.size == 1 else 1e-9  # direct solvers add in varying order over several ranks
SMALL = Schedule(
    starts=(Starts(2, 1, evaluations=8, repair=2), Starts(2, 2, evaluations=12, repair=3)),
    repair_level=1,
    rounds=(Round(2, level=0, evaluations=4), Round(1, level=0, evaluations=8, tolerance=1e-3)),
)


def plate(comm, num_cells=SIZE):
    corners = [(0.0, 0.0), (float(SIZE), float(SIZE))]
    kind = dolfinx.mesh.CellType.quadrilateral
    return dolfinx.mesh.create_rectangle(comm, corners, [num_cells, num_cells], kind)


def heated(mesh, material=simp):
    """A heated square with a sink in the middle of its left edge."""
    rho = fem.Function(fem.functionspace(mesh, ("DG", 0)))
    V = fem.functionspace(mesh, ("Lagrange", 1))
    sink = fem.locate_dofs_geometrical(V, lambda x: (x[0] < 1e-9) & (abs(x[1] - SIZE / 2) < 4.1))
    a = heat.bilinear_form(V, material(rho, penalty=3.0, E_min=1e-3))
    L = heat.source(V, fem.Constant(mesh, 1.0 / SIZE**2))
    state = StateProblem((a, L), rho, bcs=[fem.dirichletbc(0.0, sink, V)], petsc_options_prefix="heat_")
    return Compliance(state)


def make_design(comm, mesh=None):
    functional = heated(plate(comm) if mesh is None else mesh)
    domain = DesignDomain(functional.state.rho, volume_fraction=0.4)
    return Design(functional, domain, filter=ConeFilter(domain, 2.0))


@pytest.fixture
def design():
    made = make_design(comm)
    yield made
    made.functional.state.destroy()


@pytest.fixture
def levels(design):
    made = Levels(design, heated)
    yield made
    made.close()


@pytest.fixture
def shared_path(tmp_path_factory):
    """A path that is the same on all ranks."""
    return comm.bcast(tmp_path_factory.mktemp("multistart") / "run", root=0)


def test_result_obeys_the_volume_and_is_what_a_fresh_problem_finds(design):
    found = minimize_multistart(design, heated, schedule=SMALL)
    fresh = make_design(comm, design.domain.mesh)
    assert fresh.functional.value(found.rho) == pytest.approx(found.objective, rel=1e-12)
    np.testing.assert_allclose(fresh.rho_from_design(found.rho_design), found.rho, atol=1e-14)
    assert found.volume == pytest.approx(fresh.volume(found.rho), abs=1e-14)
    assert found.volume <= 0.4 + 1e-6
    assert found.history[-1] == found.objective
    assert (np.diff(found.history) <= 0.0).all()
    fresh.functional.state.destroy()


def test_a_result_prints_as_a_sentence(design):
    found = minimize_multistart(design, heated, schedule=SMALL)
    assert str(found).startswith(f"multi-start: objective {found.objective:.6g}, volume {found.volume:.4f} (")
    assert str(found).endswith(f" on the full mesh). {found.reason}") and len(str(found)) < 250


def test_every_start_and_promotion_is_recorded_with_its_cost(design):
    found = minimize_multistart(design, heated, schedule=SMALL)
    starts_, first, last = ([each for each in found.found if each.stage == stage] for stage in range(3))
    assert [each.start for each in starts_] == [0, 1, 2, 3]
    best = sorted(starts_, key=lambda each: each.objective)[:2]
    assert [each.start for each in first] == [each.start for each in best]
    assert last[0].start == min(first, key=lambda each: each.objective).start
    assert [each.evaluations for each in starts_] == [10, 10, 15, 15]
    assert [each.equivalent_evaluations for each in starts_[1:3]] == [10 / 4, 12 / 16 + 3 / 4]
    assert all(each.evaluations == each.solves for each in found.found)
    assert found.evaluations == 50 + 8 + last[0].evaluations
    assert found.equivalent_evaluations == pytest.approx(5 + 3 + 8 + last[0].evaluations)


def test_where_a_last_stage_follows_a_trial_of_it_chooses(design, levels, monkeypatch):
    tried = []

    def watched(*arguments):
        tried.append(trial(*arguments))
        return tried[-1]

    monkeypatch.setattr(jobs, "trial", watched)
    found = minimize_multistart(design, heated, schedule=SMALL, seed=2, last_stage=True)
    starts_, trials, (last,) = ([each for each in found.found if each.stage == k] for k in range(3))
    assert all(each.trial and each.level == 1 for each in trials) and len(trials) == 4
    assert {each.start for each in trials} == {each.start for each in starts_}
    mine = {result.objective for result, _ in tried}
    assert {each.objective for each in trials} == set().union(*comm.allgather(mine))
    assert last.start == min(trials, key=lambda each: each.objective).start and last.evaluations <= 10
    assert [each.equivalent_evaluations for each in trials] == [12 / 4] * 4  # one solve an evaluation
    assert found.equivalent_evaluations == pytest.approx(5 + 3 + 12 + last.evaluations)
    assert found.objective == last.objective == found.history[-1]
    again = minimize_multistart(
        design, heated, schedule=SMALL, seed=2, last_stage=True, alternatives=2, min_distance=1e-3
    )
    assert last.start in [each.start for each in again.alternatives] and len(again.alternatives) == 2


def test_a_trial_that_fails_leaves_its_start_out(design, monkeypatch):
    calls = []

    def first_fails(*arguments):
        calls.append(1)
        if len(calls) == 1:
            raise SolverError("no luck")
        return trial(*arguments)

    monkeypatch.setattr(jobs, "trial", first_fails)
    found = minimize_multistart(design, heated, schedule=SMALL, last_stage=True)
    trials, (last,) = ([each for each in found.found if each.stage == k] for k in (1, 2))
    failed = [each for each in trials if each.reason == "no luck"]
    assert len(failed) == min(comm.size, 4) and all(each.objective == np.inf for each in failed)
    assert np.isfinite(found.objective) and last.start not in [each.start for each in failed]


def test_in_3d_four_designs_begin_at_the_uniform_one_whatever_the_seed(design):
    run = partial(minimize_multistart, design, heated, schedule=SMALL.for_last_stage(dim=3))
    found = run(seed=2)
    one, trials, (last,) = ([each for each in found.found if each.stage == k] for k in range(3))
    other = [each for each in run(seed=3).found if each.stage == 0]
    assert [each.start for each in one] == list(range(8)) and len(other) == 8
    for k in range(8):
        assert (abs(one[k].objective / other[k].objective - 1.0) < 1e-9) is (k >= 4)
    assert [each.equivalent_evaluations for each in one[4:]] == [28 / 4, 88 / 4, 88 / 4, 128 / 4]
    assert [each.equivalent_evaluations for each in trials] == [24 / 4] * 8
    assert last.start == min(trials, key=lambda each: each.objective).start


@pytest.mark.parametrize(("objective", "wins"), [(1.01, False), (0.99, True)])
def test_the_trial_takes_it_whatever_its_grey_objective(design, monkeypatch, objective, wins):
    """Its grey design is the worst one here, and would be left behind."""
    compare, start = jobs.compare, jobs.start

    def worst(levels, before, *arguments):
        found = start(levels, before, *arguments)
        return dataclasses.replace(found, objective=1e6) if found.start == 4 else found

    def told(levels, before, promotion, display):
        found = compare(levels, before, promotion, display)
        return dataclasses.replace(found, objective=objective if found.start == 4 else 1.0)

    monkeypatch.setattr(jobs, "start", worst)
    monkeypatch.setattr(jobs, "compare", told)
    rounds = (Round(2, 1, 4, repair=2), Round(1, 0, 8))
    schedule = dataclasses.replace(SMALL, rounds=rounds).for_last_stage(dim=3)
    found = minimize_multistart(design, heated, schedule=schedule)
    assert [sum(each.stage == k for each in found.found) for k in range(4)] == [8, 2, 6, 1]
    assert found.found[-1].start == (4 if wins else min(e.start for e in found.found if e.stage == 1))


def test_a_start_that_does_not_fit_the_budget_is_left_out(levels):
    schedule = SMALL.for_last_stage(dim=3)
    assert schedule.cost(levels.weight) == 5 + 3 + (28 + 88 + 88 + 128) / 4 + 8 * 24 / 4
    assert schedule.fitted(140, levels.weight).uniform == schedule.uniform
    for budget, number in ((90, 3), (80, 2)):
        assert schedule.fitted(budget, levels.weight).uniform == schedule.uniform[:number]
    small = schedule.fitted(30, levels.weight)
    assert not small.uniform and small.cost(levels.weight) <= 20
    assert not SMALL.for_last_stage(dim=2).uniform


def test_a_promotion_on_the_same_level_goes_on_where_it_stopped(design):
    """Two rounds of 4 and 8 evaluations are one run of MMA of 12 from the repaired start."""
    schedule = dataclasses.replace(SMALL, rounds=(Round(1, 0, 12),))
    apart = dataclasses.replace(SMALL, rounds=(Round(1, 0, 4), Round(1, 0, 8)))
    together = minimize_multistart(design, heated, schedule=schedule, seed=3)
    in_parts = minimize_multistart(design, heated, schedule=apart, seed=3)
    assert in_parts.objective == pytest.approx(together.objective, rel=ROUNDING)
    assert in_parts.history == pytest.approx(together.history, rel=ROUNDING)


def test_a_seed_is_a_run(design):
    one, same, other = (minimize_multistart(design, heated, schedule=SMALL, seed=seed) for seed in (1, 1, 2))
    assert one.objective == pytest.approx(same.objective, rel=ROUNDING)
    np.testing.assert_allclose(one.rho, same.rho, atol=100 * ROUNDING)
    assert [each.objective for each in one.found[:4]] == [each.objective for each in same.found[:4]]
    assert len({each.objective for each in (*one.found[:4], *other.found[:4])}) == 8


@pytest.mark.ranks
@pytest.mark.parametrize("last_stage", [False, True])
def test_any_split_finds_the_same(design, last_stage):
    alone = make_design(MPI.COMM_SELF)
    serial = minimize_multistart(alone, heated, schedule=SMALL, seed=1, last_stage=last_stage)
    split = minimize_multistart(design, heated, schedule=SMALL, seed=1, last_stage=last_stage)
    for one, two in zip(serial.found, split.found, strict=True):
        assert (one.start, one.stage, one.evaluations) == (two.start, two.stage, two.evaluations)
        assert two.objective == pytest.approx(one.objective, rel=1e-6)
    assert [each.objective for each in split.found[:4]] == [each.objective for each in serial.found[:4]]
    whole = np.empty_like(serial.rho)
    whole[alone.domain.canonical_index] = serial.rho
    np.testing.assert_allclose(split.rho, whole[design.domain.canonical_index], atol=1e-4)
    alone.functional.state.destroy()


@pytest.fixture(scope="module")
def several():
    """A run with alternatives, its design, and what it says."""
    design = make_design(comm)
    found = minimize_multistart(design, heated, schedule=SMALL, alternatives=3, min_distance=0.02)
    yield design, found
    design.functional.state.destroy()


def test_alternatives_are_finished_differ_and_come_best_first(several):
    design, found = several
    best, *others = found.alternatives
    assert best.objective == found.objective and best.distance == 0.0 and len(others) == 2
    np.testing.assert_array_equal(best.rho_design, found.rho_design)
    assert [each.objective for each in found.alternatives] == sorted(
        each.objective for each in found.alternatives
    )
    assert len({each.start for each in found.alternatives}) == 3
    cuts = [cut(design.domain, each.rho) for each in found.alternatives]
    for k, each in enumerate(found.alternatives):
        assert design.functional.value(each.rho) == pytest.approx(each.objective, rel=1e-12)
        assert each.volume <= 0.4 + 1e-6
        differ = comm.allreduce(float(np.sum(cuts[k] != cuts[0])))
        assert each.distance == pytest.approx(differ / (2 * 102), rel=1e-2)  # 0.4 of 256 cells are 102
        assert all(distance(design.domain, cuts[k], other) >= 0.02 for other in cuts[:k])
    last = [each for each in found.found if each.stage >= len(SMALL.rounds)]
    assert {each.start for each in found.alternatives} <= {each.start for each in last}
    assert all(each.level == 0 and each.evaluations <= 8 for each in last)


def test_the_best_is_the_same_without_alternatives(several):
    design, found = several
    alone = minimize_multistart(design, heated, schedule=SMALL)
    assert alone.objective == pytest.approx(found.objective, rel=ROUNDING)
    assert len(alone.alternatives) == 1 and alone.alternatives[0].objective == alone.objective


def test_alternatives_are_the_same_on_any_number_of_ranks(several):
    _, found = several
    alone = make_design(MPI.COMM_SELF)
    serial = minimize_multistart(alone, heated, schedule=SMALL, alternatives=3, min_distance=0.02)
    for one, two in zip(serial.alternatives, found.alternatives, strict=True):
        assert one.start == two.start and two.objective == pytest.approx(one.objective, rel=1e-6)
        assert two.distance == pytest.approx(one.distance, abs=0.02)
    alone.functional.state.destroy()


def test_a_run_killed_among_its_alternatives_goes_on_to_the_same_end(several, shared_path):
    design, found = several

    def kill(each):
        if each.stage > len(SMALL.rounds):
            raise Killed

    options = {"schedule": SMALL, "alternatives": 3, "min_distance": 0.02, "checkpoint": shared_path}
    with pytest.raises(Killed):
        minimize_multistart(design, heated, callback=kill, **options)
    again = minimize_multistart(design, heated, **options)
    assert [each.objective for each in again.alternatives] == pytest.approx(
        [each.objective for each in found.alternatives], rel=ROUNDING
    )
    assert again.evaluations == found.evaluations


def test_fewer_alternatives_than_asked_for_are_said(design):
    found = minimize_multistart(design, heated, schedule=SMALL, alternatives=4, min_distance=0.9)
    assert len(found.alternatives) == 1
    assert "Alternatives: 1 of 4, no other start led to a design that differs enough." in found.reason


def test_an_alternative_can_be_made_buildable(several):
    design, found = several
    built = make_buildable(design, found.alternatives[1], evaluations=12)
    assert set(np.unique(built.rho)) <= {0.0, 1.0} and built.volume <= 0.4 + 1e-9


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"alternatives": 0}, "alternatives must be positive, got 0"),
        ({"alternatives": 2.5}, "alternatives must be a whole number, got 2.5"),
        ({"alternatives": 5}, "alternatives must be at most the number of starts, here 4, got 5"),
        ({"min_distance": 0.0}, r"min_distance must lie in \(0, 1\), got 0.0"),
        ({"min_distance": 1.0}, r"min_distance must lie in \(0, 1\), got 1.0"),
    ],
)
def test_wrong_alternatives_are_named(design, arguments, says):
    with pytest.raises(InputError, match=says):
        minimize_multistart(design, heated, schedule=SMALL, **arguments)


class Killed(Exception):
    pass


@pytest.mark.parametrize(("stage", "last_stage"), [(0, False), (1, False), (2, False), (1, True)])
def test_a_killed_run_goes_on_to_the_same_end(design, shared_path, stage, last_stage):
    run = partial(minimize_multistart, design, heated, schedule=SMALL, seed=4, last_stage=last_stage)

    def kill(found):
        if found.stage == stage:
            raise Killed

    untouched = run()
    with pytest.raises(Killed):
        run(checkpoint=shared_path, callback=kill)
    before = design.functional.state.num_solves
    resumed = run(checkpoint=shared_path)
    assert resumed.objective == pytest.approx(untouched.objective, rel=ROUNDING)
    assert resumed.history == pytest.approx(untouched.history, rel=ROUNDING)
    np.testing.assert_allclose(resumed.rho, untouched.rho, atol=100 * ROUNDING)
    if comm.size == 1:  # all jobs on the full mesh run on this state
        left = [each for each in untouched.found if each.stage > stage and each.level == 0]
        assert design.functional.state.num_solves - before == sum(each.solves for each in left)


def test_files_of_another_run_are_refused(design, shared_path):
    minimize_multistart(design, heated, schedule=SMALL, seed=4, checkpoint=shared_path)
    with pytest.raises(CheckpointError, match="npz belongs to another run: seed is 4 there and 5 here"):
        minimize_multistart(design, heated, schedule=SMALL, seed=5, checkpoint=shared_path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"volume_fraction": 0.3}, "volume fraction is 0.4 there and 0.3 here"),
        ({"radius": 3.5}, "the objective of its design"),
        ({"material": ramp}, "the objective of its design"),
        ({"solid": lambda x: x[0] < 2.0}, "number of variables is 256 there and 224 here"),
    ],
)
def test_files_of_another_problem_are_refused(design, shared_path, change, says):
    """They were taken for those of this one: the design of the other problem came back."""
    minimize_multistart(design, heated, schedule=SMALL, seed=4, checkpoint=shared_path)

    def problem(mesh):
        return heated(mesh, change.get("material", simp))

    functional = problem(design.domain.mesh)
    marked = {name: change[name] for name in ("solid",) if name in change}
    domain = DesignDomain(functional.state.rho, volume_fraction=change.get("volume_fraction", 0.4), **marked)
    other = Design(functional, domain, filter=ConeFilter(domain, change.get("radius", 2.0)))
    with pytest.raises(CheckpointError, match=says):
        minimize_multistart(other, problem, schedule=SMALL, seed=4, checkpoint=shared_path)
    functional.state.destroy()


def test_a_full_disk_costs_the_files_and_not_the_design(design, shared_path, monkeypatch):
    def no_space(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    found = minimize_multistart(design, heated, schedule=SMALL, seed=4, checkpoint=shared_path)
    assert found.unsaved and "could not be written: No space left on device. " in found.reason
    untouched = minimize_multistart(design, heated, schedule=SMALL, seed=4)
    assert not untouched.unsaved
    assert found.objective == pytest.approx(untouched.objective, rel=ROUNDING)


@pytest.mark.parametrize("parameterization", starts.PARAMETERIZATIONS)
def test_parameterizations_improve_on_their_starts(design, parameterization):
    uniform = design.evaluate(design.initial(), gradient=False).value
    found = minimize_multistart(design, heated, schedule=SMALL, parameterization=parameterization)
    assert found.objective < 0.5 * uniform
    different = {f"{each.objective:.6g}" for each in found.found[:4]}
    assert len(different) == (2 if parameterization == "uniform" else 4)  # its starts on a level are alike


@pytest.mark.parametrize("parameterization", starts.PARAMETERIZATIONS)
def test_a_promoted_start_goes_on_in_its_own_parameters(design, levels, shared_path, parameterization):
    def kill(found):
        if found.stage == 0:
            raise Killed

    schedule = dataclasses.replace(SMALL, rounds=(Round(2, 1, 10, repair=2), Round(1, 0, 3)))
    options = {"parameterization": parameterization}
    found = minimize_multistart(design, heated, schedule=schedule, **options)
    legs = [each for each in found.found if each.stage == 1]
    assert [each.evaluations for each in legs] == [12, 12]
    assert [each.equivalent_evaluations for each in legs] == [3.0, 3.0]
    for leg in legs:
        assert leg.objective < found.found[leg.start].objective  # same level, same penalty
    assert schedule.cost(levels.weight) == pytest.approx(found.equivalent_evaluations - 3)
    with pytest.raises(Killed):
        minimize_multistart(
            design, heated, schedule=schedule, **options, checkpoint=shared_path, callback=kill
        )
    resumed = minimize_multistart(design, heated, schedule=schedule, **options, checkpoint=shared_path)
    assert resumed.objective == pytest.approx(found.objective, rel=ROUNDING)


def test_a_start_that_fails_is_left_out(design, monkeypatch):
    network = starts.PARAMETERIZATIONS["network"]
    calls = []

    def prepare(design, transfer, group, seed):
        calls.append(seed)
        if seed == starts.seed_of(0, 1):
            raise SolverError("The start cannot be evaluated: no luck.")
        return network(design, transfer, group, seed)

    monkeypatch.setitem(starts.PARAMETERIZATIONS, "network", prepare)
    found = minimize_multistart(design, heated, schedule=SMALL)
    assert found.found[1].objective == np.inf
    assert "no luck" in found.found[1].reason
    assert 1 not in [each.start for each in found.found[4:]]
    assert np.isfinite(found.objective)


def test_no_start_that_works_is_an_error(design, monkeypatch):
    def prepare(design, transfer, group, seed):
        raise SolverError("no luck")

    monkeypatch.setitem(starts.PARAMETERIZATIONS, "network", prepare)
    with pytest.raises(SolverError, match="No start could be evaluated: no luck"):
        minimize_multistart(design, heated, schedule=SMALL)
    state = design.functional.state
    assert simp_penalty(state.rho, [state.equation.a]).value == 3.0


@pytest.mark.parametrize("error", [InputError, ArithmeticError])
def test_an_error_of_one_group_is_raised_on_all_ranks(design, monkeypatch, error):
    def prepare(design, transfer, group, seed):
        if seed == starts.seed_of(0, 3):
            raise error("a bad start")
        return network(design, transfer, group, seed)

    network = starts.PARAMETERIZATIONS["network"]
    monkeypatch.setitem(starts.PARAMETERIZATIONS, "network", prepare)
    with pytest.raises(error if comm.size == 1 else NeuralTopoError, match="a bad start"):
        minimize_multistart(design, heated, schedule=SMALL)


def test_levels_that_do_not_exist_are_the_coarsest(levels):
    assert levels.num_levels == 3
    assert [levels.weight(level) for level in range(5)] == [1.0, 1 / 4, 1 / 16, 1 / 16, 1 / 16]
    assert levels.design(7) is levels.design(2)


def test_bad_input(design, levels):
    with pytest.raises(InputError, match=r"parameterization must be one of.*got 'magic'"):
        minimize_multistart(design, heated, schedule=SMALL, parameterization="magic")
    with pytest.raises(InputError, match="rounds must keep ever fewer"):
        Schedule((Starts(2, 1),), 1, (Round(3, 0, 4),))
    with pytest.raises(InputError, match="at least one start"):
        Schedule((), 1, (Round(1, 0, 4),))
    with pytest.raises(InputError, match="end at level 0"):
        Schedule((Starts(2, 1),), 1, (Round(2, 1, 4),))
    with pytest.raises(InputError, match="rounds with repair must come first"):
        Schedule((Starts(2, 1),), 1, (Round(2, 1, 4), Round(1, 1, 4, repair=2), Round(1, 0, 4)))
    for betas, says in (
        (True, "must be a sequence"),
        ([8.0], "must be a tuple"),
        ((8.0,) * 5, "evaluations"),
        ((8.0, -1.0), "trial must be pos"),
    ):
        with pytest.raises(InputError, match=says):
            Schedule((Starts(2, 1),), 1, (Round(2, 1, 4, trial=betas), Round(1, 0, 4)))
    for name, wrong in (
        ("count", 1.5),
        ("level", -1),
        ("evaluations", 0),
        ("repair", 0),
        ("ramp", ()),
        ("ramp", ((2, 1.0),)),
        ("ramp", ((0, -1.0),)),
        ("ramp", "slow"),
    ):
        with pytest.raises(InputError, match=f"^{name}.* must"):
            Starts(**{"count": 1, "level": 0, name: wrong})
    for name, wrong in (
        ("keep", "a"),
        ("level", -1),
        ("evaluations", 0),
        ("tolerance", -1.0),
        ("window", 0),
        ("repair", -1),
    ):
        with pytest.raises(InputError, match=f"^{name} must"):
            Round(**{"keep": 1, "level": 0, "evaluations": 4, name: wrong})
    with pytest.raises(InputError, match="repair_level must be at least 0, got -1"):
        Schedule((Starts(1, 0),), -1, (Round(1, 0, 4),))
    constrained = Design(design.functional, design.domain, constraints=[(design.functional, 1.0)])
    with pytest.raises(InputError, match="no constraint beside its volume"):
        Levels(constrained, heated)
    with pytest.raises(InputError, match="meshes must be given where the mesh of the design is no evenly"):
        minimize_multistart(make_design(comm, triangles(comm)[0]), heated)


def triangles(comm):
    """Meshes that are no grids, from fine to coarse."""
    kind = dolfinx.mesh.DiagonalType.crossed
    corners = [(0.0, 0.0), (float(SIZE), float(SIZE))]
    return [dolfinx.mesh.create_rectangle(comm, corners, [n, n], diagonal=kind) for n in (12, 6)]


def test_any_mesh_does_where_coarser_ones_are_given():
    """On several ranks each start has a part of them, and the same mesh there."""
    design = make_design(comm, triangles(comm)[0])
    found = minimize_multistart(design, heated, meshes=triangles, schedule=SMALL)
    uniform = design.evaluate(design.initial(), gradient=False).value
    assert found.objective < 0.6 * uniform
    assert found.volume <= 0.4 + 1e-6
    assert {each.equivalent_evaluations for each in found.found[:2]} == {10 / 4}
    alone = make_design(MPI.COMM_SELF, triangles(MPI.COMM_SELF)[0])
    serial = minimize_multistart(alone, heated, meshes=triangles, schedule=SMALL)
    assert [each.objective for each in found.found[:4]] == [each.objective for each in serial.found[:4]]


def test_ranks_work_apart_only_where_the_mesh_can_be_made_again(design):
    """A function that returns another mesh on fewer ranks: all ranks do one start after the other."""

    def meshes(ranks):
        return [plate(ranks, SIZE if ranks.size == comm.size else SIZE // 2), plate(ranks, SIZE // 2)]

    found = minimize_multistart(design, heated, meshes=meshes, schedule=SMALL)
    grid = minimize_multistart(design, heated, schedule=SMALL)
    assert found.objective == pytest.approx(grid.objective, rel=0.2)  # one level less


def test_passive_cells_and_an_error_of_the_problem_reach_all_ranks():
    fine = heated(plate(comm))
    edges = {"solid": lambda x: x[0] > SIZE - 1, "void": lambda x: (x[1] > SIZE - 2) & (x[0] < SIZE - 1)}
    domain = DesignDomain(fine.state.rho, volume_fraction=0.4, **edges)
    design = Design(fine, domain, filter=ConeFilter(domain, 2.0))
    found = minimize_multistart(design, heated, schedule=SMALL)
    assert np.all(found.rho[domain.solid] == 1.0) and np.all(found.rho[domain.void] == 0.0)
    assert found.volume <= 0.4 + 1e-6

    def broken(mesh):
        if mesh.topology.index_map(2).size_global < SIZE**2:
            raise ZeroDivisionError("a coarse mesh")
        return heated(mesh)

    with pytest.raises(ZeroDivisionError, match="a coarse mesh"):
        minimize_multistart(design, broken, schedule=SMALL)


def test_another_material_is_averaged_by_volume():
    """RAMP has no exponent: coarser problems see the mean density."""

    def problem(mesh):
        return heated(mesh, material=ramp)

    fine = problem(plate(comm))
    domain = DesignDomain(fine.state.rho, volume_fraction=0.4)
    design = Design(fine, domain, filter=ConeFilter(domain, 2.0))
    levels = Levels(design, problem)
    x = design.initial()
    values = [levels.design(level).evaluate(x, gradient=False).value for level in range(3)]
    np.testing.assert_allclose(values, values[0], rtol=0.2)
    assert levels.penalty == 1.0
    found = minimize_multistart(design, problem, schedule=SMALL)
    assert found.objective < 0.6 * values[0]


def test_presets_follow_the_size():
    assert preset(2**15 - 1) is preset(100)
    assert preset(2**15) is not preset(100)


def test_a_budget_buys_starts_beside_a_usual_last_round(design, levels):
    schedule = dataclasses.replace(SMALL, rounds=(Round(2, 0, 4), Round(1, 0, 100, tolerance=1e-3)))
    assert schedule.cost(levels.weight) == 2 * 10 / 4 + 2 * (12 / 16 + 3 / 4) + 8
    rich, poor = (schedule.fitted(budget, levels.weight) for budget in (80.0, FINISH_RESERVE + 9.0))
    assert rich.num_starts > schedule.num_starts
    assert rich.rounds[0].keep > 2
    assert [group.count for group in poor.starts] == [1, 1]
    for budget, fitted in ((80.0, rich), (FINISH_RESERVE + 9.0, poor)):
        assert budget - 8 < fitted.cost(levels.weight) + FINISH_RESERVE <= budget
        assert fitted.rounds[-1] == schedule.rounds[-1]
    rich = schedule.fitted(PLENTY + 100.0, levels.weight)
    assert rich.rounds[-1] == dataclasses.replace(schedule.rounds[-1], evaluations=100, window=60)
    assert PLENTY + 42 < rich.cost(levels.weight) + FINISH_RESERVE + 50 <= PLENTY + 100
    longest = schedule.fitted(PLENTY + 200.0, levels.weight).rounds[-1]
    assert (longest.evaluations, longest.window) == (FINISH_RESERVE + 100, 110)
    four = schedule.fitted(PLENTY + 100.0, levels.weight, alternatives=4)
    assert four.rounds[-1].window == 22
    assert four.cost(levels.weight) <= PLENTY + 100 - 4 * (FINISH_RESERVE + 12)
    unfinished = dataclasses.replace(schedule, rounds=(Round(2, 0, 4), Round(1, 0, 10, tolerance=1e-3)))
    assert unfinished.fitted(PLENTY + 100.0, levels.weight).rounds[-1] == unfinished.rounds[-1]
    with pytest.raises(InputError, match=f"budget must be at least {FINISH_RESERVE + 8} equiv.* here, got 4"):
        minimize_multistart(design, heated, schedule=schedule, budget=4)
    with pytest.raises(
        InputError, match=r"no coarser mesh makes starts cheap, got 4; way out: more cells, in even"
    ):
        schedule.fitted(4, lambda level: 1.0)


@pytest.mark.parametrize("tolerance", [0.5, 1e-9])
def test_the_last_round_goes_on_as_long_as_it_gains(design, tolerance):
    """It spends less than the budget counts for it, or more, and what it spends is reported."""
    last = Round(1, 0, 3 * FINISH_RESERVE, tolerance=tolerance)
    schedule = dataclasses.replace(SMALL, rounds=(Round(2, 0, 4), last))
    budget = FINISH_RESERVE + 9.0
    found = minimize_multistart(design, heated, schedule=schedule, budget=budget)
    *before, finish = found.found
    assert sum(each.equivalent_evaluations for each in before) == 8.0
    assert found.equivalent_evaluations == 8.0 + finish.evaluations
    assert (finish.evaluations > FINISH_RESERVE) is (tolerance < 0.1)
    assert ("gained less than" in finish.reason) or finish.evaluations == last.evaluations


def test_jobs_are_shared_by_cost():
    assert share([0, 1, 2, 3], [1.0, 1.0, 1.0, 3.0], 2) == [[3], [0, 1, 2]]
    assert share([2, 5], [0, 0, 1.0, 0, 0, 1.0], 3) == [[2], [5], []]
