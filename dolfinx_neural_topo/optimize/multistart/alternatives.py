"""Designs that are really different, to choose from."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from dolfinx_neural_topo._communication import sum_replicated
from dolfinx_neural_topo.density import DesignDomain
from dolfinx_neural_topo.density.cut import cut
from dolfinx_neural_topo.optimize.method import Array
from dolfinx_neural_topo.optimize.multistart.found import Found
from dolfinx_neural_topo.optimize.multistart.levels import Levels
from dolfinx_neural_topo.optimize.multistart.teams import Teams


@dataclass(frozen=True)
class Alternative:
    """A finished design that differs from all better ones.

    Attributes:
        objective: Its objective on the full mesh.
        volume: Its physical volume fraction.
        rho_design: Its design density on owned cells.
        rho: Its physical density on owned cells.
        distance: Part of the material that lies elsewhere in the best design, once both are cut to solid and
            void of the allowed volume; in [0, 1], 0 for the best design itself.
        start: Number of the start it comes from.
    """

    objective: float
    volume: float
    rho_design: Array
    rho: Array
    distance: float
    start: int


def distance(domain: DesignDomain, one: Array, other: Array) -> float:
    """Return the part of the material of one cut design that lies elsewhere in another.

        distance = volume of the cells that differ / (2 * allowed volume)

    Args:
        domain: Design domain.
        one: Owned values 0 and 1, as `cut` returns them.
        other: Likewise.

    Returns:
        A number in [0, 1]; 1 if no cell is solid in both.

    Note: Collective.
    """
    differ = sum_replicated(domain.comm, domain.cell_volumes @ (abs(one - other) * domain.design))
    return float(differ / (2.0 * domain.target_volume))


def unfinished(found: Iterable[Found], last: int) -> list[Found]:
    """Return where each start that is not finished has come to, those that came farthest first.

    Args:
        found: Everything so far, in the order of stages.
        last: Stage of the finished ones.
    """
    latest = {each.start: each for each in found}
    left = [each for each in latest.values() if each.stage < last and math.isfinite(each.objective)]
    return sorted(left, key=lambda each: (-each.stage, each.objective, each.start))


def fewer(number: int, wanted: int) -> str:
    """Return a sentence where there are fewer alternatives than wanted, else nothing."""
    if number == wanted:
        return ""
    return f" Alternatives: {number} of {wanted}, no other start led to a design that differs enough."


class Distinct:
    """Picks designs that differ from each other.

    Args:
        levels: The problem.
        teams: Where the vectors of designs are.
        least: Least distance of two designs.
    """

    def __init__(self, levels: Levels, teams: Teams, least: float):
        self._levels, self._teams, self._least = levels, teams, least
        self._cuts: dict[tuple[int, int], Array] = {}

    def among(self, designs: Iterable[Found], beside: Iterable[Found] = (), most: int = 0) -> list[Found]:
        """Return the designs, in their order, that differ from those before and from `beside`.

        Args:
            designs: To choose from, best first.
            beside: Chosen already; not returned.
            most: How many to return at most; 0 for all.

        Note: Collective.
        """
        others = list(beside)
        chosen: list[Found] = []
        for each in designs:
            if most and len(chosen) == most:
                break
            if all(self.distance(each, other) >= self._least for other in others):
                chosen.append(each)
                others.append(each)
        return chosen

    def distance(self, one: Found, other: Found) -> float:
        """Return the distance of two designs once they are cut. Note: Collective."""
        return distance(self._levels.design(0).domain, self._cut(one), self._cut(other))

    def alternative(self, found: Found, best: Found) -> Alternative:
        """Return a design with its fields on this rank's cells. Note: Collective."""
        rho_design, rho = self._fields(found)
        return Alternative(
            found.objective, found.volume, rho_design, rho, self.distance(found, best), found.start
        )

    def _fields(self, found: Found) -> tuple[Array, Array]:
        design = self._levels.design(0)
        arrays = self._teams.fetch(found).arrays
        assert arrays is not None
        rho_design = design.domain.expand(self._levels.order.local(arrays["x"]))
        return rho_design, design.rho_from_design(rho_design)

    def _cut(self, found: Found) -> Array:
        key = found.stage, found.start
        if key not in self._cuts:
            self._cuts[key] = cut(self._levels.design(0).domain, self._fields(found)[1])
        return self._cuts[key]
