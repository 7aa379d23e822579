"""A method whose library owns the loop (SciPy, NLopt), behind ask and tell.

A subclass names itself and runs its library; everything else (the thread, the exchange with it, distributed
vectors, checkpoints) is here:

    class SciPyLBFGSB(LibraryMethod):
        name = "SciPy L-BFGS-B"

        def run(self, function, x, lower, upper):
            result = scipy.optimize.minimize(..., x, jac=True)   # calls function(x) for every evaluation
            return f"SciPy stopped: {result.message}"            # why it sees nothing more to do

`run` executes in a thread of its own and must not communicate: it sees whole vectors, in canonical order, on
every rank, and every rank does the same with them. `function(x)` returns an `Evaluation` whose gradients are
whole vectors (float64) too. A failed evaluation has value inf, gradients zero. Where the first gradient is
far from 1, the objective is handed over in a unit that makes it about 1.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from dolfinx_neural_topo.optimize.method import (
    Array,
    Method,
    Variables,
    largest_entry,
    persistence_of,
    unit_scale,
)
from dolfinx_neural_topo.optimize.ordering import CanonicalOrder

_USUAL = 1e-6, 1e6
"""Largest entry of a first gradient; beyond it, libraries' own constants would stop them at the start."""

Function = Callable[[Array], SimpleNamespace]


class _Closed(BaseException):
    """Unwinds the library's stack when the run is over; a BaseException so that no library swallows it."""


class LibraryMethod(Method):
    """Base class of methods that a library drives; see the module's page.

    A run is resumed by replaying the recorded evaluations to the library, which must be deterministic. The
    record, and with it each checkpoint, grows by ``1 + number of constraints`` vectors per evaluation.

    Note: On several ranks every rank gathers every vector: a baseline for comparison, not a method for
        large problems.
    """

    fields = ("x", "gradients")

    def run(self, function: Function, x: Array, lower: Array | None, upper: Array | None) -> str:
        """Run the library from `x`; return why it ended. Executed in a thread.

        Args:
            function: Evaluates objective and constraints at a whole vector.
            x: Start, shape (n,), float64, canonical order.
            lower: Lower bounds, shape (n,), or None.
            upper: Upper bounds, shape (n,), or None.
        """
        raise NotImplementedError

    def start(self, variables: Variables) -> None:
        """Start the library's thread. Note: Collective."""
        self.close()
        self._variables = variables
        self._order = CanonicalOrder(variables.comm, persistence_of(variables).entries)
        self._begin(np.array(variables.initial()))

    def _begin(self, x: Array) -> None:
        """Start the library's thread from this rank's part `x` of the start, with an empty record."""
        self.finished = None
        self._start = x
        self._best = (np.inf, x)
        self._values: list[list[float]] = []  # per evaluation: objective, constraints
        self._gradients: list[Array] = []  # per evaluation: shape (1 + constraints, len(x))
        self._asked: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._told: queue.SimpleQueue[Any] = queue.SimpleQueue()
        lower, upper = (self._whole_bound(bound) for bound in (self._variables.lower, self._variables.upper))
        arguments = (self._asked, self._told, self._whole(x).astype(np.float64), lower, upper)
        self._thread = threading.Thread(target=self._work, args=arguments, name=self.name, daemon=True)
        self._thread.start()
        self._next()

    def _whole(self, x: Array) -> Array:
        return self._order.allgather(x)

    def _whole_bound(self, bound: Any) -> Array | None:
        if bound is None:
            return None
        return self._whole(np.broadcast_to(np.asarray(bound, dtype=np.float64), self._start.shape))

    def _work(self, asked: Any, told: Any, x: Array, lower: Array | None, upper: Array | None) -> None:
        """Body of the thread."""

        def function(x: Array) -> SimpleNamespace:
            asked.put(np.array(x, dtype=np.float64))
            answer = told.get()
            if answer is None:
                raise _Closed
            return answer

        try:
            asked.put(str(self.run(function, x, lower, upper)))
        except _Closed:
            pass
        except Exception as error:
            asked.put(error)

    def _next(self) -> None:
        """Wait until the library asks for an evaluation, ends or fails."""
        asked = self._asked.get()
        if isinstance(asked, Exception):
            raise asked
        if isinstance(asked, str):
            self.finished = asked
            return
        self._x = self._order.local(asked).astype(self._start.dtype, copy=False)

    def ask(self) -> Array:
        """Return what the library wants evaluated."""
        return self._x

    def tell(self, x: Array, evaluation: Any) -> None:
        """Hand an evaluation to the library and wait for its next wish. Note: Collective."""
        values = [float(evaluation.value), *map(float, evaluation.constraints)]
        gradients: Array = np.zeros((len(values), len(x)))
        if evaluation.gradient is not None:
            gradients[:] = [evaluation.gradient, *evaluation.constraint_gradients]
        self._record(x, values, gradients)

    def _record(self, x: Array, values: list[float], gradients: Array) -> None:
        self._values.append(values)
        self._gradients.append(gradients)
        if values[0] < self._best[0]:
            self._best = (values[0], np.array(x))
        whole = [self._whole(row) for row in gradients]
        if len(self._values) == 1:
            largest = largest_entry(self._variables.comm, gradients[0])
            self._scale = 1.0 if _USUAL[0] <= largest <= _USUAL[1] else unit_scale(largest)
        self._told.put(
            SimpleNamespace(
                value=self._scale * values[0],
                gradient=self._scale * whole[0],
                constraints=np.array(values[1:]),
                constraint_gradients=whole[1:],
            )
        )
        self._next()

    def objective_changed(self) -> None:
        """Start the library again from the best point of the old objective."""
        best = self._best[1]
        self.close()
        self._begin(best)

    def state(self) -> dict[str, Any]:
        """Return the start and all evaluations since; see `Method.state`."""
        gradients = np.array(self._gradients) if self._gradients else np.zeros((0, 1, len(self._start)))
        return {"x": self._start, "values": np.array(self._values), "gradients": gradients}

    def restore(self, state: dict[str, Any]) -> None:
        """Start the library again and replay what it was told. Note: Collective."""
        self.close()
        self._begin(np.array(state["x"]))
        for values, gradients in zip(state["values"], state["gradients"], strict=True):
            self._record(self._x, values.tolist(), gradients)

    def close(self) -> None:
        """End the library's thread."""
        thread: threading.Thread | None = getattr(self, "_thread", None)
        if thread is not None:
            self._told.put(None)
            thread.join()
            self._thread = None  # type: ignore[assignment]
