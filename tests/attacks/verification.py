"""Functionals and Taylor tests."""

from __future__ import annotations

import numpy as np
import ufl
from dolfinx import fem

import dolfinx_neural_topo as dnt
from attacks.case import Topic, Wrong, close, right
from attacks.world import Plane, Plate, Quadratic, comm, inf, minimize, nan, rectangle
from dolfinx_neural_topo.physics import random_density

t = Topic("functionals")


def taylor(functional=None, **options):
    return dnt.taylor_test(functional or Plane().compliance, **options)


t.accept("taylor_test of a right gradient", lambda: right((taylor() > 1.9).all(), "order below 1.9"))
t.values(
    "taylor_test", "step", lambda v: taylor(step=v), [0.0, nan, inf, -0.0, "small"], good=1e-2, other=1e-3
)
t.values("taylor_test", "num_steps", lambda v: taylor(num_steps=v), [1, 0, -3, 2.5, "4"], good=4, other=3)
t.values("taylor_test", "seed", lambda v: taylor(seed=v), ["a", None, 0.5], good=0, other=1)


def taylor_at(argument, make):
    plane = Plane()
    return dnt.taylor_test(plane.compliance, **{argument: make(plane.n)})


for argument in ("rho", "direction"):
    for what, make in {
        "NaN": lambda n: np.full(n, nan),
        "too long": lambda n: np.full(n + 1, 0.5),
        "a column": lambda n: np.full((n, 1), 0.5),
        "complex": lambda n: np.full(n, 0.5 + 1j),
        "text": lambda n: "half",
    }.items():
        t.refuse(f"taylor_test, {argument} is {what}", argument, lambda a=argument, m=make: taylor_at(a, m))
        t.refuse(
            f"taylor_test, {argument} is {what} on one rank",
            argument,
            lambda a=argument, m=make: taylor_at(
                a, m if comm.rank == comm.size - 1 else lambda n: np.full(n, 0.5)
            ),
            ranks=(2, 3),
        )
t.refuse("taylor_test along a direction of zeros", "direction", lambda: taylor_at("direction", np.zeros))
t.refuse("taylor_test of no functional", "functional", lambda: dnt.taylor_test(None))
t.refuse("taylor_test of a function", "functional", lambda: dnt.taylor_test(lambda rho: 1.0))


class Lies(Quadratic):
    """A functional of one's own whose gradient is wrong."""

    def value_and_gradient(self, rho):
        value, gradient = super().value_and_gradient(rho)
        return value, 1.5 * gradient


def own(kind, **options):
    plane = Plane()
    functional = kind(plane.domain())
    functional.state = plane.state()
    return dnt.taylor_test(functional, **options)


t.accept(
    "taylor_test of a wrong gradient", lambda: right((own(Lies) < 1.1).all(), "order 2 for a wrong gradient")
)

for argument, values in {"low": [nan, "0", None], "high": [nan, inf, "1"]}.items():
    t.values(
        "random_density",
        argument,
        lambda v, a=argument: random_density(Plane().rho.function_space, **{"low": 0.2, "high": 0.8, a: v}),
        values,
    )
t.refuse(
    "random_density with low above high",
    "low|high",
    lambda: random_density(Plane().rho.function_space, 0.8, 0.2),
)

# --- functionals of a state -----------------------------------------------------------------------


def weighted(weights):
    plate = Plate()
    return dnt.Compliance(plate.state((plate.a, [plate.L, 2.0 * plate.L])), weights=weights)


t.values(
    "Compliance",
    "weights",
    weighted,
    [(nan, 1.0), (inf, 1.0), (1.0,), (1.0, 2.0, 3.0), "ab", (1j, 1.0), 2.0, ((1.0, 2.0),)],
    good=(1.0, 1.0),
    other=(1.0, 2.0),
)


def reduced(J=None, **options):
    plane = Plane()
    state = plane.state()
    J = (state.u if J is None else J(plane, state)) * ufl.dx
    return dnt.ReducedFunctional(J, state, **options).value_and_gradient(plane.full())


t.values(
    "ReducedFunctional",
    "power",
    lambda v: reduced(power=v),
    [0.0, nan, inf, "2", None, 1j],
    good=1.0,
    other=2.0,
)


def of_form(J):
    return dnt.ReducedFunctional(J, Plane().state())


t.values("ReducedFunctional", "J", of_form, [1.0, None, "u*dx", nan, lambda u: u])
t.refuse(
    "ReducedFunctional of a test function", r"\bJ\b", lambda: reduced(lambda p, s: ufl.TestFunction(p.V))
)
t.refuse("ReducedFunctional of a constant", r"\bJ\b", lambda: reduced(lambda p, s: p.load))
t.refuse("ReducedFunctional of NaN", r"\bJ\b|finite|NaN", lambda: reduced(lambda p, s: s.u * nan_of(p)))
t.refuse(
    "ReducedFunctional of no state", r"\bstate\b", lambda: dnt.ReducedFunctional(Plane().rho * ufl.dx, None)
)
t.refuse("ReducedFunctional of a function as state", r"\bstate\b", lambda: as_state(Plane()))
t.refuse("Compliance of no state", r"\bstate\b", lambda: dnt.Compliance(None))
t.refuse("a negative integral under a power", r"\bJ\b", lambda: reduced(lambda p, s: -s.u, power=0.5))


def nan_of(plane):
    return fem.Constant(plane.mesh, nan)


def as_state(plane):
    return dnt.ReducedFunctional(plane.rho * ufl.dx, fem.Function(plane.V))


def on_another_mesh():
    plane, other = Plane(), Plane(rectangle(4, 6, cell=Plane().mesh.topology.cell_type))
    return dnt.ReducedFunctional(other.rho * ufl.dx, plane.state())


def partly_on_another_mesh():
    plane, other = Plane(), Plane()
    return dnt.ReducedFunctional(plane.rho * other.rho * ufl.dx(plane.mesh), plane.state()).value(
        plane.full()
    )


t.refuse("ReducedFunctional on another mesh", "mesh|density|state", on_another_mesh)
t.refuse(
    "ReducedFunctional with a coefficient of another mesh",
    "mesh|coefficient|function",
    partly_on_another_mesh,
)


def gone():
    plane = Plane()
    with plane.state() as state:
        functional = dnt.Compliance(state)
    return functional.value(plane.full())


t.refuse("a functional of a state that was destroyed", "destroyed", gone)


def sum_of_meshes():
    """As many cells, but other ones."""
    plate = Plate()
    return (Plane(rectangle()).compliance + plate.compliance).value(plate.full())


def plus_one():
    plane = Plane()
    C = plane.compliance
    close((C + 1.0).value(plane.full()), C.value(plane.full()) + 1.0, "C + 1")


def sums(build):
    """Sums and scalings are what users write first."""
    plane = Plane()
    state = plane.state()
    C, M = dnt.Compliance(state), dnt.ReducedFunctional(plane.rho**2 * state.u * ufl.dx, state)
    J = build(C, M)
    expected, (c, dc), (m, dm) = build, C.value_and_gradient(plane.full()), M.value_and_gradient(plane.full())
    close(J.value(plane.full()), build(c, m), "value of the sum")
    gradient = J.value_and_gradient(plane.full())[1]
    right(np.allclose(gradient, expected(dc, dm), rtol=1e-8, atol=1e-14), "gradient of the sum")
    result = minimize(plane.design(J))
    right(np.isfinite(result.objective), "minimize of the sum")


t.accept("0.5 * C + 0.5 * M", lambda: sums(lambda C, M: 0.5 * C + 0.5 * M))
t.accept("C - 2 * M", lambda: sums(lambda C, M: C - 2.0 * M))
t.accept("(C + M) / 2", lambda: sums(lambda C, M: (C + M) / 2.0))
t.accept("-C", lambda: sums(lambda C, M: -C))
t.values(
    "a functional times a factor",
    "factor",
    lambda v: v * Plane().compliance,
    [nan, "2", None, inf],
    says="factor|number|finite|unsupported operand|multiply",
)
t.accept("a functional plus a number", lambda: plus_one())
t.refuse("sum of functionals of different meshes", "mesh|state|functional", lambda: sum_of_meshes())


def own_functional(method=None, design=None):
    plane = Plane()
    domain = plane.domain(volume_fraction=0.6)
    variables = dnt.Design(Quadratic(domain), domain, filter=dnt.ConeFilter(domain, 1.6))
    result = minimize(variables, method, evaluations=25)
    if result.objective > Quadratic(domain).value(plane.full(0.6)) * 1.0001:
        raise Wrong(f"a functional of one's own got worse: {result.objective}")


t.accept("own functional: comm, value, value_and_gradient", own_functional)
t.accept("own functional with OC", lambda: own_functional(dnt.OC()))
t.refuse("Design of a function", "functional", lambda: Plane().design(lambda rho: 1.0))
t.refuse("Design of a number", "functional", lambda: Plane().design(3.0))
t.refuse("Design of a form", "functional", lambda: Plane().design(Plane().rho * ufl.dx))
t.refuse("Design of a class", "functional", lambda: Plane().design(dnt.Compliance))
