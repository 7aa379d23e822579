"""Independent jobs on groups of ranks."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from mpi4py import MPI

from dolfinx_neural_topo.density.evaluation import Evaluation
from dolfinx_neural_topo.errors import CheckpointError, NeuralTopoError, attempt
from dolfinx_neural_topo.optimize.method import Array
from dolfinx_neural_topo.optimize.multistart.found import Found
from dolfinx_neural_topo.optimize.multistart.levels import Levels
from dolfinx_neural_topo.optimize.result import SAME_VALUE

Job = Callable[[Levels, Found], Found]


class Teams:
    """Runs jobs on as many groups of ranks as there are jobs, each group with a problem of its own.

    Where the problem cannot be made again on a part of the ranks, all ranks do one job after the other.

    A job sees its group's problem and nothing else, so that what it finds does not depend on the split (but
    for rounding, where groups differ in size). What is found is written to a file at once.

    Args:
        levels: The problem on all ranks.
        checkpoint: Beginning of the paths of the jobs' files, or None to write none.
        fingerprint: JSON-able values that tell this run from others.
    """

    def __init__(
        self,
        levels: Levels,
        checkpoint: Path | None,
        fingerprint: dict[str, Any],
    ):
        self.comm = levels.comm
        self._checkpoint = checkpoint
        self._fingerprint = fingerprint
        self._problems: dict[int, Levels] = {1: levels}
        self._splits = True
        self._comms: list[MPI.Comm] = []
        self._holder: dict[tuple[int, int], int] = {}
        self._held: dict[tuple[int, int], dict[str, Array]] = {}
        self._unwritten, self._known = "", False

    def map(
        self,
        job: Job,
        before: Sequence[Found],
        costs: Sequence[float],
        earlier: Callable[[Sequence[Found]], None] = lambda found: None,
    ) -> list[Found]:
        """Do a job for each of `before`, those excepted that an interrupted run has done already.

        Args:
            job: Takes a problem and one of `before`, and returns what it found. Collective on its group.
            before: What the jobs start from, all of one stage.
            costs: Estimated cost of each, by which they are spread.
            earlier: Is told what an interrupted run has found already, before the others begin.

        Returns:
            What was found, in the order of `before`, without vectors (see `fetch`).

        Raises:
            NeuralTopoError: That of any job, on all ranks; on several ranks it also stands for any other
                error.

        Note: Collective.
        """
        stage = before[0].stage + 1
        found = self._read(stage, before)
        earlier(list(found.values()))
        todo = [k for k, each in enumerate(before) if each.start not in found]
        num_groups = self._prepare(max(1, min(len(todo), self.comm.size)))
        group = self.comm.rank * num_groups // self.comm.size
        levels = self._problems[num_groups]
        mine, trouble, cause = [], None, None
        try:
            for k in share(todo, costs, num_groups)[group]:
                mine.append(self._keep(job(levels, before[k]), levels.comm))
        except NeuralTopoError as error:
            trouble = error
        except Exception as error:  # whatever it is, the other groups wait for this one
            if self.comm.size == 1:
                raise
            trouble, cause = NeuralTopoError(f"a job failed with {type(error).__name__}: {error}"), error
        everyone = self.comm.allgather((mine, trouble))
        for _, theirs in everyone:
            if theirs is not None:
                raise theirs from cause
        for rank in reversed(range(self.comm.size)):  # the root of a group is its lowest rank
            for each in everyone[rank][0]:
                self._holder[each.stage, each.start] = rank
                found[each.start] = each
        return [found[each.start] for each in before]

    def fetch(self, found: Found) -> Found:
        """Return the same with its vectors, on all ranks. Note: Collective."""
        key = found.stage, found.start
        arrays = self.comm.bcast(self._held.get(key), root=self._holder[key])
        return dataclasses.replace(found, arrays=arrays)

    def unwritten(self) -> str:
        """Return why a file could not be written, a sentence, or nothing. Note: Collective."""
        return next(filter(None, self.comm.allgather(self._unwritten)), "")

    def close(self) -> None:
        """Free the groups and their problems, not that on all ranks. Note: Collective."""
        for num_groups, levels in self._problems.items():
            if num_groups > 1:
                levels.close()
        for comm in self._comms:
            comm.Free()
        self._problems, self._comms = {}, []

    def path(self, stage: int, start: int) -> Path | None:
        """Return the file of one job."""
        if self._checkpoint is None:
            return None
        return self._checkpoint.with_name(f"{self._checkpoint.name}-stage{stage}-start{start}.npz")

    def _prepare(self, num_groups: int) -> int:
        """Make the problems of groups when first needed; return how many groups there are then."""
        if not self._splits:
            return 1
        if num_groups not in self._problems:
            comm = self.comm.Split(self.comm.rank * num_groups // self.comm.size, self.comm.rank)
            self._comms.append(comm)
            levels = self._problems[1].on(comm)
            if levels is None:  # all ranks do one job after the other
                self._splits = False
                return 1
            self._problems[num_groups] = levels
        return num_groups

    def _keep(self, found: Found, comm: MPI.Comm) -> Found:
        """Hold the vectors on the root of the group, and write the file there."""
        if comm.rank == 0:
            assert found.arrays is not None
            self._held[found.stage, found.start] = found.arrays
            path = self.path(found.stage, found.start)
            if path is not None:
                try:
                    found.write(path, self._fingerprint)
                except OSError as error:  # a full disk costs what a kill may cost, not what is in memory
                    self._unwritten = f"{path} could not be written: {error.strerror or error}."
        return found.without_arrays()

    def _read(self, stage: int, before: Sequence[Found]) -> dict[int, Found]:
        """Read what an interrupted run has found, on rank 0; by start."""
        found, trouble = {}, None
        if self.comm.rank == 0:
            try:
                for path in (self.path(stage, each.start) for each in before):
                    if path is not None and path.exists():
                        each = Found.read(path, self._fingerprint)
                        assert each.arrays is not None
                        self._held[stage, each.start] = each.arrays
                        found[each.start] = each.without_arrays()
            except NeuralTopoError as error:
                trouble = error
        found, trouble = self.comm.bcast((found, trouble), root=0)
        if trouble is not None:
            raise trouble
        self._holder.update({(stage, start): 0 for start in found})
        self._require_same(found.values())
        return found

    def _require_same(self, found: Iterable[Found]) -> None:
        """Evaluate the first design that was read: what defines the problem shows in its numbers."""
        first = next((each for each in found if math.isfinite(each.objective) and not each.trial), None)
        if self._known or first is None:
            return
        self._known, levels = True, self._problems[1]
        arrays = self.fetch(first).arrays
        assert arrays is not None
        x, design = levels.order.local(arrays["x"]), levels.design(first.level)

        def evaluate() -> Evaluation:
            rough = design.evaluate(x, gradient=False)
            return design.evaluate(x, gradient=False) if design.persistence.settle() else rough

        here, error = attempt(self.comm, evaluate)
        pairs = [] if here is None else [("objective", here.value), ("volume", here.volume)]
        differ = [
            f"the {name} of its design is {getattr(first, name):g} there and {value:g} here"
            for name, value in pairs
            if not math.isclose(getattr(first, name), value, rel_tol=SAME_VALUE)
        ]
        if error is not None or differ:
            raise CheckpointError(
                f"{self.path(first.stage, first.start)} belongs to another run: {error or differ[0]}. "
                "Remove it or give another path to start anew."
            )


def share(jobs: Sequence[int], costs: Sequence[float], num_groups: int) -> list[list[int]]:
    """Spread jobs over groups, dear ones first, each to the group with the least to do.

    Args:
        jobs: Their numbers.
        costs: Cost of each by its number.
        num_groups: Number of groups.

    Returns:
        The jobs of each group.
    """
    parts: list[list[int]] = [[] for _ in range(num_groups)]
    loads = [0.0] * num_groups
    for job in sorted(jobs, key=lambda k: (-costs[k], k)):
        least = loads.index(min(loads))
        parts[least].append(job)
        loads[least] += costs[job]
    return parts
