"""Stationary heat conduction (or any scalar diffusion)."""

from __future__ import annotations

from typing import Any

import ufl
from dolfinx import fem

from dolfinx_neural_topo.physics.forms import default_dx


def bilinear_form(
    V: fem.FunctionSpace, conductivity: Any, *, quadrature_degree: int | None = None
) -> ufl.Form:
    """Return a(T, v) = int conductivity grad T . grad v dx.

    Args:
        V: Scalar space of the temperature.
        conductivity: For instance `simp(rho, E_min=1e-3)`, in UFL.
        quadrature_degree: By default the one that is exact on affine cells for a conductivity constant on
            each.
    """
    T, v = ufl.TrialFunction(V), ufl.TestFunction(V)
    return conductivity * ufl.dot(ufl.grad(T), ufl.grad(v)) * default_dx(V, quadrature_degree)


def source(V: fem.FunctionSpace, power: Any) -> ufl.Form:
    """Return L(v) = int power v dx for heat produced in the volume (power for a unit of volume).

    Args:
        V: Scalar space of the temperature.
        power: Number, `fem.Constant`, `fem.Function` or UFL; it may depend on the density.
    """
    degree = max(1, V.ufl_element().embedded_superdegree)
    return power * ufl.TestFunction(V) * default_dx(V, 2 * degree)


def average_temperature(T: Any, volume: float) -> ufl.Form:
    """Return int T dx / volume.

    Args:
        T: Temperature, a `fem.Function`.
        volume: Volume of the domain.
    """
    return T / volume * ufl.dx
