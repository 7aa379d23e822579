"""What a running study shows: a table on a terminal, a line per finished run elsewhere."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import median
from typing import TextIO

from dolfinx_neural_topo.study.published import best_known
from dolfinx_neural_topo.study.store import Key, Record
from dolfinx_neural_topo.tasks import get_task


class LiveTable:
    """Progress of a study.

    Args:
        keys: All runs wanted.
        records: What the store holds already.
        jobs: Runs at a time.
        stream: Where to write; standard output if None.
    """

    def __init__(
        self, keys: Sequence[Key], records: Iterable[Record], jobs: int, stream: TextIO | None = None
    ):
        self._stream = sys.stdout if stream is None else stream
        self._terminal = self._stream.isatty()
        self._jobs = jobs
        self._total = Counter(key.method for key in keys)
        self._cells = {key.task: get_task(key.task).num_cells for key in keys}
        self._open = list(dict.fromkeys(keys))
        self._done: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._rates: dict[str, list[float]] = {}
        self._height = 0
        self._shown = 0.0
        for record in records:
            if record["status"] == "ok":
                self._count(record)

    def _count(self, record: Record) -> bool:
        """Book a finished run; False if it is none of this study's."""
        key = Key.of(record)
        if key.task in self._cells and record["status"] == "ok":
            self._rates.setdefault(key.method, []).append(record["seconds"] / (record["cells"] * key.budget))
        if key not in self._open:
            return False
        self._open.remove(key)
        (self._done if record["status"] == "ok" else self._failed)[key.method] += 1
        return True

    def add(self, record: Record) -> None:
        """Book a run that has just ended, and print its line."""
        self._count(record)
        finished = sum(self._done.values()) + sum(self._failed.values())
        left = f", {duration(self.seconds_left())} left" if self._open else ""
        self._erase()
        line = f"[{finished}/{sum(self._total.values())}] {describe(record)}{left}"
        self._stream.write(line + "\n")
        self._stream.flush()

    def seconds_left(self) -> float | None:
        """Estimate the time left from what runs of the same method took per cell and evaluation."""
        if not self._rates:
            return None
        any_method = median(rate for rates in self._rates.values() for rate in rates)
        rates = {method: median(values) for method, values in self._rates.items()}
        work = (rates.get(k.method, any_method) * self._cells[k.task] * k.budget for k in self._open)
        return sum(work) / self._jobs

    def show(self, running: Sequence[Key]) -> None:
        """Draw the table anew, at most once a second and on a terminal only."""
        if not self._terminal or time.monotonic() - self._shown < 1.0:
            return
        self._shown = time.monotonic()
        self._erase()
        lines = [f"{'method':<18}{'done':>6}{'failed':>8}{'of':>6}"]
        lines += [f"{m:<18}{self._done[m]:>6}{self._failed[m]:>8}{n:>6}" for m, n in self._total.items()]
        lines += [f"running: {key.task} {key.method} seed {key.seed} {key.start}" for key in running]
        lines += [f"time left: {duration(self.seconds_left())}"]
        self._stream.write("\n".join(lines) + "\n")
        self._stream.flush()
        self._height = len(lines)

    def _erase(self) -> None:
        if self._height:
            self._stream.write(f"\033[{self._height}A\033[J")
            self._height = 0

    def finish(self) -> None:
        """Say how the study ended."""
        self._erase()
        done, failed = sum(self._done.values()), sum(self._failed.values())
        self._stream.write(f"{done} of {sum(self._total.values())} runs have results, {failed} failed now\n")
        self._stream.flush()


def describe(record: Record) -> str:
    """Return one line about a finished run."""
    key = Key.of(record)
    who = f"{key.task} {key.method} seed {key.seed} from {key.start}"
    if record["status"] != "ok":
        return f"{who}: FAILED, {record['error'].splitlines()[-1]}"
    best = best_known(key.task)
    beside = f" ({record['compliance'] / best - 1:+.2%} to the paper's best)" if best else ""
    return f"{who}: {record['compliance']:.6g}{beside}, {record['seconds']:.1f} s"


def duration(seconds: float | None) -> str:
    """Return "1 h 20 min", "3 min 5 s", or "unknown time" for None."""
    if seconds is None:
        return "unknown time"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
