"""A function and a PETSc vector on the same memory."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from dolfinx import fem, la
from petsc4py import PETSc

from dolfinx_neural_topo._dolfinx import wrap_vector
from dolfinx_neural_topo._petsc import Owner


class Field(Owner):
    """Degrees of freedom seen as a DOLFINx function, as a NumPy array and as a PETSc vector.

    Args:
        function: The function, kept alive and shared.
    """

    def __init__(self, function: fem.Function):
        super().__init__()
        self.function = function
        self.vec: PETSc.Vec = self.own(wrap_vector(function))

    @property
    def owned(self) -> np.ndarray:
        """Degrees of freedom owned by this rank, a view, shape (n,)."""
        return self.function.x.array[: self.vec.local_size]

    def assemble(self, forms: Iterable[fem.Form], *, scatter: bool = True) -> None:
        """Set to the sum of assembled linear forms; with `scatter`, contributions of other ranks are added.

        Note: Collective.
        """
        array = self.function.x.array
        array[:] = 0.0
        for form in forms:
            fem.assemble_vector(array, form)
        if scatter:
            self.add_from_ghosts()

    def add_from_ghosts(self) -> None:
        """Add what was assembled into ghosts to their owners.

        Note: Collective.
        """
        self.function.x.scatter_reverse(la.InsertMode.add)

    def changed(self) -> None:
        """Tell PETSc that NumPy has written here, so that it forgets cached norms."""
        self.vec.stateIncrease()

    def scatter_forward(self) -> None:
        """Copy owned values to the ghosts on other ranks.

        Note: Collective.
        """
        self.function.x.scatter_forward()
