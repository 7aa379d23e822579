"""What `doctor` looks at: each function returns what was found, and raises where that does not do."""

from __future__ import annotations

import importlib
import importlib.metadata
import shutil
import subprocess
import sys
import tempfile

SECONDS = 120.0
"""Most that a child process may take; compiling and rendering for the first time are slow."""

_SUM = """
from mpi4py import MPI
assert MPI.COMM_WORLD.size == 2, f"mpirun -n 2 started {MPI.COMM_WORLD.size} ranks that know each other"
assert MPI.COMM_WORLD.allreduce(MPI.COMM_WORLD.rank + 1) == 3
"""

_RENDER = """
import sys
from dolfinx import fem, mesh
from mpi4py import MPI
from dolfinx_neural_topo.plotting import plot_solid
cube = mesh.create_unit_cube(MPI.COMM_SELF, 2, 2, 2, mesh.CellType.hexahedron)
density = fem.Function(fem.functionspace(cube, ("DG", 0)))
density.x.array[:] = 1.0
plot_solid(sys.argv[1], density)
"""


def dolfinx() -> str:
    """DOLFINx 0.9 to 0.11."""
    importlib.import_module("dolfinx")
    version = importlib.metadata.version("fenics-dolfinx")
    if not (0, 9) <= tuple(map(int, version.split(".")[:2])) <= (0, 11):
        raise RuntimeError(f"version {version}, needed is 0.9 to 0.11")
    return version


def petsc_real() -> str:
    """A PETSc whose scalars are real and double."""
    import numpy as np
    from petsc4py import PETSc

    from dolfinx_neural_topo.cli.versions import petsc

    if np.dtype(PETSc.ScalarType) != np.float64:
        raise RuntimeError(f"{petsc()}, needed are float64 scalars")
    return petsc()


def form_compiler() -> str:
    """A form is compiled from nothing, in a folder of its own."""
    import numpy as np
    import ufl
    from dolfinx import fem, mesh
    from mpi4py import MPI

    square = mesh.create_unit_square(MPI.COMM_SELF, 1, 1)
    with tempfile.TemporaryDirectory() as folder:
        form = fem.form(fem.Constant(square, np.float64(1.0)) * ufl.dx, jit_options={"cache_dir": folder})
        area = fem.assemble_scalar(form)
    if abs(area - 1.0) > 1e-12:
        raise RuntimeError(f"a compiled form gives {area} for the area of the unit square")
    return shutil.which("cc") or shutil.which("gcc") or "works"


def factorization() -> str:
    """MUMPS, which several ranks and equations that are not definite need."""
    from petsc4py import PETSc

    names = ("mumps", "cholmod", "superlu_dist", "hypre")
    found = [name for name in names if PETSc.Sys.hasExternalPackage(name)]
    if "mumps" not in found:
        raise RuntimeError(f"PETSc has no MUMPS (it has {', '.join(found) or 'none'})")
    return ", ".join(found)


def mpi_launch() -> str:
    """`mpirun` starts two ranks that know each other."""
    launcher = shutil.which("mpirun") or shutil.which("mpiexec")
    if launcher is None:
        raise RuntimeError("neither mpirun nor mpiexec is on PATH")
    _child([launcher, "-n", "2", sys.executable, "-c", _SUM])
    return launcher


def fast_blas() -> str:
    """Another BLAS than the reference one, which is many times slower."""
    import numpy as np

    from dolfinx_neural_topo.cli.versions import core_type
    from dolfinx_neural_topo.study.provenance import blas

    _ = np.ones((2, 2)) @ np.ones((2, 2))  # it is loaded now
    if blas().startswith(("reference", "unknown")):
        raise RuntimeError(f"{blas()}: factorizations will be slow")
    return f"{blas()}, core type {core_type()}"


def rendering() -> str:
    """PyVista draws without a screen, in a process of its own: a broken driver ends it."""
    with tempfile.TemporaryDirectory() as folder:
        _child([sys.executable, "-c", _RENDER, f"{folder}/cube.png"])
    return f"pyvista {importlib.metadata.version('pyvista')}"


def torch() -> str:
    """PyTorch."""
    return _module("torch")


def matplotlib() -> str:
    """Matplotlib."""
    return _module("matplotlib")


def nlopt() -> str:
    """NLopt."""
    return _module("nlopt")


def gmsh() -> str:
    """Gmsh's Python module."""
    return _module("gmsh")


def _module(name: str) -> str:
    return str(getattr(importlib.import_module(name), "__version__", "works"))


def _child(command: list[str]) -> None:
    """Run a child process.

    Raises:
        RuntimeError: It failed; with the last line that it said.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"no answer within {SECONDS:g} s") from None
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.strip(" -\t")]
        wrong = [line for line in said if "Error" in line] or said or [f"exit status {done.returncode}"]
        raise RuntimeError(wrong[-1].strip())
