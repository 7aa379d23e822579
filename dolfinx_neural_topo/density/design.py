"""From design variables to the physical density, objective and constraints, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dolfinx_neural_topo._communication import sum_replicated
from dolfinx_neural_topo.density.domain import DesignDomain
from dolfinx_neural_topo.density.evaluation import Evaluation
from dolfinx_neural_topo.density.sigmoid import VolumeConstrainedSigmoid
from dolfinx_neural_topo.density.volume import constrained_volume
from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.physics.algebra import num_solves, settle


class Design:
    """A density-based design problem: functional, domain, filter and projection.

        rho_design -> filter -> rho_filtered -> projection -> rho -> functional

    As variables of an optimizer, x is `rho_design` on owned design cells, with bounds 0 and 1 and the volume
    as first constraint: volume / allowed volume - 1 <= 0. From logits it is met by construction instead.

    Attributes:
        comm: Communicator.
        functional: Objective.
        domain: Design domain.
        filter: Filter or None.
        projection: Projection or None.
        constraints: Pairs (functional, bound), each held as functional / bound - 1 <= 0.
        volume_is_a_choice: Whether logits may use less than the volume allowed.
        distributed: True: x holds this rank's part.
        lower: Lower bound of x.
        upper: Upper bound of x.

    Args:
        functional: Object with `comm`, `value(rho)` and `value_and_gradient(rho)`. With symmetry planes in
            the domain its value is counted once for every mirror image.
        domain: Design domain.
        filter: `ConeFilter`, `HelmholtzFilter` or None.
        projection: `HeavisideProjection`, `ThreeFieldProjection` or None.
        constrain: "physical" holds the volume of rho, "design" that of rho_design.
        volume: From logits, hold the allowed volume "exactly", or let them use "at most" that much: where
            less material is better, as under its own weight.
        constraints: Further constraints, pairs (functional, positive bound), in the mesh's own units: mirror
            images are not counted.

    Raises:
        InputError: An unknown `constrain`, a filter of another domain, or a bound that is not positive.

    Note: Collective.
    """

    distributed = True
    lower = 0.0
    upper = 1.0

    def __init__(
        self,
        functional,
        domain: DesignDomain,
        *,
        filter=None,
        projection=None,
        constrain: str = "physical",
        volume: str = "exactly",
        constraints: Sequence[tuple[Any, float]] = (),
    ):
        if constrain not in ("physical", "design"):
            raise InputError(f'constrain must be "physical" or "design", got {constrain!r}')
        if volume not in ("exactly", "at most"):
            raise InputError(f'volume must be "exactly" or "at most", got {volume!r}')
        if filter is not None and filter.domain is not domain:
            raise InputError("filter must be made for the domain of this design, it was made for another one")
        for _, bound in constraints:
            if not bound > 0.0:
                raise InputError(
                    f"bounds of constraints must be positive, got {bound}; negate or shift the functional"
                )
        self.comm = domain.comm
        self.functional = functional
        self.domain = domain
        self.filter = filter
        self.projection = projection
        self.constraints = tuple(constraints)
        self.constrain, self.volume_is_a_choice = constrain, volume == "at most"
        self._volume = constrained_volume(domain, filter, projection, constrain)
        self._sigmoid = VolumeConstrainedSigmoid(domain, volume=self._volume, at_most=self.volume_is_a_choice)

    def on(self, functional, domain: DesignDomain) -> Design:
        """Return a design with the same stages, without further constraints, on another domain.

        Args:
            functional: Its objective.
            domain: Its domain.

        Note: Collective.
        """
        return Design(
            functional,
            domain,
            filter=None if self.filter is None else self.filter.on(domain),
            projection=self.projection,
            constrain=self.constrain,
            volume="at most" if self.volume_is_a_choice else "exactly",
        )

    def initial(self) -> np.ndarray:
        """Return the constant density that meets the volume constraint, on owned design cells.

        Note: Collective.
        """
        exactly = VolumeConstrainedSigmoid(self.domain, volume=self._volume)
        return exactly.apply(np.zeros(self.domain.num_owned_cells))[self.domain.design]

    def evaluate(self, x: np.ndarray, gradient: bool = True) -> Evaluation:
        """Evaluate objective and constraints at a density.

        Args:
            x: rho_design on owned design cells, float64.
            gradient: Whether gradients are wanted; without, no adjoint problem is solved.

        Returns:
            The evaluation, gradients with respect to x; the first constraint is the volume.

        Note: Collective.
        """
        domain = self.domain
        rho_design = domain.expand(x)
        evaluation = self.evaluate_density(rho_design, gradient)
        evaluation.constraints = np.concatenate([[self.volume_constraint(x)], evaluation.constraints])
        if gradient:
            volume_gradient = self._volume.weights(rho_design) / self._allowed_volume
            rows = np.vstack([volume_gradient, evaluation.constraint_gradients])
            evaluation.gradient = evaluation.gradient[domain.design]
            evaluation.constraint_gradients = rows[:, domain.design]
        return evaluation

    def volume_constraint(self, x: np.ndarray) -> float:
        """Return the first constraint, volume / allowed volume - 1, at rho_design on owned design cells.

        Note: Collective.
        """
        rho_design = self.domain.expand(x)
        local, _ = self._volume.local_sums(rho_design, np.zeros_like(rho_design))
        volume = self.domain.solid_volume + float(sum_replicated(self.comm, local))
        return volume / self._allowed_volume - 1.0

    def evaluate_logits(self, logits: np.ndarray, gradient: bool = True) -> Evaluation:
        """Evaluate the objective and further constraints at the density that logits stand for.

        Args:
            logits: Owned logits, shape (num_owned_cells,), float64.
            gradient: Whether gradients are wanted.

        Returns:
            The evaluation, gradients with respect to the logits of owned cells. The volume is met and
            is not among the constraints.

        Note: Collective.
        """
        rho_design = self.design_from_logits(logits)
        evaluation = self.evaluate_density(rho_design, gradient)
        if gradient:
            evaluation.gradient = self.pullback_logits(evaluation.gradient, logits, rho_design)
            rows = [self.pullback_logits(row, logits, rho_design) for row in evaluation.constraint_gradients]
            evaluation.constraint_gradients = np.array(rows).reshape(len(rows), len(logits))
        return evaluation

    def evaluate_density(self, rho_design: np.ndarray, gradient: bool = True) -> Evaluation:
        """Evaluate the objective and further constraints at a density.

        Args:
            rho_design: Owned values, shape (num_owned_cells,), passive cells at their own density.
            gradient: Whether gradients are wanted.

        Returns:
            The evaluation, gradients with respect to all of rho_design (the volume is not among the
            constraints).

        Note: Collective.
        """
        rho_filtered = self._filtered(rho_design)
        value, slope = self._worst_case(rho_filtered, gradient)
        rho = self._projected(rho_filtered)
        values, rows = [], []
        for functional, bound in self.constraints:
            if gradient:
                level, dg_drho = functional.value_and_gradient(rho)
                rows.append(self._unfiltered(_before(self.projection, dg_drho, rho_filtered, rho)) / bound)
            else:
                level = functional.value(rho)
            values.append(level / bound - 1.0)
        return Evaluation(
            value=self.domain.num_copies * value,
            gradient=self.domain.num_copies * self._unfiltered(slope) if gradient else None,
            constraints=np.array(values),
            constraint_gradients=np.array(rows).reshape(len(rows), len(rho)) if gradient else None,
            rho_design=rho_design,
            rho=rho,
            volume=self.volume(rho),
        )

    def rho_from_design(self, rho_design: np.ndarray) -> np.ndarray:
        """Filter and project a density (to the blueprint, where there are three fields).

        Args:
            rho_design: Owned values, shape (num_owned_cells,).

        Returns:
            rho, owned values, same shape.

        Note: Collective.
        """
        return self._projected(self._filtered(rho_design))

    def pullback_density(self, dJ_drho: np.ndarray, rho_design: np.ndarray) -> np.ndarray:
        """Gradient with respect to rho_design from one with respect to rho: transpose of `rho_from_design`.

        Note: Collective.
        """
        if self.projection is not None:
            rho_filtered = self._filtered(rho_design)
            dJ_drho = self.projection.pullback(dJ_drho, rho_filtered, self._projected(rho_filtered))
        return self._unfiltered(dJ_drho)

    def design_from_logits(self, logits: np.ndarray) -> np.ndarray:
        """Map owned logits to rho_design with the volume allowed (see `VolumeConstrainedSigmoid`).

        Raises:
            InputError: The volume is to be met exactly, and is that of all cells, which leaves no choice.

        Note: Collective.
        """
        if not self.volume_is_a_choice and self.domain.volume_fraction == 1.0:
            raise InputError(
                "volume_fraction 1, met exactly, leaves logits no choice; way out: Design(..., "
                'volume="at most"), or a smaller fraction'
            )
        return self._sigmoid.apply(logits)

    def pullback_logits(
        self, dJ_drho_design: np.ndarray, logits: np.ndarray, rho_design: np.ndarray
    ) -> np.ndarray:
        """Gradient with respect to the logits from one with respect to rho_design.

        Note: Collective.
        """
        return self._sigmoid.pullback(dJ_drho_design, logits, rho_design)

    def volume(self, rho: np.ndarray) -> float:
        """Volume fraction of a density: its material over the volume of all cells that are not void.

        Args:
            rho: Owned values, shape (num_owned_cells,).

        Note: Collective.
        """
        domain = self.domain
        inside = ~domain.void
        material = sum_replicated(self.comm, domain.cell_volumes[inside] @ rho[inside])
        return float(material) / (domain.design_volume + domain.solid_volume)

    @property
    def canonical_index(self) -> np.ndarray:
        """Number of each entry of x that does not depend on the partition; int64."""
        return self.cell_index[self.domain.design]

    @property
    def cell_index(self) -> np.ndarray:
        """Number of each owned cell, independent of the partition; int64, shape (num_owned_cells,)."""
        return self.domain.canonical_index

    @property
    def num_solves(self) -> int:
        """Solves of the objective's states so far, 0 for a functional that has none."""
        return num_solves(self.functional)

    def settle(self) -> bool:
        """Solve as accurately as results must be; return whether that is a change. Note: Collective."""
        functionals = [self.functional, *(functional for functional, _ in self.constraints)]
        return any([settle(functional) for functional in functionals])

    def state_dict(self) -> dict[str, Any]:
        """Return the continuation stage: the projection's sharpness, or None."""
        return {"beta": None if self.projection is None else self.projection.beta}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a continuation stage.

        Raises:
            InputError: The stage belongs to a design with another kind of projection.
        """
        if (state["beta"] is None) != (self.projection is None):
            raise InputError(
                f"state: beta is {state['beta']}, which does not fit projection {self.projection}"
            )
        if self.projection is not None:
            self.projection.beta = state["beta"]

    @property
    def _allowed_volume(self) -> float:
        return self.domain.volume_fraction * (self.domain.design_volume + self.domain.solid_volume)

    def _worst_case(self, rho_filtered: np.ndarray, gradient: bool) -> tuple[float, Any]:
        """Largest objective over the projection's realizations, and its gradient by rho_filtered."""
        projections = (None,) if self.projection is None else self.projection.realizations
        values, slopes = [], []
        for projection in projections:
            rho = rho_filtered if projection is None else projection.apply(rho_filtered)
            if gradient:
                value, dJ_drho = self.functional.value_and_gradient(rho)
                slopes.append(_before(projection, dJ_drho, rho_filtered, rho))
            else:
                value = self.functional.value(rho)
            values.append(value)
        worst = int(np.argmax(values))  # the first NaN, if there is one
        return values[worst], slopes[worst] if gradient else None

    def _filtered(self, rho_design: np.ndarray) -> np.ndarray:
        return rho_design if self.filter is None else self.filter.apply(rho_design)

    def _unfiltered(self, gradient: np.ndarray) -> np.ndarray:
        return gradient if self.filter is None else self.filter.apply_transpose(gradient)

    def _projected(self, rho_filtered: np.ndarray) -> np.ndarray:
        return rho_filtered if self.projection is None else self.projection.apply(rho_filtered)


def _before(projection, gradient: np.ndarray, rho_filtered: np.ndarray, rho: np.ndarray) -> np.ndarray:
    """Gradient with respect to the density before a projection, which may be None."""
    return gradient if projection is None else projection.pullback(gradient, rho_filtered, rho)
