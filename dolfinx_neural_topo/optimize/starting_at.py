"""Variables that start where another run has ended."""

from __future__ import annotations

from typing import Any

import numpy as np

from dolfinx_neural_topo.optimize.method import Array


class StartingAt:
    """Variables that start elsewhere; in all else the variables themselves.

    Args:
        variables: A design or the weights of a network.
        x: Start.
    """

    def __init__(self, variables: Any, x: Array):
        self._variables = variables
        self._x = x

    def initial(self) -> Array:
        """Return the start, a copy."""
        return np.array(self._x)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._variables, name)
