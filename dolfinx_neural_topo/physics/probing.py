"""What kind of matrix an equation has, found out before its first solve."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import ufl
from dolfinx import fem

from dolfinx_neural_topo._dolfinx import dg0_cells, original_cells
from dolfinx_neural_topo._petsc import Owner
from dolfinx_neural_topo.physics.factor_assembly import FactorAssembly, faster_assembly
from dolfinx_neural_topo.physics.forms import Equation
from dolfinx_neural_topo.physics.operator import Operator


class Probing(Owner):
    """Lets an operator find out what kind it is, and whether it can be assembled in a faster way.

    At a generic density: a uniform one could hide an asymmetry, an extreme one could look like a missing
    support. The density function holds it meanwhile: a form with a function of its own would be
    compiled once more.

    Args:
        operator: The operator.
        equation: Its equation.
        a: Compiled bilinear form.
        rho: Density.
        bcs: Dirichlet conditions.
        compile: What compiles UFL forms.

    Attributes:
        shortcut: The faster way, once one has been tried, or None.
    """

    def __init__(
        self,
        operator: Operator,
        equation: Equation,
        a: fem.Form,
        rho: fem.Function,
        bcs: Sequence[fem.DirichletBC],
        compile: Callable[[ufl.Form], fem.Form],
    ):
        super().__init__()
        self._operator, self._equation, self._a = operator, equation, a
        self._rho, self._bcs, self._compile = rho, bcs, compile
        self.shortcut: FactorAssembly | None = None
        self._hopeful = True

    def look(self, again: bool = False) -> bool:
        """Look at the matrix where that has not been done yet; return whether it was.

        Args:
            again: Whether a linear equation has changed in more than the density.

        Note: Collective.
        """
        linear = self._equation.linear
        if self._operator.traits is not None and not (again and linear):
            return False
        values = self._rho.x.array
        held = values.copy()
        cells = original_cells(self._rho.function_space.mesh)[dg0_cells(self._rho.function_space)]
        each = values.reshape(cells.size, self._rho.function_space.dofmap.index_map_bs)
        each[:] = 0.25 + 0.75 * np.modf(0.618034 * np.add.outer(cells, 0.5 * np.arange(each.shape[1])))[0]
        try:
            self._operator.shortcut = None
            self._operator.probe()
        finally:
            values[:] = held
        here = self._operator.periodicity is None and self._rho in self._equation.a.coefficients()
        if linear and here and self._rho.ufl_shape == ():
            self._find_shortcut()
        return True

    def _find_shortcut(self) -> None:
        """Look for a faster assembly; a form that was refused one is not asked again."""
        a = self._equation.a
        if not self._hopeful:
            return
        if self.shortcut is None and (kind := faster_assembly(a)) is not None:
            self.shortcut = self.own(kind(a, self._a, self._bcs, self._rho, self._compile))
        self._hopeful = self.shortcut is not None and self.shortcut.learn(self._operator.A)
        if self._hopeful:
            self._operator.shortcut = self.shortcut
