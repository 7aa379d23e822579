"""Stages of the density one after the other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np

from dolfinx_neural_topo.errors import checked


class Smooth(Protocol):
    """A map of densities on owned cells, with its transposed derivative.

    A linear one ignores the point x, y of its pullback and says so by offering `apply_transpose` too.
    """

    def apply(self, x: np.ndarray) -> np.ndarray:
        """Map owned values, shape (num_owned_cells,)."""

    def pullback(self, dJ_dy: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Gradient with respect to x from one with respect to y = apply(x)."""


class Stage(Smooth, Protocol):
    """A map that can be made again on another mesh: a filter, or what manufacturing asks for."""

    def on(self, domain: Any) -> Any:
        """Return the same stage on another domain."""


class Identity:
    """The stage that changes nothing: stands where a design has no filter or no projection.

    Attributes:
        beta: None, there is no sharpness to continue in.
        realizations: Itself alone, as of a projection.
    """

    beta = None

    @property
    def realizations(self) -> tuple[Identity]:
        """See above."""
        return (self,)

    def apply(self, x: np.ndarray) -> np.ndarray:
        """Return x."""
        return x

    def apply_transpose(self, dJ_dy: np.ndarray) -> np.ndarray:
        """Return dJ_dy."""
        return dJ_dy

    def pullback(self, dJ_dy: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return dJ_dy."""
        return dJ_dy

    def on(self, domain: Any) -> Identity:
        """Return itself."""
        return self


class Chain:
    """Stages one after the other; without any, the identity.

    Attributes:
        stages: The stages in the order in which they are applied.

    Args:
        stages: Stages.
    """

    @checked
    def __init__(self, stages: Iterable[Smooth]):
        self.stages = tuple(stages)

    @property
    def is_linear(self) -> bool:
        """Whether all stages are linear."""
        return all(hasattr(stage, "apply_transpose") for stage in self.stages)

    def apply(self, x: np.ndarray) -> np.ndarray:
        """Apply all stages to owned values, shape (num_owned_cells,). Note: Collective among stages."""
        return self.fields(x)[-1]

    def fields(self, x: np.ndarray) -> list[np.ndarray]:
        """Apply all stages; return x and what each stage makes of it, in order.

        Note: Collective among stages.
        """
        fields = [x]
        for stage in self.stages:
            fields.append(stage.apply(fields[-1]))
        return fields

    def pullback(self, dJ_dy: np.ndarray, fields: list[np.ndarray]) -> np.ndarray:
        """Gradient with respect to the first of the fields from one with respect to the last.

        Args:
            dJ_dy: Owned values, shape (num_owned_cells,).
            fields: What `fields` returned.

        Note: Collective among stages.
        """
        for k in reversed(range(len(self.stages))):
            dJ_dy = self.stages[k].pullback(dJ_dy, fields[k], fields[k + 1])
        return dJ_dy
