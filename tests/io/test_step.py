"""Parts from CAD."""

from pathlib import Path

import dolfinx.fem as fem
import numpy as np
import pytest
import ufl
from mpi4py import MPI

from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.io import read_step

comm = MPI.COMM_WORLD
PLATE = Path(__file__).parents[2] / "meshes" / "plate.step"
HOLE = (255, 0, 0)


def total(integrand, measure):
    form = fem.form(integrand * measure)
    return comm.allreduce(fem.assemble_scalar(form), op=MPI.SUM)


@pytest.fixture(scope="module")
def part():
    return read_step(
        PLATE,
        comm,
        size=0.012,
        groups={
            "clamped": lambda low, high: high[0] < 1e-6,
            "ground": lambda low, high: high[2] < -0.009,
            "hole": HOLE,
            "high": lambda low, high: low[2] > 0.0199,
            "all": lambda low, high: True,
        },
        cells={"foot": lambda low, high: high[2] < 1e-6},
    )


@pytest.mark.ranks
def test_solids_and_faces_have_their_measures(part):
    mesh = part.mesh
    one = fem.Constant(mesh, 1.0)
    dx, ds = ufl.Measure("dx", mesh, subdomain_data=part.cell_tags), ufl.Measure("ds", mesh)
    foot, hole = 0.02 * 0.04 * 0.01, np.pi * 0.008**2 * 0.02
    solid = 0.1 * 0.04 * 0.02 + foot
    assert solid - hole < total(one, dx) < solid - 0.85 * hole  # the hole is a polygon of about eight edges
    assert total(one, dx(part.cell_groups["foot"])) == pytest.approx(foot, rel=1e-9)
    assert total(one, part.ds("clamped")) == pytest.approx(0.04 * 0.03, rel=1e-9)
    assert total(one, part.ds("ground")) == pytest.approx(0.04 * 0.02, rel=1e-9)
    assert total(one, part.ds("hole")) == pytest.approx(2 * np.pi * 0.008 * 0.02, rel=4e-2)
    outside = total(one, ds)
    shared = 2 * 0.02 * 0.04  # counted on both sides if the solids did not hold together
    parts = 2 * (0.1 * 0.04 + 0.1 * 0.02 + 0.04 * 0.02) + 2 * (0.02 * 0.04 + 0.02 * 0.01 + 0.04 * 0.01)
    ring = 2 * np.pi * 0.008 * 0.02 - 2 * np.pi * 0.008**2
    assert outside == pytest.approx(parts + ring - shared, rel=1e-2)


def test_units_are_converted(part):
    mesh = read_step(PLATE, comm, size=12.0, unit="mm").mesh
    assert comm.allreduce(mesh.geometry.x[:, 0].max(), op=MPI.MAX) == pytest.approx(100.0)
    sizes = [m.topology.index_map(3).size_global for m in (mesh, part.mesh)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"size": 0.0}, "size must be a positive length"),
        ({"size": "fine"}, "size must be a number, got 'fine'"),
        ({"unit": "furlong"}, "unit must be one of m, cm"),
        ({"groups": {"a": 3}}, "group 'a' must be a label"),
        ({"groups": {"a": (0, 255, 0)}}, r"group 'a' matches none of its 1\d faces.*\(255, 0, 0\)"),
        ({"cells": {"a": "lid"}}, "group 'a' matches none of its 2 solids"),
        ({"groups": {"a": lambda low, high: 1 / 0}}, "group 'a' failed: ZeroDivisionError"),
    ],
)
def test_refused(changes, said):
    with pytest.raises(InputError, match=said):
        read_step(PLATE, comm, **({"size": 0.02} | changes))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'SystemCall "touch pwned";\n', "not a STEP file"),
        (b"", "not a STEP file"),
        (b'ISO-10303-21;\nSystemCall "touch pwned";\n', "gmsh cannot read it|holds no solid"),
        (PLATE.read_bytes()[:4000], "gmsh cannot read it|holds no solid"),
    ],
)
def test_damaged_and_foreign_files(content, said, tmp_path, monkeypatch):
    folder = comm.bcast(tmp_path)
    monkeypatch.chdir(folder)
    path = folder / "part.step"
    if comm.rank == 0:
        path.write_bytes(content)
    comm.barrier()
    with pytest.raises(InputError, match=said):
        read_step(path, comm, size=0.02)
    assert not (folder / "pwned").exists()


def test_a_session_of_ones_own_stays_as_it_was():
    import gmsh

    gmsh.initialize(readConfigFiles=False, interruptible=False)
    try:
        gmsh.model.add("mine")
        gmsh.option.setNumber("Mesh.MeshSizeMax", 7.0)
        read_step(PLATE, comm, size=0.02)
        assert gmsh.model.getCurrent() == "mine" and gmsh.model.list().count("mine") == 1
        assert gmsh.option.getNumber("Mesh.MeshSizeMax") == 7.0
    finally:
        gmsh.finalize()
