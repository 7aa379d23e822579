"""What a multi-start run does, as data: starts, levels, budgets, promotions."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from dolfinx_neural_topo.errors import InputError

RAMP = ((0, 1 / 2), (10, 2 / 3), (20, 5 / 6), (30, 1.0))
"""Penalty of a start relative to the problem's own, from these evaluations on: 1.5, 2, 2.5, 3."""


@dataclass(frozen=True)
class Starts:
    """Equal starts from different random seeds.

    Attributes:
        count: How many.
        level: Level of the physics (0 the full mesh, 1 the next coarser one, ...).
        evaluations: Budget of each.
        repair: Evaluations of MMA that follow, at the level where starts are compared.
        half_resolution: Whether the parameterization works at half the resolution of the full mesh.
        ramp: Pairs (evaluation, penalty relative to the problem's own).
    """

    count: int
    level: int
    evaluations: int = 60
    repair: int = 4
    half_resolution: bool = False
    ramp: tuple[tuple[int, float], ...] = RAMP


@dataclass(frozen=True)
class Round:
    """A promotion: the best designs so far get more evaluations of MMA.

    Attributes:
        keep: How many are promoted.
        level: Level of the physics.
        evaluations: Budget of each, or the most that
        tolerance: leaves to a design that must gain this part of its objective in 10 evaluations; None for no
            early stop.
    """

    keep: int
    level: int
    evaluations: int
    tolerance: float | None = None


@dataclass(frozen=True)
class Schedule:
    """Starts and promotions.

    Attributes:
        starts: Groups of starts.
        repair_level: Level of the evaluations by MMA after which starts are compared.
        rounds: Promotions in their order. The last one must be on the full mesh (level 0).

    Raises:
        InputError: No start, a promotion of more designs than there are, or no last round at level 0.
    """

    starts: tuple[Starts, ...]
    repair_level: int
    rounds: tuple[Round, ...]

    def __post_init__(self) -> None:
        counts = [self.num_starts, *(each.keep for each in self.rounds)]
        if min(counts) < 1 or any(b > a for a, b in pairwise(counts)):
            raise InputError(f"rounds must keep ever fewer of at least one start, got {counts} designs")
        if not self.rounds or self.rounds[-1].level != 0:
            raise InputError("rounds must end at level 0, the full mesh")

    @property
    def num_starts(self) -> int:
        """Number of starts of all groups."""
        return sum(group.count for group in self.starts)


FINISH = Round(1, level=0, evaluations=100, tolerance=1e-3)
"""The winner goes on until it gains less than 0.1 % in 10 evaluations."""

PRESETS = {
    "small": Schedule(
        starts=(Starts(3, level=1, repair=4), Starts(6, level=2, repair=8)),
        repair_level=1,
        rounds=(Round(4, level=0, evaluations=8), FINISH),
    ),
    "large": Schedule(
        starts=(
            Starts(6, level=2, repair=4, half_resolution=True),
            Starts(4, level=3, repair=12, half_resolution=True),
        ),
        repair_level=2,
        rounds=(Round(6, level=1, evaluations=6), Round(3, level=0, evaluations=6), FINISH),
    ),
}
"""Schedules by name: "small" for meshes of less than 2^15 cells, "large" above."""

LARGE = 2**15


def preset(num_cells: int) -> Schedule:
    """Return the preset for a mesh of so many cells."""
    return PRESETS["large" if num_cells >= LARGE else "small"]
