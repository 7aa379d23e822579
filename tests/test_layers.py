"""The layering of CONTRIBUTING.md, held by the imports themselves."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import dolfinx_neural_topo

PACKAGE = Path(dolfinx_neural_topo.__file__).parent
LAYERS = {
    "errors": 0, "_checks": 0, "_tiles": 0, "_digest": 0, "_meeting": 0, "_communication": 0, "_petsc": 0,
    "_dolfinx": 0, "_files": 0, "_processes": 0,
    "physics": 1,
    "density": 2,
    "tasks": 3,
    "bridge": 4,
    "networks": 5,
    "optimize": 6,
    "study": 7, "plotting": 7, "io": 7, "problem": 7, "cli": 7, "__main__": 7,
}  # fmt: skip
TORCH_FREE = ("physics", "density", "tasks")


def _imports(path):
    """Yield (top-level name inside the package, or the foreign module's name) of every import in a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name not in sys.stdlib_module_names:  # Python has an io too
                    yield alias.name.removeprefix("dolfinx_neural_topo.")
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                here = ("dolfinx_neural_topo", *path.relative_to(PACKAGE).parent.parts)
                base = here[: len(here) - node.level + 1]
                full = ".".join((*base, node.module) if node.module else base)
            else:
                full = node.module
            if full == "dolfinx_neural_topo":
                yield from (alias.name for alias in node.names)
            else:
                yield full.removeprefix("dolfinx_neural_topo.")


def _modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        top = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if top != "__init__":
            yield top, path


def test_every_module_has_a_layer():
    assert {top for top, _ in _modules()} <= set(LAYERS)


@pytest.mark.parametrize("top", sorted({top for top, _ in _modules()}))
def test_imports_never_point_upwards(top):
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {name}"
        for its_top, path in _modules()
        if its_top == top
        for name in _imports(path)
        if LAYERS.get(name.split(".")[0], -1) > LAYERS[top]
    ]
    assert not wrong


@pytest.mark.parametrize("top", TORCH_FREE)
def test_physics_density_and_tasks_never_import_torch(top):
    wrong = [
        str(p)
        for its_top, p in _modules()
        if its_top == top and "torch" in {n.split(".")[0] for n in _imports(p)}
    ]
    assert not wrong


def test_importing_the_package_loads_neither_torch_nor_plotting():
    code = """
import sys, dolfinx_neural_topo
print([name for name in ("torch", "matplotlib", "pyvista") if name in sys.modules])
"""
    launcher = ("OMPI_COMM", "PMIX", "PRTE", "PMI_")  # a child of a rank must not take itself for that rank
    environment = {name: value for name, value in os.environ.items() if not name.startswith(launcher)}
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert out.stdout.strip() == "[]"
