"""Mesh files: scripts in disguise, damage, and what gmsh users bring."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import ufl
from dolfinx import fem
from mpi4py import MPI

import dolfinx_neural_topo as dnt
from attacks.case import Topic, close, right
from attacks.world import Plane, comm, folder, inf, on_root

t = Topic("meshes")
HEAD = "$MeshFormat\n2.2 0 8\n$EndMeshFormat\n"


def msh(nodes, cells, names="", head=HEAD) -> str:
    """Return the text of a mesh file; nodes are points, cells the rest of an element's line."""
    points = "".join(f"{k} {' '.join(map(str, (*point, 0)[:3]))}\n" for k, point in enumerate(nodes, 1))
    lines = "".join(f"{k} {cell}\n" for k, cell in enumerate(cells, 1))
    sections = f"$Nodes\n{len(nodes)}\n{points}$EndNodes\n$Elements\n{len(cells)}\n{lines}$EndElements\n"
    return head + names + sections


SQUARE = [(0, 0), (1, 0), (1, 1), (0, 1)]
TWO = ["2 2 1 1 1 2 3", "2 2 1 1 1 3 4"]
TET = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]


def file(content: str | bytes, name: str = "mesh.msh") -> Path:
    path = folder() / name
    data = content if isinstance(content, bytes) else content.encode()
    on_root(lambda: path.write_bytes(data))
    return path


def read(content, name="mesh.msh", **options):
    return dnt.io.read_mesh(file(content, name), comm, **options)


def area(mesh) -> float:
    one = fem.Constant(mesh, 1.0)
    return comm.allreduce(fem.assemble_scalar(fem.form(one * ufl.dx)))


def valid(content, expected=1.0):
    """A valid mesh is read, has its area, and is solved on."""
    tagged = read(content)
    close(area(tagged.mesh), expected, "area")
    if tagged.mesh.topology.dim == 2 and tagged.mesh.topology.cell_name() == "triangle":
        plane = Plane(tagged.mesh)
        x = tagged.mesh.geometry.x[:, 0]
        least, most = (
            comm.allreduce(v, op=op)
            for v, op in ((x.min(initial=inf), MPI.MIN), (x.max(initial=-inf), MPI.MAX))
        )
        at = fem.locate_dofs_geometrical(plane.V, lambda p: p[0] <= least + 1e-3 * min(most - least, 1.0))
        plane.bcs = [fem.dirichletbc(0.0, at, plane.V)]
        right(np.isfinite(plane.compliance.value(plane.full())), "compliance")
    return tagged


# --- what is no mesh ------------------------------------------------------------------------------


def script(content, name="evil.msh"):
    """Nothing in a file is carried out."""
    mark = folder() / "pwned"
    try:
        read(content.format(mark=mark), name)
    finally:
        comm.barrier()
        right(not mark.exists(), "a mesh file ran a command")


SCRIPTS = {
    "SystemCall": 'SystemCall "touch {mark}";\n',
    "NonBlockingSystemCall": 'NonBlockingSystemCall "touch {mark}";\n',
    "a comment, then SystemCall": '// $MeshFormat\nSystemCall "touch {mark}";\n',
    "an empty line, then SystemCall": '\n\nSystemCall "touch {mark}";\n',
    "SystemCall after a mesh": msh(SQUARE, TWO) + 'SystemCall "touch {mark}";\n',
    "SystemCall before a mesh": 'SystemCall "touch {mark}";\n' + msh(SQUARE, TWO),
    "SystemCall behind the format": '$MeshFormat SystemCall "touch {mark}";\n2.2 0 8\n$EndMeshFormat\n',
    "Print to a file": 'Point(1) = {{0,0,0}};\nPrintf("x") > "{mark}";\n',
    "Save": 'Point(1) = {{0,0,0}};\nSave "{mark}";\n',
    "Include": 'Include "/etc/passwd";\nSystemCall "touch {mark}";\n',
    "spaces before the format": '   $MeshFormat\nSystemCall "touch {mark}";\n',
    "$meshformat in small letters": '$meshformat\nSystemCall "touch {mark}";\n',
}
for name, content in SCRIPTS.items():
    if "after a mesh" in name:
        t.either(f"a script as mesh: {name}", "mesh", lambda c=content: script(c))
    else:
        t.refuse(f"a script as mesh: {name}", "mesh|msh", lambda c=content: script(c))
for ending in ("geo", "opt", "pos", "py", "step", "txt", "stl", "GEO"):
    t.refuse(
        f"a script named .{ending}",
        "mesh|msh|triangles",
        lambda e=ending: script(SCRIPTS["SystemCall"], f"evil.{e}"),
    )

FILES = {
    "empty": "",
    "text": "hello\n",
    "bytes": bytes(range(256)) * 8,
    "an archive": b"PK\x03\x04" + bytes(100),
    "without elements": HEAD + "$Nodes\n1\n1 0 0 0\n$EndNodes\n",
    "the format alone": HEAD,
    "version 99": msh(SQUARE, TWO, head="$MeshFormat\n99 0 8\n$EndMeshFormat\n"),
    "version one": "$NOD\n3\n1 0 0 0\n2 1 0 0\n3 1 1 0\n$ENDNOD\n$ELM\n1\n1 2 1 1 3 1 2 3\n$ENDELM\n",
    "cut in the nodes": msh(SQUARE, TWO)[:70],
    "cut in the elements": msh(SQUARE, TWO)[:-40],
    "NaN as coordinate": msh([(0, 0), (1, 0), ("nan", 1), (0, 1)], TWO),
    "infinity as coordinate": msh([(0, 0), (1, 0), ("inf", 1), (0, 1)], TWO),
    "text as coordinate": msh([(0, 0), (1, 0), ("one", 1), (0, 1)], TWO),
    "a node that is missing": msh(SQUARE, ["2 2 1 1 1 2 3", "2 2 1 1 1 3 9"]),
    "a node twice in a cell": msh(SQUARE, ["2 2 1 1 1 2 2", "2 2 1 1 1 3 4"]),
    "a flat triangle": msh([(0, 0), (1, 0), (2, 0)], ["2 2 1 1 1 2 3"]),
    "points only": msh(SQUARE, ["15 2 1 1 1"]),
    "lines only": msh(SQUARE, ["1 2 1 1 1 2", "1 2 1 1 2 3"]),
    "triangles and squares": msh([*SQUARE, (2, 0), (2, 1)], ["3 2 1 1 1 2 3 4", "2 2 1 1 2 5 6"]),
    "a folded quadrilateral": msh(SQUARE, ["3 2 1 1 1 2 4 3"]),
    "a surface in space": msh(TET, ["2 2 1 1 1 2 3", "2 2 1 1 1 2 4"]),
    "prisms": msh([*TET, (1, 0, 1), (0, 1, 1)], ["6 2 1 1 1 2 3 4 5 6"]),
    "more nodes announced than there are": msh(SQUARE, TWO).replace("$Nodes\n4", "$Nodes\n400"),
    "a negative number of nodes": msh(SQUARE, TWO).replace("$Nodes\n4", "$Nodes\n-4"),
    "petabytes of nodes": msh(SQUARE, TWO).replace("$Nodes\n4", "$Nodes\n1000000000000000"),
    "an element of an unknown type": msh(SQUARE, ["999 2 1 1 1 2 3"]),
    "a binary header, text behind": msh(
        SQUARE, TWO, head="$MeshFormat\n4.1 1 8\n\x01\x00\x00\x00\n$EndMeshFormat\n"
    ),
}
for name, content in FILES.items():
    t.refuse(f"a mesh file: {name}", "mesh|cells|msh", lambda c=content: read(c))
t.values(
    "read_mesh",
    "path",
    lambda v: dnt.io.read_mesh(v, comm),
    ["", 3, None, "no_such.msh", "/", "/proc/self/mem", b"a", "a\0b", "/dev/null"],
    says="path|mesh|cannot be read",
)
t.refuse("read_mesh on another path on one rank", "path|mesh|rank", lambda: other_path(), ranks=(2, 3))
t.values("read_mesh", "comm", lambda v: dnt.io.read_mesh(file(msh(SQUARE, TWO)), v), [None, 3, "world"])


def other_path():
    one, two = file(msh(SQUARE, TWO)), file(msh(TET, ["4 2 1 1 1 2 3 4"]))
    return dnt.io.read_mesh(one if comm.rank else two, comm)


# --- what is a mesh -------------------------------------------------------------------------------

VALID = {
    "two triangles of the same orientation": msh(SQUARE, TWO),
    "two triangles of opposite orientation": msh(SQUARE, ["2 2 1 1 1 2 3", "2 2 1 1 1 4 3"]),
    "all triangles clockwise": msh(SQUARE, ["2 2 1 1 1 3 2", "2 2 1 1 1 4 3"]),
    "a square": msh(SQUARE, ["3 2 1 1 1 2 3 4"]),
    "a square clockwise": msh(SQUARE, ["3 2 1 1 1 4 3 2"]),
    "a node that no cell uses": msh([*SQUARE, (5, 5)], TWO),
    "a node that no cell uses, out of the plane": msh([*SQUARE, (5, 5, 5)], TWO),
    "a node that no cell uses, far away": msh([*SQUARE, (1e30, 0)], TWO),
    "no physical group": msh(SQUARE, ["2 0 1 2 3", "2 0 1 3 4"]),
    "no physical group, entities": msh(SQUARE, ["2 2 0 1 1 2 3", "2 2 0 1 1 3 4"]),
    "one cell in a group, one in none": msh(SQUARE, ["2 2 1 1 1 2 3", "2 2 0 2 1 3 4"]),
    "a plane at z = 0.1, rounded": msh([(0, 0, 0.1), (1, 0, 0.1), (1, 1, 0.1 + 1e-16), (0, 1, 0.1)], TWO),
    "boundary lines in a group": msh(SQUARE, [*TWO, "1 2 7 1 1 2", "1 2 7 1 2 3"]),
    "a point in a group": msh(SQUARE, [*TWO, "15 2 7 1 1"]),
    "a name with spaces": msh(SQUARE, TWO, '$PhysicalNames\n1\n2 1 "the plate"\n$EndPhysicalNames\n'),
    "windows line ends": msh(SQUARE, TWO).replace("\n", "\r\n"),
}
for name, content in VALID.items():
    t.accept(f"a mesh of {name}", lambda c=content: valid(c))
GAPS = msh(SQUARE, TWO).replace("4 0 1 0", "1000 0 1 0").replace("1 3 4\n", "1 3 1000\n")
t.either("a mesh of numbers with gaps", "number|node", lambda: valid(GAPS))
t.accept("a tetrahedron", lambda: valid(msh(TET, ["4 2 1 1 1 2 3 4"]), 1 / 6))
t.accept("a tetrahedron, left-handed", lambda: valid(msh(TET, ["4 2 1 1 1 3 2 4"]), 1 / 6))
t.accept("a mesh of nanometres", lambda: valid(msh([(1e-9 * x, 1e-9 * y) for x, y in SQUARE], TWO), 1e-18))
t.accept("a mesh far from the origin", lambda: valid(msh([(1e6 + x, 1e6 + y) for x, y in SQUARE], TWO)))
SIX = [*SQUARE, (0.5, 0), (1, 0.5), (0.5, 0.5), (0.5, 1), (0, 0.5)]
t.either(
    "triangles of second order",
    "order|straight|linear",
    lambda: valid(msh(SIX, ["9 2 1 1 1 2 3 5 6 7", "9 2 1 1 1 3 4 7 8 9"])),
)
STRIP = [(0.01 * k, y) for k in range(101) for y in (0, 1e-4)]


def strip():
    cells = [f"2 2 1 1 {2 * k + 1} {2 * k + 3} {2 * k + 2}" for k in range(100)]
    cells += [f"2 2 1 1 {2 * k + 3} {2 * k + 4} {2 * k + 2}" for k in range(100)]
    return valid(msh(STRIP, cells), 1e-4)


t.accept("a slender mesh", strip)
GROUPS = '$PhysicalNames\n3\n1 1 "heated"\n1 2 "clamped"\n2 3 "plate"\n$EndPhysicalNames\n'
OVERLAP = ["2 2 3 1 1 2 3", "2 2 3 1 1 3 4", "1 2 1 4 4 1", "1 2 2 4 4 1", "1 2 2 2 2 3", "1 2 1 3 3 4"]


def overlapping():
    tagged = read(msh(SQUARE, OVERLAP, GROUPS))
    counts = {}
    owned = tagged.mesh.topology.index_map(1).size_local
    for name in ("heated", "clamped"):
        facets = np.asarray(tagged.facets(name))
        counts[name] = comm.allreduce(int(np.count_nonzero(facets < owned)))
        one = fem.Constant(tagged.mesh, 1.0)
        length = comm.allreduce(fem.assemble_scalar(fem.form(one * tagged.ds(name))))
        close(length, 2.0, f"length of '{name}'")
    right(counts == {"heated": 2, "clamped": 2}, f"facets {counts}")


t.accept("a facet in two groups", overlapping)
CELLS = ["2 2 3 1 1 2 3", "2 2 4 1 1 2 3", "2 2 4 2 1 3 4"]
NAMES = '$PhysicalNames\n2\n2 3 "core"\n2 4 "all"\n$EndPhysicalNames\n'


def overlapping_cells():
    tagged = read(msh(SQUARE, CELLS, NAMES))
    counts = [comm.allreduce(int(tagged.owned_cells(name).sum())) for name in ("core", "all")]
    right(counts == [1, 2], f"cells {counts}")
    close(area(tagged.mesh), 1.0, "area")


t.either("a cell in two groups", "group", overlapping_cells)
t.refuse("an unknown group", "no group", lambda: read(msh(SQUARE, TWO)).facets("left"))
t.refuse("an unknown group of cells", "no group", lambda: read(msh(SQUARE, TWO)).cells("plate"))
t.refuse("a group that is None", "name", lambda: read(msh(SQUARE, TWO)).ds(None))


def made(then=None):
    """Write a mesh of gmsh's own on rank 0."""
    path = folder() / "made.msh"

    def write():
        import gmsh

        gmsh.initialize(interruptible=False)
        gmsh.option.setNumber("General.Terminal", 0)
        gmsh.model.occ.addRectangle(0, 0, 0, 2, 1)
        gmsh.model.occ.synchronize()
        gmsh.model.addPhysicalGroup(2, [1], 1, name="plate")
        gmsh.model.addPhysicalGroup(1, [4], 2, name="left")
        gmsh.option.setNumber("Mesh.MeshSizeMax", 0.3)
        gmsh.model.mesh.generate(2)
        (then or (lambda gmsh: None))(gmsh)
        gmsh.write(str(path))
        gmsh.finalize()

    on_root(write)
    tagged = dnt.io.read_mesh(path, comm)
    close(area(tagged.mesh), 2.0, "area")
    return tagged


def option(name, value):
    return lambda gmsh: gmsh.option.setNumber(name, value)


t.accept("a mesh that gmsh wrote", made)
for version in (2.2, 4.1):
    for binary in (0, 1):
        t.accept(
            f"version {version}, binary {binary}",
            lambda v=version, b=binary: made(
                lambda gmsh: (option("Mesh.MshFileVersion", v)(gmsh), option("Mesh.Binary", b)(gmsh))
            ),
        )
t.either("a partitioned mesh", "partition", lambda: made(lambda gmsh: gmsh.model.mesh.partition(2)))
t.either(
    "a mesh of second order that gmsh wrote",
    "order|straight|linear",
    lambda: made(lambda gmsh: gmsh.model.mesh.setOrder(2)),
)
t.either("a mesh with all entities saved", "group|cells", lambda: made(option("Mesh.SaveAll", 1)))


def interior():
    plane = Plane(made().mesh)
    P = dnt.ReducedFunctional(ufl.jump(plane.rho) ** 2 * ufl.dS, plane.state(), name="perimeter")
    given = P.value(np.where(plane.domain().midpoints[:, 0] < 1.0, 1.0, 0.0))
    right(0.9 < given < 3.0, f"perimeter {given}")


t.accept("dS on a mesh that was read", interior)


t.values(
    "read_mesh",
    "ghost_mode",
    lambda v: dnt.io.read_mesh(file(msh(SQUARE, TWO)), comm, ghost_mode=v),
    ["shared", 3.5, None],
)


def unreadable():
    path = file(msh(SQUARE, TWO))
    on_root(lambda: path.chmod(0))
    return dnt.io.read_mesh(path, comm)


if os.geteuid() != 0:  # root reads everything
    t.refuse("a mesh file that may not be read", "mesh|permission", unreadable)
