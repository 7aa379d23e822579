"""Files written from distributed fields: read back on other rank counts, closed surfaces, checked meshes."""

import gc
import os
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import ufl
from dolfinx import fem, mesh
from dolfinx.io import XDMFFile
from mpi4py import MPI
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from dolfinx_neural_topo import io
from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.io._ranks import gather_rows, on_rank_zero, require
from dolfinx_neural_topo.io.gather import gather_cell_values, gather_corner_values, gather_mesh

comm = MPI.COMM_WORLD
MESHES = Path(__file__).parents[1] / "meshes"
BOXES = [mesh.CellType.hexahedron, mesh.CellType.tetrahedron]


@pytest.fixture
def folder(tmp_path):
    """One folder on all ranks."""
    return comm.bcast(tmp_path, root=0)


def box(kind, cells=(8, 6, 5), size=(2.0, 1.0, 1.0), on=comm):
    return mesh.create_box(on, [(0.0, 0.0, 0.0), size], cells, kind)


def density_on(domain, law):
    density = fem.Function(fem.functionspace(domain, ("DG", 0)), name="density")
    density.interpolate(lambda x: law(x) * np.ones(x.shape[1]))
    density.x.scatter_forward()
    return density


def wavy(x):
    return 0.5 + 0.5 * np.sin(5 * x[0]) * np.cos(7 * x[1] + x[2]) * np.cos(3 * x[2])


def integral(form):
    return comm.allreduce(fem.assemble_scalar(fem.form(form)), op=MPI.SUM)


# --- ranks ---------------------------------------------------------------------------------------------


def test_gathered_rows_keep_rank_order():
    rows = np.full((comm.rank + 1, 2), comm.rank, dtype=np.int64)
    gathered = gather_rows(comm, rows)
    if comm.rank == 0:
        assert np.array_equal(gathered[:, 0], np.repeat(np.arange(comm.size), np.arange(comm.size) + 1))
    else:
        assert gathered is None


def test_failure_on_rank_zero_is_raised_on_all():
    def action():
        raise OSError("disk full")

    with pytest.raises((OSError, RuntimeError), match="disk full"):
        on_rank_zero(comm, action)


def test_missing_package_is_named_with_its_install_line(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        ImportError, match=r"plot_solid needs the optional package pyvista: pip install pyvista"
    ):
        require(comm, "pyvista", "plot_solid")


def test_gathered_mesh_is_the_serial_one():
    serial, parallel = (
        box(mesh.CellType.hexahedron, on=MPI.COMM_SELF),
        box(mesh.CellType.hexahedron, on=comm),
    )
    pictures = []
    for domain in (serial, parallel):
        gathered = gather_mesh(domain)
        values = gather_cell_values(density_on(domain, wavy), gathered)
        vector = fem.Function(fem.functionspace(domain, ("Lagrange", 2, (3,))))
        vector.interpolate(lambda x: np.stack([x[0] + x[1], x[1] * x[2], 2 * x[0]]))
        corners = gather_corner_values(vector, gathered)
        if gathered is not None:
            pictures.append((gathered.points[gathered.cells], values, corners[gathered.cells]))
    if comm.rank == 0:
        for one, other in zip(*pictures, strict=True):
            assert np.abs(one - other).max() < 1e-13
        points, _, moved = pictures[1]
        assert np.abs(moved[..., 1] - points[..., 1] * points[..., 2]).max() < 1e-13


# --- densities -----------------------------------------------------------------------------------------


def test_density_written_serially_is_read_on_all_ranks_and_back(folder):
    if comm.rank == 0:
        io.write_density(folder / "serial.npz", density_on(box(BOXES[1], on=MPI.COMM_SELF), wavy))
    comm.barrier()
    domain = box(BOXES[1])
    expected, read = density_on(domain, wavy), density_on(domain, lambda x: 0.0)
    io.read_density(folder / "serial.npz", read)
    assert np.array_equal(read.x.array, expected.x.array)
    io.write_density(folder / "parallel.npz", expected)
    alone = box(BOXES[1], on=MPI.COMM_SELF)
    expected, read = density_on(alone, wavy), density_on(alone, lambda x: 0.0)
    io.read_density(folder / "parallel.npz", read)
    assert np.array_equal(read.x.array, expected.x.array)


def test_density_of_another_mesh_is_refused(folder):
    io.write_density(folder / "a.npz", density_on(box(BOXES[0]), wavy))
    with pytest.raises((InputError, RuntimeError), match="240 cells, but the mesh has 252"):
        io.read_density(folder / "a.npz", density_on(box(BOXES[0], (7, 6, 6)), wavy))
    with pytest.raises((InputError, RuntimeError), match="another mesh: cell midpoints differ"):
        io.read_density(folder / "a.npz", density_on(box(BOXES[0], size=(2.0, 1.0, 1.1)), wavy))
    with pytest.raises((FileNotFoundError, RuntimeError), match=r"b\.npz"):
        io.read_density(folder / "b.npz", density_on(box(BOXES[0]), wavy))
    if comm.rank == 0:
        (folder / "c.npz").write_bytes(b"PK no archive")
    comm.barrier()
    with pytest.raises((InputError, RuntimeError), match="must be a file that write_density wrote"):
        io.read_density(folder / "c.npz", density_on(box(BOXES[0]), wavy))


def _claim(shape, descr="<f8"):
    header = BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": descr, "fortran_order": False, "shape": shape})
    return header.getvalue()


def _spoilt(path, damage):
    """Spoil a density file; return it."""
    with np.load(path) as file:
        density, midpoints = file["density"], file["midpoints"]
    whole = bytearray(path.read_bytes())
    path.unlink()
    if damage == "flipped":
        for at in range(60, len(whole), 97):
            whole[at] ^= 255
        path.write_bytes(bytes(whole))
    elif damage == "npy":
        with path.open("wb") as file:
            np.save(file, density)
    elif damage in ("petabytes", "pickle"):
        claim = _claim((10**15,)) if damage == "petabytes" else _claim((1,), "|O") + b"cos\nsystem\n"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("density.npy", claim)
            archive.writestr("midpoints.npy", claim)
    elif damage == "folder":
        path.mkdir()
    elif damage == "pipe":
        os.mkfifo(path)
    else:
        nan = np.where(np.arange(len(density)) == 3, np.nan, density)
        density = {
            "two columns": np.stack([density, density], axis=1), "complex": density + 1j, "nan": nan,
            "words": density.astype(str), "one number": density[0],
        }.get(damage, density)  # fmt: skip
        arrays = {"density": density, "midpoints": midpoints * (np.inf if damage == "far" else 1.0)}
        np.savez(path, **{name: array for name, array in arrays.items() if name != damage})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        *((damage, "must be a file that write_density wrote") for damage in ("flipped", "npy", "petabytes")),
        *(
            (damage, "must be a file that write_density wrote")
            for damage in ("pickle", "midpoints", "density")
        ),
        *((damage, "expected one float64 a cell") for damage in ("two columns", "complex", "words")),
        ("one number", "expected one float64 a cell"),
        *((damage, "not finite") for damage in ("nan", "far")),
        *((damage, "no such file") for damage in ("folder", "pipe")),
    ],
)
def test_damaged_density_files_end_in_a_sentence(folder, damage, message):
    density = density_on(box(BOXES[0]), wavy)
    io.write_density(folder / "a.npz", density)
    if comm.rank == 0:
        _spoilt(folder / "a.npz", damage)
    comm.barrier()
    before = density.x.array.copy()
    with pytest.raises((InputError, FileNotFoundError, RuntimeError), match=message):
        io.read_density(folder / "a.npz", density)
    assert np.array_equal(density.x.array, before)


def test_a_density_that_is_not_finite_is_not_written(folder):
    density = density_on(box(BOXES[0]), wavy)
    if comm.rank == comm.size - 1:
        density.x.array[0] = np.nan
    with pytest.raises(InputError, match="density must be finite, got NaN or infinity in 1 cells"):
        io.write_density(folder / "a.npz", density)
    with pytest.raises(InputError, match="density must be finite"):
        io.closed_surface(density, level=0.5)
    assert not (folder / "a.npz").exists()


def test_density_must_have_one_value_a_cell(folder):
    linear = fem.Function(fem.functionspace(box(BOXES[0]), ("Lagrange", 1)))
    with pytest.raises(InputError, match="one value a cell"):
        io.write_density(folder / "a.npz", linear)
    with pytest.raises(InputError, match=r"density must be a dolfinx.fem.Function, got an array"):
        io.write_density(folder / "a.npz", linear.x.array)
    with pytest.raises(InputError, match="path must be a path, got None"):
        io.read_density(None, linear)
    with pytest.raises(InputError, match=r"end in .npz, got 'a.txt'"):
        io.write_density(folder / "a.txt", density_on(box(BOXES[0]), wavy))


# --- ParaView --------------------------------------------------------------------------------------------


def test_paraview_file_holds_mesh_and_fields(folder):
    domain = box(BOXES[0])
    density = density_on(domain, wavy)
    u = fem.Function(fem.functionspace(domain, ("Lagrange", 2, (3,))), name="displacement")
    u.interpolate(lambda x: np.stack([x[0], x[1], x[2]]))
    io.write_paraview(folder / "new" / "a.xdmf", density, u)
    text = (folder / "new" / "a.xdmf").read_text()
    assert 'Name="density" AttributeType="Scalar" Center="Cell"' in text
    assert 'Name="displacement" AttributeType="Vector" Center="Node"' in text
    with XDMFFile(comm, str(folder / "new" / "a.xdmf"), "r") as file:
        again = file.read_mesh(name=domain.name)
    assert integral(1.0 * ufl.dx(again)) == pytest.approx(2.0, rel=1e-12)


def test_a_paraview_file_that_cannot_be_finished_does_not_end_the_process(folder, monkeypatch):
    """Its destructor closes once more, and an error there ends a C++ program (a full disk, two ranks)."""
    destroyed = []

    class Full:
        def __init__(self, *_):
            pass

        def write_mesh(self, _):
            pass

        def write_function(self, *_):
            raise RuntimeError("Failed to write HDF5 local dataset into hyperslab.")

        def close(self):
            raise RuntimeError("Failed to close HDF5 file.")

        def __del__(self):
            destroyed.append(self)

    monkeypatch.setattr("dolfinx_neural_topo.io.paraview.XDMFFile", Full)
    density = density_on(box(BOXES[0]), wavy)
    with pytest.raises(InputError, match="cannot be written"):
        io.write_paraview(folder / "a.xdmf", density)
    with pytest.raises(InputError, match="cannot be written"):
        io.ParaViewFile(folder / "b.xdmf", density.function_space.mesh).write([density])
    gc.collect()
    assert not destroyed


@pytest.mark.ranks
def test_a_paraview_file_is_whole_or_the_one_before(folder, monkeypatch):
    density = density_on(box(BOXES[0]), wavy)
    names = ("a.xdmf", "a.h5")
    io.write_paraview(folder / "a.xdmf", density)
    before = [(folder / name).read_bytes() for name in names]
    comm.barrier()
    with monkeypatch.context() as patch, pytest.raises(InputError, match="cannot be written"):
        patch.setattr(io.ParaViewFile, "close", lambda _: full())
        io.write_paraview(folder / "a.xdmf", density)
    comm.barrier()
    assert [(folder / name).read_bytes() for name in names] == before
    density.name = "another"
    io.write_paraview(folder / "a.xdmf", density)
    assert 'Name="another"' in (folder / "a.xdmf").read_text()
    with XDMFFile(comm, str(folder / "a.xdmf"), "r") as file:
        assert file.read_mesh(name=density.function_space.mesh.name) is not None
    assert {file.name for file in folder.iterdir()} == set(names)


def full():
    raise InputError("it cannot be written (disk full?)")


def test_paraview_refusals(folder):
    density = density_on(box(BOXES[0]), wavy)
    with pytest.raises(InputError, match=r"end in .xdmf"):
        io.write_paraview(folder / "a.vtu", density)
    with pytest.raises(InputError, match="no ':' in its name"):  # nothing could read it
        io.write_paraview(folder / "12:30.xdmf", density)
    if comm.rank == 0:
        (folder / "c.xdmf").mkdir()
        (folder / "d.h5").mkdir()
        (folder / "file").touch()
    comm.barrier()
    for name in ("c.xdmf", "d.xdmf", "file/e.xdmf"):
        with pytest.raises(
            InputError, match=f"{name} cannot be written: (Is a directory|Not a directory|File exists)"
        ):
            io.write_paraview(folder / name, density)
    with pytest.raises(InputError, match="at least one function"):
        io.write_paraview(folder / "a.xdmf")
    density.name = "a'b"
    with pytest.raises(InputError, match="names of one line without '"):
        io.write_paraview(folder / "a.xdmf", density)
    density.name = "density"
    with pytest.raises(InputError, match="different names"):
        io.write_paraview(folder / "a.xdmf", density, density)
    with (
        io.ParaViewFile(folder / "b.xdmf", box(BOXES[0])) as file,
        pytest.raises(InputError, match="live on the mesh"),
    ):
        file.write([density])


def test_cell_mean_is_the_integral_over_the_volume():
    domain = box(BOXES[1])
    x = ufl.SpatialCoordinate(domain)
    mean = io.cell_mean(x[0] ** 2, domain, name="moment")
    assert mean.name == "moment"
    assert integral(mean * ufl.dx) == pytest.approx(8.0 / 3.0, rel=1e-12)
    linear = io.cell_mean(x[1], domain)
    expected = density_on(domain, lambda x: x[1])
    assert np.abs(linear.x.array - expected.x.array).max() < 1e-13


def test_owned_values_become_a_function():
    density = density_on(box(BOXES[1]), wavy)
    owned = density.function_space.dofmap.index_map.size_local
    copy = io.as_function(density.x.array[:owned], density, name="copy")
    assert copy.name == "copy"
    assert np.array_equal(copy.x.array, density.x.array)
    short = density.x.array[: owned - (comm.rank == comm.size - 1)]
    with pytest.raises(InputError, match="one number for each owned cell"):
        io.as_function(short, density.function_space)


# --- surfaces ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", BOXES)
@pytest.mark.parametrize("mirror", [(), ((0, 0.0),), ((0, 2.0), (1, 0.0))])
@pytest.mark.parametrize("binary", [True, False])
def test_surface_is_watertight(kind, mirror, binary):
    law = (lambda x: 1.0 * (wavy(x) > 0.5)) if binary else wavy
    surface = io.closed_surface(density_on(box(kind), law), level=0.5, mirror=mirror)
    if comm.rank == 0:
        assert len(surface.triangles) > 500
        assert surface.is_watertight
        assert 0.2 * 2 ** len(mirror) * 2.0 < surface.volume < 0.8 * 2 ** len(mirror) * 2.0


@pytest.mark.parametrize("kind", BOXES)
def test_surface_of_a_full_domain_is_its_boundary(kind):
    surface = io.closed_surface(density_on(box(kind), lambda x: 1.0))
    if comm.rank == 0:
        assert surface.is_watertight
        assert surface.volume == pytest.approx(2.0, rel=1e-12)


@pytest.mark.parametrize("kind", BOXES)
def test_surface_of_a_slanted_half_has_half_the_volume(kind):
    surface = io.closed_surface(
        density_on(box(kind, (20, 10, 10)), lambda x: 0.5 + 0.2 * (1.0 - x[0] + 0.3 * (x[2] - 0.5)))
    )
    if comm.rank == 0:
        assert surface.is_watertight
        assert surface.volume == pytest.approx(1.0, rel=0.02)


def bars(x):
    """Two bars, one cell thick at 10 x 10 x 10 cells of a box of 2 x 1 x 1, joined by one cell."""
    a = (np.abs(x[1] - 0.25) < 0.05) & (np.abs(x[2] - 0.45) < 0.05)
    b = (np.abs(x[0] - 0.3) < 0.1) & (np.abs(x[2] - 0.45) < 0.05)
    return 1.0 * (a | b)


@pytest.mark.parametrize("mirror", [(), ((1, 0.0),)])
def test_bars_one_cell_thick_stay_whole(mirror):
    """In one piece, with the volume of the cells; at the level of one half they would lose a third."""
    domain = box(BOXES[0], (10, 10, 10))
    surface, half = (
        io.closed_surface(density_on(domain, bars), level=level, mirror=mirror) for level in (None, 0.5)
    )
    if comm.rank == 0:
        assert surface.is_watertight
        exact = (1 + len(mirror)) * 19 * 0.2 * 0.1 * 0.1
        assert surface.volume == pytest.approx(exact, rel=0.01)
        assert half.volume < 0.75 * exact
        edges = surface.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2).T
        graph = coo_array((np.ones(edges.shape[1]), edges), shape=2 * (len(surface.points),))
        assert connected_components(graph, directed=False)[0] == 1


def test_a_grey_design_has_no_surface_of_its_volume():
    with pytest.raises(InputError, match="nearly solid and void"):
        io.closed_surface(density_on(box(BOXES[0]), lambda x: 0.4))


def test_an_open_surface_is_not_called_watertight():
    closed = io.closed_surface(density_on(box(BOXES[0]), wavy))
    if comm.rank == 0:
        assert not io.Surface(closed.points, closed.triangles[1:]).is_watertight
        turned = closed.triangles.copy()
        turned[0] = turned[0, ::-1]
        assert not io.Surface(closed.points, turned).is_watertight
        assert not io.Surface(closed.points, closed.triangles[:0]).is_watertight


def test_surface_refusals():
    plane = mesh.create_unit_square(comm, 4, 4)
    with pytest.raises(InputError, match="got triangle cells"):
        io.closed_surface(density_on(plane, lambda x: 1.0))
    with pytest.raises(InputError, match=r"level must lie in \(0, 1\), got 1"):
        io.closed_surface(density_on(box(BOXES[0]), wavy), level=1.0)


def test_stl_is_watertight_after_rounding_to_its_floats(folder):
    surface = io.write_stl(
        folder / "part.stl", density_on(box(BOXES[0]), lambda x: 1.0 * (wavy(x) > 0.5)), mirror=((0, 0.0),)
    )
    data = (folder / "part.stl").read_bytes()
    count = int(np.frombuffer(data, "<u4", 1, 80)[0])
    record = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    facets = np.frombuffer(data, record, count, 84)
    assert len(data) == 84 + 50 * count
    points, vertex = np.unique(facets["corners"].reshape(-1, 3), axis=0, return_inverse=True)
    read = io.Surface(points.astype(np.float64), vertex.reshape(-1, 3))
    assert read.is_watertight
    assert np.abs(np.linalg.norm(facets["normal"], axis=1) - 1.0).max() < 1e-5
    if comm.rank == 0:
        assert read.volume == pytest.approx(surface.volume, rel=1e-5)


def test_stl_of_nothing_is_refused(folder):
    with pytest.raises((InputError, RuntimeError), match="lower the level"):
        io.write_stl(folder / "part.stl", density_on(box(BOXES[0]), lambda x: 0.1), level=0.5)
