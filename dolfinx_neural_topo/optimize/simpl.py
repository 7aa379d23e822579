"""SiMPL: mirror descent on densities that stays inside the bounds by a sigmoid."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit

from dolfinx_neural_topo.errors import InputError, agree, checked
from dolfinx_neural_topo.optimize.method import Array, Method, Variables, total
from dolfinx_neural_topo.optimize.result import FEASIBLE
from dolfinx_neural_topo.optimize.volume_root import increasing_root, volume_constraint

_LEAST_PRICE = 1e-2  # of the mean, that a cell's volume counts in the metric
_ROUNDING = 1e-13  # relative rise of an objective that counts as none


class SiMPL(Method):
    """Mirror descent by the binary entropy, with a projected latent variable; one volume constraint.

    A density is the sigmoid of a latent variable, x = lower + (upper - lower) sigmoid(psi). A step is

        psi_new = psi - alpha (dJ/dx + mu dg/dx) / m,      mu >= 0 such that the volume g(x_new) <= 0,

    which minimizes the linearization of J plus 1 / alpha times the Bregman divergence of the entropy over the
    densities that obey the volume. m is the volume that each cell costs at the start, so that mu is a shift
    of all psi alike where the volume is linear, as in `VolumeConstrainedSigmoid`, but after a filter, too.
    The length alpha begins as the geometric mean of the one before and a Barzilai-Borwein quotient,

        alpha = sqrt(alpha_before (dpsi, dx)_m / |(d(dJ/dx), dx)|),

    where d is the change by the step before, and is halved until J falls by `decrease` times what the slope
    promises (Armijo). A `Design` obeys the volume from the first evaluation on, other variables from the
    second, and J of the accepted points never rises.

    Args:
        decrease: Part of the promised decrease that is asked for, in (0, 1).
        margin: Least distance of the start from the bounds, relative to their range, in (0, 0.5): it is moved
            so far, as the sigmoid reaches no bound and leaves none.

    Raises:
        InputError: If an argument is out of range, the variables are not bounded on both sides, or there is
            not exactly one constraint.

    Note: The volume is what `variables.volume_constraint(x)` says where there is such a method (a `Design`,
        projected or not), else it is taken to be linear in x.

    References:
        Kim, Lazarov, Surowiec, Keith, A simple introduction to the SiMPL method for density-based topology
        optimization (2024), arXiv:2411.19421.
        Keith, Kim, Lazarov, Surowiec, Analysis of the SiMPL method for density-based topology optimization
        (2024), arXiv:2409.19341.

    Example:
        >>> found = dnt.minimize(design, dnt.SiMPL(), evaluations=6)
        >>> bool(found.objective < design.evaluate(design.initial(), gradient=False).value)
        True
    """

    name = "SiMPL"
    constrained = True
    fields = ("latent", "gradient", "slope", "metric")

    @checked
    def __init__(self, decrease: float = 1e-4, margin: float = 1e-2):
        if not 0 < decrease < 1:
            raise InputError(f"decrease must lie in (0, 1), got {decrease}")
        if not 0 < margin < 0.5:
            raise InputError(f"margin must lie in (0, 0.5), got {margin}")
        self.decrease, self.margin = float(decrease), float(margin)

    def start(self, variables: Variables) -> None:
        """Prepare for a run; see `Method.start`. Note: Collective."""
        x = np.array(variables.initial(), dtype=np.float64)
        self._lower, upper = (
            np.broadcast_to(np.asarray(missing if bound is None else bound, dtype=np.float64), x.shape)
            for bound, missing in ((variables.lower, -np.inf), (variables.upper, np.inf))
        )
        self._range = upper - self._lower
        bounded = bool(np.all(np.isfinite(self._range) & (self._range > 0)))
        wrong = None if bounded else "SiMPL needs variables with finite bounds lower < upper (a Design)"
        agree(variables.comm, wrong)
        self._variables, self._comm = variables, variables.comm
        share = np.clip((x - self._lower) / self._range, self.margin, 1.0 - self.margin)
        self._latent: Array = np.log(share / (1.0 - share))
        self._gradient: Array = np.zeros(len(x))
        self._slope: Array = np.zeros(len(x))
        self._metric: Array = np.ones(len(x))
        self._value, self._violation = np.inf, 0.0
        self._alpha, self.finished = 0.0, None
        if hasattr(variables, "volume_constraint"):
            self._latent = self._within_volume(self._latent)
        self._fresh = True  # the next evaluation is accepted, whatever it is
        self._next: Array | None = self._latent

    def ask(self) -> Array:
        """Return the next design. Note: Collective."""
        if self._next is None:
            step = self._alpha * self._gradient / self._metric
            self._next = self._within_volume(self._latent - step)
        return self._x(self._next)

    def tell(self, x: Array, evaluation: Any) -> None:
        """Take an evaluation: accept the point, or halve the step. Note: Collective."""
        assert self._next is not None
        latent, self._next = self._next, None
        if evaluation.gradient is None:
            self._refuse()
            return
        if len(evaluation.constraints) != 1:
            given = len(evaluation.constraints)
            raise InputError(
                f"SiMPL needs exactly one constraint, the volume, got {given}; use MMA for any number"
            )
        moved = expit(latent) - expit(self._latent)
        promised = float(total(self._comm, self._gradient @ moved))
        if self._fresh or self._violation > FEASIBLE:
            self._accept(latent, moved, evaluation)
            return
        if abs(promised) <= _ROUNDING * abs(self._value):  # taken or not: a fall so small comes out as none
            self.finished = "No step lowers the objective by more than rounding."
        if evaluation.value > self._value + self.decrease * promised:
            self._refuse()
        else:
            self._accept(latent, moved, evaluation)

    def _refuse(self) -> None:
        self._alpha *= 0.5

    def _accept(self, latent: Array, moved: Array, evaluation: Any) -> None:
        """Make an evaluated point the iterate, and guess the length of the step that follows."""
        gradient = np.array(evaluation.gradient, dtype=np.float64) * self._range
        slope = np.array(evaluation.constraint_gradients[0], dtype=np.float64) * self._range
        if self._alpha == 0.0:
            self._first_length(gradient, slope)
        elif not self._fresh:
            turned = (gradient - self._gradient) @ moved
            way = (latent - self._latent) @ (self._metric * moved)
            way, turned = total(self._comm, [way, turned])
            if way > 0.0 and turned != 0.0:
                self._alpha = float(np.sqrt(self._alpha * (way / abs(turned))))
        self._latent, self._gradient, self._slope = latent, gradient, slope
        self._value, self._violation = float(evaluation.value), float(evaluation.constraints[0])
        self._fresh = False

    def _first_length(self, gradient: Array, slope: Array) -> None:
        """Set the metric, and a length that moves the latent variable by about one."""
        positive = np.maximum(slope, 0.0)
        volume, count = total(self._comm, [positive.sum(), float(len(slope))])
        self._metric = np.maximum(positive, _LEAST_PRICE * volume / count)
        steepness = gradient / self._metric
        size, first = total(self._comm, [self._metric.sum(), gradient.sum()])
        spread = float(total(self._comm, self._metric @ np.abs(steepness - first / size))) / size
        self._alpha = 1.0 / spread if spread > 0.0 else 1.0

    def objective_changed(self) -> None:
        """Keep the iterate, and ask for its value anew; see `Method.objective_changed`."""
        self._next, self._fresh = self._latent, True

    def _x(self, latent: Array) -> Array:
        return self._lower + self._range * expit(latent)

    def _within_volume(self, latent: Array) -> Array:
        """Shift a latent variable until the volume is obeyed, by as much as each cell costs."""
        known = self._alpha > 0.0
        direction = self._slope / self._metric if known else np.ones(len(latent))
        at, slope = self._x(self._latent), self._slope / self._range

        def excess(shift: float) -> float:
            x = self._x(latent + shift * direction)
            return volume_constraint(self._variables, x, at, self._violation, slope)

        if excess(0.0) <= 0.0:
            return latent
        return latent + increasing_root(excess) * direction

    def state(self) -> dict[str, Any]:
        """Return the last accepted point, its linearization, and the length of the step."""
        return {
            "latent": self._latent,
            "gradient": self._gradient,
            "slope": self._slope,
            "metric": self._metric,
            "value": self._value,
            "violation": self._violation,
            "alpha": self._alpha,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken."""
        for name, value in state.items():
            setattr(self, f"_{name}", np.array(value) if name in self.fields else float(value))
        self._fresh, self._next = False, None
