"""The cuts of projected designs: made whole, checked by a fresh solve, the best one improved and measured."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from dolfinx_neural_topo._communication import max_replicated, sum_replicated
from dolfinx_neural_topo.density import Design
from dolfinx_neural_topo.density.cut import cut
from dolfinx_neural_topo.density.widths import least_gap, least_member
from dolfinx_neural_topo.errors import SolverError
from dolfinx_neural_topo.optimize.buildable.built import Built
from dolfinx_neural_topo.optimize.buildable.exchange import exchange_cells
from dolfinx_neural_topo.optimize.buildable.fields import cell_size
from dolfinx_neural_topo.optimize.buildable.repair import is_whole, largest_piece, mend
from dolfinx_neural_topo.optimize.method import Array
from dolfinx_neural_topo.optimize.result import FEASIBLE, Result
from dolfinx_neural_topo.physics.attachment import Attachments

LOSS = 0.03
"""What the cut may lose of the projected design's objective before it is repaired."""

EXCHANGES = 8
"""Cuts that are evaluated while cells are exchanged at the surface, where no width is asked for."""

WORSE = 0.5
"""Part of the found design's objective by which the cut may be worse before the result says so."""

_BAR = 1.5  # cells: the width of bars that join pieces, which carry little


class Cut(NamedTuple):
    """A cut and what is known of it.

    Attributes:
        broken: Whether it is in pieces, or misses a load, where that matters.
        value: Its objective.
        projected: Objective of the projected design.
        rho_design: Design density it was made from, on owned cells.
        rho: Its density, on owned cells.
    """

    broken: bool
    value: float
    projected: float
    rho_design: Array
    rho: Array

    @property
    def rank(self) -> tuple[bool, float]:
        """What orders cuts, the better one first."""
        return self.broken, self.value

    @property
    def sound(self) -> bool:
        """Whether it is whole and about as good as the projected design."""
        return not self.broken and self.lasting

    @property
    def lasting(self) -> bool:
        """Whether it is about as good as the projected design."""
        return self.value <= self.projected + LOSS * abs(self.projected)


class Cuts:
    """Makes cuts of the designs of a last stage, and keeps them.

    Attributes:
        made: The cuts, the last one last.
        evaluations: What they took so far.

    Args:
        design: The design of the stage, projected.
        attachments: Loads and supports.
        min_member: Least width of members asked for, or None.
        min_gap: Least width of gaps, likewise.
        exact_volume: As for `cut`.

    Note: Collective, as are all methods.
    """

    def __init__(
        self,
        design: Design,
        attachments: Attachments,
        min_member: float | None,
        min_gap: float | None,
        exact_volume: bool,
    ):
        self._design, self._domain, self._attachments = design, design.domain, attachments
        self._widths = {"min_member": min_member, "min_gap": min_gap}
        self._bar = cell_size(design.domain) * _BAR if min_member is None else min_member
        self._limits: dict[str, Any] = {"manufacturing": design.manufacturing, "exact_volume": exact_volume}
        self.made: list[Cut] = []
        self.evaluations = 0

    def add(self, found: Result, *, fill: bool) -> None:
        """Cut a design, mend cuts that are broken, solve for them, and keep the best.

        Args:
            found: The projected design.
            fill: Whether the best cut fills the allowed volume. Otherwise one that fills no more than the
                design used is tried too.
        """
        domain, attachments = self._domain, self._attachments
        density = self._design.unprojected.apply(found.rho_design)
        projected = self._value(found.rho)
        cuts = []
        for volume in self._volumes(found, fill):
            limits = {**self._limits, "volume": volume}
            rho = cut(domain, density, **limits)
            if not is_whole(domain, rho, attachments):
                worth = partial(self._worth, density=density)
                rho = mend(domain, rho, density, attachments, worth=worth, width=self._bar, **limits)
            broken = not is_whole(domain, rho, attachments)
            cuts.append(Cut(broken, self._value(rho), projected, found.rho_design, rho))
        self.made.append(min(cuts, key=lambda each: each.rank))

    def best(self) -> Cut:
        """Return the best cut; where nothing forbids it, after an exchange of cells at its surface."""
        best = min(self.made, key=lambda each: each.rank)
        asked = any(self._widths.values()) or self._design.manufacturing or self._design.constraints
        if asked or best.broken:
            return best
        rho, value, count = exchange_cells(
            self._domain, best.rho, self._evaluate, self._attachments, evaluations=EXCHANGES
        )
        self.evaluations += count
        return best._replace(rho=rho, value=value)

    def measured(self, made: Cut, before: float | None, **run: Any) -> Built:
        """Measure a cut.

        Args:
            made: The cut.
            before: Objective of the design that was found, if known.
            run: What `Built` tells of the run that made it.
        """
        domain, rho = self._domain, made.rho
        main, count = largest_piece(domain, rho)
        carries = self._attachments.carries(main)
        solid = rho > 0.5
        widths = {"min_member": least_member(domain, solid), "min_gap": least_gap(domain, solid)}
        grey = sum_replicated(domain.comm, domain.cell_volumes @ (4.0 * rho * (1.0 - rho)))
        return Built(
            rho=rho,
            value=made.value,
            volume=self._design.volume(rho),
            components=count,
            pieces_carry_loads=carries,
            greyness=float(grey) / (domain.design_volume + domain.solid_volume),
            projected=made.projected,
            rho_design=made.rho_design,
            reason=self._reason(made, before, count, carries, widths),
            min_member=widths["min_member"],
            min_gap=widths["min_gap"],
            **run,
        )

    def _volumes(self, found: Result, fill: bool) -> list[float]:
        """Return what a cut may fill: all that is allowed and, where more may be worse, what was used."""
        domain, allowed = self._domain, self._domain.target_volume
        if fill:
            return [allowed]
        filled = np.where(domain.design, domain.cell_volumes * found.rho, 0.0)
        used = float(sum_replicated(domain.comm, filled.sum()))
        cell = max_replicated(domain.comm, domain.cell_volumes[domain.design].max(initial=0.0))
        return [allowed] if used > allowed - cell else [allowed, used]

    def _worth(self, rho: Array, density: Array) -> Array:
        """Return what cells of a cut are worth, by volume; the density where that cannot be told."""
        self.evaluations += 1
        value, gradient = self._evaluate(rho)
        return -gradient / self._domain.cell_volumes if math.isfinite(value) else density

    def _evaluate(self, rho: Array) -> tuple[float, Array]:
        """Return objective and gradient at a density, inf and zeros where that fails."""
        try:
            value, gradient = self._design.functional.value_and_gradient(rho)
        except SolverError:
            return math.inf, np.zeros_like(rho)
        return self._domain.num_copies * value, gradient

    def _value(self, rho: Array) -> float:
        """Return the objective at a density by a solve of its own, inf where that fails."""
        self.evaluations += 1
        return self._domain.num_copies * self._of(self._design.functional, rho)

    @staticmethod
    def _of(functional: Any, rho: Array) -> float:
        """Return a functional at a density, inf where that fails."""
        try:
            return functional.value(rho)
        except SolverError:
            return math.inf

    def _reason(
        self, made: Cut, before: float | None, count: int, carries: bool, found: dict[str, float]
    ) -> str:
        """Say what is wrong with a cut."""
        wrong = []
        if not (self._attachments.void_carries or (count == 1 and carries)):
            what = f"{count} pieces" if count != 1 else "one piece that misses a load or a support"
            wrong.append(
                f"The volume fraction {self._domain.volume_fraction:g} gave {what}; way out: more of it, "
                "a finer mesh or a smaller filter."
            )
        if not made.lasting:
            wrong.append(
                f"The cut has the objective {made.value:.4g}, the projected design {made.projected:.4g}."
            )
        if before is not None and made.value > before + WORSE * abs(before):
            wrong.append(
                f"The cut has the objective {made.value:.4g}, the design it was made from {before:.4g}; "
                "way out: more evaluations of the stage, smaller widths or a finer mesh."
            )
        for k, (functional, bound) in enumerate(self._design.constraints, start=1):  # 0 is the volume
            excess = self._of(functional, made.rho) / bound - 1.0
            if excess > FEASIBLE:
                name = getattr(functional, "name", "unnamed")
                wrong.append(f"The cut exceeds constraint {k} ({name}) by {excess:.2g} of its bound.")
        for name, asked in self._widths.items():
            if asked is not None and found[name] < asked - 0.5 * cell_size(self._domain):
                wrong.append(f"{name} was to be {asked:.4g}, the least found is {found[name]:.4g}.")
        return " ".join(wrong)
