"""Stationary heat conduction (or any scalar diffusion)."""

from __future__ import annotations

from typing import Any

import ufl
from dolfinx import fem

from dolfinx_neural_topo._checks import check_number
from dolfinx_neural_topo.errors import InputError, checked
from dolfinx_neural_topo.physics.forms import default_dx
from dolfinx_neural_topo.physics.material import check_scalar


@checked
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
    conductivity = check_scalar("conductivity", conductivity, "(0, inf)")
    if V.value_size != 1:
        raise InputError(f"V must be a scalar space, got one of {V.value_size} components")
    T, v = ufl.TrialFunction(V), ufl.TestFunction(V)
    return conductivity * ufl.dot(ufl.grad(T), ufl.grad(v)) * default_dx(V, quadrature_degree)


@checked
def source(V: fem.FunctionSpace, power: Any) -> ufl.Form:
    """Return L(v) = int power v dx for heat produced in the volume (power for a unit of volume).

    Args:
        V: Scalar space of the temperature.
        power: Number, `fem.Constant`, `fem.Function` or UFL; it may depend on the density.
    """
    power = check_scalar("power", power, "(-inf, inf)")
    degree = max(1, V.ufl_element().embedded_superdegree)
    return power * ufl.TestFunction(V) * default_dx(V, 2 * degree)


@checked
def average_temperature(T: Any, volume: float) -> ufl.Form:
    """Return int T dx / volume.

    Args:
        T: Temperature, a `fem.Function`.
        volume: Volume of the domain.
    """
    return T / check_number("volume", volume, "(0, inf)") * ufl.dx
