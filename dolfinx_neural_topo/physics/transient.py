"""States that change in time: one equation, solved step after step, with what it takes to go back."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any

import numpy as np
import ufl
from dolfinx import fem

from dolfinx_neural_topo._checks import check_count
from dolfinx_neural_topo._digest import exact
from dolfinx_neural_topo.errors import InputError, collective
from dolfinx_neural_topo.physics import chain
from dolfinx_neural_topo.physics.field import Field
from dolfinx_neural_topo.physics.inputs import Change
from dolfinx_neural_topo.physics.state import StateProblem


class TransientProblem(StateProblem):
    """States u_1, u_2, ..., u_N of an equation in time, each step F(u_n, u_(n-1); v, rho) = 0 from the last.

    The residual is yours, and so is the scheme. The theta scheme of heat, with capacity c and step dt:

        middle = theta * T + (1 - theta) * T_old
        F = c * (T - T_old) / dt * v * dx + k * dot(grad(middle), grad(v)) * dx - q * v * dx
        problem = TransientProblem(F, rho, u=T, u_old=T_old, num_steps=50, petsc_options_prefix="heat_")

    Each step is the solve of a `StateProblem`: linear or by Newton's method, checked, with one factorization
    for all steps where the matrix stays the same. After `solve`, `u` holds u_N and `u_old` u_(N-1).
    `TransientFunctional` makes functionals.

    The gradient goes back in time and needs all states. All are kept, or each `keep_every`-th, from which
    those between are computed again: the square root of the number of steps keeps least, 2 sqrt(N) states,
    for one more solve a step. (Schedules of several levels, as in the reference, would keep fewer still.)

    Args:
        equation: Residual F in `u`, `u_old`, test function and density.
        rho: Density in DG0.
        u: Function of the new state.
        u_old: Function of the state before. What it holds now is the initial state u_0.
        num_steps: Number of steps N; None where `histories` tell it.
        histories: Values of `fem.Constant`s of the equation (or the boundary values, or functionals) at each
            step, shape (num_steps, *shape of the constant): time, a load, the length of a step.
        keep_every: Each how many steps the state is kept.
        bcs: Dirichlet conditions; for values that change in time, give them as constants with histories.
        petsc_options_prefix: Prefix of all PETSc options of this problem.
        options: Further arguments of `StateProblem`.

    Attributes:
        num_steps: Number of steps.
        initial: u_0, degrees of freedom with ghosts. Copied when the problem was made.

    Raises:
        InputError: No residual that holds both states, a state of another problem in it, or histories of
            wrong shapes or for something else than constants.

    References:
        Griewank and Walther, Algorithm 799: revolve, ACM TOMS 26 (2000).

    Note: Collective.

    Example:
        >>> T, T_old, w = fem.Function(Q), fem.Function(Q), ufl.TestFunction(Q)
        >>> dt = 0.1
        >>> F = (T - T_old) / dt * w * ufl.dx + rho * ufl.dot(ufl.grad(T), ufl.grad(w)) * ufl.dx - w * ufl.dx
        >>> steps = {"u": T, "u_old": T_old, "num_steps": 3}
        >>> heating = dnt.TransientProblem(F, rho, **steps, petsc_options_prefix="heat_")
        >>> heating.solve(half)
        >>> bool(T.x.array.min() > 0.0)
        True
        >>> heating.destroy()
    """

    load_may_vanish = True

    @collective(free=("histories",))
    def __init__(
        self,
        equation: ufl.Form,
        rho: fem.Function,
        *,
        u: fem.Function,
        u_old: fem.Function,
        num_steps: int | None = None,
        histories: Mapping[fem.Constant, Any] | None = None,
        keep_every: int = 1,
        bcs: Sequence[fem.DirichletBC] = (),
        petsc_options_prefix: str,
        **options: Any,
    ):
        _check_step(equation, u, u_old)
        self.u_old, self._keep_every = u_old, check_count("keep_every", keep_every)
        self._histories = _read_histories(histories, num_steps)
        _check_alike(u.function_space.mesh.comm, self._histories)
        lengths = [len(values) for _, values in self._histories]
        self.num_steps = check_count("num_steps", num_steps) if num_steps is not None else lengths[0]
        super().__init__(equation, rho, u=u, bcs=bcs, petsc_options_prefix=petsc_options_prefix, **options)
        chain.register(self, [u_old])
        u_old.x.scatter_forward()
        self.initial = u_old.x.array.copy()
        in_matrix = {id(constant) for constant in self.equation.a.constants()}
        self._matrix_changes = any(id(constant) in in_matrix for constant, _ in self._histories)
        self._old = self.own(Field(u_old))
        self._kept: list[np.ndarray] = []
        self._before_last = self.initial

    def _link(self, bcs: Sequence[fem.DirichletBC], nodal: Sequence[fem.Function | None]) -> str | None:
        wrong = super()._link(bcs, nodal) or chain.check_constants([self.u_old])
        self.constants[:] = [f for f in self.constants if f is not self.u_old]
        if wrong is None and len(self.chain) > 1:
            other = self.chain[0]
            wrong = (
                "equation of steps in time must hold no state of another problem, got one of "
                f"'{other.petsc_options_prefix}': gradients do not go back through it; way out: one problem "
                "on a mixed space, or destroy() the other one if a constant is meant"
            )
        return wrong

    def check_differentiable(self) -> None:
        """Refuse functionals of the last state alone, whose gradient would leave out the way there.

        Raises:
            InputError: Always.
        """
        raise InputError(
            f"a functional of steps in time, those of '{self.petsc_options_prefix}', must be a "
            "TransientFunctional for its gradient; way out: a constant with the history 0, ..., 0, 1 as a "
            "factor, for the last state alone (a state that a last state feeds has no gradient)"
        )

    @collective
    def check_steps_differentiable(self) -> None:
        """Refuse a gradient where the equation holds a copy of a solution, as `StateProblem` does.

        Note: Collective.
        """
        super().check_differentiable()

    def _renew(self, change: Change) -> None:
        """Take all steps, and keep states."""
        self._kept = [self.initial]
        state = self.initial
        for number in range(1, self.num_steps + 1):
            self._before_last = state
            state = self._step(number, state)
            if number % self._keep_every == 0 or number == self.num_steps:
                self._kept.append(state)

    def _step(self, number: int, before: np.ndarray) -> np.ndarray:
        """Take a step from the state before it, and return the new state."""
        self._place(number, before, before)
        super()._renew(self._look(None) | Change.LOAD)
        return self.u.x.array.copy()

    def _place(self, number: int, before: np.ndarray, after: np.ndarray) -> None:
        """Let states and constants be those of a step."""
        for constant, values in self._histories:
            constant.value = values[number - 1]
        for field, values in ((self._old, before), (self._fields[0], after)):
            field.function.x.array[:] = values
            field.changed()

    def replay(self, reverse: bool = False) -> Generator[int]:
        """Yield the numbers of the steps, from 1, while `u`, `u_old` and constants are as they were there.

            problem.solve(rho)
            for step in problem.replay():
                file.write([problem.u], time=step * dt)

        Args:
            reverse: Whether to begin with the last step.

        Yields:
            The number of the step. At the end, everything is as in the last step.

        Note: Collective among all ranks, step by step.
        """
        self.solve()
        kept, last = self._kept, (self.num_steps, self._before_last, self._kept[-1])
        starts = range(0, self.num_steps, self._keep_every)
        segments = list(zip(starts, kept[:-1], kept[1:], strict=True))
        try:
            for start, first, end in reversed(segments) if reverse else segments:
                states = [first]
                stop = min(start + self._keep_every, self.num_steps)
                for number in range(start + 1, stop):
                    states.append(self._step(number, states[-1]))
                states.append(end)
                numbers = range(start + 1, stop + 1)
                for number in reversed(numbers) if reverse else numbers:
                    self._place(number, states[number - start - 1], states[number - start])
                    yield number
        finally:
            if self._kept is kept and self._inputs.known:  # no other solve since, none that failed
                self._place(*last)
                self._inputs.take()

    @collective
    def solve_adjoint(self, dJ_du: Sequence[fem.Form], lmbda: Field, load: np.ndarray | None = None) -> None:
        """Solve for the adjoint of the present step, as `StateProblem.solve_adjoint` does.

        Note: Collective.
        """
        if self._newton is not None:
            self._newton.linearized = False
        elif self._matrix_changes:
            self._operator.assemble()
        super().solve_adjoint(dJ_du, lmbda, load)


def _check_step(F: Any, u: Any, u_old: Any) -> None:
    """Refuse what is no residual in a new and an old state."""
    if not isinstance(F, ufl.Form) or len(F.arguments()) != 1:
        raise InputError(f"equation must be a residual F in UFL with one test function, got {F!r:.80}")
    for name, f in (("u", u), ("u_old", u_old)):
        if not isinstance(f, fem.Function):
            raise InputError(f"{name} must be one fem.Function, got {type(f).__name__}")
    if u is u_old or u.function_space != u_old.function_space:
        raise InputError("u_old must be another fem.Function on the space of u, got u or another space")
    if u_old not in F.coefficients():
        raise InputError(
            "equation must contain the state before, u_old, but does not depend on it; way out: StateProblem "
            "for a steady state"
        )
    check_parts(F, u, u_old)


def check_parts(form: ufl.Form, *states: fem.Function) -> None:
    """Refuse parts of states, which derivatives do not see.

    Raises:
        InputError: A form holds `u.sub(0)` or what `u.split()` returns.
    """
    for f in form.coefficients():
        for u in states:
            if f is not u and chain.vector(f) == chain.vector(u):
                raise InputError(
                    f"'{f.name}' is a part of a state in time; way out: ufl.split({u.name})[i] in its place"
                )


def _read_histories(histories: Any, num_steps: Any) -> list[tuple[fem.Constant, np.ndarray]]:
    """Return constants and their values at each step, checked."""
    if histories is not None and not isinstance(histories, Mapping):
        raise InputError(f"histories must be a dict of constants, got {type(histories).__name__}")
    read: list[tuple[fem.Constant, np.ndarray]] = []
    for constant, given in (histories or {}).items():
        if not isinstance(constant, fem.Constant):
            raise InputError(
                f"histories must have fem.Constants as keys, got {type(constant).__name__}; way out: "
                "fem.Constant(mesh, 0.0) in the form, and its values here"
            )
        try:
            values = np.array(given, dtype=np.float64)
        except (TypeError, ValueError):
            raise InputError(f"a history must be an array of numbers, got {given!r:.80}") from None
        shape = np.shape(constant.value)
        steps = num_steps if num_steps is not None else len(read[0][1]) if read else None
        if values.ndim != 1 + len(shape) or values.shape[1:] != shape or steps not in (None, len(values)):
            expected = ("num_steps" if steps is None else steps, *shape)
            raise InputError(
                f"a history must have the shape ({', '.join(map(str, expected))}), a value for each step, "
                f"got {values.shape}"
            )
        if not np.isfinite(values).all():
            raise InputError("a history must be finite, got NaN or infinity in it")
        read.append((constant, values))
    if num_steps is None and not read:
        raise InputError("num_steps must be given where there are no histories, got None")
    return read


def _check_alike(comm: Any, histories: list[tuple[fem.Constant, np.ndarray]]) -> None:
    """Refuse histories that differ between ranks."""
    described = comm.allgather([exact(values) for _, values in histories])
    if any(there != described[0] for there in described):
        raise InputError("histories must be the same on all ranks, got others on some")
