"""Derivatives of scalar forms of states by the density: adjoint solves, and what is left of the forms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import ufl
from dolfinx import fem, la
from ufl.algorithms import expand_derivatives

from dolfinx_neural_topo._dolfinx import owned_cells
from dolfinx_neural_topo._petsc import Owner
from dolfinx_neural_topo.errors import collective
from dolfinx_neural_topo.physics.field import Field
from dolfinx_neural_topo.physics.state import StateProblem


class Gradient(Owner):
    """Derivative by the density of a sum of scalar forms of states, by one adjoint solve for each state.

    Problems are taken in reverse order. The adjoint of each is driven by all forms so far, to which it adds
    its own: -F(u; lmbda).

    Args:
        parts: UFL forms without test functions.
        problems: Problems of all states, those that feed others first.
        stationary: Problem whose states do not change the sum to first order.

    Note: Collective.
    """

    def __init__(
        self,
        parts: Sequence[ufl.Form],
        problems: Sequence[StateProblem],
        stationary: StateProblem | None = None,
    ):
        super().__init__()
        parts = list(parts)
        self._problems = problems
        self._adjoints: list[tuple[StateProblem, list[fem.Form], Field]] = []
        for problem in reversed(problems):
            work: list[ufl.Form] = []
            for case, u in enumerate(problem.states if problem is not stationary else ()):
                forms = derivatives(parts, u)
                if forms:
                    lmbda = self.own(Field(fem.Function(problem.V, name="lmbda")))
                    self._adjoints.append((problem, [problem.compile(form) for form in forms], lmbda))
                    work += [-form for form in problem.equation.residual_at(case, lmbda.function)]
            parts += work
        self._sensitivity = Sensitivity(parts, problems[-1])

    def assemble(self) -> np.ndarray:
        """Return the derivative at the present states, a new array of the shape of densities.

        Raises:
            InputError: An equation holds a copy of a solution.

        Note: Collective.
        """
        for problem in self._problems:
            problem.check_differentiable()
        for problem, forms, lmbda in self._adjoints:
            problem.solve_adjoint(forms, lmbda)
        return self._sensitivity.assemble()


def derivatives(parts: Sequence[ufl.Form], f: fem.Function) -> list[ufl.Form]:
    """Return the derivatives of forms by a function, without those that are zero.

    They stay apart, because DOLFINx wants one set of facet tags in a form, and that of a functional may be
    another one than that of the loads.
    """
    v = ufl.TestFunction(f.function_space)
    forms = [expand_derivatives(ufl.derivative(part, f, v)) for part in parts if f in part.coefficients()]
    return [form for form in forms if not form.empty()]


class Sensitivity:
    """Derivative of a sum of scalar forms with respect to the density at fixed states, as DG0 linear forms.

    Args:
        parts: UFL forms without test functions.
        state: Problem whose density it is.

    Note: Collective.
    """

    @collective
    def __init__(self, parts: Sequence[ufl.Form], state: StateProblem):
        space = state.rho.function_space
        forms = derivatives(parts, state.rho)
        self._forms = [state.compile(form) for form in forms]
        # Facet integrals add to the cells on both sides, one of which may belong to another rank.
        self._scatter = any(part.integral_type() != "cell" for form in forms for part in form.integrals())
        self._work = fem.Function(space)
        self.comm = space.mesh.comm

    @collective
    def assemble(self) -> np.ndarray:
        """Return the derivative on owned cells, a new array of the shape of densities.

        Note: Collective.
        """
        x = self._work.x
        x.array[:] = 0.0
        for form in self._forms:
            fem.assemble_vector(x.array, form)
        if self._scatter:
            x.scatter_reverse(la.InsertMode.add)
        return owned_cells(self._work).copy()
