"""A benchmark problem as data: supports, loads and design cells on a grid of unit cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from dolfinx_neural_topo.errors import InputError

X, Y, Z = 0, 1, 2
SMALLEST = 4  # cells along an axis; below, rounded positions of different supports and loads coincide


@dataclass(frozen=True, eq=False)
class Task:
    """A design problem on W x H (x D) unit cells, the same on all ranks.

    Node (i, j): i = 0..W from the left, j = 0..H **from the top**, so x = i and y = H - j; in 3D a third
    index k = 0..D with z = k. Components of loads are along x, y (up) and z.

    Attributes:
        category: Name of the family, with the parameters that belong to it ("l_shape_0.4").
        shape: Number of cells (W, H) or (W, H, D).
        volume_fraction: Allowed mean density over the design cells, in (0, 1).
        fixed: Fixed degrees of freedom, rows (i, j[, k], component), int, sorted.
        load_at: Loaded degrees of freedom, rows (i, j[, k], component), int, sorted.
        load: Nodal loads, shape (len(load_at),), force.
        void: Cells that must stay empty, bool, shape (H, W) or (D, H, W), row 0 at the top; None for none.
        physics: Which built-in problem: "elasticity", "heat", "mechanism" or "stokes".
        parameters: What else that problem needs (springs of a mechanism, openings of a flow).
    """

    category: str
    shape: tuple[int, ...]
    volume_fraction: float
    fixed: npt.NDArray[np.int64]
    load_at: npt.NDArray[np.int64]
    load: npt.NDArray[np.float64]
    void: npt.NDArray[np.bool_] | None = None
    physics: str = "elasticity"
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Category, size and volume fraction: "mbb_beam_96x32_0.5"."""
        return f"{self.category}_{'x'.join(map(str, self.shape))}_{self.volume_fraction:g}"

    @property
    def dim(self) -> int:
        """Number of space dimensions, 2 or 3."""
        return len(self.shape)

    @property
    def num_cells(self) -> int:
        """Number of cells, void ones included."""
        return int(np.prod(self.shape))

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape of a picture of the design: (H, W), or (D, H, W) in 3D."""
        width, height, *depth = self.shape
        return (*depth, height, width)

    @property
    def mirror(self) -> tuple[bool, bool]:
        """Whether (left, right) is a symmetry plane: a full-height roller along x that is not clamped."""
        return self._symmetric(0), self._symmetric(self.shape[0])

    def _symmetric(self, i: int) -> bool:
        if self.physics != "elasticity":
            return False
        on_edge = self.fixed[self.fixed[:, 0] == i]
        num_nodes = int(np.prod([n + 1 for n in self.shape[1:]]))
        components = on_edge[:, -1]
        return bool((components == X).sum() == num_nodes and (components == Y).sum() < num_nodes)


class Sketch:
    """Arrays a builder writes into; `task` turns them into a `Task`.

    Attributes:
        fixed: Fixed degrees of freedom, bool, shape (W + 1, H + 1[, D + 1], components).
        force: Nodal loads, float, same shape; positive y is up.
        void: Empty cells, bool, shape (H, W) or (D, H, W), row 0 at the top.
    """

    def __init__(self, *shape: int, components: int | None = None):
        for name, cells in zip(("width", "height", "depth"), shape, strict=False):
            if not isinstance(cells, int | np.integer) or cells < SMALLEST:
                raise InputError(
                    f"{name} must be a whole number of cells, at least {SMALLEST}, got {cells!r}"
                )
        self.shape = tuple(int(cells) for cells in shape)
        nodes = tuple(cells + 1 for cells in self.shape)
        width, height, *depth = self.shape
        self.fixed = np.zeros((*nodes, components or len(shape)), dtype=bool)
        self.force = np.zeros(self.fixed.shape)
        self.void = np.zeros((*depth, height, width), dtype=bool)

    def clamp(self, *where: int | slice) -> None:
        """Fix all components at nodes [i, j[, k]]."""
        self.fixed[where] = True

    def task(self, category: str, volume_fraction: float, **kwargs: Any) -> Task:
        """Return the finished task.

        Raises:
            InputError: The volume fraction is not in (0, 1), or the void leaves no design cell.
        """
        if not 0.0 < volume_fraction < 1.0:
            raise InputError(f"volume_fraction must lie in (0, 1), got {volume_fraction!r}")
        if self.void.all():
            raise InputError(f"{category}: the void covers all {self.void.size} cells; choose a larger grid")
        load_at = np.argwhere(self.force)
        return Task(
            category=category,
            shape=self.shape,
            volume_fraction=float(volume_fraction),
            fixed=np.argwhere(self.fixed),
            load_at=load_at,
            load=self.force[tuple(load_at.T)],
            void=self.void if self.void.any() else None,
            **kwargs,
        )
