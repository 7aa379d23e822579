"""What an optimizer learns from one evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Evaluation:
    """What one evaluation of a design gives: a value, which a layer above replaces by one of its own.

    Attributes:
        value: Objective.
        gradient: Its gradient with respect to the variables, shape of x, or None for a value-only evaluation.
        constraints: Constraint values g <= 0, shape (m,).
        constraint_gradients: Their gradients, shape (m, number of variables), or None.
        rho_design: Density before the filter, owned cells.
        rho: Physical density, owned cells.
        volume: Physical volume fraction.
    """

    value: float
    gradient: Any
    constraints: np.ndarray
    constraint_gradients: Any
    rho_design: np.ndarray
    rho: np.ndarray
    volume: float
