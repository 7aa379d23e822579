"""Material interpolation from density to modulus, as UFL."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import ufl
from dolfinx import fem
from ufl.classes import Expr, Power, ScalarValue
from ufl.corealg.traversal import unique_pre_traversal
from ufl.domain import extract_unique_domain

from dolfinx_neural_topo._checks import check_number
from dolfinx_neural_topo.errors import InputError


def check_scalar(name: str, value: Any, interval: str = "[0, 1]") -> Any:
    """Return a UFL scalar, or a number after checking that it lies in an interval.

    Raises:
        InputError: It is neither, or lies outside (a constant: its present value).
    """
    if not isinstance(value, (Expr, fem.Constant)):
        return check_number(name, value, interval)
    if isinstance(value, fem.Constant) and value.ufl_shape == ():
        check_number(name, float(value.value), interval)  # as it is now
    if value.ufl_shape != ():
        raise InputError(f"{name} must be a number or a UFL scalar, got one of shape {value.ufl_shape}")
    return value


def simp(rho, *, penalty=3.0, E0=1.0, E_min=1e-9):
    """Interpolate a modulus by the modified SIMP law: E_min + rho^penalty (E0 - E_min).

    Args:
        rho: Density, 0 (void) to 1 (solid), dimensionless; a `fem.Function` in DG0 or any UFL scalar.
        penalty: Exponent, usually 3; a number becomes a `fem.Constant`, which can change between solves
            without recompilation (see `simp_penalty`).
        E0: Modulus of the solid, in any unit.
        E_min: Modulus of the void, in the same unit; greater than zero keeps the operator regular.

    Returns:
        UFL scalar, in the unit of E0.

    Raises:
        InputError: An argument is neither a UFL scalar nor a number, or negative.

    References:
        Sigmund, Morphology-based black and white filters for topology optimization (2007), eq. 2.

    Example:
        >>> stiffness = dnt.simp(rho, penalty=3.0)
    """
    rho, penalty = check_scalar("rho", rho), check_scalar("penalty", penalty, "(0, inf)")
    E0, E_min = check_scalar("E0", E0, "[0, inf)"), check_scalar("E_min", E_min, "[0, inf)")
    domain = extract_unique_domain(ufl.as_ufl(rho))
    if isinstance(penalty, (int, float)) and domain is not None:
        penalty = fem.Constant(domain, np.float64(penalty))
    return E_min + rho**penalty * (E0 - E_min)


def mass(rho, *, density=1.0):
    """Interpolate the mass of a unit of volume such that void has no modes of its own.

        density times rho where rho > 0.1, density times (6e5 rho^6 - 5e6 rho^7) elsewhere,

    continuous with its slope. Beside a stiffness of rho^3, a mass of rho would let cells of low density
    vibrate at the lowest frequencies.

    Args:
        rho: Density, 0 (void) to 1 (solid), dimensionless.
        density: Mass of a unit of volume of solid.

    Returns:
        UFL scalar, in the unit of `density`.

    References:
        Du and Olhoff, Topological design of freely vibrating continuum structures for maximum values of
        simple and multiple eigenfrequencies and frequency gaps, SMO 34 (2007).

    Example:
        >>> m = dnt.mass(rho) * ufl.inner(ufl.TrialFunction(V), ufl.TestFunction(V)) * ufl.dx
    """
    rho, density = check_scalar("rho", rho), check_scalar("density", density, "(0, inf)")
    return density * ufl.conditional(ufl.le(rho, 0.1), 6e5 * rho**6 - 5e6 * rho**7, rho)


def simp_penalty(rho: fem.Function, forms: Iterable[ufl.Form]) -> fem.Constant | float | None:
    """Find the exponent that a density has in forms.

    Args:
        rho: Density.
        forms: UFL forms.

    Returns:
        p where rho^p occurs with this exponent alone (a `fem.Constant` can be changed for all of the forms),
        else None.
    """
    exponents = {
        node.ufl_operands[1]
        for form in forms
        for integral in form.integrals()
        for node in unique_pre_traversal(integral.integrand())
        if isinstance(node, Power) and node.ufl_operands[0] == rho
    }
    if len(exponents) != 1:
        return None
    (exponent,) = exponents
    if isinstance(exponent, fem.Constant):
        return exponent
    return float(exponent) if isinstance(exponent, ScalarValue) else None


def ramp(rho, *, penalty=8.0, E0=1.0, E_min=1e-9):
    """Interpolate a modulus by the RAMP law: E_min + rho / (1 + penalty (1 - rho)) (E0 - E_min).

    Unlike SIMP its slope at rho = 0 is not zero, which suits loads that depend on the density.

    Args:
        rho: Density, 0 (void) to 1 (solid), dimensionless; a `fem.Function` in DG0 or any UFL scalar.
        penalty: Convexity, 0 for linear; a `fem.Constant` can change between solves without recompilation.
        E0: Modulus of the solid, in any unit.
        E_min: Modulus of the void, in the same unit.

    Returns:
        UFL scalar, in the unit of E0.

    Raises:
        InputError: An argument is neither a UFL scalar nor a number, or negative.

    References:
        Stolpe and Svanberg, An alternative interpolation scheme for minimum compliance (2001), eq. 5.

    Example:
        >>> conductivity = dnt.ramp(rho)
    """
    rho, penalty = check_scalar("rho", rho), check_scalar("penalty", penalty, "[0, inf)")
    E0, E_min = check_scalar("E0", E0, "[0, inf)"), check_scalar("E_min", E_min, "[0, inf)")
    return E_min + rho / (1 + penalty * (1 - rho)) * (E0 - E_min)
