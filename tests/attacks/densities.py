"""Densities and other arrays of one number a cell: out of range, of another shape or type."""

from __future__ import annotations

import numpy as np
import torch

import dolfinx_neural_topo as dnt
from attacks.case import Topic, close, culprit
from attacks.world import Plane, Plate, comm, inf, nan

t = Topic("densities")

ARRAYS = {
    "NaN": lambda n: np.full(n, nan),
    "infinite": lambda n: np.full(n, inf),
    "one too long": lambda n: np.full(n + 1, 0.5),
    "a column": lambda n: np.full((n, 1), 0.5),
    "a number": lambda n: 0.5,
    "complex": lambda n: np.full(n, 0.5 + 0.1j),
    "text": lambda n: np.full(n, "half"),
    "None in it": lambda n: np.array([None] * n, dtype=object),
    "a tensor that requires a gradient": lambda n: torch.full(
        (n,), 0.5, dtype=torch.float64, requires_grad=True
    ),
}
OUTSIDE = {
    "-0.5": lambda n: np.full(n, -0.5),
    "7": lambda n: np.full(n, 7.0),
    "1e300": lambda n: np.full(n, 1e300),
    "-0.5 in one cell": lambda n: np.where(np.arange(n) == 0, -0.5, 0.5),
}


def attack(call, argument, function, arrays, good=0.5):
    """Try arrays on all ranks, and each on one rank alone."""
    for what, make in arrays.items():
        name = f"{call}, {argument} is {what}"
        t.refuse(name, rf"\b{argument}", lambda make=make: function(make), ranks=(1,))

        def one(make=make, name=name):
            return function(make if comm.rank == culprit(name) else lambda n: np.full(n, good))

        t.refuse(f"{name} on one rank", rf"\b{argument}", one, ranks=(2, 3))


def some(arrays, *names):
    return {name: arrays[name] for name in names}


def value(make):
    plane = Plane()
    return plane.compliance.value(make(plane.n))


attack("Compliance.value", "rho", value, ARRAYS | OUTSIDE)


def gradient(make):
    plate = Plate()
    return plate.compliance.value_and_gradient(make(plate.n))


attack("value_and_gradient", "rho", gradient, some(ARRAYS, "one too long", "complex") | some(OUTSIDE, "-0.5"))


def solve(make):
    plane = Plane()
    return plane.state().solve(make(plane.n))


attack("StateProblem.solve", "rho", solve, some(ARRAYS, "NaN", "a column") | some(OUTSIDE, "7"))


def held(fill):
    plane = Plane()
    plane.rho.x.array[:] = fill
    return plane.state().solve()


t.values("the density function holds", "rho", held, [nan, -0.5, 7.0, inf], says="rho", good=0.5)


def design_x(make):
    plane = Plane()
    return plane.design().evaluate(make(plane.n))


attack("Design.evaluate", "x", design_x, ARRAYS | some(OUTSIDE, "-0.5", "7"))


def design_density(make):
    plane = Plane()
    return plane.design().evaluate_density(make(plane.n))


attack(
    "Design.evaluate_density", "rho_design", design_density, some(ARRAYS, "NaN", "complex", "one too long")
)


def logits(make):
    plane = Plane()
    return plane.design().logits.evaluate(make(plane.n))


attack("Design.logits.evaluate", "logits", logits, ARRAYS)


def from_logits(make):
    plane = Plane()
    return dnt.VolumeConstrainedSigmoid(plane.domain()).apply(make(plane.n))


attack("VolumeConstrainedSigmoid.apply", "logits", from_logits, some(ARRAYS, "complex", "text", "a number"))


def volume(make):
    plane = Plane()
    return plane.design().volume(make(plane.n))


attack("Design.volume", "rho", volume, some(ARRAYS, "one too long", "complex"))


def filtered(make):
    domain = Plane().domain()
    return dnt.ConeFilter(domain, 1.6).apply(make(domain.num_owned_cells))


FILTERED = some(ARRAYS, "one too long", "a column", "a number", "complex", "text")
attack("ConeFilter.apply", "rho_design", filtered, FILTERED)


def back(make):
    domain = Plane().domain()
    return dnt.ConeFilter(domain, 1.6).apply_transpose(make(domain.num_owned_cells))


attack("ConeFilter.apply_transpose", "", back, some(ARRAYS, "one too long", "complex"))


def diffused(make):
    domain = Plane().domain()
    return dnt.HelmholtzFilter(domain, 1.6).apply(make(domain.num_owned_cells))


attack("HelmholtzFilter.apply", "rho_design", diffused, FILTERED)


def projected(make):
    return dnt.HeavisideProjection(4.0).apply(make(Plane().n))


for name, make in some(ARRAYS, "complex", "text").items():
    t.refuse(
        f"HeavisideProjection.apply, rho_filtered is {name}", "rho_filtered", lambda m=make: projected(m)
    )


def to_function(make):
    plane = Plane()
    return dnt.io.as_function(make(plane.n), plane.rho)


attack("as_function", "values", to_function, some(ARRAYS, "one too long", "complex", "text"))


def expanded(make):
    plane = Plane()
    return plane.domain().expand(make(plane.n))


for name, make in some(ARRAYS, "one too long", "complex", "text").items():
    t.refuse(f"DesignDomain.expand, design_values is {name}", "design_values", lambda m=make: expanded(m))


def other_types(convert):
    plane = Plane()
    compliance = plane.compliance
    close(compliance.value(convert(plane.full(1.0))), compliance.value(plane.full(1.0)), "the same density")


t.accept("a density in single precision", lambda: other_types(lambda x: x.astype(np.float32)))
t.accept("a density of integers", lambda: other_types(lambda x: x.astype(int)))
t.accept("a density as a list", lambda: other_types(list))
t.accept("a density as a tensor", lambda: other_types(torch.from_numpy))
t.accept("a density as a strided view", lambda: other_types(lambda x: np.repeat(x, 2)[::2]))


def rounding():
    """What a filter or a bound leaves beyond 0 and 1 by rounding is no fault."""
    plane = Plane()
    plane.compliance.value(plane.full(1.0 + 1e-12))
    plane.design().evaluate(plane.full(1.0 + 1e-15))


t.accept("a density above 1 by rounding", rounding)
