"""How full the neighbourhood of a cell may be: a limit that makes porous, bone-like infill."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dolfinx_neural_topo._checks import check_count, real_array
from dolfinx_neural_topo._communication import max_replicated, sum_replicated
from dolfinx_neural_topo.density.cone import ConeFilter
from dolfinx_neural_topo.density.domain import DesignDomain
from dolfinx_neural_topo.errors import InputError, collective


def _densities(value: Any, name: str, given: Mapping[str, Any]) -> np.ndarray:
    """Check one number for each owned cell, or for each field and owned cell."""
    field, count, shape = given["self"].field, len(given["self"]._weights), np.shape(value)
    if field is None:
        return real_array(name, value, (count,), "one number for each owned cell")
    if len(shape) != 2 or field >= shape[0]:
        raise InputError(
            f"field must number one of several densities, got {field} for densities of shape {shape}"
        )
    return real_array(name, value, (shape[0], count), "one number for each field and owned cell")


class LocalVolume:
    """Largest mean density in a neighbourhood, as a smooth functional of the density.

        J(rho) = (sum_i v_i rhobar_i^p / sum_i v_i)^(1 / p),    rhobar = mean of rho within `radius`

    over design cells, with weights that fall linearly to zero at the radius. J is at most the largest
    rhobar_i and tends to it as p grows. As a constraint it keeps material from gathering anywhere:

        porous = dnt.LocalVolume(domain, radius=0.1)
        design = dnt.Design(compliance, domain, filter=cone, constraints=[(porous, 0.6)])

    Attributes:
        comm: Communicator.
        name: Name in reports.

    Args:
        domain: Design domain.
        radius: Radius of the neighbourhood in units of the mesh, about twice the thickest member wanted.
        power: The exponent p, at least 1.
        field: Which of several densities it is about (see `MultiDesign`), from 0; None where there is one.

    Raises:
        InputError: The radius does not suit the domain (see `ConeFilter`), the power is below 1, or the
            densities have no such field.

    References:
        Wu, Aage, Westermann and Sigmund, Infill optimization for additive manufacturing (2018), equation 7.

    Note: Collective.

    Example:
        >>> porous = dnt.LocalVolume(domain, radius=0.4)
        >>> limited = dnt.Design(dnt.Compliance(state), domain, constraints=[(porous, 0.6)])
    """

    name = "local volume"

    @collective
    def __init__(self, domain: DesignDomain, radius: float, *, power: float = 16.0, field: int | None = None):
        if not 1.0 <= power < np.inf:
            raise InputError(f"power must be at least 1 and finite, got {power}")
        if field is not None:
            check_count("field", field, 0)
        self.comm, self.field = domain.comm, field
        self.power = float(power)
        self._mean = ConeFilter(domain, radius)
        self._weights = np.where(domain.design, domain.cell_volumes, 0.0) / domain.design_volume

    @collective(rho=_densities)
    def value(self, rho: np.ndarray) -> float:
        """Return J at a density, dimensionless.

        Args:
            rho: Owned values in [0, 1], shape (num_owned_cells,), or (k, num_owned_cells) with a `field`.

        Note: Collective.
        """
        return self._norm(self._mean.apply(self._one(rho)))[0]

    @collective(rho=_densities)
    def value_and_gradient(self, rho: np.ndarray) -> tuple[float, np.ndarray]:
        """Return J and dJ/drho on owned cells, of the shape of rho.

        Args:
            rho: As for `value`.

        Note: Collective.
        """
        value, slope = self._norm(self._mean.apply(self._one(rho)))
        slope = self._mean.apply_transpose(slope)
        if self.field is None:
            return value, slope
        whole = np.zeros(rho.shape)
        whole[self.field] = slope
        return value, whole

    def _one(self, rho: np.ndarray) -> np.ndarray:
        """Return the density that this is about."""
        return rho if self.field is None else rho[self.field]

    def _norm(self, mean: np.ndarray) -> tuple[float, np.ndarray]:
        """The p-norm and its gradient, scaled by the largest entry so that no power underflows."""
        mean = np.maximum(mean, 0.0)
        largest = float(max_replicated(self.comm, mean.max(initial=0.0)))
        if largest == 0.0:
            return 0.0, np.zeros_like(mean)
        relative = mean / largest
        total = float(sum_replicated(self.comm, self._weights @ relative**self.power))
        slope = self._weights * relative ** (self.power - 1.0) * total ** (1.0 / self.power - 1.0)
        return largest * total ** (1.0 / self.power), slope
