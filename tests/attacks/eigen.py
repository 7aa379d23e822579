"""Eigenvalue problems and chains of states: numbers, groups, forms, ranks that differ."""

from __future__ import annotations

import ufl
from dolfinx import fem

import dolfinx_neural_topo as dnt
from attacks.case import Topic, right
from attacks.world import Plane, inf, nan

t = Topic("eigen")


def modes(plane=None, **options):
    """Return the eigenvalue problem of a membrane."""
    plane = plane or Plane()
    u, v = ufl.TrialFunction(plane.V), ufl.TestFunction(plane.V)
    given = {"a": plane.a, "b": dnt.mass(plane.rho) * u * v * ufl.dx, "rho": plane.rho, "bcs": plane.bcs}
    return dnt.EigenProblem(**{**given, "num": 3, "petsc_options_prefix": "eigen_", **options})


def lowest(**options):
    """Return the smooth lowest eigenvalue of the membrane."""
    plane = Plane()
    return dnt.Eigenvalue(modes(plane), **options).value_and_gradient(plane.full())


t.values(
    "EigenProblem", "num", lambda v: modes(num=v), [0, -1, 2.5, "all", None, 10**6, True], good=3, other=4
)
for form in ("a", "b"):
    t.values("EigenProblem", form, lambda v, form=form: modes(**{form: v}), [None, 3.0, "mass", (1, 2)])
t.values("EigenProblem", "rho", lambda v: modes(rho=v), [None, 0.5, "rho"])
t.values("EigenProblem", "bcs", lambda v: modes(bcs=v), [3, "left", [None]], says="bcs")
t.values("Eigenvalue", "power", lambda v: lowest(power=v), [0.0, 0.5, nan, inf], good=-16.0, other=-8.0)
t.values(
    "Eigenvalue",
    "group",
    lambda v: lowest(group=v),
    [range(4), range(0), range(0, 3, 2), 2, [0, 1], "all"],
    good=range(3),
    other=range(2),
)
t.values("Eigenvalue", "problem", lambda v: dnt.Eigenvalue(v), [None, 3, "modes", Plane], says="problem")


def chained(late=False):
    """A state that feeds another one, which is made before if `late`."""
    plane = Plane()
    u = fem.Function(plane.V, name="u")
    v = ufl.TestFunction(plane.V)

    def second():
        return dnt.StateProblem(
            (plane.a, (1.0 + u) * v * ufl.dx), plane.rho, bcs=plane.bcs, petsc_options_prefix="second_"
        )

    made = second() if late else None
    first = plane.state(u=u)
    state = made or second()
    J = dnt.ReducedFunctional(state.u * ufl.dx, state)
    right((dnt.taylor_test(J) > 1.9).all(), "the gradient of a chain")
    right(first.num_solves > 0, "the first state is solved")


t.accept("a state that feeds another one", chained)
t.refuse("a state that is made after what it feeds", "order|before", lambda: chained(late=True))
