"""From design variables to the physical density, objective and constraints, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dolfinx_neural_topo._checks import owned_values, real_array
from dolfinx_neural_topo._communication import sum_replicated
from dolfinx_neural_topo.density.chain import Chain, Identity, Smooth, Stage
from dolfinx_neural_topo.density.domain import DesignDomain
from dolfinx_neural_topo.density.evaluation import Evaluation
from dolfinx_neural_topo.density.logits import Logits
from dolfinx_neural_topo.density.persistence import Persistence
from dolfinx_neural_topo.density.sigmoid import VolumeConstrainedSigmoid
from dolfinx_neural_topo.density.volume import chain_volume
from dolfinx_neural_topo.errors import InputError, collective
from dolfinx_neural_topo.physics.algebra import AnyFunctional


def _design_values(value: Any, name: str, given: Mapping[str, Any]) -> np.ndarray:
    """Check one number for each owned design cell."""
    count = np.count_nonzero(given["self"].domain.design)
    return real_array(name, value, (count,), "one number for each owned design cell")


class Design:
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
        if constrain not in ("physical", "design"):
            raise InputError(f'constrain must be "physical" or "design", got {constrain!r}')
        if volume not in ("exactly", "at most"):
            raise InputError(f'volume must be "exactly" or "at most", got {volume!r}')
        for each in (functional, *(each for each, _ in constraints)):
            mesh = getattr(each, "mesh", getattr(getattr(each, "state", None), "mesh", None))
            if mesh is not None and mesh.ufl_domain() != domain.mesh.ufl_domain():
                raise InputError(
                    f"domain must be made on the mesh of functional {getattr(each, 'name', each)!r}, "
                    "it was made on another one"
                )
        for name, stages in (("filter", [filter]), ("manufacturing", manufacturing)):
            if any(getattr(stage, "domain", domain) is not domain for stage in stages):
                raise InputError(
                    f"{name} must be made for the domain of this design, it was made for another one"
                )
        for _, bound in constraints:
            if not bound > 0.0:
                raise InputError(
                    f"bounds of constraints must be positive, got {bound}; negate or shift the functional"
                )
        self.comm = domain.comm
        self.functional: Any = functional
        self.domain = domain
        self.filter: Any = filter or Identity()
        self.manufacturing = tuple(manufacturing)
        self.projection: Any = projection or Identity()
        self.constraints = tuple(constraints)
        self.constrain, self.volume_is_a_choice = constrain, volume == "at most"
        self.chain = Chain([self.filter, *manufacturing, self.projection])
        self.unprojected = Chain([self.filter, *manufacturing])
        self._volume = chain_volume(domain, self.chain if constrain == "physical" else Chain([]))
        self._sigmoid = VolumeConstrainedSigmoid(domain, volume=self._volume, at_most=self.volume_is_a_choice)

    @property
    def logits(self) -> Logits:
        """The design as a function of logits."""
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

    @collective
    def initial(self) -> np.ndarray:
        """Return the constant density that meets the volume constraint, on owned design cells.

        Note: Collective.
        """
        exactly = VolumeConstrainedSigmoid(self.domain, volume=self._volume)
        return exactly.apply(np.zeros(self.domain.num_owned_cells))[self.domain.design]

    @collective(x=_design_values)
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
        _, weights = self._volume.value_and_weights(rho_design)
        rows = np.vstack([weights / self._allowed_volume, evaluation.constraint_gradients])
        return replace(
            evaluation,
            gradient=evaluation.gradient[domain.design],
            constraints=constraints,
            constraint_gradients=rows[:, domain.design],
        )

    @collective(x=_design_values)
    def volume_constraint(self, x: np.ndarray) -> float:
        """Return the first constraint, volume / allowed volume - 1, at rho_design on owned design cells.

        Note: Collective.
        """
        material = sum_replicated(self.comm, self._volume.value(self.domain.expand(x)))
        return (self.domain.solid_volume + float(material)) / self._allowed_volume - 1.0

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
        fields = self.unprojected.fields(rho_design)
        filtered = fields[-1]
        densities = [stage.apply(filtered) for stage in self.projection.realizations]
        value, slope = self._worst_case(filtered, densities, gradient)
        rho = densities[-1]  # the blueprint
        values, rows = [], []
        for functional, bound in self.constraints:
            level, dg_drho = _value(functional, rho, gradient)
            values.append(level / bound - 1.0)
            if gradient:
                dg_dfiltered = self.projection.realizations[-1].pullback(dg_drho, filtered, rho)
                rows.append(self.unprojected.pullback(dg_dfiltered, fields) / bound)
        return Evaluation(
            value=domain.num_copies * value,
            gradient=domain.num_copies * self.unprojected.pullback(slope, fields) if gradient else None,
            constraints=np.array(values),
            constraint_gradients=np.array(rows).reshape(len(rows), len(rho_design)) if gradient else None,
            rho_design=rho_design,
            rho=rho,
            volume=self.volume(rho),
        )

    @collective(rho_design=owned_values)
    def rho_from_design(self, rho_design: np.ndarray) -> np.ndarray:
        """Apply all stages to a density (to the blueprint, where there are three fields).

        Args:
            rho_design: Owned values, shape (num_owned_cells,).

        Returns:
            rho, owned values, same shape.

        Note: Collective.
        """
        return self.chain.apply(rho_design)

    @collective(dJ_drho=owned_values, rho_design=owned_values)
    def pullback_density(self, dJ_drho: np.ndarray, rho_design: np.ndarray) -> np.ndarray:
        """Gradient with respect to rho_design from one with respect to rho: transpose of `rho_from_design`.

        Note: Collective.
        """
        return self.chain.pullback(dJ_drho, self.chain.fields(rho_design))

    @collective(rho=owned_values)
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
    def _allowed_volume(self) -> float:
        return self.domain.volume_fraction * (self.domain.design_volume + self.domain.solid_volume)

    def _worst_case(
        self, filtered: np.ndarray, densities: list[np.ndarray], gradient: bool
    ) -> tuple[float, Any]:
        """Largest objective over what may become of rho_filtered, and its gradient by rho_filtered."""
        values, slopes = [], []
        for stage, rho in zip(self.projection.realizations, densities, strict=True):
            value, dJ_drho = _value(self.functional, rho, gradient)
            values.append(value)
            slopes.append(stage.pullback(dJ_drho, filtered, rho) if gradient else None)
        worst = int(np.argmax(values))  # the first NaN, if there is one
        return values[worst], slopes[worst]


def _value(functional, rho: np.ndarray, gradient: bool) -> tuple[float, Any]:
    """Value of a functional, and its gradient or None."""
    return functional.value_and_gradient(rho) if gradient else (functional.value(rho), None)
