"""Runs: budgets, methods, callbacks, continuation, and evaluations that fail."""

from __future__ import annotations

import numpy as np
import torch

import dolfinx_neural_topo as dnt
from attacks.case import Topic, close
from attacks.world import Plate, comm, inf, minimize, nan
from dolfinx_neural_topo import optimize
from dolfinx_neural_topo.optimize import Continuation, RelativeProgress

t = Topic("runs")


def run(method=None, **options):
    return minimize(Plate().design(), method, **options)


t.values(
    "minimize",
    "evaluations",
    lambda v: run(evaluations=v),
    [0, -3, nan, inf, 2.5, "10", None, (3,), 3j],
    good=2,
    other=3,
)
t.values(
    "minimize", "seconds", lambda v: run(seconds=v), [0, -1.0, nan, "10", (1,), 1j], good=50.0, other=60.0
)
t.values(
    "minimize",
    "checkpoint_every",
    lambda v: run(checkpoint_every=v),
    [0, -1, nan, 2.5, "10", None],
    good=10,
    other=5,
)
t.accept("seconds without an end", lambda: run(seconds=inf))
t.values(
    "minimize", "callbacks", lambda v: run(callbacks=v), [print, None, 3, "print", [None], [3], ["print"]]
)
t.values("minimize", "stop", lambda v: run(stop=v), [3, "soon", True, RelativeProgress])
t.values("minimize", "continuation", lambda v: run(continuation=v), [3, "beta", [None], Continuation, (3, 4)])
t.values("minimize", "method", lambda v: run(v), ["OC", 3, dnt.OC, dnt.MMA, lambda x: x, torch.optim.Adam])
t.values(
    "minimize", "variables", lambda v: minimize(v, dnt.OC()), [None, "design", 3, np.zeros(3), dnt.Design]
)
t.refuse("minimize of a functional", "variables", lambda: minimize(Plate().compliance))
t.refuse("minimize of a network", "variables", lambda: minimize(dnt.PaperCNN((4, 6)), dnt.LBFGS()))
t.refuse(
    "another method on one rank",
    "method|rank",
    lambda: run(dnt.OC() if comm.rank else dnt.MMA()),
    ranks=(2, 3),
)
t.refuse(
    "another move limit on one rank",
    "move|method|rank",
    lambda: run(dnt.OC(0.2 if comm.rank else 0.1)),
    ranks=(2, 3),
)
t.refuse(
    "a method that is a class on one rank",
    "method|rank",
    lambda: run(dnt.OC if comm.rank else dnt.OC()),
    ranks=(2, 3),
)
t.refuse(
    "seconds on one rank alone",
    "seconds|rank",
    lambda: run(seconds=60.0 if comm.rank else None),
    ranks=(2, 3),
)
t.accept("progress on one rank alone", lambda: run(progress=None if comm.rank else False), ranks=(2, 3))

FRACTIONS = [0.0, -0.1, 1.5, nan, "0.2", None]
for kind in (dnt.OC, dnt.MMA, optimize.GCMMA):
    t.values(kind.__name__, "move", lambda v, k=kind: k(move=v), FRACTIONS)
t.values("OC", "damping", lambda v: dnt.OC(damping=v), FRACTIONS)
for name, values in {"growth": [0.5, nan, inf, "a"], "shrink": FRACTIONS, "initial": FRACTIONS}.items():
    t.values("MMA", name, lambda v, n=name: dnt.MMA(**{n: v}), values)
t.values("SiMPL", "decrease", lambda v: dnt.SiMPL(decrease=v), [0.0, 1.0, nan, "a", None])
t.values("SiMPL", "margin", lambda v: dnt.SiMPL(margin=v), [0.0, 0.5, nan, "a", None])
t.values("GCMMA", "inner", lambda v: optimize.GCMMA(inner=v), [0, -1, 2.5, nan, "15"])
for kind in (dnt.LBFGS, dnt.SciPyLBFGSB):
    t.values(kind.__name__, "memory", lambda v, k=kind: k(v), [0, -1, 2.5, nan, "10", None])
t.values("LBFGS", "first_step", lambda v: dnt.LBFGS(first_step=v), [0.0, -1.0, nan, inf, "a", None])
t.values("LBFGS", "decrease", lambda v: dnt.LBFGS(decrease=v), [0.0, 0.95, nan, "a", None], says="decrease")
t.values("LBFGS", "curvature", lambda v: dnt.LBFGS(curvature=v), [0.0, 1.0, nan, "a", None], says="curvature")
t.values("Adam", "lr", lambda v: dnt.Adam(v), [0.0, -1.0, nan, inf, "fast", None])
t.values("Adam", "betas", lambda v: dnt.Adam(betas=v), [(0.9,), (0.9, 1.0), (nan, 0.9), 0.9, "ab", None])
t.values("Adam", "schedule", lambda v: minimize(network(), dnt.Adam(schedule=v)), [3, "cosine"])
t.values("NLoptMMA", "tolerance", lambda v: dnt.NLoptMMA(v), [-1.0, nan, "a", None])
t.values("RelativeProgress", "tolerance", lambda v: RelativeProgress(v), [0.0, -1.0, nan, "a", None])
t.values("RelativeProgress", "window", lambda v: RelativeProgress(1e-3, v), [0, -1, 2.5, nan, "a", None])

STAGES = [
    (),
    [(1, 2.0)],
    [(0, 1.0), (0, 2.0)],
    [(0, 1.0), (-5, 2.0)],
    [(0.5, 1.0)],
    3,
    "beta",
    [(0,)],
    None,
    [(0, 1.0), (nan, 2.0)],
]
t.values(
    "Continuation",
    "stages",
    lambda v: Continuation(dnt.HeavisideProjection(1.0), v, attribute="beta"),
    STAGES,
)
t.values(
    "Continuation",
    "attribute",
    lambda v: Continuation(dnt.HeavisideProjection(1.0), [(0, 1.0)], attribute=v),
    ["gamma", 3, None],
)
t.refuse("Continuation with a value that is NaN", "beta|stages", lambda: with_stages([(0, 1.0), (2, nan)]))
t.refuse(
    "Continuation with a value that is text", "beta|stages", lambda: with_stages([(0, 1.0), (2, "sharp")])
)
t.refuse(
    "stages that differ between ranks",
    "stages|continuation|beta|rank",
    lambda: with_stages([(0, 1.0), (2, 4.0 + comm.rank)]),
    ranks=(2, 3),
)


def with_stages(stages):
    projection = dnt.HeavisideProjection(1.0)
    design = Plate().design(projection=projection)
    return minimize(design, continuation=Continuation(projection, stages, attribute="beta"), evaluations=5)


# --- methods and variables that do not fit --------------------------------------------------------


def network(**options):
    return dnt.NeuralDesign(Plate().design(**options), dnt.FourierMLP(2, 2.0, features=8, hidden=(8,)))


def constrained(method):
    plate = Plate()
    C = plate.compliance
    return minimize(plate.design(C, constraints=[(C, 1e4)]), method)


for method in (dnt.OC, dnt.SiMPL, dnt.SciPyLBFGSB):
    t.refuse(f"{method.__name__} with a further constraint", "constraint", lambda m=method: constrained(m()))
for method in (dnt.LBFGS, dnt.Adam):
    t.refuse(f"{method.__name__} on a design with bounds", "bounds|constraint", lambda m=method: run(m()))
for method in (dnt.OC, dnt.MMA, dnt.SiMPL):
    t.refuse(f"{method.__name__} on a network", "bound", lambda m=method: minimize(network(), m()))


def again():
    """A method may serve one run after the other."""
    method = dnt.MMA()
    close(run(method, evaluations=5).objective, run(method, evaluations=5).objective, "second run")


t.accept("a method used twice", again)
