"""Adjoint solves: the transpose of the matrix of a state problem at its present state."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from dolfinx import fem

from dolfinx_neural_topo._petsc import Owner
from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.physics.field import Field
from dolfinx_neural_topo.physics.newton import Newton
from dolfinx_neural_topo.physics.operator import Operator


class Adjoints(Owner):
    """Solves A^T lmbda = dJ/du, zero on Dirichlet degrees of freedom.

    Args:
        operator: The matrix A.
        V: Space of the state.
    """

    def __init__(self, operator: Operator, V: fem.FunctionSpace):
        super().__init__()
        self._operator = operator
        self._load = self.own(Field(fem.Function(V)))

    def solve(
        self, dJ_du: Sequence[fem.Form], lmbda: Field, load: np.ndarray | None, newton: Newton | None
    ) -> bool:
        """Solve, unless the right-hand side is zero; return whether a solve was needed.

        Args:
            dJ_du: Compiled linear forms, which are summed.
            lmbda: Receives the adjoint; its present value is the initial guess of iterative solvers.
            load: More of the right-hand side, on owned degrees of freedom.
            newton: Newton's method of a nonlinear problem, whose Jacobian is renewed at the present state.

        Raises:
            InputError: A right-hand side that is not finite.
            SolverError: No convergence.

        Note: Collective.
        """
        b = self._load
        b.assemble(dJ_du)
        if load is not None:
            b.owned[:] += load
        for bc in self._operator.bcs:
            bc.set(b.function.x.array, None, 0.0)
        b.changed()
        norm = b.vec.norm()
        if not np.isfinite(norm):
            raise InputError(
                "a functional must have a derivative at the state, got NaN or infinity in dJ/du; way out: "
                "sqrt(x + 1e-9) in place of sqrt(x)"
            )
        if norm == 0.0:
            lmbda.function.x.array[:] = 0.0
            return False
        if newton is not None:
            newton.linearize()
        self._operator.solve([b.vec], [lmbda.vec], transpose=True)
        lmbda.scatter_forward()
        return True
