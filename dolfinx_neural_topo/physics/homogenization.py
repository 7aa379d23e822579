"""What a material made of small equal cells is worth: effective stiffness by the state of one cell.

V = fem.functionspace(mesh, ("Lagrange", 1, (2,)))
E = simp(rho)
cell = StateProblem(
    (elasticity.bilinear_form(V, E), homogenization.loads(V, E)),
    rho,
    bcs=[homogenization.corners(V)],
    periodic=True,
    petsc_options_prefix="cell_",
)
K = ReducedFunctional(homogenization.bulk_modulus(cell.states, E), cell)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import ufl
from dolfinx import fem
from mpi4py import MPI

from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.physics.elasticity import strain, stress
from dolfinx_neural_topo.physics.forms import default_dx

PAIRS = {2: ((0, 0), (1, 1), (0, 1)), 3: ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))}
"""Components of Voigt's notation."""


def unit_strain(mesh: Any, number: int) -> Any:
    """Return a unit strain of Voigt's notation, in UFL; shears are 2 e_ij = 1.

    Args:
        mesh: Mesh of the cell.
        number: From 0; 0, 1, 2 stand for 11, 22, 12 in two and 0 to 5 for 11, 22, 33, 23, 13, 12 in three
            dimensions.

    Raises:
        InputError: No such component.
    """
    dim = mesh.geometry.dim
    if (
        isinstance(number, bool)
        or not isinstance(number, int | np.integer)
        or not 0 <= number < len(PAIRS[dim])
    ):
        raise InputError(
            f"a component of Voigt's notation must lie in 0 ... {len(PAIRS[dim]) - 1}, got {number!r}"
        )
    i, j = PAIRS[dim][number]
    e = np.zeros((dim, dim))
    e[i, j] += 0.5
    e[j, i] += 0.5
    return ufl.as_matrix(e.tolist())


def _moved(u: Any, mesh: Any, number: int) -> Any:
    """Return the displacement of a unit strain and a fluctuation u."""
    return ufl.dot(unit_strain(mesh, number), ufl.SpatialCoordinate(mesh)) + u


def loads(V: fem.FunctionSpace, E: Any, nu: float = 0.3, model: str | None = None) -> list[ufl.Form]:
    """Return L_k(v) = -int stress(e_k) : strain(v) dx for all unit strains e_k.

    The states are the fluctuations chi_k, by which the displacement e_k x of a material without structure
    differs from that of the cell.

    Args:
        V: Vector space of the displacement.
        E: Young's modulus, in UFL, that of the bilinear form.
        nu: Poisson's ratio.
        model: See `elasticity.stress`.
    """
    mesh, v = V.mesh, ufl.TestFunction(V)
    x = [
        ufl.dot(unit_strain(mesh, k), ufl.SpatialCoordinate(mesh))
        for k in range(len(PAIRS[mesh.geometry.dim]))
    ]
    return [-ufl.inner(stress(u, E, nu, model), strain(v)) * default_dx(V) for u in x]


def corners(V: fem.FunctionSpace) -> fem.DirichletBC:
    """Return the condition that the corners of a box stay where they are, all of which are one point.

    Args:
        V: Vector space of the displacement.

    Note: Collective.
    """
    x = V.mesh.geometry.x
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    V.mesh.comm.Allreduce(x.min(axis=0, initial=np.inf), low, op=MPI.MIN)
    V.mesh.comm.Allreduce(x.max(axis=0, initial=-np.inf), high, op=MPI.MAX)
    close = 1e-6 * (high - low).max()

    def is_corner(x: np.ndarray) -> np.ndarray:
        ends = np.minimum(abs(x - low[:, None]), abs(x - high[:, None]))
        return np.asarray((ends < close).all(axis=0))

    return fem.dirichletbc(np.zeros(V.mesh.geometry.dim), fem.locate_dofs_geometrical(V, is_corner), V)


def stiffness(
    states: Sequence[fem.Function],
    E: Any,
    row: int,
    column: int,
    nu: float = 0.3,
    model: str | None = None,
    volume: float = 1.0,
) -> ufl.Form:
    """Return the entry C_kl = int stress(e_k + chi_k) : (e_l + strain(chi_l)) dx / volume.

    Args:
        states: Fluctuations, the states of the cell.
        E: Young's modulus, in UFL, that of the bilinear form.
        row: k in Voigt's notation, from 0 (see `unit_strain`).
        column: l.
        nu: Poisson's ratio.
        model: See `elasticity.stress`.
        volume: Volume of the cell, void included.

    Raises:
        InputError: No such entry, or not as many states as unit strains.

    References:
        Bendsoe and Kikuchi, Generating optimal topologies in structural design using a homogenization method,
        CMAME 71 (1988).
    """
    V = states[0].function_space
    mesh = V.mesh
    if len(states) != len(PAIRS[mesh.geometry.dim]):
        raise InputError(f"states must be {len(PAIRS[mesh.geometry.dim])} fluctuations, got {len(states)}")
    for k in (row, column):
        unit_strain(mesh, k)  # checks
    first, second = (_moved(states[k], mesh, k) for k in (row, column))
    return ufl.inner(stress(first, E, nu, model), strain(second)) / volume * default_dx(V)


def bulk_modulus(
    states: Sequence[fem.Function], E: Any, nu: float = 0.3, model: str | None = None, volume: float = 1.0
) -> ufl.Form:
    """Return the effective bulk modulus: mean stress over the volumetric strain, in the plane in 2D.

    Args:
        states: Fluctuations, the states of the cell.
        E: Young's modulus, in UFL, that of the bilinear form.
        nu: Poisson's ratio.
        model: See `elasticity.stress`.
        volume: Volume of the cell, void included.
    """
    V = states[0].function_space
    dim = V.mesh.geometry.dim
    u = sum((_moved(states[k], V.mesh, k) for k in range(1, dim)), _moved(states[0], V.mesh, 0))
    return ufl.inner(stress(u, E, nu, model), strain(u)) / (volume * dim**2) * default_dx(V)
