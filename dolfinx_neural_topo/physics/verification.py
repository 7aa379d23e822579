"""Taylor tests: is the gradient that of the functional?"""

from __future__ import annotations

from typing import Any

import numpy as np

from dolfinx_neural_topo._checks import check_count, check_number, real_array
from dolfinx_neural_topo._communication import max_replicated, sum_replicated
from dolfinx_neural_topo._dolfinx import dg0_cells, original_cells
from dolfinx_neural_topo.errors import InputError, checked, collective
from dolfinx_neural_topo.physics.algebra import AnyFunctional, density_space

ROUNDING = 1e-12  # remainders below this, relative to J, count as zero


@checked
def random_density(space: Any, low: float, high: float, seed: int = 0) -> np.ndarray:
    """Return random numbers on owned cells that do not depend on the number of ranks.

    Args:
        space: DG0 space.
        low: Smallest value.
        high: Largest value.
        seed: Another seed gives another field.

    Returns:
        Values in [low, high), shape (num_owned_cells,), or (k, num_owned_cells) in a space of k fields.

    Raises:
        InputError: `low` is above `high`, or one of them is not finite.
    """
    check_number("low", low)
    check_number("high", high)
    if low > high:
        raise InputError(f"low must not be above high, got {low:g} and {high:g}")
    num_owned = space.dofmap.index_map.size_local
    cells = original_cells(space.mesh)[dg0_cells(space)[:num_owned]].astype(np.uint64)
    cells = cells + np.arange(space.dofmap.index_map_bs, dtype=np.uint64)[:, None] * np.uint64(10**9)
    z = (cells + np.uint64(1 + 1_000_003 * seed)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    values = low + (high - low) * ((z ^ (z >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) / 2.0**53
    return values.reshape(*space.value_shape, num_owned)


@collective
def taylor_test(
    functional: AnyFunctional,
    rho: np.ndarray | None = None,
    *,
    direction: np.ndarray | None = None,
    step: float = 1e-2,
    num_steps: int = 4,
    seed: int = 0,
) -> np.ndarray:
    """Return the orders at which the remainder |J(rho + h d) - J(rho) - h dJ_drho . d| vanishes.

    2 means that the gradient is right, 1 that it is wrong. Where J is linear to rounding the order is
    infinite. The functional's density is rho again at the end.

    Args:
        functional: Anything with `comm`, `value` and `value_and_gradient`.
        rho: Density on owned cells, shape (num_owned_cells,); random in [0.3, 0.8) by default, where the
            functional has a `state`.
        direction: d, same shape; random in [-1, 1) by default.
        step: First h; every further one is half the one before.
        num_steps: Number of steps, at least 2.
        seed: Seed of the defaults.

    Returns:
        Orders, shape (num_steps - 1,), equal on all ranks.

    Raises:
        InputError: If `step` is not positive and finite, or `num_steps` no whole number from 2.

    Note: Collective.

    Example:
        >>> bool(dnt.taylor_test(dnt.Compliance(state), half).min() > 1.9)
        True
    """
    check_number("step", step, "(0, inf)")
    check_count("num_steps", num_steps, 2)
    space = density_space(functional) if rho is None or direction is None else None
    rho = random_density(space, 0.3, 0.8, 2 * seed) if rho is None else np.array(rho, dtype=np.float64)
    d = (
        random_density(space, -1.0, 1.0, 2 * seed + 1)
        if direction is None
        else np.asarray(direction, dtype=np.float64)
    )
    d = real_array("direction", d, rho.shape, "that of rho")
    largest = float(
        max_replicated(functional.comm, np.where(np.isfinite(d), abs(d), np.inf).max(initial=0.0))
    )
    if not 0.0 < largest < np.inf:
        raise InputError(f"direction must be finite and not zero, its largest entry is {largest:g}")
    value, gradient = functional.value_and_gradient(rho)
    slope = float(sum_replicated(functional.comm, gradient.ravel() @ d.ravel()))
    steps = step * 0.5 ** np.arange(num_steps)
    remainders = np.array([abs(functional.value(rho + h * d) - value - h * slope) for h in steps])
    functional.value(rho)
    if (remainders <= ROUNDING * abs(value)).all():
        return np.full(num_steps - 1, np.inf)
    return np.log2(remainders[:-1] / remainders[1:])
