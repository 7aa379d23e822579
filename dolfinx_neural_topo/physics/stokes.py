"""Stokes flow with Brinkman penalization: rho = 1 is fluid, rho = 0 a porous solid.

Velocity u and pressure p satisfy -div(mu grad u) + alpha(rho) u + grad p = f, div u = 0, in the mixed
Taylor-Hood space.

References:
    Borrvall and Petersson, Topology optimization of fluids in Stokes flow (2003).
"""

from __future__ import annotations

from typing import Any

import basix.ufl
import ufl
from dolfinx import fem
from dolfinx.mesh import Mesh

from dolfinx_neural_topo._checks import check_number
from dolfinx_neural_topo.errors import checked
from dolfinx_neural_topo.physics.forms import default_dx
from dolfinx_neural_topo.physics.material import check_scalar


@checked
def taylor_hood(mesh: Mesh) -> fem.FunctionSpace:
    """Return the mixed space of quadratic velocity (part 0) and linear pressure (part 1).

    Note: Collective.
    """
    cell = mesh.basix_cell()
    velocity = basix.ufl.element("Lagrange", cell, 2, shape=(mesh.geometry.dim,))
    pressure = basix.ufl.element("Lagrange", cell, 1)
    return fem.functionspace(mesh, basix.ufl.mixed_element([velocity, pressure]))


@checked
def brinkman(rho: Any, *, alpha_max: float = 2.5e4, alpha_min: float = 2.5e-4, q: Any = 0.1) -> Any:
    """Return the inverse permeability alpha_max + (alpha_min - alpha_max) rho (1 + q) / (rho + q).

    Args:
        rho: Density, 1 for fluid, 0 for solid.
        alpha_max: Of the solid, in units of viscosity over length squared.
        alpha_min: Of the fluid, in the same unit.
        q: Convexity; small values penalize intermediate densities less. A `fem.Constant` for continuation.

    References:
        Borrvall and Petersson (2003), eq. 12.
    """
    for name, value in (("alpha_max", alpha_max), ("alpha_min", alpha_min)):
        check_number(name, value, "[0, inf)")
    q = check_scalar("q", q, "(0, inf)")
    return alpha_max + (alpha_min - alpha_max) * rho * (1 + q) / (rho + q)


@checked
def bilinear_form(W: fem.FunctionSpace, alpha: Any, mu: Any = 1.0) -> ufl.Form:
    """Return a((u, p), (v, q)) = int mu grad u : grad v + alpha u . v - p div v - q div u dx.

    Symmetric and indefinite. Without a traction boundary the pressure is free up to a constant and has to be
    fixed at a point by a Dirichlet condition on W.sub(1).

    Args:
        W: Mixed space from `taylor_hood`.
        alpha: Inverse permeability, from `brinkman`.
        mu: Viscosity.
    """
    (u, p), (v, q) = ufl.TrialFunctions(W), ufl.TestFunctions(W)
    work = (
        mu * ufl.inner(ufl.grad(u), ufl.grad(v)) + alpha * ufl.inner(u, v) - p * ufl.div(v) - q * ufl.div(u)
    )
    return work * default_dx(W, 4)


@checked
def body_force(W: fem.FunctionSpace, f: Any) -> ufl.Form:
    """Return L((v, q)) = int f . v dx for a force f on a unit of volume."""
    v, _ = ufl.TestFunctions(W)
    return ufl.dot(f, v) * default_dx(W, 4)


@checked
def dissipated_power(w: fem.Function, alpha: Any, mu: Any = 1.0) -> ufl.Form:
    """Return the dissipated power 1/2 int mu grad u : grad u + alpha u . u dx of a state w = (u, p).

    References:
        Borrvall and Petersson (2003), eq. 8.
    """
    u, _ = ufl.split(w)
    density = 0.5 * (mu * ufl.inner(ufl.grad(u), ufl.grad(u)) + alpha * ufl.inner(u, u))
    return density * default_dx(w.function_space, 4)
