"""Projections that push a filtered density towards 0 and 1."""

from __future__ import annotations

import numpy as np

from dolfinx_neural_topo._checks import check_number
from dolfinx_neural_topo.errors import InputError, checked


class HeavisideProjection:
    """Smoothed step at a threshold.

        rho = (tanh(beta eta) + tanh(beta (x - eta))) / (tanh(beta eta) + tanh(beta (1 - eta)))

    Attributes:
        beta: Sharpness, positive; raise it during a run (continuation) by assigning to it.
        eta: Threshold, in [0, 1].

    Args:
        beta: Sharpness.
        eta: Threshold.

    Raises:
        InputError: An argument is out of its range.

    References:
        Wang, Lazarov and Sigmund (2011), Structural and Multidisciplinary Optimization 43, equation 9.

    Example:
        >>> dnt.HeavisideProjection(beta=8.0).apply(np.array([0.0, 0.5, 1.0])).round(6).tolist()
        [0.0, 0.5, 1.0]
    """

    @checked
    def __init__(self, beta: float, eta: float = 0.5):
        self.eta = check_number("eta", eta, "[0, 1]")
        self.beta = beta

    @property
    def beta(self) -> float:
        """Sharpness of the step."""
        return self._beta

    @beta.setter
    def beta(self, beta: float) -> None:
        self._beta = check_number("beta", beta, "(0, inf)")

    @property
    def realizations(self) -> tuple[HeavisideProjection, ...]:
        """Projections over whose densities the objective is the worst case: this one alone."""
        return (self,)

    @checked
    def apply(self, rho_filtered: np.ndarray) -> np.ndarray:
        """Project owned values, shape (num_owned_cells,); 0 stays 0 and 1 stays 1."""
        below = np.tanh(self._beta * self.eta)
        return (below + np.tanh(self._beta * (rho_filtered - self.eta))) / self._height

    @checked
    def pullback(self, dJ_drho: np.ndarray, rho_filtered: np.ndarray, rho: np.ndarray) -> np.ndarray:
        """Gradient with respect to the filtered density, owned values, shape (num_owned_cells,)."""
        below = np.tanh(self._beta * self.eta)
        step = rho * self._height - below
        return dJ_drho * (1.0 - step**2) * (self._beta / self._height)

    @property
    def _height(self) -> float:
        return np.tanh(self._beta * self.eta) + np.tanh(self._beta * (1.0 - self.eta))


class ThreeFieldProjection:
    """Eroded, intermediate and dilated density for a design that tolerates errors in manufacturing.

    The intermediate density (threshold eta) is the blueprint: it is reported, and its volume constrained. The
    objective of a `Design` is the worst over all three, which keeps members and gaps above a least width.

    Attributes:
        eroded: Projection at the threshold eta + delta (thinner members).
        intermediate: Projection at the threshold eta.
        dilated: Projection at the threshold eta - delta (thicker members).
        eroded_alone: As given.

    Args:
        beta: Sharpness, common to all three.
        eta: Threshold of the blueprint.
        delta: Distance of the other two thresholds, with 0 <= eta - delta and eta + delta <= 1; a pair gives
            that of the eroded and that of the dilated one.
        eroded_alone: Whether the objective is that of the eroded density instead of the worst of three: the
            same where less material is always worse, as for the compliance under given loads, at a third of
            the cost.

    Raises:
        InputError: An argument is out of its range.

    References:
        Wang, Lazarov and Sigmund (2011), Structural and Multidisciplinary Optimization 43, section 4.

    Example:
        >>> robust = dnt.ThreeFieldProjection(beta=8.0, delta=0.2)
        >>> [each.eta for each in robust.realizations]
        [0.7, 0.3, 0.5]
    """

    @checked
    def __init__(
        self,
        beta: float,
        eta: float = 0.5,
        *,
        delta: float | tuple[float, float] = 0.2,
        eroded_alone: bool = False,
    ):
        above, below = delta if isinstance(delta, tuple) else (delta, delta)
        if not 0.0 < min(above, below) <= max(above, below) <= min(eta, 1.0 - eta):
            raise InputError(
                f"delta must lie in (0, min(eta, 1 - eta)] = (0, {min(eta, 1 - eta):.6g}], got {delta}"
            )
        self.eroded = HeavisideProjection(beta, eta + above)
        self.intermediate = HeavisideProjection(beta, eta)
        self.dilated = HeavisideProjection(beta, eta - below)
        self.eroded_alone = eroded_alone

    @property
    def beta(self) -> float:
        """Sharpness of all three steps."""
        return self.intermediate.beta

    @beta.setter
    def beta(self, beta: float) -> None:
        for projection in (self.eroded, self.dilated, self.intermediate):
            projection.beta = beta

    @property
    def realizations(self) -> tuple[HeavisideProjection, ...]:
        """Projections over whose densities the objective is the worst case; a blueprint comes last."""
        return (self.eroded,) if self.eroded_alone else (self.eroded, self.dilated, self.intermediate)

    @checked
    def apply(self, rho_filtered: np.ndarray) -> np.ndarray:
        """Project to the blueprint, owned values, shape (num_owned_cells,)."""
        return self.intermediate.apply(rho_filtered)

    @checked
    def pullback(self, dJ_drho: np.ndarray, rho_filtered: np.ndarray, rho: np.ndarray) -> np.ndarray:
        """Gradient with respect to the filtered density from one with respect to the blueprint."""
        return self.intermediate.pullback(dJ_drho, rho_filtered, rho)
