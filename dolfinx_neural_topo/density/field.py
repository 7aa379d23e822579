"""One density of a design: where it lives, the stages it goes through, and its volume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dolfinx_neural_topo._checks import SetOnce, densities, owned_values, real_array
from dolfinx_neural_topo._communication import sum_replicated
from dolfinx_neural_topo.density.chain import Chain, Identity, Smooth, Stage
from dolfinx_neural_topo.density.domain import DesignDomain
from dolfinx_neural_topo.density.sigmoid import VolumeConstrainedSigmoid
from dolfinx_neural_topo.density.volume import Volume, chain_volume
from dolfinx_neural_topo.errors import InputError, collective


def design_values(value: Any, name: str, given: Mapping[str, Any]) -> np.ndarray:
    """Check one number for each owned design cell."""
    count = np.count_nonzero(given["self"].domain.design)
    return densities(name, real_array(name, value, (count,), "one number for each owned design cell"))


class DensityField(SetOnce):
    """A density and its stages; a `Design` is one with an objective, a `MultiDesign` has several.

        rho_design -> filter -> manufacturing -> rho_filtered -> projection -> rho

    Attributes:
        comm: Communicator.
        domain: Design domain.
        filter: Filter, the identity if none was given.
        manufacturing: Stages between filter and projection.
        projection: Projection, likewise.
        chain: All stages in order.
        held_volume: The volume that the constraint holds, as a function of rho_design.

    Args:
        domain: Design domain, and with it the volume that the density may fill.
        filter: `ConeFilter`, `HelmholtzFilter` or None.
        manufacturing: Stages that make the density one that can be made, in this order.
        projection: `HeavisideProjection` or None.
        constrain: "physical" holds the volume of rho, "design" that of rho_design.

    Raises:
        InputError: An unknown `constrain`, a stage of another domain, or a volume that no density of these
            stages has.

    Note: Collective.

    Example:
        >>> field = dnt.DensityField(domain, filter=dnt.ConeFilter(domain, radius=0.3))
        >>> float(round(field.volume(field.rho_from_design(half)), 6))
        0.5
    """

    @collective
    def __init__(
        self,
        domain: DesignDomain,
        *,
        filter: Stage | None = None,
        manufacturing: Sequence[Stage] = (),
        projection: Smooth | None = None,
        constrain: str = "physical",
    ):
        if constrain not in ("physical", "design"):
            raise InputError(f'constrain must be "physical" or "design", got {constrain!r}')
        for name, stages in (("filter", [filter]), ("manufacturing", manufacturing)):
            if any(getattr(stage, "domain", domain) is not domain for stage in stages):
                raise InputError(
                    f"{name} must be made for the domain of this design, it was made for another one"
                )
        self.comm = domain.comm
        self.domain = domain
        self.filter: Any = filter or Identity()
        self.manufacturing = tuple(manufacturing)
        self.projection: Any = projection or Identity()
        self.constrain = constrain
        self.chain = Chain([self.filter, *manufacturing, self.projection])
        self.held_volume: Volume = chain_volume(domain, self.chain if constrain == "physical" else Chain([]))

    @collective
    def initial(self) -> np.ndarray:
        """Return the constant density that meets the volume constraint, on owned design cells.

        Note: Collective.
        """
        exactly = VolumeConstrainedSigmoid(self.domain, volume=self.held_volume)
        return exactly.apply(np.zeros(self.domain.num_owned_cells))[self.domain.design]

    @property
    def limited(self) -> bool:
        """Whether there is a limit on the volume."""
        return self.domain.volume_fraction < 1.0

    @property
    def allowed_volume(self) -> float:
        """Material that design and solid cells may hold, in units of volume."""
        return self.domain.volume_fraction * (self.domain.design_volume + self.domain.solid_volume)

    @collective(x=design_values)
    def volume_constraint(self, x: np.ndarray) -> float:
        """Return volume / allowed volume - 1 at rho_design on owned design cells.

        Note: Collective.
        """
        material = sum_replicated(self.comm, self.held_volume.value(self.domain.expand(x)))
        return (self.domain.solid_volume + float(material)) / self.allowed_volume - 1.0

    @collective(rho_design=owned_values)
    def volume_slope(self, rho_design: np.ndarray) -> np.ndarray:
        """Return the derivative of the volume constraint on owned cells, zero on passive ones.

        Note: Collective.
        """
        _, weights = self.held_volume.value_and_weights(rho_design)
        return weights / self.allowed_volume

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
