"""Linear elasticity: plane stress, plane strain, three dimensions."""

from __future__ import annotations

from typing import Any

import numpy as np
import ufl
from dolfinx import fem

from dolfinx_neural_topo._checks import check_number
from dolfinx_neural_topo.errors import InputError, checked
from dolfinx_neural_topo.physics.forms import default_dx
from dolfinx_neural_topo.physics.material import check_scalar

SMALLEST = 1e-300  # square of a stress that is zero in any unit, of which the root has a derivative

MODELS = {"plane_stress": 2, "plane_strain": 2, "3d": 3}


def strain(u: Any) -> Any:
    """Return the small strain tensor, the symmetric part of grad u."""
    return ufl.sym(ufl.grad(u))


@checked
def stress(u: Any, E: Any, nu: float = 0.3, model: str | None = None) -> Any:
    """Return the Cauchy stress 2 mu strain + lambda tr(strain) I.

    Plane stress uses lambda = E nu / (1 - nu^2) in place of E nu / ((1 + nu) (1 - 2 nu)).

    Args:
        u: Displacement, in a unit of length.
        E: Young's modulus, for instance `simp(rho)`, in a unit of stress.
        nu: Poisson's ratio.
        model: "plane_stress" (default in 2D), "plane_strain" or "3d".

    Raises:
        InputError: A model that is unknown or of another dimension, or a Poisson's ratio out of range.
    """
    dim = u.ufl_shape[0]
    model = model or ("plane_stress" if dim == 2 else "3d")
    if MODELS.get(model) != dim:
        raise InputError(
            f"model must be one of {[m for m, d in MODELS.items() if d == dim]} for {dim} components, got "
            f"{model!r}"
        )
    if not -1.0 < nu < (1.0 if model == "plane_stress" else 0.5):
        raise InputError(
            f"nu must lie in (-1, {'1' if model == 'plane_stress' else '0.5'}) for {model}, got {nu}"
        )
    E = check_scalar("E", E, "[0, inf)")
    mu = E / (2 * (1 + nu))
    lmbda = E * nu / (1 - nu**2) if model == "plane_stress" else E * nu / ((1 + nu) * (1 - 2 * nu))
    eps = strain(u)
    return 2 * mu * eps + lmbda * ufl.tr(eps) * ufl.Identity(dim)


@checked
def bilinear_form(
    V: fem.FunctionSpace,
    E: Any,
    nu: float = 0.3,
    model: str | None = None,
    *,
    quadrature_degree: int | None = None,
) -> ufl.Form:
    """Return a(u, v) = int stress(u) : strain(v) dx.

    Args:
        V: Vector space with one component for each dimension of space.
        E: Young's modulus, in UFL.
        nu: Poisson's ratio.
        model: See `stress`.
        quadrature_degree: By default the one that is exact on affine cells for a modulus constant on each.

    Raises:
        InputError: As `stress`, or a space of other shape.
    """
    if V.dofmap.index_map_bs != V.mesh.geometry.dim:
        raise InputError(
            f"V must have {V.mesh.geometry.dim} components, got {V.dofmap.index_map_bs}; way out: "
            'fem.functionspace(mesh, ("Lagrange", 1, (mesh.geometry.dim,)))'
        )
    u, v = ufl.TrialFunction(V), ufl.TestFunction(V)
    return ufl.inner(stress(u, E, nu, model), strain(v)) * default_dx(V, quadrature_degree)


@checked
def thermal_load(
    V: fem.FunctionSpace, E: Any, expansion: Any, nu: float = 0.3, model: str | None = None
) -> ufl.Form:
    """Return L(v) = int E expansion / (1 - nu) div v dx, the load of a free thermal strain (plane stress).

    In plane strain and three dimensions the factor is E / (1 - 2 nu).

    Args:
        V: Vector space of the displacement.
        E: Young's modulus, in UFL, that of the bilinear form.
        expansion: Free strain in each direction, coefficient of expansion times temperature; a temperature
            that another `StateProblem` solves for makes a chain.
        nu: Poisson's ratio.
        model: See `stress`.

    Raises:
        InputError: As `stress`.
    """
    v = ufl.TestFunction(V)
    stress(v, E, nu, model)  # checks
    flat = (model or "plane_stress") == "plane_stress" and V.mesh.geometry.dim == 2
    factor = E / (1 - nu) if flat else E / (1 - 2 * nu)
    return factor * expansion * ufl.div(v) * default_dx(V, 2 * V.ufl_element().embedded_superdegree)


@checked
def geometric_form(V: fem.FunctionSpace, sigma: Any) -> ufl.Form:
    """Return b(u, v) = -int sigma : (grad u)^T grad v dx, what a stress takes from the stiffness.

    With the bilinear form a of the stiffness, b(u, v) = a(u, v) / lmbda has as lmbda the factors on the loads
    at which the structure buckles: `EigenProblem(a, b, rho)`, a chain where sigma is that of a state.

    Args:
        V: Vector space of the displacement.
        sigma: Stress of the prestressed structure, from `stress`. Its modulus should vanish in void
            (`simp(rho, E_min=0.0)`), else void buckles first.

    References:
        Bendsoe and Sigmund, Topology Optimization (2003), section 2.2.2.
    """
    u, v = ufl.TrialFunction(V), ufl.TestFunction(V)
    return -ufl.inner(sigma, ufl.dot(ufl.grad(u).T, ufl.grad(v))) * default_dx(V)


@checked
def self_weight(V: fem.FunctionSpace, rho: fem.Function, weight: Any) -> ufl.Form:
    """Return L(v) = int rho weight . v dx, the load of the structure's own weight.

    With SIMP, cells of low density become heavier than stiff: use `ramp`, or a linear law at low density.

    Args:
        V: Vector space of the displacement.
        rho: Density.
        weight: Force on a unit volume of solid, a vector (UFL or `fem.Constant`).
    """
    if not isinstance(weight, (ufl.core.expr.Expr, fem.Constant)):
        weight = ufl.as_vector([check_number("weight", each) for each in np.atleast_1d(weight).tolist()])
    if weight.ufl_shape != (V.mesh.geometry.dim,):
        raise InputError(f"weight must have {V.mesh.geometry.dim} components, got shape {weight.ufl_shape}")
    return rho * ufl.dot(weight, ufl.TestFunction(V)) * default_dx(V)


@checked
def von_mises(sigma: Any, nu: float = 0.3, model: str | None = None) -> Any:
    """Return the von Mises stress sqrt(3/2 dev(sigma) : dev(sigma)), the third direction included.

    Its derivative where the stress is zero is taken as zero.

    Args:
        sigma: Stress tensor from `stress`, 2 x 2 or 3 x 3.
        nu: Poisson's ratio, which gives the third normal stress in plane strain.
        model: See `stress`.

    Raises:
        InputError: sigma is no tensor of that shape, such as a displacement.
    """
    if sigma.ufl_shape not in ((2, 2), (3, 3)):
        raise InputError(
            f"sigma must be a stress, 2 x 2 or 3 x 3, got shape {sigma.ufl_shape}; way out: "
            "elasticity.stress(u, E, nu) of a displacement u"
        )
    dim = sigma.ufl_shape[0]
    model = model or ("plane_stress" if dim == 2 else "3d")
    out_of_plane = nu * ufl.tr(sigma) if model == "plane_strain" else 0.0
    mean = (ufl.tr(sigma) + out_of_plane) / 3
    squares = ufl.inner(sigma, sigma) + out_of_plane**2 - 3 * mean**2
    return ufl.sqrt(ufl.max_value(1.5 * squares, SMALLEST))
