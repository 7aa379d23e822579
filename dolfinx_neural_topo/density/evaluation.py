"""What an optimizer learns from one evaluation, and how functionals are asked for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from dolfinx_neural_topo.density.domain import DesignDomain
from dolfinx_neural_topo.errors import InputError, same
from dolfinx_neural_topo.physics.algebra import AnyFunctional, Functional, mesh_of, problems_of


@dataclass(frozen=True)
class Evaluation:
    """What one evaluation of a design gives: a value, which a layer above replaces by one of its own.

    Attributes:
        value: Objective.
        gradient: Its gradient with respect to the variables, shape of x, or None for a value-only evaluation.
        constraints: Constraint values g <= 0, shape (m,).
        constraint_gradients: Their gradients, shape (m, number of variables), or None.
        rho_design: Density before the filter, owned cells; of k fields, shape (k, num_owned_cells).
        rho: Physical density, likewise.
        volume: Physical volume fraction.
    """

    value: float
    gradient: Any
    constraints: np.ndarray
    constraint_gradients: Any
    rho_design: np.ndarray
    rho: np.ndarray
    volume: float


def check_functionals(
    functional: AnyFunctional,
    constraints: Sequence[tuple[AnyFunctional, float]],
    domain: DesignDomain,
    fields: tuple[int, ...],
) -> None:
    """Refuse functionals of another mesh or number of fields, and bounds that are not positive.

    Args:
        functional: Objective.
        constraints: Pairs (functional, bound).
        domain: Where the density lives.
        fields: (k,) for k fields, () for one density.

    Raises:
        InputError: One of them is.
    """
    for _, bound in constraints:
        if not 0.0 < bound < np.inf:
            raise InputError(
                f"bounds of constraints must be positive and finite, got {bound}; negate or shift the "
                "functional"
            )
    for each in (functional, *(each for each, _ in constraints)):
        name = getattr(each, "name", each)
        mesh = mesh_of(each)
        if mesh is not None and mesh.ufl_domain() != domain.mesh.ufl_domain():
            raise InputError(
                f"domain must be made on the mesh of functional {name!r}, it was made on another one"
            )
        for problem in problems_of(each)[:1]:
            shape = getattr(getattr(problem, "rho", None), "ufl_shape", fields)
            if shape != fields:
                way_out = "MultiDesign, with a DensityField for each" if shape else "Design"
                raise InputError(
                    f"functional {name!r} must depend on {_counted(fields)}, got {_counted(shape)}; "
                    f"way out: {way_out}"
                )


def _counted(fields: tuple[int, ...]) -> str:
    return f"{fields[0]} fields" if fields else "one density"


def evaluate_at(functional: Any, rho: np.ndarray, gradient: bool) -> tuple[float, Any]:
    """Return the value of a functional, and its gradient or None.

    Raises:
        InputError: One of a user's own returns something else.
    """
    answer = functional.value_and_gradient(rho) if gradient else (functional.value(rho), None)
    name = getattr(functional, "name", type(functional).__name__)
    if not (isinstance(answer, tuple) and len(answer) == 2):
        raise InputError(
            f"value_and_gradient of functional {name!r} must return (value, gradient), got {answer!r:.80}"
        )
    value, slope = answer
    if not isinstance(functional, Functional):  # those here have the same value on all ranks
        same(functional.comm, f"functional {name!r}", value=value)
    if np.ndim(value) or not isinstance(np.asarray(value).item(), Real):
        raise InputError(f"the value of functional {name!r} must be a real number, got {value!r:.80}")
    if not gradient:
        return float(value), None
    slope = np.asarray(slope)
    if slope.shape != rho.shape or slope.dtype.kind not in "fiu":
        raise InputError(
            f"the gradient of functional {name!r} must have one real number for each owned cell, shape "
            f"{rho.shape}, got shape {slope.shape} of {slope.dtype}"
        )
    return float(value), slope


def limits_at(
    constraints: Sequence[tuple[Any, float]],
    rho: np.ndarray,
    pull: Callable[[np.ndarray], np.ndarray],
    gradient: bool,
) -> tuple[np.ndarray, Any]:
    """Return functional / bound - 1 for each constraint, and the gradients or None.

    Args:
        constraints: Pairs (functional, bound).
        rho: Physical density.
        pull: Gradient with respect to rho_design from one with respect to rho.
        gradient: Whether gradients are wanted.
    """
    values, rows = [], []
    for functional, bound in constraints:
        level, dg_drho = evaluate_at(functional, rho, gradient)
        values.append(level / bound - 1.0)
        if gradient:
            rows.append(pull(dg_drho) / bound)
    return np.array(values), np.array(rows).reshape(len(rows), *rho.shape) if gradient else None
