"""NLopt's MMA: the method of the published comparison."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from dolfinx_neural_topo.errors import InputError, checked
from dolfinx_neural_topo.optimize.method import Array, Variables
from dolfinx_neural_topo.optimize.threaded import Function, LibraryMethod

REPEATS = 50
"""Calls at one unchanged point after which NLopt, which would go on for ever, counts as converged."""


class _Standstill(Exception):
    """Ends NLopt from inside a callback."""


class NLoptMMA(LibraryMethod):
    """Run NLopt's `LD_MMA`, a globally convergent MMA with conservative approximations.

    A baseline: on several ranks each holds and optimizes the whole vector, in canonical order, so that the
    result does not depend on the number of ranks beyond rounding (of which NLopt's inner solver makes
    differences of about 1e-8, serially too). For large problems use `MMA`.

    Args:
        tolerance: Violation of a constraint that NLopt accepts.

    Raises:
        InputError: If tolerance is negative, or the `nlopt` package is missing.

    References:
        Johnson, The NLopt nonlinear-optimization package; Svanberg, SIAM J. Optim. 12 (2002).

    Example:
        >>> found = dnt.minimize(design, dnt.NLoptMMA(), evaluations=8)
        >>> bool(found.objective < design.evaluate(design.initial(), gradient=False).value)
        True
    """

    name = "NLopt MMA"
    constrained = True

    @checked
    def __init__(self, tolerance: float = 1e-8):
        if tolerance < 0:
            raise InputError(f"tolerance must not be negative, got {tolerance}")
        self.tolerance = float(tolerance)

    def start(self, variables: Variables) -> None:
        """Start NLopt's thread. Note: Collective."""
        try:
            import nlopt  # noqa: F401
        except ImportError as error:
            way = "pip install nlopt (conda: nlopt; Debian: python3-nlopt), or use MMA"
            raise InputError(f"NLoptMMA needs the package nlopt: {way}") from error
        super().start(variables)

    def run(self, function: Function, x: Array, lower: Array | None, upper: Array | None) -> str:
        """Run NLopt from `x`."""
        import nlopt

        seen_x, seen = x.copy(), function(x)
        repeats = -1  # the first call is for the start, which has just been evaluated

        def at(x: Array) -> SimpleNamespace:
            """Evaluate once for objective and constraints, which NLopt asks for one after the other."""
            nonlocal seen_x, seen
            if not np.array_equal(x, seen_x):
                seen_x, seen = x.copy(), function(x)
            return seen

        def objective(x: Array, gradient: Array) -> float:
            nonlocal repeats
            repeats = repeats + 1 if np.array_equal(x, seen_x) else 0
            if repeats == REPEATS:
                raise _Standstill
            found = at(x)
            if gradient.size:
                gradient[:] = found.gradient
            return found.value

        def constraints(values: Array, x: Array, gradients: Array) -> None:
            found = at(x)
            values[:] = found.constraints
            if gradients.size:
                gradients[:] = found.constraint_gradients

        optimizer = nlopt.opt(nlopt.LD_MMA, len(x))
        optimizer.set_min_objective(objective)
        if len(seen.constraints):
            optimizer.add_inequality_mconstraint(constraints, np.full(len(seen.constraints), self.tolerance))
        if lower is not None:
            optimizer.set_lower_bounds(lower)
        if upper is not None:
            optimizer.set_upper_bounds(upper)
        try:
            optimizer.optimize(x)
        except _Standstill:
            return f"NLopt asked for the same point {REPEATS} times in a row: its steps are below rounding."
        return f"NLopt ended with code {optimizer.last_optimize_result()}."
