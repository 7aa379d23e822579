"""Which filter, which thresholds and which of the three fields the last stage takes."""

from __future__ import annotations

from typing import Any

import numpy as np

from dolfinx_neural_topo._communication import max_replicated, sum_replicated
from dolfinx_neural_topo.density import ConeFilter, Design, DesignDomain, Identity
from dolfinx_neural_topo.density.length_scale import LengthScale, length_scale
from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.optimize.method import Array
from dolfinx_neural_topo.physics.algebra import problems_of

DELTA = 0.05
"""Distance of the eroded threshold where no width is asked for."""

_ROUNDING = 1e-6  # of the slopes: solves by iteration leave as much
_DEFAULT_RADIUS = 2.0  # cells
_LEAST_WIDTH = 2.0  # cells


def stage_filter(design: Design, min_member: float | None, min_gap: float | None) -> tuple[Any, Any]:
    """Return the filter of the stage and the delta of its projection. Note: Collective."""
    domain, cell = design.domain, cell_size(design.domain)
    if min_member is None and min_gap is None:
        own = design.filter
        return (ConeFilter(domain, _DEFAULT_RADIUS * cell) if isinstance(own, Identity) else own), DELTA
    scale = width_scale(domain, min_member, min_gap)
    return ConeFilter(domain, scale.radius), (scale.delta_eroded, scale.delta_dilated)


def width_scale(domain: DesignDomain, min_member: float | None, min_gap: float | None) -> LengthScale:
    """Return radius and thresholds for widths, at least one of them given.

    Raises:
        InputError: A width that the mesh cannot resolve or the domain has no room for.

    Note: Collective.
    """
    cell, dim = cell_size(domain), domain.mesh.topology.dim
    lower, upper = domain.bounding_box()
    room = float((upper - lower)[:dim].min()) * (2.0 if domain.symmetry else 1.0)
    scale = length_scale(min_member, min_gap, dim)
    for name, width in (("min_member", min_member), ("min_gap", min_gap)):
        if width is not None and width < _LEAST_WIDTH * cell * (1.0 - 1e-9):
            raise InputError(
                f"{name} must be at least {_LEAST_WIDTH * cell:.4g}, {_LEAST_WIDTH:g} cells of the mesh, got "
                f"{width}; way out: a finer mesh, or leave it out to keep the filter of the design"
            )
        if width is not None and width > room:
            raise InputError(
                f"{name} must be at most {room:.4g}, the least extent of the domain, got {width}; it is a "
                "length in the mesh's own unit"
            )
    return scale


def less_is_worse(functional: Any, rho: Array) -> bool:
    """Tell whether less material makes the objective worse, in every cell: as compliance under given loads.

    The equation is linear, its loads do not depend on the density, and no derivative at `rho` is positive.

    Args:
        functional: The objective.
        rho: Density on owned cells, shape (num_owned_cells,).

    Note: Collective.
    """
    problems = problems_of(functional)
    loads = [L for problem in problems for L in problem.equation.loads if L is not None]
    fed = len(problems) > 1  # loads depend on the density through another state
    linear = all(problem.equation.linear for problem in problems)
    if fed or not linear or any(problems[0].rho in L.coefficients() for L in loads):
        return False
    gradient = functional.value_and_gradient(rho)[1]
    rise, fall = sum_replicated(
        functional.comm, [np.maximum(each, 0.0).sum() for each in (gradient, -gradient)]
    )
    return bool(rise <= _ROUNDING * fall)


def cell_size(domain: DesignDomain) -> float:
    """Return the size of the largest design cell. Note: Collective."""
    return float(max_replicated(domain.comm, domain.cell_sizes()[domain.design].max(initial=0.0)))
