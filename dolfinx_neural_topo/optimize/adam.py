"""Adam, from torch, for the weights of a network."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from dolfinx_neural_topo.errors import InputError, checked
from dolfinx_neural_topo.optimize.method import Array, Method, Variables, largest_entry, unit_scale

Schedule = Callable[[int], float]


def cosine(steps: int, final: float = 0.0) -> Schedule:
    """Return a schedule that falls from 1 to `final` along half a cosine over `steps` steps, and stays there.

    Args:
        steps: Number of steps, positive.
        final: Last factor.

    Raises:
        InputError: If `steps` is not positive.
    """
    if steps < 1:
        raise InputError(f"steps must be positive, got {steps}")
    return lambda step: final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * min(step / steps, 1.0)))


class Adam(Method):
    """torch.optim.Adam for unbounded variables, one step per evaluation.

    A failed evaluation halves the step that led to it; the moments stay as they are.

    Args:
        lr: Learning rate; the attribute may be changed during a run (`Continuation`).
        betas: Decay of the first and second moment.
        schedule: Factor on the learning rate for step 0, 1, ...; constant if None. See `cosine`.

    Raises:
        InputError: If an argument is out of range, or the variables have bounds or constraints.

    References:
        Kingma, Ba: Adam: a method for stochastic optimization (2014), arXiv:1412.6980.

    Example:
        >>> logits = dnt.NeuralDesign(design, dnt.PixelLogits((8, 16)))
        >>> dnt.minimize(logits, dnt.Adam(), evaluations=4).evaluations
        4
    """

    name = "Adam"
    fields = ("x", "good", "first", "second")

    @checked
    def __init__(
        self, lr: float = 3e-3, *, betas: tuple[float, float] = (0.9, 0.999), schedule: Schedule | None = None
    ):
        if not (lr > 0 and math.isfinite(lr)):
            raise InputError(f"lr must be positive, got {lr}")
        if not all(0 <= beta < 1 for beta in betas):
            raise InputError(f"betas must lie in [0, 1), got {betas}")
        self.lr, self.betas, self.schedule = lr, betas, schedule

    def start(self, variables: Variables) -> None:
        """Give torch a tensor that shares the memory of x; see `Method.start`."""
        import torch

        if variables.lower is not None or variables.upper is not None:
            raise InputError("Adam knows no bounds; for a bounded density use OC, MMA or SciPyLBFGSB")
        self._x = np.array(variables.initial())
        self._good = self._x.copy()  # the last point with a finite value
        self._weights = torch.from_numpy(self._x).requires_grad_()
        self._gradient = np.zeros_like(self._x)
        self._weights.grad = torch.from_numpy(self._gradient)
        self._optimizer = torch.optim.Adam([self._weights], lr=self.lr, betas=self.betas)
        self._steps = 0
        self._scale: float | None = None  # of the gradient, in whose unit torch's epsilon is
        self._comm = variables.comm
        self.finished = None

    def ask(self) -> Array:
        """Return the current weights."""
        return self._x

    def tell(self, x: Array, evaluation: Any) -> None:
        """Make a step, or go halfway back if the evaluation failed."""
        if len(evaluation.constraints):
            given = len(evaluation.constraints)
            raise InputError(f"Adam knows no constraints, got {given}; add them as a penalty, or use MMA")
        if evaluation.gradient is None:
            self._x += self._good
            self._x *= self._x.dtype.type(0.5)
            return
        self._good[:] = self._x
        if self._scale is None:
            self._scale = unit_scale(largest_entry(self._comm, evaluation.gradient))
        np.multiply(evaluation.gradient, self._scale, out=self._gradient, casting="same_kind")
        factor = 1.0 if self.schedule is None else self.schedule(self._steps)
        self._optimizer.param_groups[0]["lr"] = self.lr * factor
        self._optimizer.step()
        self._steps += 1

    def state(self) -> dict[str, Any]:
        """Return the step count and views of the vectors, valid until the next `tell`; see `Method.state`."""
        moments = self._optimizer.state[self._weights]
        first, second = (
            moments[name].numpy() if moments else np.zeros_like(self._x) for name in ("exp_avg", "exp_avg_sq")
        )
        vectors = {"x": self._x, "good": self._good, "first": first, "second": second}
        return {**vectors, "steps": self._steps, "scale": self._scale or 0.0}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken; see `Method.restore`."""
        import torch

        self._x[:], self._good[:] = state["x"], state["good"]
        self._steps = int(state["steps"])
        self._scale = float(state["scale"]) or None
        self.finished = None
        self._optimizer.state.clear()
        if self._steps:
            first, second = (torch.from_numpy(np.array(state[name])) for name in ("first", "second"))
            step = torch.tensor(float(self._steps))
            self._optimizer.state[self._weights] = {"step": step, "exp_avg": first, "exp_avg_sq": second}
