"""What a hostile stranger does: odd files, odd settings of Python, odd meshes, networks and communicators."""

from __future__ import annotations

import os
import tempfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
import torch
import ufl
from dolfinx import mesh
from mpi4py import MPI

import dolfinx_neural_topo as dnt
from attacks import meshes
from attacks.bridge import neural, pixels
from attacks.case import Topic, Wrong, close, right
from attacks.checkpoints import run
from attacks.command_line import call
from attacks.problems import GOOD
from attacks.world import Plane, Plate, Quadratic, comm, folder, minimize, nan, on_root, rectangle
from dolfinx_neural_topo import io, optimize, plotting

t = Topic("strangers")

# --- problem files --------------------------------------------------------------------------------


def described(data: bytes) -> int:
    here = folder()
    on_root(lambda: (here / "p.toml").write_bytes(data))
    return call("run", here / "p.toml", "--out", here / "out")


def changed(old: str, new: str) -> int:
    return described(GOOD.replace(old, new, 1).encode())


t.either(
    "a file that begins with a byte order mark",
    "TOML|text|line",
    lambda: described(b"\xef\xbb\xbf" + GOOD.encode()),
)
t.refuse("a file in UTF-16", "TOML|text|UTF", lambda: described(GOOD.encode("utf-16")))
t.refuse("a file of zeros", "TOML|text|line", lambda: described(bytes(1000)))
for old, new, says in (
    ("radius = 1.5", f"radius = {'[' * 5000}{']' * 5000}", "TOML|radius|nest|line"),
    ("volume = 0.5", "volume = true", "line 11.*volume"),
    ("volume = 0.5", "volume = 0x1F", "line 11.*volume"),
    ("volume = 0.5", "volume = 1979-05-27", "line 11.*volume"),
    ("cells = [8, 4]", "cells = [99999999, 99999999]", "cells|memory|large"),
    ("box = [8.0, 4.0]", 'box = [8.0, 4.0]\nunit = "mm"', "unit"),
    (
        "force = [0.0, -1.0]",
        'force = [0.0, -1.0]\n[[load]]\non = "right"\nforce = [0.0, 1.0]',
        "load|force|zero",
    ),
    (
        "[[support]]",
        '[[group]]\nname = "tip"\nwithin = [[2.0, 1.0], [1.0, 0.0]]\n[[support]]',
        "within|corner|tip",
    ),
    (
        "[[support]]",
        '[[group]]\nname = "tip"\nwithin = [[90.0, 0.0], [91.0, 1.0]]\n[[support]]\non = "tip"\n[[support]]',
        "tip|empty|no ",
    ),
    ("[design]", '[material]\nnu = 0.5\nmodel = "plane_strain"\n[design]', "nu"),
    ("[design]", "[material]\nE = -1.0\n[design]", r"\bE\b"),
    ("[design]", "[material]\nE = 1e400\n[design]", r"\bE\b"),
    ("evaluations = 2", "evaluations = 2\nevaluations = 3", "TOML|evaluations"),
):
    t.refuse(f"{old!r} as {new!r}"[:90], says, lambda o=old, n=new: changed(o, n))


def pipe(name):
    path = folder() / name
    on_root(lambda: os.mkfifo(path))
    return path


def loop(name):
    path = folder() / name
    on_root(lambda: path.symlink_to(path))
    return path


t.refuse("a problem file that is a pipe", "file|pipe", lambda: call("run", pipe("p.toml")))
t.refuse("a problem file that is a link to itself", "file|link", lambda: call("run", loop("p.toml")))
t.refuse("a mesh file that is a pipe", "file|pipe", lambda: io.read_mesh(pipe("m.msh"), comm))
t.refuse("a mesh file that is a link to itself", "file|link|path", lambda: io.read_mesh(loop("m.msh"), comm))
t.refuse("a density file that is a pipe", "file|pipe", lambda: io.read_density(pipe("d.npz"), Plate().rho))
t.either("a checkpoint that is a link to itself", "checkpoint", lambda: run(Plate().design(), loop("c.npz")))
t.refuse("a checkpoint that is a pipe", "checkpoint|file|c.npz", lambda: run(Plate().design(), pipe("c.npz")))


def lock_is_a_folder():
    here = folder()
    on_root((here / "c.npz.lock").mkdir)
    return run(Plate().design(), here / "c.npz")


t.refuse("a checkpoint whose lock is a folder", "checkpoint", lock_is_a_folder)


def bomb():
    """A file of some kilobytes that holds millions of numbers."""
    path = folder() / "d.npz"
    header = b"\x93NUMPY\x01\x00"
    text = b"{'descr': '<f8', 'fortran_order': False, 'shape': (4000000,), }"
    content = header + len(text).to_bytes(2, "little") + text + bytes(32_000_000)

    def write():
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for name in ("density.npy", "midpoints.npy"):
                file.writestr(name, content)

    on_root(write)
    return io.read_density(path, Plate().rho)


t.refuse("a density file that inflates", "cells?|claims|damaged", bomb, ranks=(1,))
for name, write in {
    "plot_density": lambda path: plotting.plot_density(path, Plate().rho),
    "write_density": lambda path: io.write_density(path, Plate().rho),
    "write_paraview": lambda path: io.write_paraview(path, Plate().rho),
}.items():
    suffix = {"plot_density": "png", "write_density": "npz", "write_paraview": "xdmf"}[name]

    def to_folder(write=write, suffix=suffix):
        path = folder() / f"a.{suffix}"
        on_root(path.mkdir)
        write(path)

    t.refuse(f"{name} to a folder", "path|folder|directory", to_folder)

# --- meshes ---------------------------------------------------------------------------------------

ISLANDS = [*meshes.SQUARE, (5, 0), (6, 0), (6, 1), (5, 1)]
FAR = ["2 2 1 1 5 6 7", "2 2 1 1 5 7 8"]
t.accept(
    "nodes that no cell uses",
    lambda: meshes.valid(meshes.msh([*meshes.SQUARE, (7, 7), (nan, 0)], meshes.TWO)),
)
t.accept(
    "line ends of Windows", lambda: meshes.valid(meshes.msh(meshes.SQUARE, meshes.TWO).replace("\n", "\r\n"))
)
t.refuse(
    "a cell with one node twice",
    "cell|node|flat|volume",
    lambda: meshes.read(meshes.msh(meshes.SQUARE, ["2 2 1 1 1 2 2", *meshes.TWO])),
)
t.refuse(
    "a node number twice",
    "node",
    lambda: meshes.read(meshes.msh(meshes.SQUARE, meshes.TWO).replace("\n4 0 1 0", "\n3 0 1 0")),
)
t.refuse(
    "an island that nothing holds",
    "singular|support|free",
    lambda: meshes.valid(meshes.msh(ISLANDS, meshes.TWO + FAR), 2.0),
)


def moved(change, expected=1.0):
    """A mesh elsewhere, or of other cells, gives what it must."""
    plate, other = Plate(), rectangle()
    change(other.geometry.x)
    there = Plate(other)
    close(
        there.compliance.value(there.full()),
        expected * plate.compliance.value(plate.full()),
        "compliance",
        1e-5,
    )
    return there


def displaced(x):
    x[:, 1] += 1e7


def shrunk(x):
    x *= 1e-6


t.accept("a mesh far away", lambda: minimize(moved(displaced).design()))
t.accept("a mesh of micrometres", lambda: minimize(moved(shrunk, 1e-6**4).design(radius=1.6e-6)))


def facet_tags():
    plate = Plate()
    plate.mesh.topology.create_connectivity(1, 2)
    facets = mesh.exterior_facet_indices(plate.mesh.topology)
    return mesh.meshtags(plate.mesh, 1, facets, np.ones(len(facets), dtype=np.int32)), plate


def facets_as_cells():
    tags, plate = facet_tags()
    return plate.domain(solid=(tags, 1))


t.refuse("tags of facets as solid cells", "solid|tags|cells", facets_as_cells)
t.refuse("everything solid", "solid|cell", lambda: Plate().domain(solid=lambda x: x[0] > -1.0))

# --- communicators --------------------------------------------------------------------------------


def other_communicator(make):
    plate, there = Plate(), Plate(rectangle(on=make()))
    close(there.compliance.value(there.full()), plate.compliance.value(plate.full()), "compliance")
    right(np.isfinite(minimize(there.design()).objective), "minimize")


t.accept("a copy of the communicator", lambda: other_communicator(comm.Dup))
t.accept(
    "ranks in reverse order", lambda: other_communicator(lambda: comm.Split(0, -comm.rank)), ranks=(2, 3)
)
t.refuse(
    "a mesh without a communicator",
    "comm|mesh",
    lambda: io.read_mesh(meshes.file(meshes.msh(meshes.SQUARE, meshes.TWO)), MPI.COMM_NULL),
)

# --- functionals and states -----------------------------------------------------------------------


def combined(build):
    plane = Plane()
    return build(plane.compliance).value(plane.full())


for name, build, says in (
    ("C / 0", lambda C: C / 0, "value|zero|/"),
    ("C * nan", lambda C: C * nan, "finite"),
    ("C ** nan", lambda C: C**nan, "power|finite"),
    ("C ** 1j", lambda C: C**1j, "power"),
    ("(C - 1e9) ** 0.5", lambda C: (C - 1e9) ** 0.5, "negative|power"),
    ("C + 'load'", lambda C: C + "load", "functional"),
    ("C + {}", lambda C: C + {}, "functional"),
    ("C ** 1e9", lambda C: C**1e9, "value|finite|power"),
):
    t.refuse(f"a functional {name}", says, lambda b=build: combined(b))


def parent_destroyed():
    plane = Plane()
    parent = plane.state()
    child = plane.state((plane.a, parent.u * plane.L.arguments()[0] * ufl.dx), petsc_options_prefix="child_")
    parent.destroy()
    return child.solve(plane.full())


t.refuse("a state whose parent is destroyed", "destroyed", parent_destroyed)

# --- settings of Python ---------------------------------------------------------------------------


def strict():
    """NumPy raises where it would warn, and warnings are errors."""
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")
        for design, method in (
            (Plate().design(projection=dnt.HeavisideProjection(64.0)), dnt.MMA()),
            (neural(), dnt.LBFGS()),
        ):
            right(np.isfinite(minimize(design, method, evaluations=6).objective), "objective")


t.accept("warnings that are errors", strict)


def in_inference_mode():
    with torch.inference_mode():
        return minimize(neural(), dnt.LBFGS())


t.either("a run in inference mode", "inference|grad|network", in_inference_mode)


def without_gradients():
    with torch.no_grad():
        given = minimize(neural(), dnt.LBFGS()).objective
    close(given, minimize(neural(), dnt.LBFGS()).objective, "a run under no_grad", rel=1e-6)


t.accept("a run under no_grad", without_gradients)


def in_no_folder():
    """The folder that the process is in is gone."""
    before, gone = Path.cwd(), Path(tempfile.mkdtemp())
    os.chdir(gone)
    gone.rmdir()
    try:
        right(np.isfinite(minimize(Plate().design()).objective), "objective")
        run(Plate().design(), "run.npz")
    finally:
        os.chdir(before)


t.refuse("a checkpoint in a folder that is gone", "checkpoint", in_no_folder, ranks=(1,))


def stopped_by(error):
    """What ends Python ends the run, and is not taken for a failed evaluation."""

    def end(step):
        raise error

    try:
        minimize(Plate().design(), callbacks=[end])
    except type(error):
        return
    raise Wrong("the run goes on")


for error in (KeyboardInterrupt("mine"), SystemExit(3), StopIteration("mine"), MemoryError("mine")):
    t.accept(f"a callback that raises {type(error).__name__}", lambda e=error: stopped_by(e), ranks=(1,))

# --- networks and runs ----------------------------------------------------------------------------


class Noisy(torch.nn.Module):
    """Other logits at every call, and on every rank."""

    def __init__(self):
        super().__init__()
        self.weights = torch.nn.Parameter(torch.zeros(4, 6, dtype=torch.float64))

    def forward(self):
        return self.weights + 0.1 * torch.rand(
            4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(comm.rank)
        )


class Grows(torch.nn.Module):
    """Weights that appear while the run is on."""

    def __init__(self):
        super().__init__()
        self.weights = torch.nn.Parameter(torch.zeros(4, 6, dtype=torch.float64))

    def forward(self):
        self.weights = torch.nn.Parameter(torch.zeros(4, 6, dtype=torch.float64))
        return self.weights


class Spare(Grows):
    """A network with weights that its image does not need."""

    def __init__(self):
        super().__init__()
        self.more = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))

    def forward(self):
        return self.weights.view_as(self.weights)


t.accept("a network with weights that nothing needs", lambda: minimize(neural(Spare(), pixels), dnt.LBFGS()))
t.refuse(
    "logits that differ between ranks",
    "logits|rank|network",
    lambda: minimize(neural(Noisy(), pixels), dnt.LBFGS()),
    ranks=(2, 3),
)
t.refuse(
    "a network that exchanges its weights",
    "network|weights|logits|depend",
    lambda: minimize(neural(Grows(), pixels), dnt.LBFGS()),
)
for shape in ((1, 1), (1, 24), (24, 1)):
    t.accept(
        f"a network of {shape} pixels",
        lambda s=shape: minimize(
            neural(dnt.PaperCNN(s), plate=Plate(rectangle(s[1], s[0])), filter=None), dnt.LBFGS()
        ),
    )
for method in (dnt.OC, dnt.MMA, optimize.GCMMA, dnt.SiMPL, dnt.NLoptMMA):
    t.accept(
        f"one evaluation of {method.__name__}",
        lambda m=method: right(minimize(Plate().design(), m(), evaluations=1).evaluations == 1, "one"),
    )
t.accept(
    "no time at all",
    lambda: right(np.isfinite(minimize(Plate().design(), seconds=1e-12).objective), "objective"),
)


def interrupted_write():
    """What a process that died left of its writing does not disturb the next run, and is removed."""
    here = folder()
    path = here / "run.npz"
    expected = minimize(Plate().design(), evaluations=8).objective
    run(Plate().design(), path, evaluations=4)
    left = here / "run.npz.999999999.tmp"
    on_root(
        lambda: (left.write_bytes(path.read_bytes()[:100]), (here / "run.npz.lock").write_text("process 1"))
    )
    close(run(Plate().design(), path, evaluations=8).objective, expected, "resumed")
    comm.barrier()
    right(not left.exists(), "what was left is still there")


t.accept("leftovers of a process that died", interrupted_write)


def of_another_network():
    """As many weights, another network."""
    path = folder() / "run.npz"
    run(neural(dnt.PixelLogits((4, 6))), path, dnt.LBFGS())
    return run(
        neural(dnt.PixelLogits((4, 6)), lambda p: dnt.SampledTransfer(p.domain(), (4, 6)), filter=None),
        path,
        dnt.LBFGS(),
        evaluations=8,
    )


t.refuse("the checkpoint of a network with as many weights", "belongs|another", of_another_network)


def own_functional_without_mesh():
    """A functional of one's own that knows nothing but values is enough for a run."""
    plane = Plane()
    domain = plane.domain()
    J = 2.0 * plane.compliance + Quadratic(domain)
    right(np.isfinite(minimize(plane.design(J, domain=domain)).objective), "objective")


t.accept("a sum with a functional of one's own", own_functional_without_mesh)
