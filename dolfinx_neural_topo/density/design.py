"""From design variables to the physical density, objective and constraints, and back."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dolfinx_neural_topo._checks import owned_values
from dolfinx_neural_topo.density.chain import Chain, Smooth, Stage
from dolfinx_neural_topo.density.domain import DesignDomain
from dolfinx_neural_topo.density.evaluation import Evaluation, check_functionals, evaluate_at, limits_at
from dolfinx_neural_topo.density.field import DensityField, design_values
from dolfinx_neural_topo.density.logits import Logits
from dolfinx_neural_topo.density.persistence import Persistence
from dolfinx_neural_topo.density.sigmoid import VolumeConstrainedSigmoid
from dolfinx_neural_topo.errors import InputError, collective
from dolfinx_neural_topo.physics.algebra import AnyFunctional


class Design(DensityField):
    """A density-based design problem: functional, domain and the stages of the density.

        rho_design -> filter -> manufacturing -> rho_filtered -> projection -> rho -> functional

    Manufacturing comes before the projection because what it demands (nothing without support, no undercut)
    then holds at every threshold, for an eroded or dilated density too.

    As variables of an optimizer, x is `rho_design` on owned design cells, with bounds 0 and 1 and the volume
    as first constraint: volume / allowed volume - 1 <= 0. From logits it is met by construction instead.

    Attributes:
        comm: Communicator.
        functional: Objective.
        domain: Design domain.
        filter: Filter, the identity if none was given.
        manufacturing: Stages between filter and projection.
        projection: Projection, likewise.
        chain: All stages in order.
        unprojected: All but the projection.
        constraints: Pairs (functional, bound), each held as functional / bound - 1 <= 0.
        volume_is_a_choice: Whether logits may use less than the volume allowed.
        lower: Lower bound of x.
        upper: Upper bound of x.

    Args:
        functional: Object with `comm`, `value(rho)` and `value_and_gradient(rho)`. With symmetry planes in
            the domain its value is counted once for every mirror image.
        domain: Design domain.
        filter: `ConeFilter`, `HelmholtzFilter` or None.
        manufacturing: Stages that make the density one that can be made, in this order.
        projection: `HeavisideProjection`, `ThreeFieldProjection` or None.
        constrain: "physical" holds the volume of rho, "design" that of rho_design.
        volume: From logits, hold the allowed volume "exactly", or let them use "at most" that much: where
            less material is better, as under its own weight.
        constraints: Further constraints, pairs (functional, positive bound), in the mesh's own units: mirror
            images are not counted.

    Raises:
        InputError: An unknown `constrain`, a stage of another domain, a volume that no density of these
            stages has, or a bound that is not positive.

    Note: Collective.

    Example:
        >>> design = dnt.Design(dnt.Compliance(state), domain, filter=dnt.ConeFilter(domain, radius=0.3))
        >>> start = design.evaluate(design.initial())
        >>> bool(abs(start.volume - 0.5) < 1e-6 and abs(start.constraints[0]) < 1e-6)
        True
    """

    lower = 0.0
    upper = 1.0

    @collective
    def __init__(
        self,
        functional: AnyFunctional,
        domain: DesignDomain,
        *,
        filter: Stage | None = None,
        manufacturing: Sequence[Stage] = (),
        projection: Smooth | None = None,
        constrain: str = "physical",
        volume: str = "exactly",
        constraints: Sequence[tuple[AnyFunctional, float]] = (),
    ):
        if volume not in ("exactly", "at most"):
            raise InputError(f'volume must be "exactly" or "at most", got {volume!r}')
        check_functionals(functional, constraints, domain, ())
        super().__init__(
            domain,
            filter=filter,
            manufacturing=manufacturing,
            projection=projection,
            constrain=constrain,
        )
        self.functional: Any = functional
        self.constraints = tuple(constraints)
        self.volume_is_a_choice = volume == "at most"
        self.unprojected = Chain([self.filter, *manufacturing])
        self._sigmoid = VolumeConstrainedSigmoid(
            domain, volume=self.held_volume, at_most=self.volume_is_a_choice
        )

    @property
    def logits(self) -> Logits:
        """The design as a function of logits.

        Raises:
            InputError: The volume is to be met exactly, and is that of all cells, which leaves no choice.
        """
        if not self.volume_is_a_choice and self.domain.volume_fraction == 1.0:
            raise InputError(
                "volume_fraction 1, met exactly, leaves logits no choice; way out: Design(..., "
                'volume="at most"), or a smaller fraction'
            )
        return Logits(self, self._sigmoid)

    @property
    def persistence(self) -> Persistence:
        """What a run needs beside values: numbers of the entries of x, stage, cost."""
        return Persistence(self, self.domain.canonical_index[self.domain.design])

    @collective
    def on(self, functional: AnyFunctional, domain: DesignDomain) -> Design:
        """Return a design with the same stages, without further constraints, on another domain.

        Args:
            functional: Its objective.
            domain: Its domain.

        Note: Collective.
        """
        return Design(
            functional,
            domain,
            filter=self.filter.on(domain),
            manufacturing=[stage.on(domain) for stage in self.manufacturing],
            projection=self.projection,
            constrain=self.constrain,
            volume="at most" if self.volume_is_a_choice else "exactly",
        )

    def with_objective(self, functional: AnyFunctional) -> Design:
        """Return a design with another objective that shares domain and stages with this one."""
        other = copy.copy(self)
        vars(other)["functional"] = functional
        return other

    @collective(x=design_values)
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
        constraints = np.concatenate([[self.volume_constraint(x)], evaluation.constraints])
        if not gradient:
            return replace(evaluation, constraints=constraints)
        rows = np.vstack([self.volume_slope(rho_design), evaluation.constraint_gradients])
        return replace(
            evaluation,
            gradient=evaluation.gradient[domain.design],
            constraints=constraints,
            constraint_gradients=rows[:, domain.design],
        )

    @collective(rho_design=owned_values)
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
        domain = self.domain
        domain.require_unmoved()
        fields = self.unprojected.fields(rho_design)
        filtered = fields[-1]
        densities = [stage.apply(filtered) for stage in self.projection.realizations]
        value, slope = self._worst_case(filtered, densities, gradient)
        rho = densities[-1]  # the blueprint

        def pull(dg_drho: np.ndarray) -> np.ndarray:
            dg_dfiltered = self.projection.realizations[-1].pullback(dg_drho, filtered, rho)
            return self.unprojected.pullback(dg_dfiltered, fields)

        values, rows = limits_at(self.constraints, rho, pull, gradient)
        return Evaluation(
            value=domain.num_copies * value,
            gradient=domain.num_copies * self.unprojected.pullback(slope, fields) if gradient else None,
            constraints=values,
            constraint_gradients=rows,
            rho_design=rho_design,
            rho=rho,
            volume=self.volume(rho),
        )

    def _worst_case(
        self, filtered: np.ndarray, densities: list[np.ndarray], gradient: bool
    ) -> tuple[float, Any]:
        """Largest objective over what may become of rho_filtered, and its gradient by rho_filtered."""
        values, slopes = [], []
        for stage, rho in zip(self.projection.realizations, densities, strict=True):
            value, dJ_drho = evaluate_at(self.functional, rho, gradient)
            values.append(value)
            slopes.append(stage.pullback(dJ_drho, filtered, rho) if gradient else None)
        worst = int(np.argmax(values))  # the first NaN, if there is one
        return values[worst], slopes[worst]
