"""What a multi-start run does, as data: starts, levels, budgets, promotions."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

from dolfinx_neural_topo._checks import check_count, check_number
from dolfinx_neural_topo.errors import InputError, checked

RAMP = ((0, 1 / 2), (10, 2 / 3), (20, 5 / 6), (30, 1.0))
"""Penalty of a start relative to the problem's own, from these evaluations on: 1.5, 2, 2.5, 3."""


@checked
@dataclass(frozen=True)
class Starts:
    """Equal starts from different random seeds.

    Attributes:
        count: How many.
        level: Level of the physics (0 the full mesh, 1 the next coarser one, and so on).
        evaluations: Budget of each.
        repair: Evaluations of MMA that follow, at the level where starts are compared.
        half_resolution: Whether networks work at half the resolution of the full mesh.
        ramp: Pairs (evaluation, penalty relative to the problem's own), the first one at evaluation 0.

    Raises:
        InputError: A number out of range.
    """

    count: int
    level: int
    evaluations: int = 40
    repair: int = 8
    half_resolution: bool = False
    ramp: tuple[tuple[int, float], ...] = RAMP

    def __post_init__(self) -> None:
        _check_counts(self, {"count": 0, "level": 0, "evaluations": 1, "repair": 1})
        if [at for at, _ in self.ramp[:1]] != [0]:
            raise InputError(f"ramp of starts must begin at evaluation 0, got {self.ramp!r}")
        for at, factor in self.ramp:
            check_count("ramp, an evaluation,", at, 0)
            check_number("ramp, a factor,", factor, "(0, inf)")


@checked
@dataclass(frozen=True)
class Round:
    """A promotion: the best designs so far get more evaluations of MMA.

    Attributes:
        keep: How many are promoted.
        level: Level of the physics.
        evaluations: Budget of each, or the most that
        tolerance: leaves to a design that must gain this part of its objective in
        window: so many evaluations; a tolerance of None is no early stop.
        repair: If positive, the start's own parameters go on instead (a network's weights by L-BFGS), and so
            many evaluations of MMA follow as after a start.
        trial: If not empty, designs stay as they are, but are compared from now on by a trial of the last
            stage: MMA with a projection of this sharpness, each for the same part of the evaluations.

    Raises:
        InputError: A number out of range, or a trial with more numbers than evaluations.
    """

    keep: int
    level: int
    evaluations: int
    tolerance: float | None = None
    window: int = 10
    repair: int = 0
    trial: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        _check_counts(self, {"keep": 0, "level": 0, "evaluations": 1, "window": 1, "repair": 0})
        if self.tolerance is not None:
            check_number("tolerance", self.tolerance, "(0, inf)")
        if not isinstance(self.trial, tuple) or len(self.trial) > self.evaluations:
            raise InputError(
                "trial of a round must be a tuple of no more numbers than it has evaluations "
                f"({self.evaluations}), got {self.trial!r}; way out: such as (8.0,)"
            )
        for beta in self.trial:
            check_number("trial", beta, "(0, inf)")


def _check_counts(of: object, least: dict[str, int]) -> None:
    for name, smallest in least.items():
        check_count(name, getattr(of, name), smallest)


@checked
@dataclass(frozen=True)
class Schedule:
    """Starts and promotions.

    Attributes:
        starts: Groups of starts.
        repair_level: Level of the evaluations by MMA after which starts are compared.
        rounds: Promotions in their order. The last one must be on the full mesh (level 0).
        uniform: Starts of the densities themselves, by MMA from the uniform design. A trial of the last stage
            compares them with the others, whatever their objectives.

    Raises:
        InputError: No start, a promotion of more designs than there are, no last round at level 0, or one
            with repair after one without.
    """

    starts: tuple[Starts, ...]
    repair_level: int
    rounds: tuple[Round, ...]
    uniform: tuple[Starts, ...] = ()

    def __post_init__(self) -> None:
        counts = [self.num_starts, *(each.keep for each in self.rounds)]
        if min(counts) < 1 or any(b > a for a, b in pairwise(counts)):
            raise InputError(f"rounds must keep ever fewer of at least one start, got {counts} designs")
        if not self.rounds or self.rounds[-1].level != 0:
            raise InputError("rounds must end at level 0, the full mesh")
        check_count("repair_level", self.repair_level, 0)
        own = [each.repair > 0 for each in self.rounds]
        if own != sorted(own, reverse=True):
            raise InputError("rounds with repair must come first: densities have no parameters to go on with")

    @property
    def num_starts(self) -> int:
        """Number of starts of all groups."""
        return sum(group.count for group in self.starts)

    def cost(self, weight: Callable[[int], float]) -> float:
        """Return the equivalent evaluations of everything before the last round.

        Args:
            weight: Cells of a level relative to those of the full mesh.
        """
        groups = [*self.starts, *self.uniform]
        starts = sum(group.count * self.cost_of(group, weight) for group in groups)
        rounds = (
            self.kept(each) * (each.evaluations + each.repair) * weight(each.level)
            for each in self.rounds[:-1]
        )
        return starts + sum(rounds)

    @property
    def all_starts(self) -> list[Starts]:
        """Each start by itself, those from the uniform design last."""
        starts = [replace(group, count=1) for group in self.starts for _ in range(group.count)]
        return [*starts, *self.uniform]

    def kept(self, each: Round) -> int:
        """Return how many designs a round takes."""
        return each.keep + (len(self.uniform) if each.trial else 0)

    def level_of_repair(self, start: Starts) -> int:
        """Return the level of MMA after a start: that where starts are compared, or its own if finer."""
        return min(self.repair_level, start.level)

    def cost_of(self, start: Starts, weight: Callable[[int], float]) -> float:
        """Return the equivalent evaluations of one start."""
        repair = weight(self.level_of_repair(start))
        return weight(start.level) * start.evaluations + repair * start.repair

    @checked
    def scaled(self, factor: float) -> Schedule:
        """Return a schedule of so many times as many starts and promotions; the last round stays as it is."""
        starts = tuple(replace(group, count=max(1, round(factor * group.count))) for group in self.starts)
        most, rounds = sum(group.count for group in starts), []
        for each in self.rounds[:-1]:
            most = min(most, max(self.rounds[-1].keep, round(factor * each.keep)))
            rounds.append(replace(each, keep=most))
        return replace(self, starts=starts, rounds=(*rounds, self.rounds[-1]))

    def for_last_stage(self, dim: int) -> Schedule:
        """Return a schedule for designs that a last stage goes on with.

        In place of the rounds on the full mesh, which compare grey designs, a trial of that stage on the next
        coarser one tells which design is best once it is built; and the last round is short. In 3D `UNIFORM`
        starts come beside the others. In 2D that gains nothing, and misleads where coarse physics does.

        Args:
            dim: Dimension of the mesh.
        """
        before = tuple(each for each in self.rounds[:-1] if each.level > 0)
        keep = before[-1].keep if before else self.num_starts
        uniform = UNIFORM if dim == 3 else ()
        compare = (replace(TRIAL_3D if dim == 3 else TRIAL, keep=keep),) if keep + len(uniform) > 1 else ()
        last = replace(self.rounds[-1], evaluations=UNFINISHED)
        return replace(self, rounds=(*before, *compare, last), uniform=uniform)

    @checked
    def fitted(self, budget: float, weight: Callable[[int], float], alternatives: int = 1) -> Schedule:
        """Return the schedule with as many starts as a budget allows beside a usual last round.

        Each design of the last round counts as `FINISH_RESERVE` evaluations (or its budget, if that is less),
        which is about what it takes where little is left to gain. Half of what a budget has beyond `PLENTY`
        is for finishing too: there more starts gain less than to wait until bars have vanished. The last
        round itself is not cut: it goes on until its tolerance says otherwise, so that a design that still
        gains spends more than the budget, and one that does not, less. Starts from the uniform design that do
        not fit are left out.

        Args:
            budget: Equivalent evaluations planned for.
            weight: Cells of a level relative to those of the full mesh.
            alternatives: How many designs will be finished, if more than the last round keeps.

        Raises:
            InputError: The budget is too small for one start of each group.
        """
        last, finished = self.rounds[-1], max(alternatives, self.rounds[-1].keep)
        more = max(0, int((budget - PLENTY) / (2 * finished))) if last.evaluations > FINISH_RESERVE else 0
        each = min(FINISH_RESERVE, last.evaluations) + more
        last = replace(last, evaluations=max(last.evaluations, each), window=last.window + more)

        def cost(percent: int) -> float:
            return self.scaled(percent / 100).cost(weight) + finished * each

        percent = bisect_right(range(1, 1001), budget, key=cost)
        if percent > 0:
            schedule = self.scaled(percent / 100)
            return replace(schedule, rounds=(*schedule.rounds[:-1], last))
        if self.uniform:
            return replace(self, uniform=self.uniform[:-1]).fitted(budget, weight, alternatives)
        needed = math.ceil(cost(1))
        why = way_out = ""
        if weight(1) == 1.0:
            why = ", since no coarser mesh makes starts cheap"
            way_out = "; way out: more cells, in even numbers, or coarser meshes of your own"
        raise InputError(
            f"budget must be at least {needed} equivalent evaluations here{why}, got {budget:g}{way_out}"
        )


TRIAL, TRIAL_3D = Round(1, 1, 12, trial=(8.0,)), Round(1, 1, 24, trial=(8.0, 16.0, 32.0))
"""After them designs rank nearly as they do once they are built. In 3D coarse cells are cheaper."""

UNIFORM = (
    Starts(1, level=1, evaluations=20, ramp=((0, 1 / 2), (5, 2 / 3), (10, 5 / 6), (15, 1.0))),
    Starts(1, level=1, evaluations=80),
    Starts(1, level=1, evaluations=80, ramp=((0, 1 / 2), (20, 2 / 3), (40, 5 / 6), (60, 1.0))),
    Starts(1, level=1, evaluations=120, ramp=((0, 1 / 3), (30, 1 / 2), (60, 2 / 3), (90, 1.0))),
)
"""MMA from the uniform design on the next coarser mesh. How fast the penalty rises decides where it ends, and
which is best differs from task to task."""

FINISH_RESERVE = 25
"""Evaluations that a budget counts for each design of the last round."""

PLENTY = 150
"""Budget from which on half goes to finishing."""

UNFINISHED = 10
"""Evaluations of the last round where another stage follows."""

FINISH = Round(1, level=0, evaluations=100, tolerance=1e-3)
"""The winner goes on until it gains less than 0.1 % in 10 evaluations."""

PRESETS = {
    "small": Schedule(
        starts=(Starts(10, level=2),),
        repair_level=1,
        rounds=(Round(4, level=1, evaluations=40, repair=4), Round(4, level=0, evaluations=6), FINISH),
    ),
    "large": Schedule(
        starts=(Starts(10, level=3, half_resolution=True),),
        repair_level=2,
        rounds=(
            Round(6, level=2, evaluations=40, repair=4),
            Round(3, level=1, evaluations=40, repair=4),
            Round(3, level=0, evaluations=6),
            FINISH,
        ),
    ),
}
"""Schedules by name: "small" for meshes of less than 2^15 cells, "large" above."""

LARGE = 2**15


def preset(num_cells: int) -> Schedule:
    """Return the preset for a mesh of so many cells."""
    return PRESETS["large" if num_cells >= LARGE else "small"]
