"""Many runs into one store: worker processes with their own threads; killed and restarted it goes on."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from dolfinx_neural_topo._files import one_writer
from dolfinx_neural_topo._processes import die_with_parent
from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.study.live import LiveTable
from dolfinx_neural_topo.study.plan import missing
from dolfinx_neural_topo.study.store import Key, Record, Store
from dolfinx_neural_topo.tasks import get_task

_PATIENCE = 60.0
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Workers:
    """How runs are executed.

    Attributes:
        jobs: Runs at a time.
        threads: Threads of each rank.
        ranks: MPI ranks of a big task.
        ranks_from: Number of cells from which a task is big.
    """

    jobs: int = 1
    threads: int | None = None
    ranks: int = 1
    ranks_from: int = 2**15

    def __post_init__(self) -> None:
        for name in ("jobs", "ranks", "ranks_from", "threads"):
            value = getattr(self, name)
            if name == "threads" and value is None:
                continue
            if not isinstance(value, int) or value < 1:
                raise InputError(f"{name} must be at least 1, got {value!r}")

    def ranks_of(self, key: Key) -> int:
        """Return the number of ranks that a run gets."""
        return self.ranks if get_task(key.task).num_cells >= self.ranks_from else 1

    def environment(self, ranks: int) -> dict[str, str]:
        """Return the environment of a worker: the cores shared out evenly among jobs and ranks."""
        threads = self.threads or max(1, _num_cores() // (self.jobs * ranks))
        return {**os.environ, **dict.fromkeys(_THREAD_VARIABLES, str(threads))}


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def study(keys: Sequence[Key], store: Store, workers: Workers) -> list[Record]:
    """Do all runs that have no result in the store yet.

    Args:
        keys: The runs wanted.
        store: Where results go; pictures of one pixel a cell beside them.
        workers: How they are executed.

    Returns:
        The records of `keys` after that; failed runs have one with their error.

    Raises:
        InputError: Another study writes to the same folder, or its records are of another version.
        KeyboardInterrupt: The user stopped it; running workers are ended first and leave checkpoints.
    """
    with store.writing():
        for record in store.records():  # a kill may have come before its tidying, or in the middle of it
            _tidy(store, record)
        todo = missing(keys, store.records())
        table = LiveTable(keys, store.records(), workers.jobs)
        running: list[_Worker] = []
        try:
            while todo or running:
                while todo and len(running) < workers.jobs:
                    running.append(_Worker(todo.pop(0), store, workers))
                for worker in [worker for worker in running if worker.ended()]:
                    running.remove(worker)
                    record = worker.record()
                    store.append(record)
                    _tidy(store, record)
                    table.add(record)
                table.show([worker.key for worker in running])
                time.sleep(0.2 if running else 0.0)
        finally:
            for worker in running:
                worker.stop()
        table.finish()
        wanted = set(keys)
        return [record for record in store.records() if Key.of(record) in wanted]


class _Worker:
    """A subprocess that does one run in a folder of its own."""

    def __init__(self, key: Key, store: Store, workers: Workers):
        self.key = key
        self.store = store
        self.folder = _folder(store, key)
        self.folder.mkdir(parents=True, exist_ok=True)
        with one_writer(self.folder, "run", _PATIENCE):  # a run that outlived a killed study may end first
            (self.folder / "result.json").unlink(missing_ok=True)
        ranks = workers.ranks_of(key)
        self.command = [*(["mpirun", "-n", str(ranks)] if ranks > 1 else []), *_run_command(key, self.folder)]
        with (self.folder / "log").open("w") as log:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=workers.environment(ranks),
                preexec_fn=_end_with_the_study,
            )

    def ended(self) -> bool:
        return self.process.poll() is not None

    def record(self) -> Record:
        """Return the worker's result, or a record of its failure."""
        result = self.folder / "result.json"
        if self.process.returncode == 0 and result.exists():
            return json.loads(result.read_text())
        return {
            **self.key._asdict(),
            "status": "failed",
            "error": self._error(),
            "command": shlex.join(self.command),
            "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }

    def _error(self) -> str:
        code = self.process.returncode
        ended = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        last = (self.folder / "log").read_text(errors="replace").strip().split("\n")[-12:]
        return "\n".join([ended, *last])[-2000:]

    def stop(self) -> None:
        """End the run; it writes a checkpoint first if it can."""
        self.process.terminate()
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _folder(store: Store, key: Key) -> Path:
    """Folder in which a run works."""
    return store.folder / "runs" / key.folder


def _tidy(store: Store, record: Record) -> None:
    """Keep the small picture of a finished run, and nothing else of its folder."""
    key = Key.of(record)
    folder = _folder(store, key)
    picture = folder / "design.png"
    if picture.exists():
        store.pictures.mkdir(exist_ok=True)
        picture.replace(store.pictures / f"{key.folder}.png")
    if (folder / "result.json").exists() or (folder.exists() and record["status"] == "ok"):
        shutil.rmtree(folder)


def _run_command(key: Key, folder: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "dolfinx_neural_topo", "run", key.task, "--method", key.method),
        *("--seed", str(key.seed), "--evaluations", str(key.budget), "--start", key.start),
        *("--out", str(folder)),
    ]


def _end_with_the_study() -> None:
    """A killed study leaves no runs behind."""
    die_with_parent(signal.SIGTERM)
