"""Functionals of states in time, and their gradients, by going back in time."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import ufl
from dolfinx import fem

from dolfinx_neural_topo._communication import sum_replicated
from dolfinx_neural_topo._dolfinx import owned_cells, share
from dolfinx_neural_topo._petsc import Owner
from dolfinx_neural_topo.errors import InputError, collective
from dolfinx_neural_topo.physics.algebra import Functional
from dolfinx_neural_topo.physics.chain import feeders, given
from dolfinx_neural_topo.physics.field import Field
from dolfinx_neural_topo.physics.forms import pinned
from dolfinx_neural_topo.physics.gradient import Sensitivity, derivatives
from dolfinx_neural_topo.physics.transient import TransientProblem, check_parts


class TransientFunctional(Functional, Owner):
    """Functional (I_1 + I_2 + ... + I_N)^power of states in time, I_n = I(u_n, u_(n-1), rho) at step n.

    The form I may hold constants with histories: the length of a step where that changes, or weights (0, ...,
    0, 1 for the last state alone). The p-norm of the temperature over space and time, close to the peak:

        peak = TransientFunctional(dt * T**p * dx, problem, power=1 / p)

    The gradient goes back from the last step, with one adjoint solve a step:

        A_n^T lmbda_n = dI_n/du_n + d(I_(n+1) - F_(n+1) . lmbda_(n+1))/du_n,
        dI/drho = sum_n dI_n/drho - lmbda_n . dF_n/drho.

    Args:
        J: The integral I, a UFL form without test functions, in `u`, `u_old` and the density of the problem.
        problem: Steps in time.
        power: Power of the sum.
        name: Name in reports.

    Raises:
        InputError: Not a scalar form, or one of something else.

    Note: Collective.

    Example:
        >>> T, T_old, w = fem.Function(Q), fem.Function(Q), ufl.TestFunction(Q)
        >>> F = (T - T_old) / 0.1 * w * ufl.dx + rho * ufl.dot(ufl.grad(T), ufl.grad(w)) * ufl.dx - w * ufl.dx
        >>> heating = dnt.TransientProblem(F, rho, u=T, u_old=T_old, num_steps=3, petsc_options_prefix="sum_")
        >>> total = dnt.TransientFunctional(T**2 * ufl.dx, heating)  # the sum over the steps
        >>> bool(dnt.taylor_test(total, half).min() > 1.9)
        True
        >>> heating.destroy()
    """

    @collective
    def __init__(self, J: ufl.Form, problem: TransientProblem, *, power: float = 1.0, name: str = "J"):
        super().__init__()
        if not isinstance(problem, TransientProblem):
            raise InputError(f"problem must be a TransientProblem, got {type(problem).__name__}")
        if not isinstance(J, ufl.Form) or J.arguments():
            raise InputError(
                f"J must be a UFL form without test or trial functions, got {J!r:.80}; way out: multiply by "
                "dx"
            )
        known = {problem.u, problem.u_old, problem.rho}
        if not known & set(J.coefficients()):
            raise InputError("J must depend on the state, or on the density, of the problem, but does not")
        check_parts(J, problem.u, problem.u_old)
        for other in feeders([J]):
            if other is not problem:
                raise InputError(
                    f"J must hold states of one problem, got one of '{other.petsc_options_prefix}' too; way "
                    "out: a sum of functionals"
                )
        self.state, self.comm, self.name, self.power = problem, problem.comm, name, float(power)
        self.problems = problem.chain
        self._J_ufl = J = pinned(J)
        self._J = problem.compile(J)
        self._given = given([J], problem.rho)
        self._back: _Back | None = None

    @collective
    def value(self, rho: np.ndarray | None = None) -> float:
        """Return J(rho). States that were not kept are computed again.

        Args:
            rho: Density on owned cells, shape (num_owned_cells,), or None for what the problem holds.

        Note: Collective.
        """
        self.state.solve(rho)
        share(self._given)
        with closing(self.state.replay()) as steps:
            parts = [fem.assemble_scalar(self._J) for _ in steps]
        return self._sum(parts) ** self.power

    def _sum(self, parts: list[float]) -> float:
        total = float(sum_replicated(self.comm, sum(parts)))
        if self.power != 1.0 and not total > 0.0:
            raise InputError(f"J must be positive where power is not 1, got {total:.3g} for '{self.name}'")
        return total

    @collective
    def value_and_gradient(self, rho: np.ndarray | None = None) -> tuple[float, np.ndarray]:
        """Return J(rho) and dJ/drho on owned cells, a new array of shape (num_owned_cells,).

        Args:
            rho: As for `value`.

        Raises:
            InputError: The equation holds a copy of a solution beside `u_old`.

        Note: Collective.
        """
        self.state.solve(rho)
        share(self._given)
        self.state.check_steps_differentiable()
        if self._back is None:
            self._back = self.own(_Back(self._J_ufl, self.state))
        parts, gradient = [], np.zeros_like(owned_cells(self.state.rho))
        self._back.begin()
        with closing(self.state.replay(reverse=True)) as steps:
            for _ in steps:
                parts.append(fem.assemble_scalar(self._J))
                gradient += self._back.step()
        total = self._sum(parts[::-1])
        if self.power != 1.0:
            gradient *= self.power * total ** (self.power - 1.0)
        return total**self.power, gradient


class _Back(Owner):
    """Adjoint of one step, and what it hands to the step before.

    Args:
        J: Functional at a step.
        problem: Steps in time.

    Note: Collective.
    """

    def __init__(self, J: ufl.Form, problem: TransientProblem):
        super().__init__()
        self._problem = problem
        self._lmbda: Field = self.own(Field(fem.Function(problem.V, name="lmbda")))
        self._carry: Field = self.own(Field(fem.Function(problem.V)))
        parts = [J, *(-form for form in problem.equation.residual_at(0, self._lmbda.function))]
        self._dJ_du = [problem.compile(form) for form in derivatives([J], problem.u)]
        self._to_old = [problem.compile(form) for form in derivatives(parts, problem.u_old)]
        self._sensitivity = Sensitivity(parts, problem)

    def begin(self) -> None:
        """Stand behind the last step."""
        self._carry.function.x.array[:] = 0.0

    def step(self) -> np.ndarray:
        """Take the present step back; return its part of the gradient on owned cells.

        Note: Collective.
        """
        self._problem.solve_adjoint(self._dJ_du, self._lmbda, self._carry.owned)
        self._carry.assemble(self._to_old)
        return self._sensitivity.assemble()
