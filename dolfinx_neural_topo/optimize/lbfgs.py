"""L-BFGS for the weights of a network: in place, in their own precision, resumable at each evaluation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dolfinx_neural_topo._checks import check_number
from dolfinx_neural_topo._communication import sum_replicated
from dolfinx_neural_topo.errors import InputError, checked
from dolfinx_neural_topo.optimize.curvature import Curvature, blocks, dot
from dolfinx_neural_topo.optimize.line_search import StrongWolfe
from dolfinx_neural_topo.optimize.method import Array, Method, Variables, largest_entry, unit_scale

_EPSILON = float(np.finfo(np.float64).eps)


class LBFGS(Method):
    """Limited-memory BFGS with a strong Wolfe line search, for unbounded variables.

    Steps as in L-BFGS-B without bounds: the first trial is along the steepest descent, later ones are the
    quasi-Newton step; initial inverse Hessian s.y / y.y of the last pair; pairs without positive curvature
    are skipped; a line search that fails forgets the pairs and starts again along the steepest descent, and
    ends the run if it fails there too. All vectors have the type of `variables.initial()` and are allocated
    once: 2 memory + 4.

    Args:
        memory: Number of pairs kept. Five take half the time of ten; with the paper's network they are 0.1 to
            1 % behind after 30 to 40 evaluations, and no longer after 60 (12 seeds).
        first_step: Length of the first trial, in the unit of the variables. Networks in 3D want 0.1: a step
            of 1 makes nearly all of the part void, whose equation is the hardest to solve.
        decrease: Sufficient decrease of the line search, in (0, curvature).
        curvature: Reduction of the slope by the line search, below 1.

    Raises:
        InputError: If an argument is out of range or the variables have bounds.

    References:
        Liu, Nocedal: On the limited memory BFGS method for large scale optimization (1989).

    Example:
        >>> logits = dnt.NeuralDesign(design, dnt.PixelLogits((8, 16)))
        >>> found = dnt.minimize(logits, dnt.LBFGS(), evaluations=8)
        >>> bool(found.objective < found.history.objective[0])
        True
    """

    name = "L-BFGS"
    fields = ("base", "x", "direction", "vectors")

    @checked
    def __init__(
        self,
        memory: int = 10,
        *,
        first_step: float = 1.0,
        decrease: float = 1e-3,
        curvature: float = 0.9,
    ):
        if memory < 1:
            raise InputError(f"memory must be at least 1, got {memory}")
        check_number("first_step", first_step, "(0, inf)")
        if not 0 < decrease < curvature < 1:
            raise InputError(
                "decrease and curvature must satisfy 0 < decrease < curvature < 1, "
                f"got {decrease} and {curvature}"
            )
        self.memory, self.first_step = memory, float(first_step)
        self._search = StrongWolfe(decrease, curvature)

    def start(self, variables: Variables) -> None:
        """Allocate all storage; see `Method.start`."""
        if variables.lower is not None or variables.upper is not None:
            raise InputError("LBFGS knows no bounds; for a bounded density use OC, MMA or SciPyLBFGSB")
        self._comm = variables.comm
        self._base = np.array(variables.initial())
        if self._base.dtype not in (np.float32, np.float64):
            raise InputError(f"LBFGS needs variables of type float32 or float64, got {self._base.dtype}")
        self._x = self._base.copy()
        self._direction = np.zeros_like(self._base)
        self._curvature = Curvature(self._comm, self.memory, len(self._base), self._base.dtype)
        self._value = self._slope = 0.0
        self._scale = 1.0  # of the objective: products of float32 numbers overflow in other units
        self._fresh = True  # value and gradient at the base are not known
        self._length = self.first_step  # of the first trial along the steepest descent
        self.finished = None

    def ask(self) -> Array:
        """Return the next trial of the line search."""
        return self._x

    def tell(self, x: Array, evaluation: Any) -> None:
        """Take an evaluation. Note: Collective."""
        value, gradient = float(evaluation.value), evaluation.gradient
        if len(evaluation.constraints):
            given = len(evaluation.constraints)
            raise InputError(f"LBFGS knows no constraints, got {given}; add them as a penalty, or use MMA")
        if self._fresh:
            self._take_base(value, gradient)
            return
        value *= self._scale
        slope = math.inf if gradient is None else self._scale * self._product(gradient, self._direction)
        verdict = self._search.tell(value, slope)
        if verdict == "go on":
            self._move()
        elif verdict == "accepted":
            self._accept(value, slope, gradient)
        elif self._curvature.count:
            self._forget()
            self._steepest_descent()
        else:
            self.finished = "the line search found no decrease along the steepest descent"

    def _product(self, a: Array, b: Array) -> float:
        return float(sum_replicated(self._comm, np.array([dot(a, b)]))[0])

    def _take_base(self, value: float, gradient: Array | None) -> None:
        """Start from the first evaluation (of this objective), at the base."""
        if gradient is None or not math.isfinite(value):
            self.finished = "the objective has no finite value at the start"
            return
        self._fresh = False
        self._scale = unit_scale(largest_entry(self._comm, gradient))
        self._value = self._scale * value
        np.multiply(gradient, self._scale, out=self._curvature.gradient)
        self._steepest_descent()

    def _steepest_descent(self) -> None:
        """Search along minus the gradient."""
        gradient = self._curvature.gradient
        square = self._product(gradient, gradient)
        if not 0 < square < math.inf:
            self.finished = "the gradient is zero" if square == 0 else "the gradient is not finite"
            return
        np.negative(gradient, out=self._direction)
        self._begin(-square, self._length / math.sqrt(square))

    def _begin(self, slope: float, step: float) -> None:
        self._slope = slope
        self._search.begin(self._value, slope, step)
        self._move()

    def _move(self) -> None:
        """Put the next trial into x."""
        step = self._x.dtype.type(self._search.step)
        for block in blocks(len(self._x)):
            x = np.multiply(self._direction[block], step, out=self._x[block])
            x += self._base[block]

    def _accept(self, value: float, slope: float, gradient: Array) -> None:
        """Make the trial the new base, learn its curvature and begin the next search."""
        memory = self._curvature
        positive = slope - self._slope > -_EPSILON * self._slope
        memory.learn(self._base, self._x, gradient, self._scale, store=positive)
        self._base, self._x, self._value = self._x, self._base, value  # the next trial overwrites x
        slope = memory.direction(self._direction) if memory.count else 0.0
        if slope < 0:
            self._begin(slope, 1.0)
        else:
            self._forget()
            self._steepest_descent()

    def _forget(self) -> None:
        """Forget all pairs but how long their steps were: so long is the first one of the next search."""
        if self._curvature.count:
            self._length = min(1.0, self._curvature.longest)
        self._curvature.clear()

    def objective_changed(self) -> None:
        """Forget the pairs and the line search, keep the current iterate; see `Method.objective_changed`."""
        self._forget()
        self._x[:] = self._base
        self._fresh = True

    def state(self) -> dict[str, Any]:
        """Return views of all vectors (valid until the next `tell`) and the numbers; see `Method.state`."""
        memory = self._curvature
        return {
            "base": self._base,
            "x": self._x,
            "direction": self._direction,
            "vectors": memory.vectors,
            "products": memory.products,
            "count": memory.count,
            "longest": memory.longest,
            "scale": self._scale,
            "value": self._value,
            "slope": self._slope,
            "search": self._search.state(),
            "fresh": self._fresh,
            "length": self._length,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken; see `Method.restore`."""
        memory = self._curvature
        arrays = (self._base, self._x, self._direction, memory.vectors, memory.products)
        for array, name in zip(arrays, (*self.fields, "products"), strict=True):
            array[...] = state[name]
        memory.count, memory.longest = int(state["count"]), float(state["longest"])
        self._scale = float(state["scale"])
        self._value, self._slope = float(state["value"]), float(state["slope"])
        self._search.restore(state["search"])
        self._fresh, self._length = bool(state["fresh"]), float(state["length"])
        self.finished = None
