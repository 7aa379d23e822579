"""Material interpolation from density to modulus, as UFL."""

from __future__ import annotations

import ufl


def simp(rho, *, penalty=3.0, E0=1.0, E_min=1e-9):
    """Interpolate a modulus by the modified SIMP law: E_min + rho^penalty (E0 - E_min).

    Args:
        rho: Density, 0 (void) to 1 (solid), dimensionless; a `fem.Function` in DG0 or any UFL scalar.
        penalty: Exponent, usually 3. A `fem.Constant` can change between solves without recompilation.
        E0: Modulus of the solid, in any unit.
        E_min: Modulus of the void, in the same unit; greater than zero keeps the operator regular.

    Returns:
        UFL scalar, in the unit of E0.

    References:
        Sigmund, Morphology-based black and white filters for topology optimization (2007), eq. 2.
    """
    return E_min + ufl.as_ufl(rho) ** penalty * (E0 - E_min)


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

    References:
        Stolpe and Svanberg, An alternative interpolation scheme for minimum compliance (2001), eq. 5.
    """
    return E_min + rho / (1 + penalty * (1 - rho)) * (E0 - E_min)
