"""Logits of several fields to densities that meet all of their volumes exactly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import expit, logsumexp

from dolfinx_neural_topo._communication import max_replicated, sum_replicated
from dolfinx_neural_topo.density.field import DensityField
from dolfinx_neural_topo.density.sigmoid import VolumeConstrainedSigmoid
from dolfinx_neural_topo.errors import InputError, SolverError, agree

TOLERANCE = 1e-12  # of each volume, relative
ROUNDING = 1e-9  # the same where rounding forbids more
ROUGH = 0.1  # the same on the way
REACH = 8.0  # logits up to which Newton's method starts at once
LONGEST_STEP = 4.0
LEAST_DAMPING = 0.05
MOST_SWEEPS = 50


class Softmax:
    """Shares of k materials and of void in each cell, shifted such that each material has its volume.

        rho_i = exp(z_i + b_i) / (exp(z_0) + sum_j exp(z_j + b_j)),   i = 1 ... k,
        b from volume_i(rho_i) = target volume_i,

    z_0 being that of void, b_i = 0 where the volume has no limit. The shifts are unique: a volume increases
    with its own shift, decreases with all others and increases when all of them do. With s = diag(rho) -
    rho rho^T in each cell, q_i the derivative of volume i and G = sum over cells of s g, g = dJ/drho, the
    implicit function theorem gives

        dJ/dz = s (g - q mu),   A^T mu = G,   A_ij = sum over cells of q_i s_ij,   dJ/dz_0 = -sum_i dJ/dz_i.

    Args:
        fields: Fields whose design cells are the same.

    Raises:
        InputError: Other design cells, or volumes that leave no room for void.

    Note: Collective, as are all methods.
    """

    def __init__(self, fields: Sequence[DensityField]):
        self.comm, self._domains = fields[0].comm, [field.domain for field in fields]
        self._held = [i for i, field in enumerate(fields) if field.limited]
        self._volumes = [fields[i].held_volume for i in self._held]
        self._design = fields[0].domain.design
        same = all(np.array_equal(domain.design, self._design) for domain in self._domains)
        overlap = np.sum([domain.solid for domain in self._domains], axis=0).max(initial=0) > 1
        wrong = None
        if not same or overlap:
            wrong = (
                "materials must have the same design cells, and no cell that is solid in two of them; way "
                "out: what is solid in one field is void in all others"
            )
        agree(self.comm, wrong)
        self._targets = np.array([self._domains[i].target_volume for i in self._held])
        full = sum(self._targets / [volume.capacity for volume in self._volumes])
        if not full < 1.0 - ROUNDING:
            raise InputError(
                f"volume_fraction of all materials together must leave room for void, they "
                f"fill {full:.6g} of the design cells; way out: less of one, or, where there is no void, a "
                "field less: the material that is left over takes the place of void in the form"
            )
        self._sigmoids = [
            VolumeConstrainedSigmoid(self._domains[i], volume=volume)
            for i, volume in zip(self._held, self._volumes, strict=True)
        ]
        self._mean_weights = np.where(self._design, self._domains[0].cell_volumes, 0.0)
        self._mean_weights /= self._domains[0].design_volume
        rest = 1.0 - full
        self._start = np.log(self._targets / self._domains[0].design_volume / rest)

    def apply(self, logits: np.ndarray) -> np.ndarray:
        """Map logits, void first, shape (k + 1, num_owned_cells), to densities, shape (k, num_owned_cells).

        The shifts come from Newton's method. Large logits, which leave it no slope, are scaled down at first,
        and up by two as long as they are smaller than given.

        Raises:
            InputError: Logits that are not finite.
            SolverError: No shifts were found.
        """
        against_void = np.where(self._design, logits[1:] - logits[0], 0.0)
        bad = np.count_nonzero(~np.isfinite(against_void))
        agree(self.comm, f"logits must be finite, got NaN or infinity in {bad} of them" if bad else None)
        held = np.zeros(len(against_void))
        held[self._held] = 1.0
        means = held * sum_replicated(self.comm, against_void @ self._mean_weights)
        centered = np.where(self._design, against_void - means[:, None], 0.0)
        largest = float(max_replicated(self.comm, abs(centered).max(initial=0.0)))
        scale = min(1.0, REACH / largest) if largest else 1.0
        shifts: np.ndarray = np.zeros(len(means))
        shifts[self._held] = self._start
        while scale < 1.0:
            _, shifts, _ = self._shifted(scale * centered, shifts, ROUGH)
            factor = min(2.0, 1.0 / scale)
            scale, shifts = factor * scale, factor * shifts
        rho, shifts, error = self._shifted(centered, shifts, TOLERANCE)
        if error <= ROUNDING:
            return rho
        raise SolverError(
            f"no shifts of the logits reach all volumes: one is missed by {error:.3g} of it; way out: less "
            "steep projections (beta), or volumes that leave more to void",
            iterations=MOST_SWEEPS,
            residual=error,
        )

    def _shifted(
        self, logits: np.ndarray, shifts: np.ndarray, tolerance: float
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """Return densities, shifts and by how much a volume is missed.

        By Newton's method, and where it stalls, because few cells are not saturated, by meeting one volume
        after the other.
        """
        for sweep in range(MOST_SWEEPS):
            shifts = self._sweep(logits, shifts) if sweep else shifts
            rho, shifts, error = self._newton(logits, shifts, tolerance)
            if error <= tolerance:
                break
        return rho, shifts, error

    def _newton(
        self, logits: np.ndarray, shifts: np.ndarray, tolerance: float
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """Return the same after Newton's method with damping."""
        rho = self._shares(logits, shifts)
        error, step = self._missed(rho)
        damping = 1.0
        while error > tolerance and damping > LEAST_DAMPING:
            length = max(abs(step).max(initial=0.0), LONGEST_STEP)
            trial_shifts = shifts + damping * LONGEST_STEP / length * step
            trial = self._shares(logits, trial_shifts)
            trial_error, trial_step = self._missed(trial)
            if trial_error < (1.0 - 0.1 * damping) * error:
                rho, shifts, error, step = trial, trial_shifts, trial_error, trial_step
                damping = min(1.0, 2.0 * damping)
            else:
                damping *= 0.5
        return rho, shifts, error

    def _sweep(self, logits: np.ndarray, shifts: np.ndarray) -> np.ndarray:
        """Return shifts, each of which met its volume when its turn came: a sigmoid against all others."""
        shifts = shifts.copy()
        for i, sigmoid in zip(self._held, self._sigmoids, strict=True):
            others = np.delete(logits + shifts[:, None], i, axis=0)
            rivals = logsumexp(np.vstack([np.zeros(others.shape[1]), others]), axis=0)
            _, shifts[i] = sigmoid.solve(logits[i] - rivals)
        return shifts

    def pullback(self, dJ_drho_design: np.ndarray, logits: np.ndarray, rho_design: np.ndarray) -> np.ndarray:
        """Gradient with respect to the logits, shape (k + 1, num_owned_cells), zero on passive cells."""
        _, weights = self._volumes_at(rho_design)
        rho = np.where(self._design, rho_design, 0.0)
        pulled = _times(rho, dJ_drho_design)
        gains, matrix = self._sums(pulled[self._held].sum(axis=1), rho, weights)
        prices = np.zeros_like(rho)
        prices[self._held] = weights * _solve(matrix.T, gains)[:, None]
        gradient = pulled - _times(rho, prices)
        return np.vstack([-gradient.sum(axis=0), gradient])

    def _shares(self, against_void: np.ndarray, shifts: np.ndarray) -> np.ndarray:
        shifted = against_void + shifts[:, None]
        largest = np.maximum(shifted.max(axis=0), 0.0)
        parts = np.exp(shifted - largest)
        rho = parts / (np.exp(-largest) + parts.sum(axis=0))
        return np.array(
            [domain.expand(each[self._design]) for domain, each in zip(self._domains, rho, strict=True)]
        )

    def _volumes_at(self, rho_design: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return this rank's summand of each volume, and the derivatives."""
        each = zip(self._volumes, rho_design[self._held], strict=True)
        pairs = [volume.value_and_weights(rho) for volume, rho in each]
        shape = (len(pairs), rho_design.shape[1])
        return np.array([value for value, _ in pairs]), np.reshape([weights for _, weights in pairs], shape)

    def _missed(self, rho_design: np.ndarray) -> tuple[float, np.ndarray]:
        """Return by how much the volumes are missed, and the step of the shifts that should mend it."""
        values, weights = self._volumes_at(rho_design)
        volumes, matrix = self._sums(values, np.where(self._design, rho_design, 0.0), weights)
        missing, step = self._targets - volumes, np.zeros(len(rho_design))
        step[self._held] = _solve(matrix, missing)
        return float(abs(missing / self._targets).max(initial=0.0)), step

    def _sums(
        self, values: np.ndarray, rho: np.ndarray, weights: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return sums over ranks: of values, and of the derivatives of volumes (rows) by shifts."""
        own, k = weights * rho[self._held], len(self._held)
        matrix = np.diag(own.sum(axis=1)) - own @ rho[self._held].T
        sums = sum_replicated(self.comm, np.concatenate([values, matrix.ravel()]))
        return sums[:k], sums[k:].reshape(k, k)


class Sigmoids:
    """A sigmoid for each field, with its volume met, or without a shift where its volume fraction is 1.

    Args:
        fields: The fields.

    Note: Collective, as are all methods.
    """

    def __init__(self, fields: Sequence[DensityField]):
        self._stages = [
            VolumeConstrainedSigmoid(field.domain, volume=field.held_volume)
            if field.limited
            else _Free(field.domain)
            for field in fields
        ]

    def apply(self, logits: np.ndarray) -> np.ndarray:
        """Map logits to densities, both of shape (k, num_owned_cells)."""
        return np.array([stage.apply(each) for stage, each in zip(self._stages, logits, strict=True)])

    def pullback(self, dJ_drho_design: np.ndarray, logits: np.ndarray, rho_design: np.ndarray) -> np.ndarray:
        """Gradient with respect to the logits."""
        each = zip(self._stages, dJ_drho_design, logits, rho_design, strict=True)
        return np.array([stage.pullback(*arrays) for stage, *arrays in each])


class _Free:
    """The sigmoid of a field without a volume."""

    def __init__(self, domain):
        self._domain = domain

    def apply(self, logits: np.ndarray) -> np.ndarray:
        return self._domain.expand(expit(logits[self._domain.design]))

    def pullback(self, dJ_drho_design: np.ndarray, logits: np.ndarray, rho_design: np.ndarray) -> np.ndarray:
        return np.where(self._domain.design, rho_design * (1.0 - rho_design) * dJ_drho_design, 0.0)


def _times(rho: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return (diag(rho) - rho rho^T) values in each cell."""
    return rho * (values - (rho * values).sum(axis=0))


def _solve(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve for shifts; one that moves nothing, because all cells are saturated, stays zero."""
    return np.linalg.lstsq(matrix, right, rcond=None)[0]
