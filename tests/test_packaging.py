"""Recipes agree with the package, and the solver of the Mosaic entry is right."""

import re
from pathlib import Path

import numpy as np
import pytest
import tomllib

import dolfinx_neural_topo

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RECIPE = (ROOT / "packaging" / "conda" / "recipe.yaml").read_text()


def test_versions_are_one():
    version = PROJECT["version"]
    assert dolfinx_neural_topo.__version__ == version
    assert f'version: "{version}"' in RECIPE
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()


def test_conda_recipe_is_yaml_and_names_what_the_project_needs():
    import yaml

    recipe = yaml.safe_load(RECIPE)
    (entry,) = recipe["build"]["python"]["entry_points"]
    assert entry == f"dnt = {PROJECT['scripts']['dnt']}"
    run = {line.split()[0]: line for line in recipe["requirements"]["run"]}
    for line in PROJECT["dependencies"]:
        name, bounds = re.fullmatch(r"([\w-]+)(.*)", line).groups()
        assert bounds in run[{"torch": "pytorch"}.get(name, name)], line


def test_container_installs_what_with_fenicsx_does():
    listed = re.search(r"packages=\((.*?)\)", (ROOT / "with-fenicsx").read_text(), re.DOTALL)[1].split()
    recipe = (ROOT / "packaging" / "container" / "Containerfile").read_text()
    tests_only = {
        "python3-skimage",
        "python3-pytest",
        "python3-pytest-timeout",
        "python3-pytest-xdist",
        "python3-mypy",
    }
    assert set(listed) - tests_only <= set(recipe.split())


@pytest.fixture
def hexes(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "packaging" / "mosaic"))
    import hex_compliance

    return hex_compliance


def test_mosaic_solver_keeps_the_order_of_cells_and_its_gradient_is_right(hexes):
    points, cells, *rest = hexes.cantilever(4, 2, 3)
    rho = 0.3 + 0.6 * np.random.default_rng(0).random(len(cells))
    order = np.random.default_rng(1).permutation(len(cells))
    solver, shuffled = (
        hexes.HexCompliance(points, cells, *rest),
        hexes.HexCompliance(points, cells[order], *rest),
    )
    value, gradient = solver.value_and_gradient(rho)
    other, its = shuffled.value_and_gradient(rho[order])
    assert other == pytest.approx(value, rel=1e-9)
    np.testing.assert_allclose(its, gradient[order], rtol=1e-7)
    step = 1e-4 * np.cos(np.arange(len(rho)))
    difference = (solver.value(rho + step) - solver.value(rho - step)) / 2
    assert difference == pytest.approx(gradient @ step, rel=1e-6)
    solver.destroy()
    shuffled.destroy()


@pytest.mark.parametrize(
    ("nx", "density", "reference"),
    [  # Mosaic 0.2.0, benchmarks/problems/structural_mesh/references, in single precision
        (4, 0.5, 0.0036651825),
        (8, 0.2, 0.0556488),
        (8, 0.5, 0.0039753248),
        (8, 0.9, 0.00068615656),
        (16, 0.5, 0.0040695816),
    ],
)
def test_mosaic_solver_gives_the_reference_values(nx, density, reference, hexes):
    points, cells, *rest = hexes.cantilever(nx, 2, 4)
    solver = hexes.HexCompliance(points, cells, *rest)
    assert solver.value(np.full(len(cells), density)) == pytest.approx(reference, rel=1e-6)
    solver.destroy()


def test_mosaic_solver_gives_the_displacement_of_a_bar(hexes):
    points, cells, fixed, loaded, _ = hexes.cantilever(8, 2, 2)
    solver = hexes.HexCompliance(points, cells, fixed, loaded, [[1.0, 0.0, 0.0]], E_max=10.0, nu=0.0)
    # a bar of length 2 and area 1 that is pulled by 1: it gets 2 / 10 longer
    assert solver.value(np.ones(len(cells))) == pytest.approx(0.2, rel=1e-9)
    solver.destroy()
