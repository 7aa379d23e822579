"""Functionals of the density alone: J(rho) = J(u(rho), rho) and their gradients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import ufl
from dolfinx import fem, la
from ufl.algorithms import expand_derivatives

from dolfinx_neural_topo._communication import sum_replicated
from dolfinx_neural_topo._petsc import Owner
from dolfinx_neural_topo.errors import InputError, agree, collective
from dolfinx_neural_topo.physics.algebra import Functional
from dolfinx_neural_topo.physics.chain import foreign_state
from dolfinx_neural_topo.physics.field import Field
from dolfinx_neural_topo.physics.state import StateProblem


class ReducedFunctional(Functional, Owner):
    """Functional I(u_1, u_2, ..., rho)^power of the states of a problem, as a function of the density.

    Its gradient needs one adjoint solve A^T lmbda_i = dI/du_i for each load case that I depends on:
    dI/drho - sum_i lmbda_i . dF_i/drho, assembled as a linear form on DG0.

    Args:
        J: The integral I, a UFL form without test functions, in `state.states` and `state.rho`.
        state: State problem, which may serve several functionals.
        power: Power of the integral, such as 1 / p for a p-norm.
        name: Name in reports.

    Raises:
        InputError: Not a scalar form, or one of neither a state nor the density.

    Note: Collective.
    """

    @collective
    def __init__(self, J: ufl.Form, state: StateProblem, *, power: float = 1.0, name: str = "J"):
        super().__init__()
        self.state, self.comm, self.name, self.power = state, state.comm, name, power
        if not isinstance(J, ufl.Form) or J.arguments():
            raise InputError(
                f"J must be a UFL form without test or trial functions, got {J!r:.80}; way out: multiply by "
                "dx"
            )
        agree(self.comm, foreign_state([J], own=state.states, what="J"))
        self._cases = [i for i, u in enumerate(state.states) if u in J.coefficients()]
        if not self._cases and state.rho not in J.coefficients():
            raise InputError(
                "J must depend on a state of the problem or on its density, got a form of neither"
            )
        self._J_ufl = J
        self._J = state.compile(J)
        self._dJ_du: list[fem.Form] = []
        self._lmbdas: list[Field] = []
        self._sensitivity: Sensitivity | None = None

    def _integral(self, rho: np.ndarray | None) -> float:
        self.state.solve(rho)
        integral = float(sum_replicated(self.comm, fem.assemble_scalar(self._J)))
        if self.power != 1.0 and not integral > 0.0:
            raise InputError(f"J must be positive where power is not 1, got {integral:.3g} for '{self.name}'")
        return integral

    @collective
    def value(self, rho: np.ndarray | None = None) -> float:
        """Return J(rho), without an adjoint solve.

        Args:
            rho: Density on owned cells, shape (num_owned_cells,), or None for what the state problem holds.

        Note: Collective.
        """
        return self._integral(rho) ** self.power

    @collective
    def value_and_gradient(self, rho: np.ndarray | None = None) -> tuple[float, np.ndarray]:
        """Return J(rho) and dJ/drho on owned cells, a new array of shape (num_owned_cells,).

        Args:
            rho: As for `value`.

        Note: Collective.
        """
        integral = self._integral(rho)
        self.state.check_differentiable()
        if self._sensitivity is None:
            self._sensitivity = self._prepare()
        for form, lmbda in zip(self._dJ_du, self._lmbdas, strict=True):
            self.state.solve_adjoint(form, lmbda)
        gradient = self._sensitivity.assemble()
        if self.power != 1.0:
            gradient *= self.power * integral ** (self.power - 1.0)
        return integral**self.power, gradient

    def _prepare(self) -> Sensitivity:
        """Compile the forms of the gradient, at its first use."""
        state, J = self.state, self._J_ufl
        v = ufl.TestFunction(state.V)
        self._lmbdas = [self.own(Field(fem.Function(state.V, name="lmbda"))) for _ in self._cases]
        parts = [J]
        for case, lmbda in zip(self._cases, self._lmbdas, strict=True):
            parts.append(-state.equation.residual_at(case, lmbda.function))
        self._dJ_du = [state.compile(ufl.derivative(J, state.states[case], v)) for case in self._cases]
        return Sensitivity(parts, state)


class Compliance(Functional, Owner):
    """Compliance sum_i w_i L_i(u_i) (work of the loads), whose adjoint is the state itself: no second solve.

    Its gradient is sum_i w_i (2 dL_i/drho(u_i) - da/drho(u_i, u_i)), which is right for a symmetric a and
    zero Dirichlet values only; anything else is refused.

    Args:
        state: Linear state problem.
        weights: Weight of each load case, 1 by default.
        name: Name in reports.

    Raises:
        InputError: The equation is not linear, not symmetric, or its Dirichlet values are not zero.

    Note: Collective.
    """

    @collective
    def __init__(
        self, state: StateProblem, *, weights: Sequence[float] | None = None, name: str = "compliance"
    ):
        super().__init__()
        self.state, self.comm, self.name = state, state.comm, name
        self.weights = (
            np.ones(len(state.states)) if weights is None else np.asarray(weights, dtype=np.float64)
        )
        if self.weights.shape != (len(state.states),):
            raise InputError(
                f"weights must hold one number for each of {len(state.states)} load cases, got "
                f"{self.weights.shape}"
            )
        if not state.equation.linear:
            raise InputError(
                "Compliance needs a linear equation, got a nonlinear one; way out: ReducedFunctional with J "
                "= L(u)"
            )
        self._check()
        self._sensitivity: Sensitivity | None = None

    def _check(self) -> None:
        wrong = None
        if not self.state.is_symmetric():
            wrong = "a symmetric bilinear form, got one that is not"
        elif not self.state.homogeneous:
            wrong = "zero Dirichlet values, got others"
        if wrong is not None:
            raise InputError(
                f"the closed form of Compliance needs {wrong}; way out: ReducedFunctional with your own J"
            )

    @collective
    def value(self, rho: np.ndarray | None = None) -> float:
        """Return the compliance.

        Args:
            rho: Density on owned cells, shape (num_owned_cells,), or None for what the state problem holds.

        Note: Collective.
        """
        self.state.solve(rho)
        self._check()  # constants and boundary values may have changed since
        return float(sum_replicated(self.comm, self.weights @ self.state.external_work()))

    @collective
    def value_and_gradient(self, rho: np.ndarray | None = None) -> tuple[float, np.ndarray]:
        """Return the compliance and its gradient on owned cells, a new array of shape (num_owned_cells,).

        Args:
            rho: As for `value`.

        Note: Collective.
        """
        value = self.value(rho)
        self.state.check_differentiable()
        if self._sensitivity is None:
            self._sensitivity = self._compile()
        return value, self._sensitivity.assemble()

    def _compile(self) -> Sensitivity:
        equation = self.state.equation
        total = 0
        for weight, u, L in zip(self.weights, equation.states, equation.loads, strict=True):
            work = -float(weight) * ufl.action(ufl.action(equation.a, u), u)
            total = total + (work if L is None else work + 2 * float(weight) * ufl.action(L, u))
        return Sensitivity([total], self.state)


class Sensitivity:
    """Derivative of a sum of scalar forms with respect to the density at fixed states, as DG0 linear forms.

    The parts are compiled apart, because DOLFINx wants one set of facet tags in a form, and that of a
    functional may be another one than that of the loads.

    Args:
        parts: UFL forms without test functions.
        state: Problem whose density it is.

    Note: Collective.
    """

    @collective
    def __init__(self, parts: Sequence[ufl.Form], state: StateProblem):
        space = state.rho.function_space
        v = ufl.TestFunction(space)
        forms = [expand_derivatives(ufl.derivative(part, state.rho, v)) for part in parts]
        forms = [form for form in forms if not form.empty()]
        self._forms = [state.compile(form) for form in forms]
        # Facet integrals add to the cells on both sides, one of which may belong to another rank.
        self._scatter = any(part.integral_type() != "cell" for form in forms for part in form.integrals())
        self._work = fem.Function(space)
        self._num_owned = state.num_owned_cells

    @collective
    def assemble(self) -> np.ndarray:
        """Return the derivative on owned cells, a new array of shape (num_owned_cells,).

        Note: Collective.
        """
        x = self._work.x
        x.array[:] = 0.0
        for form in self._forms:
            fem.assemble_vector(x.array, form)
        if self._scatter:
            x.scatter_reverse(la.InsertMode.add)
        return x.array[: self._num_owned].copy()
