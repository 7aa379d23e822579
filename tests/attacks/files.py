"""Files other than meshes: densities, ParaView, STL, pictures, stores of studies."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
from dolfinx import fem

import dolfinx_neural_topo as dnt
from attacks.case import Topic, right
from attacks.damage import full_disk
from attacks.world import Plate, comm, density, folder, inf, nan, on_root, rectangle
from dolfinx_neural_topo import io

t = Topic("files")

# --- densities ------------------------------------------------------------------------------------


def read_elsewhere(path, rho):
    return io.read_density(path if comm.rank else Path("no"), rho)


def written() -> tuple[Path, fem.Function]:
    rho = Plate().rho
    path = folder() / "density.npz"
    io.write_density(path, rho)
    return path, rho


def read_changed(change):
    path, rho = written()
    on_root(lambda: change(path))
    io.read_density(path, rho)


def rewrite(path, **changes):
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    arrays = {name: changes[name](array) if name in changes else array for name, array in arrays.items()}
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})


def flip(path, where):
    data = bytearray(path.read_bytes())
    data[int(where * len(data))] ^= 0xFF
    data[int(where * len(data)) + 1] ^= 0x5A
    path.write_bytes(bytes(data))


def petabytes(path):
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000000,), }"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("density.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
        file.writestr("midpoints.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)


def to_folder(path):
    path.unlink()
    path.mkdir()


DAMAGES = {
    "empty": lambda p: p.write_bytes(b""),
    "cut": lambda p: os.truncate(p, p.stat().st_size // 2),
    "cut by one byte": lambda p: os.truncate(p, p.stat().st_size - 1),
    "text": lambda p: p.write_text("rho"),
    "a .npy named .npz": lambda p: np.save(p.open("wb"), np.full(24, 0.5)),
    "a folder": to_folder,
    "gone": lambda p: p.unlink(),
    "a header of petabytes": petabytes,
    "without midpoints": lambda p: rewrite(p, midpoints=lambda a: None),
    "without density": lambda p: rewrite(p, density=lambda a: None),
    "shape (n, 2)": lambda p: rewrite(p, density=lambda a: np.stack([a, a], axis=1)),
    "too short": lambda p: rewrite(p, density=lambda a: a[:-1]),
    "a number": lambda p: rewrite(p, density=lambda a: np.float64(0.5)),
    "NaN": lambda p: rewrite(p, density=lambda a: a * nan),
    "NaN in one cell": lambda p: rewrite(p, density=lambda a: np.where(np.arange(len(a)) == 3, nan, a)),
    "complex": lambda p: rewrite(p, density=lambda a: a + 1j),
    "text inside": lambda p: rewrite(p, density=lambda a: a.astype(str)),
    "a pickle": lambda p: rewrite(p, density=lambda a: np.array([print] * len(a), dtype=object)),
    "infinite": lambda p: rewrite(p, density=lambda a: a * inf),
    "midpoints of NaN": lambda p: rewrite(p, midpoints=lambda a: a * nan),
    "midpoints too few": lambda p: rewrite(p, midpoints=lambda a: a[:-1]),
    "midpoints of two columns": lambda p: rewrite(p, midpoints=lambda a: a[:, :2]),
    "midpoints all alike": lambda p: rewrite(p, midpoints=lambda a: 0 * a),
    "midpoints complex": lambda p: rewrite(p, midpoints=lambda a: a + 1j),
    "no rows": lambda p: rewrite(p, midpoints=lambda a: a[:0], density=lambda a: a[:0]),
}
for name, change in DAMAGES.items():
    t.refuse(f"read_density, the file is {name}", "density|path|file", lambda c=change: read_changed(c))
for where in (0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97):
    t.either(
        f"read_density, flipped bytes at {where:.0%}",
        "density|path|file",
        lambda w=where: read_changed(lambda p: flip(p, w)),
    )
t.refuse(
    "read_density on another mesh", "mesh", lambda: io.read_density(written()[0], density(rectangle(4, 6)))
)
t.refuse(
    "read_density on a mesh of more cells",
    "cells",
    lambda: io.read_density(written()[0], density(rectangle(8, 6))),
)
t.values(
    "read_density",
    "density",
    lambda v: io.read_density(written()[0], v()),
    [lambda: None, lambda: fem.Function(Plate().V), lambda: Plate().full()],
    says="density|field",
)
t.values(
    "read_density",
    "path",
    lambda v: io.read_density(v, Plate().rho),
    ["", 3, None, "/", "a\0b", b"a", "/dev/null"],
    says="path|file|folder",
)
t.refuse(
    "read_density of another path on one rank",
    "path|rank",
    lambda: read_elsewhere(*written()),
    ranks=(2, 3),
)
t.values(
    "write_density",
    "path",
    lambda v: io.write_density(v, Plate().rho),
    ["", "rho.txt", 3, None, "/proc/x/rho.npz", "/dev/null/rho.npz", "a\0.npz"],
    says="path|write|/proc",
)
t.values(
    "write_density",
    "density",
    lambda v: io.write_density(folder() / "a.npz", v()),
    [lambda: None, lambda: fem.Function(Plate().V), lambda: Plate().full()],
    says="density|field",
)


def on_full_disk(write):
    """Return what a writer answers where a file cannot grow."""
    with full_disk(100):
        write(folder())


t.refuse(
    "write_density on a full disk",
    "path|written|large|disk|space",
    lambda: on_full_disk(lambda f: io.write_density(f / "a.npz", Plate().rho)),
)


def intact():
    path, rho = written()
    before = path.read_bytes()
    rho.x.array[:] = np.random.default_rng(0).random(len(rho.x.array))
    try:
        with full_disk(100):
            io.write_density(path, rho)
    except dnt.InputError:
        pass
    comm.barrier()
    right(
        path.read_bytes() == before and len(list(path.parent.iterdir())) == 1,
        "the old file, and nothing beside it",
    )


t.accept("write_density on a full disk leaves the old file", intact)
