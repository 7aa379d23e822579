"""Elasticity at finite strain: compressible neo-Hookean material, in plane strain or three dimensions."""

from __future__ import annotations

from typing import Any

import ufl
from dolfinx import fem

from dolfinx_neural_topo._checks import check_number
from dolfinx_neural_topo.errors import checked
from dolfinx_neural_topo.physics.forms import default_dx
from dolfinx_neural_topo.physics.material import check_scalar


@checked
def strain_energy(grad_u: Any, nu: float = 0.3) -> Any:
    """Return the energy density mu/2 (tr(F^T F) - dim) - mu ln J + lambda/2 (ln J)^2 for Young's modulus 1.

    Here F = I + grad u and J = det F. In two dimensions this is plane strain.

    Args:
        grad_u: Displacement gradient, dim x dim.
        nu: Poisson's ratio.
    """
    dim = grad_u.ufl_shape[0]
    check_number("nu", nu, "(-1, 0.5)")
    mu, lmbda = 1 / (2 * (1 + nu)), nu / ((1 + nu) * (1 - 2 * nu))
    F = ufl.Identity(dim) + grad_u
    log_J = ufl.ln(ufl.det(F))
    return mu / 2 * (ufl.inner(F, F) - dim) - mu * log_J + lmbda / 2 * log_J**2


@checked
def linear_energy(grad_u: Any, nu: float = 0.3) -> Any:
    """Return the energy density of small strain, mu eps : eps + lambda/2 tr(eps)^2, for Young's modulus 1."""
    check_number("nu", nu, "(-1, 0.5)")
    mu, lmbda = 1 / (2 * (1 + nu)), nu / ((1 + nu) * (1 - 2 * nu))
    eps = ufl.sym(grad_u)
    return mu * ufl.inner(eps, eps) + lmbda / 2 * ufl.tr(eps) ** 2


@checked
def solid_share(rho: Any, *, penalty: Any = 3.0, threshold: float = 0.01, sharpness: float = 500.0) -> Any:
    """Return gamma(rho), a smooth step from 0 in void to 1 in material.

    Args:
        rho: Density.
        penalty: That of the SIMP law.
        threshold: Value of rho^penalty at the step.
        sharpness: Steepness of the step.

    References:
        Wang, Lazarov, Sigmund and Jensen, Interpolation scheme for fictitious domain techniques for
        topology optimization of finite strain elastic problems (2014), eq. 10.
    """
    check_number("threshold", threshold, "[0, 1]")
    check_number("sharpness", sharpness, "(0, inf)")
    penalty = check_scalar("penalty", penalty, "(0, inf)")
    low = ufl.tanh(sharpness * threshold)
    high = ufl.tanh(sharpness * (1 - threshold))
    return (low + ufl.tanh(sharpness * (rho**penalty - threshold))) / (low + high)


@checked
def energy(u: fem.Function, E: Any, nu: float = 0.3, gamma: Any = None) -> ufl.Form:
    """Return the stored energy int E psi dx, a functional of the state.

    With gamma, psi = psi_neo(gamma grad u) - psi_lin(gamma grad u) + psi_lin(grad u): void (gamma = 0) is
    linear and cannot fail by turning its cells inside out, material (gamma = 1) is neo-Hookean.

    Args:
        u: Displacement.
        E: Young's modulus, for instance `simp(rho)`.
        nu: Poisson's ratio.
        gamma: None, or `solid_share(rho)`.

    References:
        Wang, Lazarov, Sigmund and Jensen (2014), eq. 9.
    """
    grad_u = ufl.grad(u)
    if gamma is None:
        density = strain_energy(grad_u, nu)
    else:
        inner = gamma * grad_u
        density = strain_energy(inner, nu) - linear_energy(inner, nu) + linear_energy(grad_u, nu)
    V = u.function_space
    return E * density * default_dx(V, 2 * max(1, V.ufl_element().embedded_superdegree))


@checked
def residual(u: fem.Function, E: Any, nu: float = 0.3, gamma: Any = None) -> ufl.Form:
    """Return the internal virtual work, the derivative of `energy`; subtract the loads' to get an equation.

    Args:
        u: Displacement, the `u` of the `StateProblem`.
        E: Young's modulus.
        nu: Poisson's ratio.
        gamma: See `energy`.
    """
    return ufl.derivative(energy(u, E, nu, gamma), u, ufl.TestFunction(u.function_space))
