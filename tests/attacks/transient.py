"""Steps in time: numbers, histories, forms, ranks that differ."""

from __future__ import annotations

import ufl
from dolfinx import fem

import dolfinx_neural_topo as dnt
from attacks.case import Topic
from attacks.world import Plane, inf, nan

t = Topic("transient")


def heated(plane=None, **options):
    """Return a plate that is warmed, step after step."""
    plane = plane or Plane()
    T, T_old, v = fem.Function(plane.V), fem.Function(plane.V), ufl.TestFunction(plane.V)
    F = (
        (T - T_old) * v * ufl.dx
        + dnt.simp(plane.rho) * ufl.dot(ufl.grad(T), ufl.grad(v)) * ufl.dx
        - v * ufl.dx
    )
    given = {"equation": F, "rho": plane.rho, "u": T, "u_old": T_old, "num_steps": 3, "bcs": plane.bcs}
    return dnt.TransientProblem(**{**given, "petsc_options_prefix": "steps_", **options})


def with_history(values, **options):
    """Solve with a history of a constant."""
    plane = Plane()
    power = fem.Constant(plane.rho.function_space.mesh, 1.0)
    heated(plane, histories={power: values}, **options).solve()


def mean(**options):
    """Return the gradient of a functional in time."""
    problem = heated()
    return dnt.TransientFunctional(
        **{"J": problem.u**2 * ufl.dx, "problem": problem, **options}
    ).value_and_gradient()


t.values(
    "TransientProblem",
    "num_steps",
    lambda v: heated(num_steps=v),
    [0, -1, 2.5, "all", None, True],
    good=3,
    other=4,
)
t.values(
    "TransientProblem",
    "keep_every",
    lambda v: heated(keep_every=v),
    [0, -1, 2.5, "all", None, True],
    good=1,
    other=2,
)
for name in ("equation", "u", "u_old", "rho"):
    t.values("TransientProblem", name, lambda v, name=name: heated(**{name: v}), [None, 3.0, "heat", (1, 2)])
t.values("TransientProblem", "histories", lambda v: heated(histories=v), [3, [1.0], {"t": [1.0] * 3}, {3: 4}])
t.values(
    "TransientProblem",
    "history",
    with_history,
    [[1.0], [[1.0]] * 3, "often", [1.0, nan, 1.0], [inf] * 3, 1.0, None],
)
t.values("TransientFunctional", "J", lambda v: mean(J=v), [None, 3.0, "mean", (1, 2)])
t.values(
    "TransientFunctional", "problem", lambda v: mean(problem=v), [None, 3, "steps", Plane], says="problem"
)
