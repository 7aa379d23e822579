"""What a callback of `minimize` sees."""

from __future__ import annotations

from dataclasses import dataclass

from dolfinx_neural_topo.density.evaluation import Evaluation
from dolfinx_neural_topo.optimize.method import Array, Method
from dolfinx_neural_topo.optimize.result import Candidate, History


@dataclass(frozen=True)
class Step:
    """What a callback sees after an evaluation.

    Attributes:
        number: Number of the evaluation, from 1.
        x: The variables, read-only.
        evaluation: What was found there, read-only; value inf and gradient None if it failed.
        best: Best design so far.
        history: All evaluations so far.
        method: The method.
    """

    number: int
    x: Array
    evaluation: Evaluation
    best: Candidate
    history: History
    method: Method
