"""One design problem with the physics of several meshes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dolfinx_neural_topo.density import Design, PMeanPooling, PooledFunctional
from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.optimize.method import Array
from dolfinx_neural_topo.optimize.ordering import CanonicalOrder


class Levels:
    """A design whose objective can also be had from coarser state problems, cheaply and nearly.

    Design variables, filter and volume are those of the fine mesh at every level. Level 0 is the design
    itself; at level k its density drives `coarse[k - 1]` through a `PMeanPooling`.

    Attributes:
        comm: Communicator.
        transfer: Map from an image to owned cells.
        order: Canonical order of the design cells.

    Args:
        design: The design on its own mesh, without projection.
        coarse: Functionals of the same problem on ever coarser meshes on the same ranks, each with its
            `state`.
        penalties: Exponents of SIMP in the state problems of the design and of each of `coarse`: objects with
            `value`, such as `fem.Constant`. All have the same value.
        transfer: Map from an image to owned cells (`PixelTransfer`, `SampledTransfer`).
        close: Called by `destroy`, to free what belongs to the problem.

    Raises:
        InputError: The numbers of penalties and functionals do not fit, or the design has constraints beside
            the volume, which neural starts cannot hold.

    Note: Collective.
    """

    def __init__(
        self,
        design: Design,
        coarse: Sequence[Any],
        penalties: Sequence[Any],
        transfer: Any,
        close: Callable[[], None] | None = None,
    ):
        if len(penalties) != len(coarse) + 1:
            raise InputError(
                f"penalties must hold one for the design and one for each of {len(coarse)} coarser problems, "
                f"got {len(penalties)}"
            )
        if design.constraints:
            raise InputError(
                f"design must have no constraint beside its volume, got {len(design.constraints)}; "
                "way out: minimize by MMA"
            )
        self.comm = design.comm
        self.transfer = transfer
        self._penalties = tuple(penalties)
        self._close = close
        self.order = CanonicalOrder(design.comm, design.canonical_index)
        self._designs = [design]
        self._weights = [1.0]
        for functional, penalty in zip(coarse, penalties[1:], strict=True):
            space = functional.state.rho.function_space
            coarser = copy.copy(design)  # shares domain, filter and volume
            coarser.functional = PooledFunctional(functional, PMeanPooling(design.domain, space, penalty))
            self._designs.append(coarser)
            self._weights.append(space.dofmap.index_map.size_global / design.domain.num_global_cells)

    @property
    def num_levels(self) -> int:
        """Number of meshes."""
        return len(self._designs)

    @property
    def penalty(self) -> float:
        """Exponent of SIMP at all levels."""
        return float(self._penalties[0].value)

    @penalty.setter
    def penalty(self, value: float) -> None:
        for penalty in self._penalties:
            penalty.value = value

    def existing(self, level: int) -> int:
        """Return `level`, or the coarsest level there is."""
        return min(level, self.num_levels - 1)

    def design(self, level: int) -> Design:
        """Return the design with the physics of a level."""
        return self._designs[self.existing(level)]

    def weight(self, level: int) -> float:
        """Return the cells of a level relative to those of the full mesh."""
        return self._weights[self.existing(level)]

    def destroy(self) -> None:
        """Free what belongs to the problem. Note: Collective."""
        if self._close is not None:
            self._close()


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
