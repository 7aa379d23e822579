"""The checkpoints of a run: going on from one, and writing them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dolfinx_neural_topo.density.evaluation import Evaluation
from dolfinx_neural_topo.errors import CheckpointError, InputError, attempt
from dolfinx_neural_topo.optimize.checkpoint import Checkpoint, Snapshot
from dolfinx_neural_topo.optimize.method import Method, Variables, persistence_of
from dolfinx_neural_topo.optimize.ordering import CanonicalOrder
from dolfinx_neural_topo.optimize.record import Record
from dolfinx_neural_topo.optimize.result import SAME_VALUE, Candidate


class Saving:
    """Writes what a run has found so far, and lets a run go on from there.

    Args:
        path: File; without one nothing is ever written.
        every: Evaluations between checkpoints.
        variables: What the run works on.
        method: Its method.
        record: What it finds.

    Attributes:
        enabled: Whether there is a file.
        problem: Why the last checkpoint could not be written (disk full), or None.

    Raises:
        InputError: The variables have no numbers for checkpoints.

    Note: Collective, as are all methods.
    """

    def __init__(
        self,
        path: Path | None,
        every: int,
        variables: Variables,
        method: Method,
        record: Record,
    ):
        self.enabled = path is not None
        self.problem: str | None = None
        self._variables, self._method, self._record, self._every = variables, method, record, every
        self._persistence = persistence_of(variables)
        self._saved = 0
        if path is None:
            return
        if self._persistence.cells is None:
            raise InputError("checkpoint needs variables with `persistence`, these have none")
        cells = CanonicalOrder(variables.comm, self._persistence.cells)
        entries = CanonicalOrder(variables.comm, self._persistence.entries)

        def layout(section: str, name: str) -> CanonicalOrder | None:
            if section in ("best", "last"):
                return {"x": entries, "rho": cells, "rho_design": cells}.get(name)
            return entries if section == "method" and name in method.fields else None

        fingerprint = {
            "method": method.name,
            "number of variables": entries.size,
            "the stage at the start": self._persistence.state_dict(),
        }
        self._checkpoint = Checkpoint(path, variables.comm, fingerprint, layout)

    def resume(self, set_stage: Callable[[int], None]) -> None:
        """Go on from the file if it exists and belongs to the same problem.

        Args:
            set_stage: Sets continuations as they are for an evaluation, by its number.

        Raises:
            CheckpointError: It exists, and cannot be used.
        """
        if not self.enabled:
            return

        def go_on(snapshot: Snapshot) -> str | None:
            problem = self._difference(snapshot, set_stage)
            if problem is None:
                self._record.restore(snapshot)
                self._saved = len(self._record.history)
                state = dict(snapshot["method"])
                finished = state.pop("finished", None)  # checkpoints of earlier commits have none
                self._method.restore(state)
                self._method.finished = None if finished is None else str(finished)
            return problem

        self._checkpoint.read(go_on)

    def _difference(self, snapshot: Snapshot, set_stage: Callable[[int], None]) -> str | None:
        """Evaluate the last design of a checkpoint: what defines the problem shows in its numbers."""
        last = Candidate(**snapshot["last"])

        def evaluate() -> Evaluation:
            self._persistence.load_state_dict(snapshot["variables"])
            set_stage(last.number)
            return self._variables.evaluate(last.x, gradient=False)

        here, error = attempt(self._variables.comm, evaluate)
        if here is None:
            return str(error)
        rough = max(SAME_VALUE, getattr(self._persistence, "rtol", 0.0))  # solves start elsewhere here
        return last.difference(self._variables.comm, here, rough)

    def save(self, *, due: bool = True) -> None:
        """Write a checkpoint unless this state is on disk already; if that is impossible, set `problem`.

        Args:
            due: False to write only if as many evaluations as there shall be between checkpoints have passed.
        """
        done = len(self._record.history)
        if not self.enabled or done == self._saved or not (due or done % self._every == 0):
            return
        self._saved = done
        with self._record.timed("checkpoint"):
            try:
                self._checkpoint.write(
                    {
                        **self._record.sections(),
                        "method": self._method.state() | {"finished": self._method.finished},
                        "variables": self._persistence.state_dict(),
                    }
                )
            except CheckpointError as error:
                self.problem = str(error)
