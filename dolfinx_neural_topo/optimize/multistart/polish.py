"""MMA for designs that come nearly finished, and its state as vectors of the whole mesh."""

from __future__ import annotations

from typing import Any

import numpy as np

from dolfinx_neural_topo.optimize.method import Array
from dolfinx_neural_topo.optimize.mma import MMA
from dolfinx_neural_topo.optimize.multistart.found import Found
from dolfinx_neural_topo.optimize.multistart.levels import Levels


class Polish(MMA):
    """MMA for a nearly finished design: wide first asymptotes, but short moves.

    With the usual moves the objective rises by up to a percent for some evaluations, twice in the first
    thirty, while all cells change their direction; a test for progress then stops the run too early.
    """

    def __init__(self) -> None:
        super().__init__(move=0.15, initial=1.0)


class Resumed(Polish):
    """The same, going on where a run of it on the same functional stopped.

    Args:
        levels: The problem.
        found: What that run found, with vectors.
    """

    def __init__(self, levels: Levels, found: Found):
        super().__init__()
        assert found.arrays is not None
        self._resumed: dict[str, Any] = dict(found.numbers)
        for key, value in found.arrays.items():
            if key.startswith("mma/"):
                name = key.removeprefix("mma/")
                self._resumed[name] = levels.order.local(value) if name in self.fields else value.copy()

    def start(self, variables: Any) -> None:
        """Prepare, and take over the state. Note: Collective."""
        super().start(variables)
        self.restore(self._resumed)


def pack(levels: Levels, method: MMA, x: Array) -> tuple[dict[str, Array], dict[str, float]]:
    """Gather a design and the state of the method that goes on from it.

    Args:
        levels: The problem.
        method: After its run.
        x: The design, on owned design cells.

    Returns:
        Vectors of the whole mesh, on rank 0 only, and numbers.

    Note: Collective.
    """
    arrays: dict[str, Array | None] = {"x": levels.order.gather(x)}
    numbers = {}
    for name, value in method.state().items():
        if name in method.fields:
            arrays[f"mma/{name}"] = levels.order.gather(value)
        elif isinstance(value, np.ndarray):
            arrays[f"mma/{name}"] = value
        else:
            numbers[name] = value
    return {name: array for name, array in arrays.items() if array is not None}, numbers
