"""Small problems that attacks are carried out on; few forms, so that few have to be compiled."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import ufl
from dolfinx import fem, mesh
from mpi4py import MPI

import dolfinx_neural_topo as dnt
from dolfinx_neural_topo.physics import elasticity, heat

comm = MPI.COMM_WORLD
nan, inf = float("nan"), float("inf")
CELLS = mesh.CellType


def left(x: np.ndarray) -> np.ndarray:
    return np.isclose(x[0], 0.0)


def rectangle(
    width: int = 6, height: int = 4, cell: Any = CELLS.quadrilateral, on: Any = comm, **options: Any
):
    corners = [np.zeros(2), np.array([width, height], dtype=float)]
    return mesh.create_rectangle(on, corners, [width, height], cell, **options)


def box(width: int = 4, height: int = 2, depth: int = 2, cell: Any = CELLS.hexahedron):
    corners = [np.zeros(3), np.array([width, height, depth], dtype=float)]
    return mesh.create_box(comm, corners, [width, height, depth], cell)


def density(domain: Any) -> fem.Function:
    rho = fem.Function(fem.functionspace(domain, ("DG", 0)), name="rho")
    rho.x.array[:] = 0.5
    return rho


class Plate:
    """A clamped elastic plate under its right edge's load, everything made when it is first asked for."""

    def __init__(self, domain: Any = None, model: str | None = None):
        self.mesh = rectangle() if domain is None else domain
        self.rho = density(self.mesh)
        self.V = fem.functionspace(self.mesh, ("Lagrange", 1, (self.mesh.geometry.dim,)))
        v = ufl.TestFunction(self.V)
        self.load = fem.Constant(self.mesh, -1.0)
        self.a = elasticity.bilinear_form(self.V, dnt.simp(self.rho), model=model)
        self.L = self.load * v[1] * ufl.dx
        zero = np.zeros(self.mesh.geometry.dim)
        self.bcs = [fem.dirichletbc(zero, fem.locate_dofs_geometrical(self.V, left), self.V)]
        self.n = self.rho.function_space.dofmap.index_map.size_local

    def state(self, equation: Any = None, **options: Any):
        equation = (self.a, self.L) if equation is None else equation
        options = {"bcs": self.bcs, "petsc_options_prefix": "attack_", **options}
        return dnt.StateProblem(equation, self.rho, **options)

    @property
    def compliance(self):
        return dnt.Compliance(self.state())

    def domain(self, **options: Any):
        return dnt.DesignDomain(self.rho, **{"volume_fraction": 0.5, **options})

    def design(
        self, functional: Any = None, radius: float = 1.6, volume_fraction: float = 0.5, **options: Any
    ):
        domain = options.pop("domain", None) or self.domain(volume_fraction=volume_fraction)
        if "filter" not in options:
            options["filter"] = dnt.ConeFilter(domain, radius)
        return dnt.Design(functional or self.compliance, domain, **options)

    def full(self, value: float = 0.5) -> np.ndarray:
        return np.full(self.n, value)


class Plane(Plate):
    """The same for heat: a scalar state."""

    def __init__(self, domain: Any = None):
        self.mesh = rectangle(cell=CELLS.triangle) if domain is None else domain
        self.rho = density(self.mesh)
        self.V = fem.functionspace(self.mesh, ("Lagrange", 1))
        self.load = fem.Constant(self.mesh, 1.0)
        self.a = heat.bilinear_form(self.V, dnt.simp(self.rho, E_min=1e-3))
        self.L = self.load * ufl.TestFunction(self.V) * ufl.dx
        self.bcs = [fem.dirichletbc(0.0, fem.locate_dofs_geometrical(self.V, left), self.V)]
        self.n = self.rho.function_space.dofmap.index_map.size_local


class Quadratic:
    """A functional of one's own, as the docstring of `Design` asks: comm, value, value_and_gradient."""

    def __init__(self, domain: Any, target: float = 0.8):
        self.comm, self._volumes, self._target = domain.comm, domain.cell_volumes, target

    def value(self, rho: np.ndarray) -> float:
        return self.comm.allreduce(float(self._volumes @ (rho - self._target) ** 2))

    def value_and_gradient(self, rho: np.ndarray) -> tuple[float, np.ndarray]:
        return self.value(rho), 2.0 * self._volumes * (rho - self._target)


def minimize(variables: Any, method: Any = None, **options: Any):
    """Run a few evaluations."""
    method = dnt.MMA() if method is None else method
    return dnt.minimize(variables, method, **{"evaluations": 3, "progress": False, **options})


_folders: list[Path] = []


def folder() -> Path:
    """Return a new folder of all ranks, which is removed after the attack."""
    made = tempfile.mkdtemp(prefix="attack-") if comm.rank == 0 else None
    _folders.append(Path(comm.bcast(made, root=0)))
    return _folders[-1]


def tidy() -> None:
    """Remove the folders of an attack, on rank 0 once all ranks have an answer."""
    while _folders:
        gone = _folders.pop()
        if comm.rank == 0:
            shutil.rmtree(gone, ignore_errors=True)


def on_root(action: Any) -> None:
    """Do something with files on rank 0 while the others wait."""
    if comm.rank == 0:
        action()
    comm.barrier()
