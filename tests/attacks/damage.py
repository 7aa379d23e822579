"""Checkpoints that are damaged, or that cannot be written."""

from __future__ import annotations

import json
import os
import resource
import shutil
import zipfile
from contextlib import contextmanager

import numpy as np

import dolfinx_neural_topo as dnt
from attacks.case import Topic, close, right
from attacks.checkpoints import run, written
from attacks.world import Plate, comm, folder, minimize, nan, on_root

t = Topic("checkpoints")
SAYS = r"checkpoint|damaged|truncated|belongs|run\.npz"


def damage(change, both=True):
    """Damage the checkpoint, and the one before it too unless told otherwise; resume."""
    path = written()

    def spoil():
        for each in [path, path.with_name("run.previous.npz")][: 1 + both]:
            change(each)

    on_root(spoil)
    return run(Plate().design(), path, evaluations=8)


def rewrite(path, edit):
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    meta = json.loads(arrays["meta"].tobytes())
    edit(meta, arrays)
    if "meta" in arrays:
        arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8)
    np.savez(path, **arrays)


def cut(path, share):
    os.truncate(path, int(share * path.stat().st_size))


def flip(path, where):
    data = bytearray(path.read_bytes())
    for k in range(16):
        data[int(where * len(data)) + k] ^= 0xFF
    path.write_bytes(bytes(data))


def replaced_by_folder(path):
    path.unlink()
    path.mkdir()


def with_entry(path, name, data):
    with zipfile.ZipFile(path, "a") as file:
        file.writestr(name, data)


def petabytes(path):
    header = "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000000,), }"
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
    rewrite(path, lambda m, a: a.pop("last/x"))
    with_entry(path, "last/x.npy", data)


def dropped(name):
    return lambda path: rewrite(path, lambda meta, arrays: arrays.pop(name))


def array(name, make):
    return lambda path: rewrite(path, lambda meta, arrays: arrays.update({name: make(arrays[name])}))


def values(edit):
    return lambda path: rewrite(path, lambda meta, arrays: edit(meta))


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "cut in half": lambda path: cut(path, 0.5),
    "cut at 99 per cent": lambda path: cut(path, 0.99),
    "text": lambda path: path.write_text("this is no checkpoint"),
    "a folder": replaced_by_folder,
    "a single array": lambda path: np.save(path.open("wb"), np.zeros(3)),
    "another npz": lambda path: np.savez(path, density=np.zeros(3)),
    "a pickle": lambda path: np.savez(path, meta=np.array([print], dtype=object)),
    "without meta": dropped("meta"),
    "without last/x": dropped("last/x"),
    "without best/rho": dropped("best/rho"),
    "without the history": dropped("history/objective"),
    "meta is a list": lambda path: rewrite_meta(path, b"[1, 2]"),
    "meta is no text": lambda path: rewrite_meta(path, b"\xff\xfe\x00"),
    "without values": values(lambda m: m.pop("values")),
    "without a fingerprint": values(lambda m: m.pop("fingerprint")),
    "without the section run": values(lambda m: m["values"].pop("run")),
    "without the section method": values(lambda m: m["values"].pop("method")),
    "without the section variables": values(lambda m: m["values"].pop("variables")),
    "without the seconds": values(lambda m: m["values"]["run"].pop("seconds")),
    "the section run is a list": values(lambda m: m["values"].update(run=[])),
    "another format": values(lambda m: m.update(format="something")),
    "version 99": values(lambda m: m.update(version=99)),
    "x too short": array("last/x", lambda a: a[:-1]),
    "x of two columns": array("last/x", lambda a: np.stack([a, a], axis=1)),
    "x of NaN": array("last/x", lambda a: a * nan),
    "x complex": array("last/x", lambda a: a + 1j),
    "x of text": array("last/x", lambda a: a.astype(str)),
    "best/rho too long": array("best/rho", lambda a: np.append(a, 0.5)),
    "the history too short": array("history/volume", lambda a: a[:-1]),
    "an array of petabytes": petabytes,
}


def rewrite_meta(path, data):
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    np.savez(path, **{**arrays, "meta": np.frombuffer(data, dtype=np.uint8)})


for name, change in DAMAGES.items():
    t.refuse(f"a checkpoint that is {name}", SAYS, lambda c=change: damage(c))


def goes_on(change, both=True):
    expected = minimize(Plate().design(), evaluations=8).objective
    close(damage(change, both).objective, expected, "the run that goes on")


def falls_back(change):
    goes_on(change, both=False)


for where in (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97):  # some bytes of a zip file say nothing
    t.either(
        f"a checkpoint with flipped bytes at {where:.0%}",
        SAYS,
        lambda w=where: goes_on(lambda path: flip(path, w)),
    )


for name in ("empty", "without last/x", "without the section run", "x too short", "x of NaN", "a pickle"):
    t.accept(f"a checkpoint that is {name}, the one before whole", lambda n=name: falls_back(DAMAGES[n]))

# --- places where nothing can be written ----------------------------------------------------------

t.values(
    "minimize",
    "checkpoint",
    lambda v: run(Plate().design(), v),
    ["", 3, b"\0", "a\0b", "/dev/null/x/run.npz", "/proc/run.npz"],
    says="checkpoint",
)
t.refuse(
    "a checkpoint in place of a folder",
    "checkpoint|folder|directory",
    lambda: run(Plate().design(), in_place_of_a_folder()),
)


def in_place_of_a_folder():
    path = folder() / "run.npz"
    on_root(path.mkdir)
    return path


t.refuse(
    "checkpoint paths that differ between ranks",
    "checkpoint|rank",
    lambda: run(Plate().design(), folder() / f"{comm.rank}.npz"),
    ranks=(2, 3),
)
t.refuse(
    "a checkpoint on one rank alone",
    "checkpoint|rank",
    lambda: on_one_rank(folder()),
    ranks=(2, 3),
)
t.refuse(
    "checkpoint_every differs between ranks",
    "checkpoint_every|rank",
    lambda: minimize(Plate().design(), checkpoint=folder() / "a.npz", checkpoint_every=1 + comm.rank),
    ranks=(2, 3),
)


def on_one_rank(path):
    return run(Plate().design(), path / "a.npz" if comm.rank else None)


@contextmanager
def full_disk(size=2000):
    """Let no file of this process grow beyond a size: what a full disk does, for any user."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def on_full_disk(written_before):
    """What is in memory is given back, and the reason does not praise a checkpoint that is not there."""
    path = folder() / "run.npz"
    if written_before:
        run(Plate().design(), path, evaluations=4)
    with full_disk():
        result = run(Plate().design(), path, evaluations=8)
    right(np.isfinite(result.objective), "the design in memory is lost")
    right("written" in result.reason, f"the reason does not say it: {result.reason}")
    if not written_before:
        right("intact" not in result.reason, f"there was no checkpoint before: {result.reason}")
    comm.barrier()
    if written_before:
        right(path.exists(), "the checkpoint before is gone")
    right(not list(path.parent.glob("*.tmp*")), "a temporary file is left")


t.accept("a full disk, no checkpoint before", lambda: on_full_disk(False))
t.accept("a full disk, a checkpoint before", lambda: on_full_disk(True))


def vanished():
    """The folder goes away while the run is on."""
    path = folder() / "sub" / "run.npz"

    def remove(step):
        if step.number == 3 and comm.rank == 0:
            shutil.rmtree(path.parent, ignore_errors=True)

    result = run(Plate().design(), path, callbacks=[remove])
    right(np.isfinite(result.objective), "objective")


t.accept("the folder of the checkpoint is removed during the run", vanished)


def shared():
    """Two runs that write to one checkpoint."""
    path = folder() / "run.npz"

    def inner(step):
        if step.number == 3:
            run(Plate().design(), path, evaluations=6)

    try:
        run(Plate().design(), path, callbacks=[inner], evaluations=6)
    except dnt.CheckpointError as error:
        raise dnt.InputError(str(error)) from None
    return None


t.refuse("two runs with one checkpoint at a time", "checkpoint|another", shared)
