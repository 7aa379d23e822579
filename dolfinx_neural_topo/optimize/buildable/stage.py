"""The last stage: three-field continuation from a found design, then a cut of it that is checked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from dolfinx_neural_topo._checks import densities, real_array
from dolfinx_neural_topo.density import Design
from dolfinx_neural_topo.density.multi import require_one_density
from dolfinx_neural_topo.density.projection import ThreeFieldProjection
from dolfinx_neural_topo.errors import InputError, collective, together
from dolfinx_neural_topo.errors.kinds import shown
from dolfinx_neural_topo.optimize.buildable.built import Built
from dolfinx_neural_topo.optimize.buildable.cuts import Cuts
from dolfinx_neural_topo.optimize.buildable.fields import stage_filter
from dolfinx_neural_topo.optimize.buildable.gaps import OpenGaps
from dolfinx_neural_topo.optimize.buildable.sharpen import BETAS, sharpen
from dolfinx_neural_topo.optimize.method import Array
from dolfinx_neural_topo.optimize.result import Result
from dolfinx_neural_topo.physics.algebra import problems_of
from dolfinx_neural_topo.physics.attachment import Attachments

EVALUATIONS = 50
"""Evaluations of the last stage, before checks and repair."""

SHARES = (0.16, 0.16, 0.16, 0.16, 0.16, 0.2)
"""Share of the evaluations at each sharpness."""

REPAIR_EVALUATIONS = 4
"""Evaluations that a cut that fails its check gets, at twice the sharpness."""

SAME_OBJECTIVE = 0.01
"""Relative difference up to which a result's objective is that of its density here; solves may be rough."""


@collective(free=("found", "progress"))
def make_buildable(
    design: Any,
    found: Any,
    *,
    min_member: float | None = None,
    min_gap: float | None = None,
    evaluations: int = EVALUATIONS,
    exact_volume: bool = False,
    progress: bool | None = False,
) -> Built:
    """Turn a grey design into one of solid and void, in one piece that carries every load.

    A last stage for any method, equation and mesh. From the design found, MMA minimizes the objective of the
    eroded density at the blueprint's volume and ever sharper projection. (Where less material may be better,
    which the gradient tells, it is the worst of three densities.) Then the densest cells that fill the
    allowed volume are made solid, or, where that is better, no more than the projected design used. A fresh
    solve checks that cut: loose material is dropped, loaded pieces are joined, and where the cut still lost
    more than 3 % of the projected design's objective, some evaluations follow at twice the sharpness. Where
    void carries too (waves, flows, a second material: the equation has more than a tenth of its size at
    density 0), pieces stay as they are. At last cells at the surface of the cut change places while that
    pays, in up to eight solves; not so where widths or limits are asked for, or manufacturing stages, which
    leave the cut as it is: a part to print has nothing in the air.

    Args:
        design: The design problem, a `Design` or a `NeuralDesign`.
        found: What a method found: a result with `rho_design`, or that array on owned cells. A result must
            be one of this objective and mesh, an array may come from anywhere.
        min_member: Least width of members, in the mesh's unit of length. None keeps the design's own filter.
        min_gap: Least width of gaps and holes, likewise. It holds the dilated density's volume.
        evaluations: Evaluations before checks and repair.
        exact_volume: Whether one cell gets a density in between, so that the volume is exactly the allowed
            one. Otherwise all cells are 0 or 1, and the volume is less by up to one cell.
        progress: As for `minimize`.

    Returns:
        The 0-1 design with what was measured of it. Its `reason` says what is wrong, if anything is: where
        the volume is too small for one piece, this is the best there is.

    Raises:
        InputError: A load acts where all cells are passive void; a width that the mesh cannot resolve or the
            domain has no room for; densities beyond [0, 1]; a result of another objective or mesh; an exact
            volume with manufacturing stages, which make no grey cell; a design of several fields.
        SolverError: The start of the stage cannot be evaluated.

    Note: Collective.

    Example:
        >>> found = dnt.minimize(design, dnt.OC(), evaluations=10)
        >>> built = dnt.make_buildable(design, found, evaluations=10)
        >>> set(np.unique(built.rho)) <= {0.0, 1.0}  # solid and void
        True
    """
    design = getattr(design, "design", design)
    require_one_density(
        design,
        "make_buildable",
        "it cuts to solid and void and repairs pieces of one material",
        "a HeavisideProjection in each field and a Continuation of its beta",
    )
    rho_design = _start(design, found, evaluations)
    if exact_volume and design.manufacturing:
        raise InputError(
            "exact_volume must be False with manufacturing stages, got True: the one grey cell it leaves "
            "cannot be made"
        )
    attachments = Attachments(problems_of(design.functional))
    attachments.require(~design.domain.void, "a buildable design holds every load")
    _require_same(design, found, rho_design)
    stage = _Stage(design, attachments, min_member, min_gap, exact_volume, progress)
    stage.run(rho_design, BETAS, _split(evaluations))
    if not stage.cuts.made[-1].sound:
        stage.run(stage.best.rho_design, [2.0 * BETAS[-1]], [REPAIR_EVALUATIONS])
    return stage.built(getattr(found, "objective", None))


def _start(design: Any, found: Any, evaluations: int) -> Array:
    """Return the design density that a result holds, or that is one, after a check. Note: Collective."""
    if not isinstance(design, Design):
        raise InputError(f"design must be a Design or a NeuralDesign, got {shown(design)}")
    domain = design.domain

    def check() -> Array:
        if evaluations < len(BETAS):
            raise InputError(f"evaluations must be at least {len(BETAS)}, got {evaluations}")
        value = getattr(found, "rho_design", found)
        meaning = "a result or one number for each owned cell"
        return densities("found", real_array("found", value, (domain.num_owned_cells,), meaning))

    return together(domain.comm, check, "the checks of make_buildable")


def _require_same(design: Design, found: Any, rho_design: Array) -> None:
    """Refuse a result of another objective or mesh; the filter may be another one. Note: Collective."""
    before, rho = (getattr(found, name, None) for name in ("objective", "rho"))
    if before is None or rho is None:
        return
    here = design.evaluate_density(rho_design, gradient=False).value
    if not math.isclose(here, before, rel_tol=SAME_OBJECTIVE):
        here = design.domain.num_copies * design.functional.value(rho)
    if not math.isclose(here, before, rel_tol=SAME_OBJECTIVE):
        raise InputError(
            f"found must be a result of this objective and mesh: its objective is {before:.4g}, that of its "
            f"density is {here:.4g} here; way out: found.rho_design alone, if it is meant"
        )


def _split(evaluations: int) -> list[int]:
    """Return the evaluations at each sharpness."""
    counts = [max(1, round(share * evaluations)) for share in SHARES[:-1]]
    return [*counts, max(1, evaluations - sum(counts))]


class _Stage:
    """The last stage of one design."""

    best: Result

    def __init__(
        self,
        design: Design,
        attachments: Attachments,
        min_member: float | None,
        min_gap: float | None,
        exact_volume: bool,
        progress: bool | None,
    ):
        self.progress = progress
        self.filter, delta = stage_filter(design, min_member, min_gap)
        self.projection = ThreeFieldProjection(BETAS[0], delta=delta)
        kind = Design if min_gap is None else OpenGaps
        self.design = kind(
            design.functional,
            design.domain,
            filter=self.filter,
            manufacturing=design.manufacturing,
            projection=self.projection,
            constraints=design.constraints,
            volume="at most"
            if design.domain.volume_fraction == 1.0
            else "exactly",  # of all: nothing to meet
        )
        self.cuts = Cuts(self.design, attachments, min_member, min_gap, exact_volume)
        self.solves = -self.design.persistence.num_solves
        self.evaluations = 0
        self.history: list[float] = []

    def run(self, rho_design: Array, betas: Sequence[float], counts: Sequence[int]) -> None:
        """Sharpen from a design, cut, and check the cut."""
        follow = (self.design.follow,) if isinstance(self.design, OpenGaps) else ()
        self.best = sharpen(self.design, rho_design, betas, counts, callbacks=follow, progress=self.progress)
        self.evaluations += len(self.projection.realizations) * self.best.evaluations
        self.history += self.best.history.objective
        self.cuts.add(self.best, fill=self.projection.eroded_alone)

    def built(self, before: float | None) -> Built:
        """Return the best cut, measured; `before` is the objective of the found design, if known."""
        best = self.cuts.best()
        return self.cuts.measured(
            best,
            before,
            radius=getattr(self.filter, "radius", None),
            evaluations=self.evaluations + self.cuts.evaluations,
            solves=self.solves + self.design.persistence.num_solves,
            history=tuple(self.history),
        )
