"""Meshes from files: groups complete, valid ones read, all else refused in a sentence; nothing is run."""

import os
from pathlib import Path

import gmsh
import numpy as np
import pytest
import ufl
from dolfinx import fem
from mpi4py import MPI

from dolfinx_neural_topo import io
from dolfinx_neural_topo._dolfinx import geometry_nodes
from dolfinx_neural_topo.errors import InputError

comm = MPI.COMM_WORLD
MESHES = Path(__file__).parents[2] / "meshes"


@pytest.fixture
def folder(tmp_path):
    """One folder on all ranks."""
    return comm.bcast(tmp_path, root=0)


def integral(form):
    return comm.allreduce(fem.assemble_scalar(fem.form(form)), op=MPI.SUM)


def read(path, content, **options):
    """Read a file that rank 0 writes."""
    if comm.rank == 0:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    comm.barrier()
    return io.read_mesh(path, **options)


@pytest.mark.parametrize(
    ("name", "volume", "cells", "facets"),
    [
        ("heat_sink", np.pi, {"plate": 8344}, {"sink": np.radians(40), "rim": np.radians(320)}),
        (
            "l_bracket",
            0.64 + 0.15**2 * (1 - np.pi / 4) - 3 * np.pi * 0.05**2,
            {"web": 4362, "rings": 474},
            {"load": 0.1 * np.pi},
        ),
        ("l_domain", 0.64, {"design": 2873, "pad": 16}, {"clamp": 0.4, "load": 0.06}),
        ("bracket_3d", None, {"block": 7255, "bushes": 1022}, {"bore": 2 * np.pi * 0.14 * 0.5}),
    ],
)
def test_committed_meshes_have_their_groups(name, volume, cells, facets):
    tagged = io.read_mesh(MESHES / f"{name}.msh")
    for group, number in cells.items():
        assert comm.allreduce(int(tagged.owned_cells(group).sum())) == number
        assert set(np.flatnonzero(tagged.owned_cells(group))) <= set(tagged.cells(group))
    for group, size in facets.items():
        assert integral(1.0 * tagged.ds(group)) == pytest.approx(size, rel=0.02)
        assert comm.allreduce(len(tagged.facets(group))) > 0
    if volume is not None:
        assert integral(1.0 * ufl.dx(tagged.mesh)) == pytest.approx(volume, rel=2e-3)


def test_absent_group_is_named_beside_those_present():
    tagged = io.read_mesh(MESHES / "l_bracket.msh")
    with pytest.raises(InputError, match="no group of facets named 'support'; it has 'bolts', 'load'"):
        tagged.facets("support")
    with pytest.raises(InputError, match="no group of cells named 'steel'; it has 'web', 'rings'"):
        tagged.cells("steel")
    with pytest.raises(InputError, match="named 'web'"):
        tagged.ds("web")


HEADER = "$MeshFormat\n2.2 0 8\n$EndMeshFormat\n"


def msh(nodes, elements):
    """Text of a version 2.2 file; elements are (type, physical group, nodes...)."""
    lines = [f"{k} {x} {y} {z}" for k, (x, y, z) in enumerate(nodes, start=1)]
    text = HEADER + f"$Nodes\n{len(nodes)}\n" + "\n".join(lines) + "\n$EndNodes\n"
    lines = [
        f"{k} {kind} 2 {tag} 1 " + " ".join(map(str, ns))
        for k, (kind, tag, *ns) in enumerate(elements, start=1)
    ]
    return text + f"$Elements\n{len(elements)}\n" + "\n".join(lines) + "\n$EndElements\n"


SQUARE = [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0), (2, 0, 0), (2, 1, 0)]
FLAT = [*SQUARE[:4], (0.5, 0.0, 0)]
CUBE = [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1), (1, 1, 1), (0, 1, 1)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (msh(SQUARE, [(2, 1, 1, 2, 3), (2, 1, 1, 3, 4), (3, 1, 2, 5, 6, 3)]), "mixed cells .triangles and"),
        (msh(SQUARE, [(2, 1, 1, 2, 3), (2, 1, 1, 3, 4), (2, 1, 1, 2, 4)]), "inverted or overlap: 2 facets"),
        (msh(SQUARE, [(3, 1, 1, 2, 4, 3)]), "1 of 1 cells are inverted or self-intersecting"),
        (msh(FLAT, [(2, 1, 1, 2, 3), (2, 1, 1, 3, 4), (2, 1, 1, 5, 2)]), "1 of 3 cells have no volume"),
        (msh(CUBE, [(5, 1, 1, 2, 3, 4, 6, 5, 8, 7)]), "1 of 1 cells are inverted or self-intersecting"),
        (msh(CUBE, [(4, 1, 1, 2, 3, 5), (4, 1, 1, 2, 3, 6)]), "overlap: 1 facets have two cells on one side"),
        (msh([*SQUARE[:3], (0, -1, 0), (1, -1, 0)], [(2, 1, 1, 2, k) for k in (3, 4, 5)]), "more than two"),
        (msh(CUBE[:6], [(6, 1, 1, 2, 4, 5, 6, 3)]), "cells of gmsh type 6; expected"),
        (msh(CUBE, [(2, 1, 1, 2, 7)]), "surface in space"),
        (msh(SQUARE, [(1, 1, 1, 2)]), "neither triangles"),
        ("solid nonsense", "not a mesh file of version 2.2 or 4.1"),
    ],
    ids=["mixed", "folded", "bow-tie", "flat", "twisted", "tets", "branch", "prism", "shell", "bar", "text"],
)  # fmt: skip
def test_unusable_meshes_are_refused(folder, text, message):
    if comm.rank == 0:
        (folder / "bad.msh").write_text(text)
    comm.barrier()
    with pytest.raises(InputError, match=message):
        io.read_mesh(folder / "bad.msh")


COMMAND = 'SystemCall "touch ran";\nSyncModel;\n'


@pytest.mark.parametrize("start", ["", "$Comments\n$EndComments\n", " ", "$MeshFormat\n", "$NOD\n"])
def test_a_script_named_as_a_mesh_is_not_run(folder, start, monkeypatch):
    monkeypatch.chdir(folder)
    if comm.rank == 0:
        Path("evil.msh").write_text(start + COMMAND)
    comm.barrier()
    with pytest.raises(InputError, match="not a mesh file of version"):
        io.read_mesh("evil.msh")
    assert not Path("ran").exists()


@pytest.mark.parametrize("name", ["a.msh", "a.geo", "a.pos", "a.stl", "a.py", "a.m4"])
def test_neither_the_ending_nor_options_beside_a_mesh_run_commands(folder, name, monkeypatch):
    monkeypatch.chdir(folder)
    if comm.rank == 0:
        Path(name).write_text(msh(SQUARE[:4], [(2, 1, 1, 2, 3), (2, 1, 1, 3, 4)]) + COMMAND)
        Path(name + ".opt").write_text(COMMAND)
    comm.barrier()
    assert integral(1.0 * ufl.dx(io.read_mesh(name).mesh)) == pytest.approx(1.0, rel=1e-12)
    assert not Path("ran").exists()


def test_hexahedra_and_unnamed_groups_are_read(folder):
    if comm.rank == 0:
        nodes = [*CUBE, (2, 0, 0), (2, 1, 0), (2, 0, 1), (2, 1, 1)]
        two = [(5, 7, 1, 2, 3, 4, 5, 6, 7, 8), (5, 7, 2, 9, 10, 3, 6, 11, 12, 7)]
        (folder / "hexes.msh").write_text(msh(nodes, two))
    comm.barrier()
    tagged = io.read_mesh(folder / "hexes.msh")
    assert tagged.cell_groups == {"7": 7}
    assert tagged.facet_groups == {}
    assert integral(1.0 * ufl.dx(tagged.mesh)) == pytest.approx(2.0, rel=1e-12)


# --- valid meshes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (msh(SQUARE, [(2, 1, 1, 2, 3), (2, 1, 1, 4, 3)]), 1.0),
        (msh(SQUARE, [(2, 1, 1, 3, 2), (2, 1, 1, 3, 4), (2, 1, 2, 6, 5), (2, 1, 2, 3, 6)]), 2.0),
        (msh(SQUARE, [(3, 1, 1, 2, 3, 4), (3, 1, 2, 3, 6, 5)]), 2.0),
        (msh(CUBE, [(4, 1, 1, 2, 3, 5), (4, 1, 2, 3, 5, 7)]), 1 / 6 + 1 / 6),
        (msh(CUBE, [(4, 1, 2, 1, 3, 5), (4, 1, 2, 3, 5, 7)]), 1 / 6 + 1 / 6),
        (msh(CUBE, [(5, 1, 5, 6, 7, 8, 1, 2, 3, 4)]), 1.0),
        (msh([*SQUARE[:4], (9, 9, 9)], [(2, 1, 1, 2, 3), (2, 1, 1, 3, 4)]), 1.0),
        (msh([(x, y, 3e-14 * x) for x, y, _ in SQUARE], [(2, 1, 1, 2, 3)]), 0.5),
        (msh([(1e-9 * x, 1e-9 * y, 5) for x, y, _ in SQUARE], [(2, 1, 1, 2, 3), (2, 1, 1, 3, 4)]), 1e-18),
        (msh([*SQUARE[:3], (0, 0, 0), (1e-6, 0, 0), (0, 1e-6, 0)], [(2, 1, 1, 2, 3), (2, 1, 4, 5, 6)]), 0.5),
    ],
    ids=["opposite", "many", "squares", "tets", "turned", "hex", "loose node", "noise", "small", "two sizes"],
)  # fmt: skip
def test_valid_meshes_are_read(folder, text, size):
    tagged = read(folder / "good.msh", text)
    assert integral(1.0 * ufl.dx(tagged.mesh)) == pytest.approx(size, rel=1e-10)


@pytest.mark.parametrize("groups", [0, 1])
def test_cells_in_no_group_are_named_by_nothing(folder, groups):
    tagged = read(folder / "a.msh", msh(SQUARE, [(3, groups, 1, 2, 3, 4), (3, 0, 2, 5, 6, 3)]))
    assert tagged.cell_groups == ({"": 0} if groups == 0 else {"1": 1, "": 0})
    assert comm.allreduce(int(tagged.owned_cells("").sum())) == 2 - groups
    assert integral(1.0 * ufl.dx(tagged.mesh)) == pytest.approx(2.0, rel=1e-12)


def plate(path, *, order=1, partitions=0, version=4.1, binary=0):
    """Write a 2 x 1 rectangle, "left" and "both" (left and bottom) on its edges, a line across inside."""
    if comm.rank == 0:
        gmsh.initialize(interruptible=False)
        gmsh.option.setNumber("General.Terminal", 0)
        occ, model = gmsh.model.occ, gmsh.model
        occ.addRectangle(0, 0, 0, 1, 1)
        occ.addRectangle(1, 0, 0, 1, 1)
        occ.fragment([(2, 1)], [(2, 2)])
        occ.synchronize()
        edges = {tuple(np.round(occ.getCenterOfMass(1, t)[:2], 6)): t for _, t in model.getEntities(1)}
        left, bottom, middle = (edges[place] for place in ((0.0, 0.5), (0.5, 0.0), (1.0, 0.5)))
        for tags, name in (([left], "left"), ([left, bottom], "both"), ([middle], "middle")):
            model.setPhysicalName(1, model.addPhysicalGroup(1, tags), name)
        for tags, name in (([1, 2], "all"), ([2], "right")):
            model.setPhysicalName(2, model.addPhysicalGroup(2, tags), name)
        gmsh.option.setNumber("Mesh.MeshSizeMax", 0.4)
        model.mesh.generate(2)
        model.mesh.setOrder(order)
        if partitions:
            model.mesh.partition(partitions)
        gmsh.option.setNumber("Mesh.MshFileVersion", version)
        gmsh.option.setNumber("Mesh.Binary", binary)
        gmsh.write(str(path))
        gmsh.finalize()
    comm.barrier()
    return io.read_mesh(path)


@pytest.mark.parametrize("binary", [0, 1])
@pytest.mark.parametrize("version", [2.2, 4.1])
@pytest.mark.parametrize(("order", "partitions"), [(1, 0), (2, 0), (1, 2), (2, 3)])
def test_groups_that_overlap_are_complete(folder, order, partitions, version, binary):
    tagged = plate(folder / "a.msh", order=order, partitions=partitions, version=version, binary=binary)
    x = ufl.SpatialCoordinate(tagged.mesh)
    assert geometry_nodes(tagged.mesh).shape[1] == {1: 3, 2: 6}[order]
    for name, length in (("left", 1.0), ("both", 2.0)):
        assert integral(1.0 * tagged.ds(name)) == pytest.approx(length, rel=1e-12)
    assert integral(x[0] * tagged.ds("both")) == pytest.approx(0.5, rel=1e-12)
    areas = ufl.Measure("dx", domain=tagged.mesh, subdomain_data=tagged.cell_tags)
    assert integral(1.0 * areas(tagged.cell_groups["all"])) == pytest.approx(2.0, rel=1e-12)
    assert integral(x[0] * areas(tagged.cell_groups["right"])) == pytest.approx(1.5, rel=1e-12)
    assert len(np.intersect1d(tagged.facets("left"), tagged.facets("both"))) == len(tagged.facets("left"))
    assert integral(ufl.avg(x[1]) * tagged.dS("middle")) == pytest.approx(0.5, rel=1e-12)
    with pytest.raises(InputError, match=r"no facet of group 'middle' is at the boundary; .* `dS"):
        tagged.ds("middle")


def test_second_order_meshes_are_written_for_paraview(folder):
    tagged = plate(folder / "a.msh", order=2)
    u = fem.Function(fem.functionspace(tagged.mesh, ("Lagrange", 2, (2,))), name="u")
    u.interpolate(lambda x: np.stack([x[0] ** 2, x[1]]))
    density = fem.Function(fem.functionspace(tagged.mesh, ("DG", 0)), name="density")
    io.write_paraview(folder / "a.xdmf", density, u)
    text = (folder / "a.xdmf").read_text()
    assert 'Name="u" AttributeType="Vector" Center="Node"' in text and "Triangle_6" in text


def test_integrals_between_cells_see_the_other_rank(folder):
    tagged = plate(folder / "a.msh")
    density = fem.Function(fem.functionspace(tagged.mesh, ("DG", 0)))
    density.x.array[tagged.cells("right")] = 1.0
    density.x.scatter_forward()
    assert integral(ufl.jump(density) ** 2 * ufl.dS(tagged.mesh)) == pytest.approx(1.0, rel=1e-12)


def test_groups_of_facets_that_cells_do_not_have_are_refused_where_they_are_asked_for(folder):
    lines = [(1, 5, 1, 2), (1, 5, 2, 4), (1, 6, 1, 2), (1, 7, 5, 6), (1, 7, 6, 3)]
    tagged = read(folder / "a.msh", msh(SQUARE, [(2, 1, 1, 2, 3), (2, 1, 1, 3, 4), *lines]))
    assert list(tagged.facet_groups) == ["6"]
    assert integral(1.0 * tagged.ds("6")) == pytest.approx(1.0, rel=1e-12)
    for name, count in (("5", "1 of its 2"), ("7", "2 of its 2")):
        with pytest.raises(
            InputError, match=f"group '{name}' cannot be used: {count} facets belong to no cell"
        ):
            tagged.facets(name)


def test_groups_of_one_name_are_one(folder):
    names = '$PhysicalNames\n2\n2 1 "part"\n2 2 "part"\n$EndPhysicalNames\n'
    text = msh(SQUARE, [(3, 1, 1, 2, 3, 4), (3, 2, 2, 5, 6, 3)])
    tagged = read(folder / "a.msh", text.replace(HEADER, HEADER + names))
    assert tagged.cell_groups == {"part": (1, 2)}
    assert comm.allreduce(int(tagged.owned_cells("part").sum())) == 2
    with pytest.raises(InputError, match="one group is named '2', another without a name has that number"):
        read(
            folder / "a.msh",
            text.replace(HEADER, HEADER + names.replace('2 2 "part"', "").replace("part", "2")),
        )


# --- damaged files -----------------------------------------------------------------------------------------

TWO = msh(SQUARE, [(2, 1, 1, 2, 3), (2, 1, 1, 3, 4)])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TWO.replace("1 1 0", "nan 1 0"), "1 nodes have coordinates that are not finite"),
        (TWO.replace("1 1 0", "1e999 1 0"), "1 nodes have coordinates that are not finite"),
        (TWO.replace("1 1 0", "one 1 0"), "section .Nodes holds something that is no number"),
        (TWO.replace("$Nodes\n6", "$Nodes\n99999999999999"), "section .Nodes is shorter than it claims"),
        (TWO.replace("$Nodes\n6", "$Nodes\n-6"), "section .Nodes is shorter than it claims"),
        (TWO.replace("$Elements\n2", "$Elements\n3"), "section .Elements is shorter than it claims"),
        (TWO.replace("$Elements\n2", "$Elements\n2.5"), "Elements holds a number that should be whole"),
        (TWO.replace("1 2 2 1 1", "1 2 999999999 1 1"), "section .Elements is shorter than it claims"),
        (TWO.replace("1 2 2 1 1", "1 77 2 1 1"), "elements of gmsh type 77"),
        (TWO.replace("1 3 4\n", "1 3 44\n"), "cells have nodes that are not in the file"),
        (TWO.replace("1 3 4\n", "1 3 3\n"), "1 of 2 cells have no volume"),
        (TWO.replace("2 1 0 0", "1 1 0 0"), "two nodes have the number 1"),
        (TWO[: len(TWO) // 2], "no whole section .Nodes|no whole section .Elements"),
        (TWO.replace("2.2 0 8", "4.0 0 8"), "not a mesh file of version 2.2 or 4.1"),
        (TWO.replace("2.2 0 8", "2.2 1 4"), "binary numbers of 4 bytes"),
        (HEADER, "no whole section .Nodes"),
        (HEADER.replace("2.2", "4.1") + "$Nodes\n9 9 1 9\n$EndNodes\n$Elements\n$EndElements\n", "shorter"),
        ("", "not a mesh file"),
        (b"\x93NUMPY", "not a mesh file"),
    ],
)  # fmt: skip
def test_damaged_files_end_in_a_sentence(folder, content, message):
    with pytest.raises(InputError, match=message):
        read(folder / "bad.msh", content)


@pytest.mark.parametrize("version", [2.2, 4.1])
def test_cut_or_flipped_binary_files_are_read_or_refused(folder, version):
    tagged = plate(folder / "a.msh", version=version, binary=1)
    whole = (folder / "a.msh").read_bytes()
    cells = tagged.mesh.topology.index_map(2).size_global
    generator, refused = np.random.default_rng(3), 0
    for trial in range(40):
        content = bytearray(whole)
        content[generator.integers(60, len(whole))] ^= 255
        if trial % 2:
            content = content[: generator.integers(len(whole))]
        try:
            assert read(folder / "b.msh", bytes(content)).mesh.topology.index_map(2).size_global <= cells
        except InputError as error:
            assert "b.msh" in str(error)
            refused += 1
    assert refused >= 20


def test_what_is_no_file_is_no_mesh(folder):
    if comm.rank == 0:
        (folder / "folder.msh").mkdir()
        os.mkfifo(folder / "pipe.msh")
    comm.barrier()
    for name in ("folder.msh", "pipe.msh", "nowhere.msh"):
        with pytest.raises(FileNotFoundError, match=f"no mesh file .*{name}"):
            io.read_mesh(folder / name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"path": 3}, "path must be a path, got 3"),
        ({"path": None}, "path must be a path, got None"),
        ({"path": ""}, "path must be a path, got ''"),
        ({"path": "a\0.msh"}, "path must be a path"),
        ({"comm": "world"}, "comm must be an MPI communicator, got 'world'"),
        ({"ghost_mode": "shared"}, "ghost_mode must be a dolfinx.mesh.GhostMode, got 'shared'"),
    ],
)
def test_arguments_of_another_kind_are_named(change, message):
    with pytest.raises(InputError, match=message):
        io.read_mesh(**{"path": MESHES / "l_domain.msh", "comm": comm, **change})
