"""Pictures drawn off-screen: what they show is read back from their pixels."""

import os

import numpy as np
import pytest
from dolfinx import fem, mesh
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mpi4py import MPI
from PIL import Image

from dolfinx_neural_topo import plotting
from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.plotting import _display

comm = MPI.COMM_WORLD


@pytest.fixture
def folder(tmp_path):
    """One folder on all ranks."""
    return comm.bcast(tmp_path, root=0)


def function_on(domain, law, element=("DG", 0), name="density"):
    function = fem.Function(fem.functionspace(domain, element), name=name)
    function.interpolate(law)
    function.x.scatter_forward()
    return function


def plate(kind=mesh.CellType.triangle):
    return mesh.create_rectangle(comm, [(0.0, 0.0), (2.0, 1.0)], [16, 8], kind)


def brick(kind=mesh.CellType.hexahedron):
    return mesh.create_box(comm, [(0.0, 0.0, 0.0), (2.0, 1.0, 1.0)], [8, 4, 4], kind)


def left_lower(x):
    """Material in the lower left quarter of the plate."""
    return 1.0 * (x[0] < 1.0) * (x[1] < 0.5)


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB")).astype(np.int64)


def quarters(axes):
    """Mean darkness of the four quarters of what an Axes shows: [[upper left, upper right], [lower ...]]."""
    figure = axes.get_figure()
    figure.canvas.draw()
    box = axes.get_window_extent()
    grey = np.asarray(figure.canvas.buffer_rgba())[..., :3].mean(axis=2)
    rows = slice(round(len(grey) - box.y1) + 2, round(len(grey) - box.y0) - 2)
    shown = 1.0 - grey[rows, round(box.x0) + 2 : round(box.x1) - 2] / 255.0
    h, w = shown.shape[0] // 2, shown.shape[1] // 2
    return np.array(
        [[shown[:h, :w].mean(), shown[:h, w:].mean()], [shown[h:, :w].mean(), shown[h:, w:].mean()]]
    )


def empty_axes():
    figure = Figure(figsize=(6, 6))
    FigureCanvasAgg(figure)
    return figure.add_subplot()


@pytest.mark.parametrize("kind", ["image", "triangle", "quadrilateral"])
@pytest.mark.parametrize(
    ("sides", "expected"),
    [
        ({}, [[0, 0], [1, 0]]),
        ({"mirror_left": True}, [[0, 0], [0.5, 0.5]]),
        ({"mirror_right": True}, [[0, 0], [0.5, 0.5]]),
        ({"mirror_top": True}, [[0.5, 0], [0.5, 0]]),
        ({"mirror_bottom": True}, [[0.5, 0], [0.5, 0]]),
    ],
)
def test_material_is_black_where_it_is(kind, sides, expected):
    if kind == "image":
        density = np.zeros((8, 16))
        density[4:, :8] = 1.0
    else:
        density = function_on(plate(mesh.CellType[kind]), left_lower)
    axes = empty_axes()
    plotting.plot_density(axes, density, colorbar=False, **sides)
    if comm.rank == 0:
        assert np.abs(quarters(axes) - expected).max() < 0.03


def test_mirror_sides_differ():
    density = function_on(plate(), left_lower)
    middle = {}
    for side in ("mirror_left", "mirror_right", "mirror_top", "mirror_bottom"):
        axes = empty_axes()
        plotting.plot_density(axes, density, colorbar=False, **{side: True})
        if comm.rank == 0:
            axes.get_figure().canvas.draw()
            image = np.asarray(axes.get_figure().canvas.buffer_rgba())[..., 0]
            box = axes.get_window_extent()
            x0, x1, y0, y1 = box.x0, box.x1, len(image) - box.y1, len(image) - box.y0
            column, row = round(0.45 * x0 + 0.55 * x1), round(0.2 * y0 + 0.8 * y1)
            low = image[round(0.45 * y0 + 0.55 * y1), round(0.75 * x0 + 0.25 * x1)]
            middle[side] = (int(image[row, column]), int(low))
    if comm.rank == 0:  # material in the middle only where the mirror is at the side of the material
        assert middle["mirror_left"][0] == 0 and middle["mirror_right"][0] == 255
        assert middle["mirror_bottom"][1] == 0 and middle["mirror_top"][1] == 255


def test_density_picture_has_title_bar_and_mesh(folder):
    density = function_on(plate(), left_lower)
    plotting.plot_density(folder / "new" / "a.png", density, title="quarter", show_mesh=True)
    plotting.plot_density(folder / "b.png", density, colorbar=False)
    image = np.zeros((8, 16))
    plotting.plot_density(folder / "c.png", image, show_mesh=True)
    plotting.plot_density(folder / "d.png", image)
    with_all, bare = pixels(folder / "new" / "a.png"), pixels(folder / "b.png")
    blue = (with_all[..., 2] - with_all[..., 0]) > 20
    assert blue.sum() > 500
    assert ((bare[..., 2] - bare[..., 0]) > 20).sum() == 0
    assert ((pixels(folder / "c.png") - pixels(folder / "d.png")) ** 2).sum() > 0


def test_several_designs_side_by_side(folder):
    image = np.ones((10, 10))
    plotting.plot_designs(
        folder / "a.png",
        {"one": image, "two": 0 * image, "three": function_on(plate(), left_lower)},
        mirror_left=True,
    )
    shown = pixels(folder / "a.png")
    assert 0.1 < (shown.sum(axis=2) < 30).mean() < 0.6
    with pytest.raises(InputError, match="at least one density"):
        plotting.plot_designs(folder / "b.png", {})


def test_density_of_the_wrong_kind_is_refused(folder):
    with pytest.raises(InputError, match=r"shape \(H, W\) or a DG0 function, got shape \(4,\)"):
        plotting.plot_density(folder / "a.png", np.zeros(4))
    with pytest.raises(InputError, match="plane mesh, got dimension 3 in 3"):
        plotting.plot_density(folder / "a.png", function_on(brick(), lambda x: 0 * x[0]))
    with pytest.raises(InputError, match="one value a cell"):
        plotting.plot_density(folder / "a.png", function_on(plate(), lambda x: x[0], ("Lagrange", 1)))
    broken = function_on(plate(), left_lower)
    if comm.rank == comm.size - 1:
        broken.x.array[0] = np.inf
    for density in (broken, np.full((4, 6), np.nan)):
        with pytest.raises(InputError, match="density must be finite, got NaN or infinity"):
            plotting.plot_density(folder / "a.png", density)


def test_convergence_draws_the_running_minimum():
    axes = empty_axes()
    plotting.plot_convergence(
        axes, {"a": [3.0, float("nan"), 1.0, 2.0], "b": [100.0, 50.0]}, best=True, title="t"
    )
    if comm.rank == 0:
        first, second = axes.get_lines()
        assert np.array_equal(first.get_ydata(), [3.0, 3.0, 1.0, 1.0])
        assert np.array_equal(second.get_xdata(), [1, 2])
        assert axes.get_yscale() == "log"
    axes = empty_axes()
    plotting.plot_convergence(axes, {"a": [3.0, 2.0, 2.5]})
    if comm.rank == 0:
        assert np.array_equal(axes.get_lines()[0].get_ydata(), [3.0, 2.0, 2.5])
        assert axes.get_yscale() == "linear"


def test_convergence_refusals(folder):
    plotting.plot_convergence(folder / "a.png", {"a": [1.0, 0.5]})
    assert (pixels(folder / "a.png") < 250).any()
    with pytest.raises(InputError, match="at least one run"):
        plotting.plot_convergence(folder / "a.png", {})
    with pytest.raises(InputError, match=r"histories\['a'\] must be a sequence of numbers"):
        plotting.plot_convergence(folder / "a.png", {"a": []})


@pytest.mark.parametrize("domain", [plate, brick])
def test_fields_are_drawn_on_material_only(folder, domain):
    domain = domain()
    dimension = domain.geometry.dim
    density = function_on(domain, left_lower)
    stress = function_on(domain, lambda x: x[0], name="stress")
    u = function_on(
        domain, lambda x: np.stack([0 * x[0], x[0] ** 2, x[0]][:dimension]), ("Lagrange", 2, (dimension,))
    )
    plotting.plot_field(folder / "all.png", stress, title="stress")
    plotting.plot_field(folder / "part.png", stress, density=density)
    plotting.plot_displacement(folder / "warped.png", u, density=density)
    plotting.plot_displacement(folder / "still.png", u, density=density, scale=0.0)
    inked = {path.stem: (np.ptp(pixels(path), axis=2) > 40).mean() for path in folder.glob("*.png")}
    assert all(share > 0.02 for share in inked.values())
    if dimension == 2:
        assert np.any(pixels(folder / "warped.png").shape != pixels(folder / "still.png").shape)
    else:
        assert np.abs(pixels(folder / "warped.png") - pixels(folder / "still.png")).max() > 50
        assert inked["part"] != inked["all"]


def test_field_refusals(folder):
    domain = plate()
    scalar = function_on(domain, lambda x: x[0], ("Lagrange", 1))
    with pytest.raises(InputError, match=r"displacement must be a vector of 2, got shape \(\)"):
        plotting.plot_displacement(folder / "a.png", scalar)
    with pytest.raises((InputError, RuntimeError), match="lower the level"):
        plotting.plot_field(folder / "a.png", scalar, density=function_on(domain, lambda x: 0 * x[0]))


@pytest.mark.parametrize("size", [(0.3, 1.0, 4.0), (4.0, 1.0, 0.3)], ids=["tall", "wide"])
def test_a_part_fits_into_its_picture(folder, size):
    box = mesh.create_box(comm, [np.zeros(3), np.array(size)], [2, 2, 2], mesh.CellType.hexahedron)
    plotting.plot_solid(folder / "part.png", function_on(box, lambda x: np.ones(x.shape[1])))
    if comm.rank == 0:
        dark = np.asarray(Image.open(folder / "part.png").convert("L")) < 250
        rows, columns = (np.flatnonzero(dark.any(axis=axis)) / dark.shape[1 - axis] for axis in (1, 0))
        for inside in (rows, columns):
            assert inside.min() > 0.02 and inside.max() < 0.98
        assert max(np.ptp(rows), np.ptp(columns)) > 0.7


@pytest.mark.parametrize("kind", [mesh.CellType.hexahedron, mesh.CellType.tetrahedron])
def test_solid_is_rendered_without_a_screen(folder, kind, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    density = function_on(brick(kind), left_lower)
    plotting.plot_solid(folder / "half.png", density)
    plotting.plot_solid(folder / "whole.png", density, mirror=[(0, 0.0)], title="both halves")
    half, whole = pixels(folder / "half.png"), pixels(folder / "whole.png")
    assert (half.sum(axis=2) < 700).mean() > 0.1
    assert np.abs(half - whole).mean() > 3.0
    assert "DISPLAY" not in os.environ


def test_solid_refusals(folder):
    nothing = function_on(brick(), lambda x: 0 * x[0])
    with pytest.raises(InputError, match="encloses its material"):
        plotting.plot_solid(folder / "a.png", nothing)
    with pytest.raises(InputError, match="lower the level"):
        plotting.plot_solid(folder / "a.png", nothing, level=0.5)


def test_missing_or_broken_display_is_explained(monkeypatch, folder):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setattr(_display, "_needs_x", lambda: True)
    monkeypatch.setattr(_display.shutil, "which", lambda name: None)
    with pytest.raises(RuntimeError, match="apt-get install xvfb"), _display.off_screen():
        pass
    fake = folder / f"{comm.rank}" / "Xvfb"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\nexit 3\n")
    fake.chmod(0o755)
    monkeypatch.setattr(_display.shutil, "which", lambda name: str(fake))
    monkeypatch.setenv("PATH", str(fake.parent), prepend=os.pathsep)
    with pytest.raises(RuntimeError, match=r"Xvfb did not start .exit status 3"), _display.off_screen():
        pass


def test_movie_has_its_frames(folder):
    movie = plotting.Movie(folder / "new" / "run.gif", seconds_per_frame=0.05)
    domain = plate()
    for k in range(3):
        movie.add(function_on(domain, lambda x, k=k: 1.0 * (x[0] < 0.5 * (k + 1))))
    movie.save()
    with Image.open(folder / "new" / "run.gif") as film:
        assert film.n_frames == 3
        assert film.size == (480, 240)
        dark = []
        for frame in range(3):
            film.seek(frame)
            dark.append(float((np.asarray(film.convert("L")) < 128).mean()))
    assert dark == pytest.approx([0.25, 0.5, 0.75], abs=0.02)


def test_movie_of_images_and_refusals(folder):
    movie = plotting.Movie(folder / "a.gif")
    with pytest.raises((InputError, RuntimeError), match="needs frames of one size"):
        movie.save()
    movie.add(np.zeros((30, 60)))
    movie.add(np.ones((30, 60)))
    movie.save()
    with Image.open(folder / "a.gif") as film:
        assert (film.n_frames, film.size) == (2, (480, 240))
    movie.add(np.ones((20, 60)))
    with pytest.raises((InputError, RuntimeError), match="needs frames of one size"):
        movie.save()
    with pytest.raises(InputError, match=r"end in .gif"):
        plotting.Movie(folder / "a.mp4")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("a.nope", "path must end in one of .*png.*, got 'a.nope'"),
        (None, "path must be a path, got None"),
        ("file/a.png", "path .*a.png cannot be written: (Not a directory|File exists)"),
    ],
)
def test_pictures_that_cannot_be_written_are_refused(path, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=message):
        plotting.plot_density(path, np.ones((4, 6)), comm=MPI.COMM_SELF)


@pytest.mark.parametrize("seconds", [0.0, -1.0, np.nan, "a", 1e9])
def test_movies_of_impossible_speed_are_refused(seconds, folder):
    with pytest.raises(InputError, match=r"seconds_per_frame must (lie in \[0.01, 1000\)|be a number, got)"):
        plotting.Movie(folder / "a.gif", seconds_per_frame=seconds)
