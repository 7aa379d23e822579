"""XDMF meshes with tags, and what is said of those that cannot be used."""

import dolfinx.io
import numpy as np
import pytest
import ufl
from dolfinx import fem, mesh
from mpi4py import MPI

from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.io import read_xdmf

comm = MPI.COMM_WORLD
MAKE = {
    "triangle": lambda: mesh.create_rectangle(comm, [(0.0, 0.0), (2.0, 1.0)], (8, 4)),
    "quadrilateral": lambda: mesh.create_rectangle(
        comm, [(0.0, 0.0), (2.0, 1.0)], (8, 4), mesh.CellType.quadrilateral
    ),
    "tetrahedron": lambda: mesh.create_box(comm, [(0.0, 0.0, 0.0), (2.0, 1.0, 1.0)], (4, 2, 2)),
    "hexahedron": lambda: mesh.create_box(
        comm, [(0.0, 0.0, 0.0), (2.0, 1.0, 1.0)], (4, 2, 2), mesh.CellType.hexahedron
    ),
}


def write(folder, made, encoding=dolfinx.io.XDMFFile.Encoding.HDF5):
    """Tags: cells 3 beyond x = 1, and 0; facets 7 at x = 0, 9 at x = 2."""
    dim = made.topology.dim
    made.topology.create_connectivity(dim - 1, dim)
    cells = mesh.locate_entities(made, dim, lambda x: x[0] > 1.0 - 1e-9)
    ends = [mesh.locate_entities_boundary(made, dim - 1, lambda x, a=a: np.isclose(x[0], a)) for a in (0, 2)]
    facets, order = np.unique(np.concatenate(ends).astype(np.int32), return_index=True)
    values = np.repeat(np.array([7, 9], dtype=np.int32), [len(end) for end in ends])[order]
    everything = np.arange(made.topology.index_map(dim).size_local, dtype=np.int32)
    tags = [
        mesh.meshtags(made, dim, everything, np.where(np.isin(everything, cells), 3, 0).astype(np.int32)),
        mesh.meshtags(made, dim - 1, facets, values),
    ]
    with dolfinx.io.XDMFFile(comm, str(folder / "part.xdmf"), "w", encoding) as file:
        file.write_mesh(made)
        for name, each in zip(("parts", "sides"), tags, strict=True):
            each.name = name
            file.write_meshtags(each, made.geometry)
    comm.barrier()
    return folder / "part.xdmf"


def total(integrand, measure):
    return comm.allreduce(fem.assemble_scalar(fem.form(integrand * measure)), op=MPI.SUM)


@pytest.mark.ranks
@pytest.mark.parametrize("kind", list(MAKE))
def test_mesh_and_tags_come_back(kind, tmp_path):
    part = read_xdmf(write(comm.bcast(tmp_path), MAKE[kind]()), comm)
    one = fem.Constant(part.mesh, 1.0)
    assert part.mesh.topology.cell_name() == kind
    assert total(one, ufl.dx(part.mesh)) == pytest.approx(2.0)
    dx = ufl.Measure("dx", part.mesh, subdomain_data=part.cell_tags)
    assert total(one, dx(part.cell_groups["3"])) == pytest.approx(1.0)
    x = ufl.SpatialCoordinate(part.mesh)[0]
    assert total(one, part.ds("7")) == pytest.approx(1.0) and total(x, part.ds("7")) == pytest.approx(0.0)
    assert total(x, part.ds("9")) == pytest.approx(2.0)
    assert (part.cell_groups, part.facet_groups) == ({"3": 3, "": 0}, {"7": 7, "9": 9})


def test_second_order_cells_keep_their_shape(tmp_path):
    path = comm.bcast(tmp_path) / "curved.xdmf"
    if comm.rank == 0:
        points = "0 0  1 0  1 1  0 1  .5 -.1  1 .5  .5 .5  .5 1  0 .5"
        cells = "0 1 2 4 5 6  0 2 3 6 7 8"
        path.write_text(SMALL.format(name="Triangle_6", rows=2, columns=6, cells=cells, n=9, points=points))
    comm.barrier()
    part = read_xdmf(path, comm)
    area = total(fem.Constant(part.mesh, 1.0), ufl.dx(part.mesh))
    assert area == pytest.approx(1.0 + 2 / 3 * 0.1)  # a parabola below the lower edge


SMALL = """<?xml version="1.0"?><Xdmf Version="3.0"><Domain><Grid Name="mesh" GridType="Uniform">
<Topology TopologyType="{name}"><DataItem Dimensions="{rows} {columns}" Format="XML">{cells}</DataItem>
</Topology>
<Geometry GeometryType="XY"><DataItem Dimensions="{n} 2" Format="XML">{points}</DataItem></Geometry>
</Grid></Domain></Xdmf>"""
SQUARE = SMALL.format(name="Triangle", rows=2, columns=3, cells="0 1 2 0 2 3", n=4, points="0 0 1 0 1 1 0 1")
TAGS = """<Attribute Name="t" Center="Cell"><DataItem Dimensions="{}" Format="XML">{}</DataItem>
</Attribute></Grid>"""


def tagged(dimensions, values):
    return SQUARE.replace("</Grid>", TAGS.format(dimensions, values))


def test_cell_tags_of_meshio_and_several_tags(tmp_path):
    path = comm.bcast(tmp_path) / "square.xdmf"
    second = TAGS.format("2 1", "5 6").replace('"t"', '"s"')
    if comm.rank == 0:
        path.write_text(tagged("2", "5 5").replace("</Grid>", second))
    comm.barrier()
    assert set(read_xdmf(path, comm).cell_groups) == {"t/5", "s/5", "s/6"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "not an XDMF file, or damaged: "),
        ("<Xdmf><Domain>", "not an XDMF file, or damaged: "),
        ('<!DOCTYPE x [<!ENTITY a "b">]><Xdmf/>', "entities of its own"),
        ("<Xdmf><Domain/></Xdmf>", "no mesh: expected <Xdmf>"),
        (SQUARE.replace('"XY"', '"VXVYVZ"'), "GeometryType must be XY or XYZ, got 'VXVYVZ'"),
        (SQUARE.replace('"Triangle"', '"Wedge"'), "TopologyType must be one of .* got 'Wedge'"),
        (SQUARE.replace('"2 3"', '"2 4"'), "Topology must hold rows of 3, got Dimensions '2 4'"),
        (SQUARE.replace('"2 3"', '"-2 3"'), "Topology must hold rows of 3"),
        (SQUARE.replace('"2 3"', '"3 3"'), "cannot be read|promised"),
        (
            SQUARE.replace('"4 2"', '"999999999999 2"'),
            "damaged: 999999999999 rows of 2 numbers cannot be in it",
        ),
        (SQUARE.replace("0 1 2 0 2 3", "0 1 2 0 2 9"), "damaged: cells have nodes that are not in the file"),
        (SQUARE.replace("0 1 2 0 2 3", "0 1 2 0 a 3"), "cannot be read"),
        (SQUARE.replace("0 1 2 0 2 3", "0 1 1 0 2 3"), "have no volume"),
        (SQUARE.replace('Format="XML"', 'Format="Binary"'), "must be HDF or XML, got 'BINARY'"),
        (SQUARE.replace('Format="XML"', 'Format="HDF"'), "data must be NAME.h5:/DATASET"),
        (
            SQUARE.replace('"XML">0 1 2 0 2 3', '"HDF">../a.h5:/b'),
            r"data must be NAME.h5:/DATASET in the same folder, got '\.\./a\.h5:/b'",
        ),
        (SQUARE.replace('"XML">0 1 2 0 2 3', '"HDF">gone.h5:/b'), "in 'gone.h5', which is not beside it"),
        (SQUARE.replace('"XML">0 1 2 0 2 3', '"HDF">bad.xdmf:/b'), "cannot be read"),  # no HDF5 file
        (tagged("3", "1 1 1"), "tags 't' hold 3 numbers for 2 elements"),
        (tagged("2", "1 -1"), "tags 't' must be from 0 to"),
    ],
)
def test_damaged_and_foreign_files_end_in_a_sentence(content, said, tmp_path):
    path = comm.bcast(tmp_path) / "bad.xdmf"
    if comm.rank == 0:
        path.write_text(content)
    comm.barrier()
    with pytest.raises(InputError, match=said) as caught:
        read_xdmf(path, comm)
    assert "\n" not in str(caught.value)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_xdmf(comm.bcast(tmp_path) / "gone.xdmf", comm)
