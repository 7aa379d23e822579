"""Right-hand sides of a linear state problem."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from dolfinx import fem
from petsc4py import PETSc

from dolfinx_neural_topo._petsc import Owner
from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.physics.field import Field


class RightHandSides(Owner):
    """Right-hand side of each load case: a form, forces at degrees of freedom, Dirichlet values.

    Args:
        a: Compiled bilinear form, for what Dirichlet values contribute.
        V: Space of the state.
        bcs: Dirichlet conditions.
        forms: Compiled linear form of each load case, or None for zero.
        nodal_loads: Forces at degrees of freedom of each load case, or None.

    Attributes:
        fields: The vectors, one for each load case.

    Note: Collective.
    """

    def __init__(
        self,
        a: fem.Form,
        V: fem.FunctionSpace,
        bcs: Sequence[fem.DirichletBC],
        forms: Sequence[fem.Form | None],
        nodal_loads: Sequence[fem.Function | None],
    ):
        super().__init__()
        self._a, self._bcs, self._forms, self._nodal = a, bcs, forms, nodal_loads
        self.fields: list[Field] = [self.own(Field(fem.Function(V))) for _ in forms]

    @property
    def vectors(self) -> list[PETSc.Vec]:
        """The right-hand sides as PETSc vectors."""
        return [field.vec for field in self.fields]

    def assemble(self, case: int, *, lifted: bool, diagonal: float, may_vanish: bool = False) -> None:
        """Assemble the right-hand side of a load case.

        Args:
            case: Number of the load case, from 0.
            lifted: Whether some Dirichlet value is not zero.
            diagonal: What the matrix holds in the rows of Dirichlet degrees of freedom.
            may_vanish: Whether a load of zero is right, as in a step of time.

        Raises:
            InputError: A load that is zero or not finite.

        Note: Collective.
        """
        b, form, nodal = self.fields[case], self._forms[case], self._nodal[case]
        b.assemble([] if form is None else [form], scatter=False)
        if lifted:
            fem.apply_lifting(b.function.x.array, [self._a], [list(self._bcs)])
        b.add_from_ghosts()
        if nodal is not None:
            b.owned[:] += nodal.x.array[: b.owned.size]
        for bc in self._bcs:
            bc.set(b.function.x.array, None, diagonal)
        b.changed()
        norm = b.vec.norm()
        if not np.isfinite(norm):
            raise InputError(f"the load of case {case} must be finite, got NaN or infinity in it")
        if norm == 0.0 and not may_vanish:
            raise InputError(
                f"the load of case {case} must not be zero, got only zeros at free degrees of freedom; "
                "way out: check tags and measures in L and positions of nodal_loads, or use inhomogeneous bcs"
            )
