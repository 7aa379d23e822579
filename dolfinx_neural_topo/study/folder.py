"""The folder of one run: held by one process, and the files it leaves there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from mpi4py import MPI

from dolfinx_neural_topo._files import one_writer, replacing
from dolfinx_neural_topo.errors import InputError, agree
from dolfinx_neural_topo.plotting import plot_density
from dolfinx_neural_topo.study import alternatives
from dolfinx_neural_topo.study.job import Outcome
from dolfinx_neural_topo.study.store import Key, Record
from dolfinx_neural_topo.tasks import Task


@contextmanager
def held(folder: Path, key: Key, comm: MPI.Comm) -> Iterator[None]:
    """Make the folder on rank 0 and hold it, before anything is computed. Note: Collective.

    Raises:
        InputError: It cannot be written to, or holds the result of another run, which would be lost.
    """
    with ExitStack() as stack:
        trouble = None
        if comm.rank == 0:
            try:
                stack.enter_context(one_writer(folder, "run"))
                _require_same(folder / "result.json", key)
            except InputError as error:
                trouble = f"out: {error}"
        agree(comm, trouble)
        yield


def _require_same(result: Path, key: Key) -> None:
    """Refuse a file with the result of another run. One that cannot be read is none."""
    try:
        there = Key.checked(json.loads(result.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError):
        return
    if there != key:
        what = [
            f"{name} {value}"
            for name, value, asked in zip(Key._fields, there, key, strict=True)
            if value != asked
        ]
        raise InputError(
            f"{result.parent} holds the result of another run ({', '.join(what)}), which would be replaced; "
            "way out: another folder"
        )


def write(folder: Path, record: Record, outcome: Outcome, task: Task) -> None:
    """Write the files of a run; `result.json` last, and then remove the checkpoints."""
    np.savez_compressed(folder / "density.npz", rho=outcome.rho, rho_design=outcome.rho_design)
    lines = ["evaluation,lowest_objective", *(f"{k},{v}" for k, v in enumerate(record["history"], start=1))]
    (folder / "history.csv").write_text("\n".join(lines) + "\n")
    view = outcome.rho if task.dim == 2 else outcome.rho.mean(axis=0)  # 3D: seen through along z
    left, right = task.mirror
    title = f"{record['method']}: {record['compliance']:.6g}"
    plot_density(
        folder / "picture.png", view, mirror_left=left, mirror_right=right, title=title, comm=MPI.COMM_SELF
    )
    _write_small_picture(folder / "design.png", view)
    if outcome.alternatives:
        alternatives.write(folder, task, outcome.alternatives)
    with replacing(folder / "result.json") as file:
        file.write(json.dumps(record, allow_nan=False).encode() + b"\n")
    if record["status"] == "ok":
        own = f"checkpoint-{Key.of(record).folder}"
        for checkpoint in folder.glob("checkpoint-*"):  # those of other runs stay
            if checkpoint.name.removeprefix(own)[:1] in ("-", "."):
                checkpoint.unlink()


def _write_small_picture(path: Path, image: np.ndarray) -> None:
    """Write a grey PNG of one pixel a cell, 0 white and 1 black."""
    from matplotlib.image import imsave

    imsave(path, 1.0 - image, cmap="gray", vmin=0.0, vmax=1.0, pil_kwargs={"optimize": True})
