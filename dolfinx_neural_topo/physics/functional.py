"""Functionals of the density alone: J(rho) = J(u(rho), rho)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import ufl
from dolfinx import fem

from dolfinx_neural_topo._checks import check_number
from dolfinx_neural_topo._communication import sum_replicated
from dolfinx_neural_topo._dolfinx import share
from dolfinx_neural_topo._petsc import Owner
from dolfinx_neural_topo.errors import InputError, agree, collective
from dolfinx_neural_topo.physics.algebra import Functional
from dolfinx_neural_topo.physics.chain import check_densities, feeders, given, in_order, whole
from dolfinx_neural_topo.physics.forms import pinned
from dolfinx_neural_topo.physics.gradient import Gradient
from dolfinx_neural_topo.physics.state import StateProblem


class ReducedFunctional(Functional, Owner):
    """Functional I(u_1, u_2, ..., rho)^power of the states of problems, as a function of the density.

    The states may be those of several problems, and these may feed each other. The gradient needs one adjoint
    solve for each load case that matters, last problem first: A^T lmbda_i = d(I - sum_k lmbda_k . F_k)/du_i
    over all k that come later. It is dI/drho - sum_i lmbda_i . dF_i/drho, assembled as linear forms on DG0.

    Args:
        J: The integral I, a UFL form without test functions, in states and `state.rho`.
        state: State problem, which may serve several functionals.
        power: Power of the integral, such as 1 / p for a p-norm.
        name: Name in reports.

    Attributes:
        problems: All problems that are solved for it, in this order.

    Raises:
        InputError: Not a scalar form, one of neither a state nor the density, or states of problems with
            other densities.

    Note: Collective.

    Example:
        >>> u = ufl.SpatialCoordinate(plate)[0] * state.u
        >>> weighted = dnt.ReducedFunctional(ufl.dot(u, u) * ufl.dx, state, name="movement")
        >>> bool(dnt.taylor_test(weighted, half).min() > 1.9)
        True
    """

    @collective
    def __init__(self, J: ufl.Form, state: StateProblem, *, power: float = 1.0, name: str = "J"):
        super().__init__()
        if check_number("power", power) == 0.0:
            raise InputError("power must not be 0, which makes every value 1")
        self.state, self.comm, self.name, self.power = state, state.comm, name, power
        if not isinstance(J, ufl.Form) or J.arguments():
            raise InputError(
                f"J must be a UFL form without test or trial functions, got {J!r:.80}; way out: multiply by "
                "dx"
            )
        self._J_ufl = J = pinned(whole(J))
        holders = feeders([J])
        if not holders and state.rho not in J.coefficients():
            raise InputError(
                "J must depend on a state of the problem or on its density, got a form of neither"
            )
        self.problems = in_order(holders or [state])
        agree(self.comm, check_densities("J", state.rho, self.problems))
        self._J = state.compile(J)
        self._given = given([J], state.rho)
        self._gradient: Gradient | None = None

    def _integral(self, rho: np.ndarray | None) -> float:
        for problem in feeders([self._J_ufl]):
            if problem not in self.problems:
                raise InputError(
                    f"'{self.name}' was made before '{problem.petsc_options_prefix}', which solves for one "
                    "of its functions; way out: make functionals after all problems"
                )
        for problem in self.problems:
            problem.solve(rho)
        share(self._given)
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
        if self._gradient is None:
            self._gradient = self.own(Gradient([self._J_ufl], self.problems))
        gradient = self._gradient.assemble()
        if self.power != 1.0:
            gradient *= self.power * integral ** (self.power - 1.0)
        return integral**self.power, gradient


class Compliance(Functional, Owner):
    """Compliance sum_i w_i L_i(u_i) (work of the loads), whose adjoint is the state itself: no second solve.

    It equals sum_i w_i (2 L_i(u_i) - a(u_i, u_i)), which does not change with u_i to first order, so that
    only the density (and states that feed this one) count in its gradient. That is right for a symmetric a
    and zero Dirichlet values only; anything else is refused.

    Args:
        state: Linear state problem.
        weights: Weight of each load case, 1 by default. They may change between evaluations.
        name: Name in reports.

    Raises:
        InputError: The equation is not linear, not symmetric, or its Dirichlet values are not zero.

    Note: Collective.

    Example:
        >>> compliance = dnt.Compliance(state)
        >>> value, dJ_drho = compliance.value_and_gradient(design.rho_from_design(half))
        >>> bool(value > 0.0 and np.all(dJ_drho < 0.0))  # more material is stiffer
        True
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
        if self.weights.shape == (len(state.states),) and not np.isfinite(self.weights).all():
            raise InputError(f"weights must be finite, got {self.weights.tolist()}")
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
        if state.equation.b is not None:
            raise InputError("Compliance needs loads, got an eigenvalue problem; way out: Eigenvalue")
        self._constants = [fem.Constant(state.mesh, weight) for weight in self.weights]
        self.problems = state.chain
        if len(state.chain) == 1:  # elsewhere the matrix may need states that are still to come
            self._check()
        self._gradient: Gradient | None = None

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
        if self._gradient is None:
            self._gradient = self.own(self._prepare())
        for constant, weight in zip(self._constants, self.weights, strict=True):
            constant.value = weight
        return value, self._gradient.assemble()

    def _prepare(self) -> Gradient:
        equation = self.state.equation
        cases = list(zip(self._constants, equation.states, equation.loads, strict=True))
        energy = sum(-weight * ufl.action(ufl.action(equation.a, u), u) for weight, u, _ in cases)
        loads = [2.0 * weight * ufl.action(L, u) for weight, u, L in cases if L is not None]
        return Gradient([energy, *loads], self.problems, stationary=self.state)
