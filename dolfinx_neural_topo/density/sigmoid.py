"""Logits to a density that meets the volume constraint exactly."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from dolfinx_neural_topo._checks import real_array
from dolfinx_neural_topo._communication import max_replicated, sum_replicated
from dolfinx_neural_topo.density._root import locate, newton
from dolfinx_neural_topo.density.domain import DesignDomain
from dolfinx_neural_topo.density.volume import LinearVolume, Volume
from dolfinx_neural_topo.errors import InputError, collective

MARGIN = 3.0  # of the mean logit: sigmoid(3) = 0.95 of the volume is used at first, where there is a choice


class VolumeConstrainedSigmoid:
    """Sigmoid with the shift that makes the volume right.

        rho_i = sigmoid(logit_i + b),    b from   volume(rho) = target volume,

    on design cells; passive cells get their own density. The derivative follows from the implicit function
    theorem: with s_i = rho_i (1 - rho_i) and q = d volume / d rho,

        dJ/dlogit_i = s_i (g_i - q_i (sum_j g_j s_j) / (sum_j q_j s_j)),    g = dJ/drho.

    With `at_most` the volume is at most the target, and the mean m of the logits (by cell volume) chooses it:

        volume(rho) = target volume * sigmoid(m + 3),

    95 per cent of the target at logits around zero.

    Attributes:
        domain: The design domain.
        volume: What is held at `domain.target_volume`.

    Args:
        domain: Design domain.
        weights: The volume as weights of owned cells, shape (num_owned_cells,), not negative; default the
            cell volumes. H^T v constrains the volume after a filter H.
        volume: The volume as an object (`ChainVolume`), where it is not linear in the density.
        at_most: Whether less volume than the target is allowed.

    Raises:
        InputError: Both weights and volume are given.

    References:
        Hoyer, Sohl-Dickstein and Greydanus (2019), arXiv:1909.04240, equation 2.

    Note: Collective.

    Example:
        >>> rho_design = dnt.VolumeConstrainedSigmoid(domain).apply(np.linspace(-2.0, 2.0, half.size))
        >>> float(round(design.volume(rho_design), 9))
        0.5
    """

    @collective
    def __init__(
        self,
        domain: DesignDomain,
        weights: np.ndarray | None = None,
        *,
        volume: Volume | None = None,
        at_most: bool = False,
    ):
        if weights is not None and volume is not None:
            raise InputError("weights and volume exclude each other, got both")
        self.domain = domain
        if weights is not None:
            weights = real_array("weights", weights, (domain.num_owned_cells,), "one for each owned cell")
            least, total = weights.min(initial=np.inf), float(sum_replicated(domain.comm, weights.sum()))
            if not (least >= 0.0 and 0.0 < total < np.inf):
                raise InputError("weights must be finite, zero or positive, and not all zero")
        if volume is None:
            volume = LinearVolume(domain, domain.cell_volumes if weights is None else weights)
        self.volume = volume
        self._mean_weights = np.where(domain.design, domain.cell_volumes, 0.0) / domain.design_volume
        self._at_most = at_most

    @collective
    def apply(self, logits: np.ndarray) -> np.ndarray:
        """Map logits to a density with the right volume.

        Args:
            logits: Owned logits, shape (num_owned_cells,), float64; those of passive cells are ignored.

        Returns:
            rho_design, owned values in [0, 1], same shape.

        Raises:
            InputError: Logits of the wrong shape, or not finite, on any rank.

        Note: Collective.
        """
        return self.solve(logits)[0]

    @collective
    def solve(self, logits: np.ndarray) -> tuple[np.ndarray, float]:
        """Return what `apply` does, and the shift b (infinite where every cell is full). Note: Collective."""
        domain = self.domain
        lowest, highest = self._checked_range(logits)
        design_logits = logits[domain.design]
        fraction = domain.target_volume / self.volume.capacity * self._used(logits)
        if fraction >= 1.0:
            return domain.expand(1.0), np.inf
        guess = locate(
            domain.comm, design_logits, self.volume.guess_weights[domain.design], lowest, highest, fraction
        )
        # Logits near -guess carry the precision: their difference is exact, however large they are.
        centered = design_logits + guess
        rho_design = domain.expand(0.0)

        def mean(shift: float) -> tuple[float, float]:
            rho = expit(centered + shift)
            rho_design[domain.design] = rho
            slope = np.zeros(domain.num_owned_cells)
            slope[domain.design] = rho * (1.0 - rho)
            value, weights = self.volume.value_and_weights(rho_design)
            value, derivative = sum_replicated(domain.comm, [value, weights @ slope])
            return value / self.volume.capacity, derivative / self.volume.capacity

        shift = newton(mean, 0.0, fraction)
        return rho_design, guess + shift

    @collective
    def pullback(self, dJ_drho_design: np.ndarray, logits: np.ndarray, rho_design: np.ndarray) -> np.ndarray:
        """Gradient with respect to the logits, zero on passive cells.

        Args:
            dJ_drho_design: Owned gradient, shape (num_owned_cells,).
            logits: Where `apply` was called.
            rho_design: What it returned.

        Returns:
            dJ_dlogits, owned values, same shape.

        Note: Collective.
        """
        slope = rho_design * (1.0 - rho_design)
        slope[~self.domain.design] = 0.0
        _, weights = self.volume.value_and_weights(rho_design)
        gain, norm = sum_replicated(self.domain.comm, [dJ_drho_design @ slope, weights @ slope])
        if norm == 0.0:  # every cell is saturated: nothing moves
            return np.zeros_like(slope)
        gradient = slope * (dJ_drho_design - weights * (gain / norm))
        if self._at_most:
            used = self._used(logits)
            per_mean = self.domain.target_volume * used * (1.0 - used)
            gradient += gain / norm * per_mean * self._mean_weights
        return gradient

    def _used(self, logits: np.ndarray) -> float:
        """Part of the target volume that logits choose to use."""
        if not self._at_most:
            return 1.0
        design = self.domain.design
        local = self._mean_weights[design] @ logits[design]
        return float(expit(float(sum_replicated(self.domain.comm, local)) + MARGIN))

    def _checked_range(self, logits: np.ndarray) -> tuple[float, float]:
        """Least and largest logit of design cells; the check rides on the same reduction."""
        domain = self.domain
        fits = np.shape(logits) == (domain.num_owned_cells,)
        values = logits[domain.design] if fits else np.empty(0)
        num_bad = values.size - np.count_nonzero(np.isfinite(values))
        huge = np.finfo(np.float64).max
        extremes = [huge, huge] if num_bad else [-values.min(initial=huge), values.max(initial=-huge)]
        minus_lowest, highest, misfit, bad = max_replicated(domain.comm, [*extremes, not fits, num_bad])
        if misfit:
            raise InputError(
                "logits must have shape (num_owned_cells,) on every rank, here "
                f"({domain.num_owned_cells},), got {np.shape(logits)}"
            )
        if bad:
            raise InputError(
                f"logits must be finite, up to {bad:.0f} of one rank's design cells have NaN or infinite "
                "ones; lower the learning rate, or look for an overflow in the network"
            )
        return -minus_lowest, highest
