"""ParaView files, STL, pictures."""

from __future__ import annotations

import numpy as np
import torch
import ufl
from dolfinx import fem

from attacks.case import Topic, close, right
from attacks.files import on_full_disk
from attacks.world import Plane, Plate, box, comm, density, folder, nan, rectangle
from dolfinx_neural_topo import io, plotting

t = Topic("files")


def paraview(*fields, name="a.xdmf"):
    io.write_paraview(folder() / name, *fields)


t.refuse("write_paraview without fields", "fields", paraview)
t.refuse("write_paraview of two meshes", "mesh", lambda: paraview(Plate().rho, other_name(Plate().rho)))
t.refuse("write_paraview of two fields of one name", "name", lambda: paraview(Plate().rho, Plate().rho))
t.refuse("write_paraview into .vtu", "xdmf", lambda: paraview(Plate().rho, name="a.vtu"))
t.refuse("write_paraview of an array", "field", lambda: paraview(np.zeros(24)))
t.refuse("write_paraview of None", "field", lambda: paraview(None))
t.refuse("write_paraview of an expression", "field", lambda: paraview(2.0 * Plate().rho))
t.values(
    "write_paraview",
    "path",
    lambda v: io.write_paraview(v, Plate().rho),
    ["", 3, None, "/proc/x/a.xdmf", "/dev/null/a.xdmf", "a\0.xdmf"],
    says="path|write|/proc",
)
t.refuse(
    "write_paraview on a full disk",
    "path|written|large|disk|space",
    lambda: on_full_disk(lambda f: io.write_paraview(f / "a.xdmf", Plate().rho)),
)
for element in (("N1curl", 1), ("DG", 1), ("Lagrange", 2), ("CR", 1)):
    t.either(f"write_paraview of {element}", "field|space|element", lambda e=element: paraview(in_space(e)))


def other_name(function):
    function.name = "other"
    return function


def in_space(element):
    return fem.Function(fem.functionspace(Plane().mesh, element), name="f")


def slashed():
    rho = Plate().rho
    rho.name = "a/b <c> & d"
    paraview(rho)


t.either("write_paraview of a name with slashes and brackets", "name", slashed)


def stl(rho=None, **options):
    return io.write_stl(folder() / "a.stl", solid() if rho is None else rho, **options)


def solid():
    rho = density(box())
    rho.x.array[:] = 1.0
    return rho


t.values(
    "write_stl",
    "level",
    lambda v: stl(level=v),
    [0.0, 1.0, -1.0, nan, "half", 7.0],
    good=0.5,
    other=0.4,
)
t.values(
    "write_stl",
    "mirror",
    lambda v: stl(mirror=v),
    [[(3, 0.0)], [(0, nan)], [(0, 2.0)], "x", [0], [(-1, 0.0)], None],
    good=(),
)
t.refuse("write_stl in 2D", "density|mesh|dimension", lambda: stl(Plate().rho))
t.refuse("write_stl of nothing", "density", lambda: stl(density_of(0.0)))
t.refuse("write_stl of NaN", "density", lambda: stl(density_of(nan)))
t.values(
    "write_stl",
    "path",
    lambda v: io.write_stl(v, solid()),
    ["", 3, None, "/proc/x/a.stl", "a\0.stl"],
    says="path|write|/proc",
)
t.refuse(
    "write_stl on a full disk",
    "path|written|large|disk|space",
    lambda: on_full_disk(lambda f: io.write_stl(f / "a.stl", solid())),
)


def density_of(value):
    rho = density(box())
    rho.x.array[:] = value
    return rho


def volume():
    surface = stl(density_of(1.0))
    if comm.rank == 0:
        close(surface.volume, 16.0, "volume of the surface")
        right(surface.is_watertight, "watertight")


t.accept("write_stl of a block", volume)
t.values("as_function", "space", lambda v: io.as_function(np.zeros(24), v), [None, "DG0", 3])
t.values(
    "cell_mean",
    "expression",
    lambda v: io.cell_mean(v(), rectangle()),
    [lambda: None, lambda: "stress", lambda: ufl.grad(Plate().rho)],
)


def drawn(field=None, name="a.png", **options):
    plotting.plot_density(folder() / name, Plate().rho if field is None else field, **options)


t.values(
    "plot_density",
    "density",
    lambda v: drawn(v()),
    [
        lambda: "picture",
        lambda: fem.Function(Plate().V),
        lambda: 3,
        lambda: torch.zeros(4, 6, requires_grad=True),
    ],
    says="density|field|image",
)
t.refuse("plot_density into an unknown format", "path|format|png", lambda: drawn(name="a.nope"))
t.refuse(
    "plot_density where nothing can be written",
    "path|written|/proc",
    lambda: plotting.plot_density("/proc/x/a.png", Plate().rho),
)
t.values("Movie", "path", lambda v: plotting.Movie(v, comm=comm), ["a.mp4", "", 3, None])
t.values(
    "Movie",
    "seconds_per_frame",
    lambda v: plotting.Movie("a.gif", seconds_per_frame=v, comm=comm),
    [0.0, -1.0, nan, "a"],
)
