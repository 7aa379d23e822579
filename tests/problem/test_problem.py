"""Problems described in a file: what they compute, on any number of ranks, and what is said of bad ones."""

import errno
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from dolfinx import fem, mesh
from dolfinx.io import XDMFFile
from mpi4py import MPI

import dolfinx_neural_topo as dnt
from dolfinx_neural_topo.cli.console import BAD_INPUT, FAILED
from dolfinx_neural_topo.cli.main import main
from dolfinx_neural_topo.errors import CheckpointError, InputError
from dolfinx_neural_topo.physics import elasticity
from dolfinx_neural_topo.problem import read_problem, run, run_file
from dolfinx_neural_topo.problem.physics import objective, state_problem
from dolfinx_neural_topo.problem.region import regions
from dolfinx_neural_topo.tasks import get_task
from dolfinx_neural_topo.tasks.build import build

comm = MPI.COMM_WORLD
MESHES = Path(__file__).parents[2] / "meshes"

BEAM = """\
equation = "elasticity"
[mesh]
box = [24.0, 8.0]
cells = [24, 8]
[[group]]
name = "tip"
within = [[23.0, 0.0], [24.0, 8.0]]
[[support]]
on = "left"
[[load]]
on = "tip"
force = [0.0, -1.0]
[design]
volume = 0.5
solid = "tip"
radius = 2.0
[method]
evaluations = 3
"""

SINK = """\
equation = "heat"
[mesh]
box = [1.0, 1.0]
cells = [16, 16]
[[group]]
name = "cold"
within = [[0.0, 0.25], [0.0, 0.75]]
[[support]]
on = "cold"
[[load]]
source = 1.0
[design]
objective = "mean temperature"
volume = 0.4
radius = 0.15
[method]
evaluations = 4
"""


@pytest.fixture
def folder(tmp_path):
    """One folder on all ranks."""
    return comm.bcast(tmp_path, root=0)


def write(folder, text, name="problem.toml"):
    if comm.rank == 0:
        (folder / name).write_text(text)
    comm.barrier()
    return folder / name


def test_beam_is_the_one_written_in_ufl(folder):
    problem = read_problem(write(folder, BEAM))
    with state_problem(problem, regions(problem, comm)[0]) as state:
        value = objective(problem, state).value(0.5 + 0.0 * state.rho.x.array[: state.num_owned_cells])
    corners = [np.zeros(2), np.array([24.0, 8.0])]
    grid = mesh.create_rectangle(comm, corners, [24, 8], mesh.CellType.quadrilateral)
    rho = fem.Function(fem.functionspace(grid, ("DG", 0)))
    V = fem.functionspace(grid, ("Lagrange", 1, (2,)))
    a = elasticity.bilinear_form(V, dnt.simp(rho))
    # the tip is the last column of cells: its facets at the boundary are the end and two pieces of 1
    tip = mesh.locate_entities_boundary(grid, 1, lambda x: x[0] > 23.0 - 1e-9)
    tags = mesh.meshtags(grid, 1, np.sort(tip), np.full(len(tip), 1, dtype=np.int32))
    import ufl

    ds = ufl.Measure("ds", domain=grid, subdomain_data=tags)(1)
    L = ufl.dot(fem.Constant(grid, (0.0, -1.0 / 10.0)), ufl.TestFunction(V)) * ds
    left = mesh.locate_entities_boundary(grid, 1, lambda x: x[0] < 1e-9)
    bc = fem.dirichletbc(np.zeros(2), fem.locate_dofs_topological(V, 1, left), V)
    with dnt.StateProblem((a, L), rho, bcs=[bc], petsc_options_prefix="own_") as own:
        expected = dnt.Compliance(own).value(0.5 + 0.0 * rho.x.array[: own.num_owned_cells])
    assert value == pytest.approx(expected, rel=1e-9)


def test_result_can_be_run_again_and_is_the_same_on_any_number_of_ranks(folder):
    record, text = run_file(write(folder, BEAM), folder / "out")
    assert record["evaluations"] == 3 and 0.3 < record["volume"] < 0.5 + 1e-6
    assert "compliance" in text
    written = {"problem.toml", "result.json", "density.npz", "history.csv", "design.png", "design.xdmf"}
    assert written <= {file.name for file in (folder / "out").iterdir()}
    assert not list((folder / "out").glob("checkpoint*"))
    again, _ = run_file(folder / "out" / "problem.toml", folder / "again")
    assert again["objective"] == pytest.approx(record["objective"], rel=1e-9)
    alone = None
    if comm.rank == 0:
        alone, _ = run_file(folder / "problem.toml", folder / "alone", comm=MPI.COMM_SELF)
        assert json.loads((folder / "alone" / "result.json").read_text()) == alone
    alone = comm.bcast(alone)
    assert alone["objective"] == pytest.approx(record["objective"], rel=1e-7)


@pytest.mark.parametrize("far", ["inf", "1e9", "1e300"])
def test_a_group_may_reach_far_beyond_the_mesh(far, folder):
    text = BEAM.replace("[[23.0, 0.0], [24.0, 8.0]]", f"[[23.0, -{far}], [24.0, {far}]]")
    (region,) = regions(read_problem(write(folder, text)), comm)
    cells = region.cells("tip")
    owned = cells[cells < region.mesh.topology.index_map(2).size_local]
    assert comm.allreduce(len(owned)) == 8


ROLLER = """\
equation = "elasticity"
[mesh]
box = [24.0, 8.0]
cells = [24, 8]
[[support]]
on = "left"
fix = "x"
[[support]]
at = [24.0, 0.0]
fix = "y"
[[load]]
at = [0.0, 8.0]
force = [0.0, -1.0]
[design]
volume = 0.5
radius = 2.0
"""


def test_points_and_rollers_make_the_beam_of_the_paper(folder):
    problem = read_problem(write(folder, ROLLER))
    with state_problem(problem, regions(problem, comm)[0]) as state:
        value = objective(problem, state).value(0.5 + 0.0 * state.rho.x.array[: state.num_owned_cells])
    with build(get_task("mbb_beam_24x8_0.5"), comm) as task:
        expected = task.functional.value(0.5 + 0.0 * task.domain.cell_volumes)
    assert value == pytest.approx(expected, rel=1e-9)


def test_a_full_disk_fails_the_run_and_gives_back_what_was_found(folder, capfd, monkeypatch):
    def no_space(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    path = write(folder, BEAM)
    monkeypatch.setattr(run, "replacing", no_space)
    monkeypatch.setattr(run, "_copy", lambda problem, folder: None)
    assert main(["run", str(path), "--out", str(folder / "out"), "--json"]) == FAILED
    printed = capfd.readouterr()
    if comm.rank == 0:
        record = json.loads(printed.out.splitlines()[-1])
        assert record["status"] == "failed" and record["objective"] > 0.0
        assert "No space left on device" in printed.err and "Traceback" not in printed.err


def test_heat_improves_and_solid_cells_stay_solid(folder):
    record, _ = run_file(write(folder, SINK), folder / "out")
    history = np.loadtxt(folder / "out" / "history.csv", delimiter=",", skiprows=1)[:, 1]
    assert record["objective"] < 0.9 * history[0]
    run_file(write(folder, BEAM), folder / "beam")
    if comm.rank == 0:
        stored = np.load(folder / "beam" / "density.npz")
        tip = stored["midpoints"][:, 0] > 23.0
        assert tip.sum() == 8 and np.all(stored["density"][tip] == 1.0)


@pytest.mark.parametrize("method", ["oc", "simpl", "lbfgs", "adam", "multistart"])
def test_every_method_runs(method, folder):
    budget = 60 if method == "multistart" else 3
    record, summary = run_file(
        write(folder, SINK.replace("evaluations = 4", f'name = "{method}"\nevaluations = {budget}')),
        folder / "out",
    )
    assert record["objective"] > 0.0 and record["volume"] == pytest.approx(0.4, abs=1e-2)
    coarse = record["equivalent_evaluations"] < record["evaluations"]
    assert coarse == (method == "multistart") and coarse == ("coarse ones count by their cells" in summary)


BAR = """\
equation = "elasticity"
[mesh]
box = [2.0, 1.0, 1.0]
cells = [8, 4, 4]
[[support]]
on = "left"
[[load]]
on = "right"
traction = [0.0, 0.0, -1.0]
[[load]]
case = "sideways"
at = [2.0, 0.5, 0.5]
force = [0.0, 1.0, 0.0]
[design]
volume = 0.4
filter = "helmholtz"
radius = 0.3
[method]
evaluations = 3
"""


def test_two_load_cases_in_space_leave_a_surface(folder):
    record, _ = run_file(write(folder, BAR), folder / "out")
    history = np.loadtxt(folder / "out" / "history.csv", delimiter=",", skiprows=1)[:, 1]
    assert record["objective"] < history[0] and record["solves"] == 2 * record["evaluations"]
    if comm.rank == 0:
        assert (folder / "out" / "design.stl").stat().st_size > 1000
        assert (folder / "out" / "design.png").stat().st_size > 5000


def test_both_sides_of_a_plane_of_symmetry_count(folder):
    plane = "symmetry = [{point = [0.0, 0.0], normal = [0.0, 1.0]}]"
    first = []
    for more in ("", plane):
        run_file(write(folder, BEAM.replace('solid = "tip"', more)), folder / f"out{more[:1]}")
        file = folder / f"out{more[:1]}" / "history.csv"
        first.append(np.loadtxt(file, delimiter=",", skiprows=1)[0, 1])
    assert first[1] == pytest.approx(2 * first[0], rel=1e-9)


def test_hook_of_two_load_cases_is_made_buildable(folder):
    if comm.rank == 0:
        shutil.copy(MESHES / "hook.msh", folder)
        text = (MESHES / "hook.toml").read_text()
        (folder / "hook.toml").write_text(text.replace("evaluations = 60", "evaluations = 10"))
    comm.barrier()
    record, text = run_file(folder / "hook.toml", folder / "out")
    assert record["built"]["components"] == 1 and record["built"]["pieces_carry_loads"]
    assert "one piece" in text
    assert (folder / "out" / "hook.msh").read_bytes() == (MESHES / "hook.msh").read_bytes()


def test_multistart_on_mesh_files_has_their_groups(folder):
    """A coarser file is a level of its own, with its own groups."""
    if comm.rank == 0:
        for name in ("hook.msh", "coarse.msh"):
            shutil.copy(MESHES / "hook.msh", folder / name)
    text = (MESHES / "hook.toml").read_text()
    text = text.replace('"hook.msh"', '"hook.msh"\ncoarser = ["coarse.msh"]').replace("[buildable]", "# ")
    text = text.replace('"mma"\nevaluations = 60', '"multistart"\nevaluations = 130')
    record, _ = run_file(write(folder, text), folder / "out")
    assert record["volume"] == pytest.approx(0.28, abs=1e-3)
    assert (folder / "out" / "coarse.msh").is_file()


@pytest.mark.parametrize(
    ("coarser", "words"),
    [
        ("heat_sink.msh", "meshes must return meshes of the same region"),
        ("nameless.msh", "meshes: one does not suit the problem: .* no facets in a group named 'eye'"),
        ("larger.msh", "meshes must return meshes of the same region"),
    ],
)
def test_a_coarser_mesh_that_does_not_suit_is_named_with_its_line(coarser, words, folder):
    if comm.rank == 0:
        for name in ("hook.msh", "heat_sink.msh"):
            shutil.copy(MESHES / name, folder)
        import gmsh

        gmsh.initialize()
        gmsh.option.setNumber("General.Terminal", 0)
        gmsh.open(str(MESHES / "hook.msh"))
        gmsh.option.setNumber("Mesh.ScalingFactor", 1000.0)
        gmsh.write(str(folder / "larger.msh"))
        gmsh.option.setNumber("Mesh.ScalingFactor", 1.0)
        gmsh.model.removePhysicalName("eye")
        gmsh.write(str(folder / "nameless.msh"))
        gmsh.finalize()
    comm.barrier()
    text = (MESHES / "hook.toml").read_text().replace('"hook.msh"', f'"hook.msh"\ncoarser = ["{coarser}"]')
    text = text.replace('"mma"\nevaluations = 60', '"multistart"\nevaluations = 130')
    with pytest.raises(InputError, match=rf"line 9: (coarser: )?{words}"):
        run_file(write(folder, text), folder / "out")


PART = """\
equation = "elasticity"
[mesh]
file = "plate.step"
size = 10.0
coarser = [20.0]
unit = "mm"
[[group]]
name = "bolt"
colour = [255, 0, 0]
[[group]]
name = "foot"
within = [[0.0, 0.0, -10.0], [20.0, 40.0, -10.0]]
[[support]]
on = "foot"
[[load]]
on = "bolt"
force = [0.0, 0.0, -1.0]
[design]
volume = 0.5
radius = 25.0
[method]
evaluations = 2
"""


def test_a_cad_part_and_its_xdmf_give_the_same(folder):
    if comm.rank == 0:
        shutil.copy(MESHES / "plate.step", folder)
    problem = read_problem(write(folder, PART), comm)
    fine, coarse = regions(problem, comm)
    cells = [each.mesh.topology.index_map(3).size_global for each in (fine, coarse)]
    assert cells[1] < cells[0]
    record, _ = run_file(folder / "problem.toml", folder / "out")
    assert (folder / "out" / "plate.step").is_file() and record["evaluations"] == 2

    tags = {"3": fine.facets("bolt"), "4": fine.facets("foot")}
    entities = np.concatenate(list(tags.values()))
    values = np.repeat(np.array([3, 4], dtype=np.int32), [len(each) for each in tags.values()])
    order = np.argsort(entities)
    facets = mesh.meshtags(fine.mesh, 2, entities[order], values[order])
    with XDMFFile(comm, str(folder / "part.xdmf"), "w") as file:
        file.write_mesh(fine.mesh)
        file.write_meshtags(facets, fine.mesh.geometry)
    comm.barrier()
    head, rest = PART.split("[[group]]")[0], PART[PART.index("[[support]]") :]
    head = head.replace("plate.step", "part.xdmf").split("size")[0]
    rest = rest.replace('"foot"', '"4"').replace('"bolt"', '"3"')
    again, _ = run_file(write(folder, head + rest, "again.toml"), folder / "again")
    assert again["objective"] == pytest.approx(record["objective"], rel=1e-6)
    assert (folder / "again" / "part.h5").is_file()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("size = 10.0\n", "", r"line 2: \[mesh\] size is missing"),
        ("size = 10.0", "size = 0.0", "line 4: size must be a number above 0"),
        ("[20.0]", "[5.0]", "line 5: coarser must be sizes above 10 for a CAD part"),
        ('"mm"', '"ell"', 'line 6: unit must be "m" or "cm"'),
        ("[255, 0, 0]", "[256, 0, 0]", "line 9: colour must be red, green and blue from 0 to 255"),
        ('"plate.step"', '"gone.step"', "line 3: no mesh file"),
        ("[255, 0, 0]", "[0, 255, 0]", "line 3: .*group 'bolt' matches none"),
        (
            'file = "plate.step"\nsize = 10.0\ncoarser = [20.0]\nunit = "mm"',
            'file = "hook.msh"',
            "line 6: colour chooses faces of a CAD part",
        ),
    ],
)
def test_mistakes_about_a_cad_part(folder, old, new, said):
    if comm.rank == 0:
        shutil.copy(MESHES / "plate.step", folder)
    path = write(folder, PART.replace(old, new))
    with pytest.raises(InputError, match=said):
        regions(read_problem(path, comm), comm)


def test_least_volume_under_a_limit_of_the_compliance_and_of_the_local_volume(folder):
    more = """
[[constraint]]
kind = "compliance"
at_most = 400.0
[[constraint]]
kind = "local volume"
radius = 4.0
at_most = 0.9
"""
    text = BEAM.replace("volume = 0.5", 'objective = "volume"').replace("evaluations = 3", "evaluations = 30")
    record, _ = run_file(write(folder, text + more), folder / "out")
    assert record["objective_name"] == "volume" and 0.1 < record["objective"] < 0.95


BAD = {
    "a word that is not known": (
        "[design]\n",
        "[design]\nvolumen = 0.5\n",
        'line 14: unknown key .volumen.; did you mean "volume"',
    ),
    "a word in place of one that is needed": (
        "volume = 0.5",
        "volum = 0.5",
        'line 14: unknown key .volum.; did you mean "volume"',
    ),
    "a width larger than the domain": (
        "evaluations = 3",
        "evaluations = 3\n[buildable]\nmin_member = 1e9",
        "line 20: min_member must be at most 8",
    ),
    "a table that is not known": (
        "[method]",
        "[methods]",
        'line 17: unknown key .methods.; did you mean "method"',
    ),
    "no TOML": ("box = [24.0, 8.0]", "box = [24.0, 8.0", "line 4: not valid TOML"),
    "a key that is there twice": ("[design]\n", "[design]\nradius = 1.0\n", "line 1[67]: not valid TOML"),
    "a text for a number": ("volume = 0.5", 'volume = "half"', "line 14: volume must be a number above 0"),
    "truth for a number": ("volume = 0.5", "volume = true", "line 14: volume must be a number.*got true"),
    "too much volume": (
        "volume = 0.5",
        "volume = 1.5",
        "line 14: volume must be a number above 0 and up to 1",
    ),
    "not finite": ("radius = 2.0", "radius = nan", "line 16: radius must be a number above 0"),
    "huge": ("radius = 2.0", f"radius = {10**400}", "line 16: radius must be a number"),
    "more digits than Python reads": ("radius = 2.0", f"radius = 1{'0' * 5000}", "not valid TOML"),
    "a volume below that of solid cells": (
        "volume = 0.5",
        "volume = 0.01",
        "line 14: volume_fraction must lie in",
    ),
    "a radius larger than the domain": ("radius = 2.0", "radius = 200.0", "line 16: radius 200"),
    "a group that is not there": ('on = "left"', 'on = "lefd"', r"line 9: the mesh has no facets in.*'lefd'"),
    "a solid group that is not there": (
        'solid = "tip"',
        'solid = "top2"',
        "line 15: solid: the mesh has no group of cells",
    ),
    "two components": (
        "force = [0.0, -1.0]",
        "force = [0.0, -1.0, 0.0]",
        "line 12: force must be a list of 2",
    ),
    "a load of zero": ("force = [0.0, -1.0]", "force = [0.0, 0.0]", "line 12: force must act on what no"),
    "a second case of zero": (
        "[design]",
        '[[load]]\non = "left"\ncase = "b"\ntraction = [1.0, 0.0]\n[design]',
        "line 16: traction must act on what no support holds, got zero",
    ),
    "neither force nor traction": ("force = [0.0, -1.0]", "", r"line 10: \[\[load\]\] needs either force"),
    "an axis that is not there": (
        'on = "left"',
        'on = "left"\nfix = "z"',
        "line 10: fix must hold some of x, y",
    ),
    "a point that is no vertex": ('on = "left"', "at = [0.1, 0.1]", "line 9: at must be a vertex"),
    "no load": (
        '[[load]]\non = "tip"\nforce = [0.0, -1.0]\n',
        "",
        r"after line 15: \[\[load\]\], at least one, is",
    ),
    "no volume": ("volume = 0.5\n", "", r"line 13: \[design\] volume is missing"),
    "an unknown equation": ('"elasticity"', '"stokes"', 'line 1: equation must be "elasticity" or "heat"'),
    "an unknown method": ("evaluations = 3", 'name = "magic"', 'line 18: name must be "mma" or "oc"'),
    "no evaluation": (
        "evaluations = 3",
        "evaluations = 0",
        "line 18: evaluations must be a whole number from 1",
    ),
    "cells in part": ("cells = [24, 8]", "cells = [24.5, 8]", "line 4: cells must be whole numbers"),
    "a mesh file beside a box": ("cells", 'file = "a.msh"\ncells', "line 4: .mesh. needs either file or box"),
    "a mesh file outside": (
        "box = [24.0, 8.0]\ncells = [24, 8]",
        'file = "../a.msh"',
        "line 3: file must lie in the folder",
    ),
    "no mesh file": ("box = [24.0, 8.0]\ncells = [24, 8]", 'file = "a.msh"', "line 3: no mesh file"),
    "a group that is a side": ('name = "tip"', 'name = "top"', "line 6: name 'top' is a side"),
    "a group inside out": ("[[23.0, 0.0]", "[[25.0, 0.0]", "line 7: within must be the lower and then"),
    "a group named twice": (
        "[[support]]",
        '[[group]]\nname = "tip"\nwithin = [[0.0, 0.0], [1.0, 8.0]]\n[[support]]',
        "line 9: name 'tip' is that of another group",
    ),
    "no axis": ('on = "left"', 'on = "left"\nfix = []', r"line 10: fix must hold some of x, y, got \[\]"),
    "a case that XDMF cannot hold": (
        "force = [0.0, -1.0]",
        'force = [0.0, -1.0]\ncase = "a\'b"',
        "line 13: case must be one line of text without '",
    ),
    "a local volume in percent": (
        "evaluations = 3",
        'evaluations = 3\n[[constraint]]\nkind = "local volume"\nradius = 3.0\nat_most = 60',
        "line 22: at_most must be a number above 0 and up to 1, got 60",
    ),
    "an image of half a row": (
        "evaluations = 3",
        'name = "adam"\n[network]\nkind = "paper"\nimage = [8.5, 24]',
        "line 21: image must be whole numbers from 1",
    ),
    "an image for a network of points": (
        "evaluations = 3",
        'name = "adam"\n[network]\nkind = "fourier"\nimage = [8, 24]',
        "line 21: unknown key 'image'",
    ),
    "a length for a network of images": (
        "evaluations = 3",
        'name = "adam"\n[network]\nkind = "paper"\nlength_scale = 2.0',
        "line 21: unknown key 'length_scale'",
    ),
    "tables where one is wanted": (
        "[method]",
        "[[method]]",
        "line 17: method must be a table",
    ),
    "a flat group": ("[[23.0, 0.0], [24.0, 8.0]]", "[23.0, 0.0]", "line 7: within must be two corners"),
    "Poisson's ratio": (
        "[design]",
        "[material]\nnu = 0.7\nmodel = 'plane_strain'\n[design]",
        "line 15: model: nu must lie",
    ),
    "a network for MMA": (
        "[method]",
        "[network]\nkind = 'lean'\n[method]",
        "line 18: .network. is for method",
    ),
    "constraints for OC": (
        "evaluations = 3",
        'name = "oc"\n[[constraint]]\nkind = "compliance"\nat_most = 9.0',
        'line 18: "oc" holds the volume alone',
    ),
    "constraints for multi-start": (
        "evaluations = 3",
        'name = "multistart"\n[[constraint]]\nkind = "compliance"\nat_most = 9.0',
        'line 18: "multistart" holds the volume alone',
    ),
    "a width the mesh has not": (
        "evaluations = 3",
        "evaluations = 3\n[buildable]\nmin_member = 0.01",
        "line 20: ",
    ),
    "too few evaluations for multi-start": (
        "evaluations = 3",
        'name = "multistart"\nevaluations = 3',
        "line 19: budget must be at least",
    ),
    "the least volume": ("volume = 0.5", 'objective = "volume"', "line 14: the least volume is none at all"),
}


@pytest.mark.parametrize("old, new, words", BAD.values(), ids=BAD)
def test_bad_files_are_refused_with_the_line(old, new, words, folder):
    assert old in BEAM
    path = write(folder, BEAM.replace(old, new, 1))
    with pytest.raises(InputError, match=f"problem.toml.*{words}"):
        run_file(path, folder / "out", progress=False)


def test_widths_that_the_mesh_has_not_are_refused_before_anything_is_designed(folder, monkeypatch):
    monkeypatch.setattr(run, "optimize", None)
    path = write(folder, BEAM + "[buildable]\nmin_member = 3.0\nmin_gap = 0.5\n")
    with pytest.raises(InputError, match=r"line 21: min_gap must be at least 2, 2 cells"):
        run_file(path, folder / "out")


def test_a_point_that_a_coarser_grid_has_not_is_named_with_a_way_out(folder):
    text = BEAM.replace('solid = "tip"\n', "").replace('on = "tip"', "at = [24.0, 3.0]")
    text = text.replace("evaluations = 3", 'name = "multistart"\nevaluations = 140')
    words = r"line 11: at must be a vertex .* multi-start also halves .* way out: "
    with pytest.raises(InputError, match=words):
        run_file(write(folder, text), folder / "out")


def test_lines_count_through_texts_comments_and_lists(folder):
    text = '# [design]\ntitle = """\n[[load]]\nx = 1\n"""  # ]\n' + BEAM.replace(
        "[24, 8]", "[ # [\n24,\n8\n]"
    )
    with pytest.raises(InputError, match="line 22: volume must be"):
        read_problem(write(folder, text.replace("volume = 0.5", "volume = 2")))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xfe", "line 1: not UTF-8"),
        (b"#" * 2**21, "bytes, at most"),
        (b"a = " + b"[" * 10**5, "TOML"),
        (b"", "after line 0: equation is missing"),
        (b"# later\n\n", "after line 2: equation is missing"),
        (b'\xef\xbb\xbfequation = "heat"\r\n', r"after line 1: \[mesh\] is missing"),  # as Notepad saves it
    ],
    ids=["not text", "large", "deep", "empty", "a comment", "with a mark of its encoding"],
)
def test_files_that_are_no_description_are_refused(content, words, folder):
    path = folder / "problem.toml"
    if comm.rank == 0:
        path.write_bytes(content)
    comm.barrier()
    with pytest.raises(InputError, match=words):
        read_problem(path)


def test_an_unfinished_run_of_another_problem_is_left_alone(folder):
    out = folder / "out"
    if comm.rank == 0:
        out.mkdir()
        (out / "problem.toml").write_text(BEAM.replace("volume = 0.5", "volume = 0.4"))
        (out / "checkpoint.npz").touch()
    comm.barrier()
    with pytest.raises(InputError, match="unfinished run of another problem"):
        run_file(write(folder, BEAM), out)
    comm.barrier()
    assert "0.4" in (out / "problem.toml").read_text()


def test_a_changed_problem_takes_the_old_result_away(folder):
    """Beside the new problem file it would be taken for that of the new problem."""
    out = folder / "out"
    run_file(write(folder, BEAM), out)
    with pytest.raises(InputError, match="line 11"):
        run_file(write(folder, BEAM.replace('on = "tip"', 'on = "top2"')), out)
    comm.barrier()
    assert (out / "problem.toml").is_file() and not (out / "result.json").exists()


def test_a_run_deletes_no_checkpoint_but_its_own(folder):
    out = folder / "out"
    if comm.rank == 0:
        (out / "checkpoints").mkdir(parents=True)
        (out / "checkpoint-of-mine.txt").touch()
    comm.barrier()
    assert run_file(write(folder, BEAM), out)[0]["status"] == "ok"
    comm.barrier()
    assert {path.name for path in out.glob("checkpoint*")} == {"checkpoints", "checkpoint-of-mine.txt"}


def test_a_run_without_checkpoints_for_want_of_space_has_failed(folder, monkeypatch):
    """It ends early: its design is none of the evaluations that were asked for."""

    def full(*_):
        raise CheckpointError("The checkpoint could not be written: No space left on device.")

    monkeypatch.setattr("dolfinx_neural_topo.optimize.checkpoint.Checkpoint.write", full)
    path = write(folder, BEAM.replace("evaluations = 3", "evaluations = 12\n[buildable]"))
    record, _ = run_file(path, folder / "out")
    assert record["evaluations"] == 10 and record["built"] is None
    assert record["status"] == "failed" and "No space left" in record["error"]
    monkeypatch.chdir(folder)
    assert main(["run", "problem.toml"]) == FAILED


def test_a_bound_that_is_not_met_is_in_the_record(folder):
    limit = '[[constraint]]\nkind = "compliance"\nat_most = {}\n[method]'
    for bound, met in ((1e6, True), (1e-3, False)):
        path = write(folder, BEAM.replace("[method]", limit.format(bound)))
        record, text = run_file(path, folder / "out")
        expected = 0.0 if met else record["objective"] / bound - 1.0
        assert record["violation"] == pytest.approx(expected)
        assert ("limits" in text) != met


def test_command_line_runs_files_and_refuses_what_is_for_tasks(folder, capfd, monkeypatch):
    monkeypatch.chdir(folder)
    write(folder, BEAM)
    assert main(["run", "problem.toml", "--json"]) == 0
    said = capfd.readouterr().out
    if comm.rank == 0:
        assert json.loads(said.splitlines()[-1])["method"] == "mma"
        assert Path("problem/result.json").is_file()
    assert main(["run", "problem.toml", "--method", "oc"]) == BAD_INPUT
    assert main(["run", "problem.toml", "--seed", "0"]) == BAD_INPUT  # it was passed over
    assert main(["run", "none.toml"]) == BAD_INPUT
    if comm.rank == 0:
        said = capfd.readouterr().err
        assert "--method is for tasks" in said and "No such file" in said
