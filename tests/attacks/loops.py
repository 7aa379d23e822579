"""Callbacks, evaluations that fail, and multi-start."""

from __future__ import annotations

import contextlib

import numpy as np
import torch
import ufl

import dolfinx_neural_topo as dnt
from attacks.case import Topic, Wrong, close, right
from attacks.runs import network, run
from attacks.world import Plane, Plate, Quadratic, comm, folder, inf, minimize, nan, rectangle
from dolfinx_neural_topo import optimize
from dolfinx_neural_topo.optimize import minimize_multistart
from dolfinx_neural_topo.optimize.multistart import Round, Schedule, Starts

t = Topic("runs")


def called(callback):
    return run(callbacks=[callback])


def boom(step):
    raise KeyError("mine")


def passes_on(call):
    try:
        call()
    except KeyError as error:
        right("mine" in str(error), f"another error: {error}")
        return
    raise Wrong("the error of the callback is lost")


t.accept("a callback that raises", lambda: passes_on(lambda: called(boom)))
t.either(
    "a callback that raises on one rank",
    "callback|mine|rank",
    lambda: passes_on(lambda: called(lambda s: boom(s) if comm.rank else None)),
    ranks=(2, 3),
)
t.values("a callback that returns", "callback", lambda v: called(lambda step: v), [3, True, {"stop": 1}, 0.5])
t.values("a stop that returns", "stop", lambda v: run(stop=lambda history: v), [3, True, 0.5])


def stops_on_one_rank():
    result = called(lambda step: "enough" if comm.rank == comm.size - 1 else None)
    right(result.reason == "enough" and result.evaluations == 1, f"{result}")


t.accept("a callback that stops the run on one rank", stops_on_one_rank)


def changes_x():
    def spoil(step):
        with contextlib.suppress(ValueError):  # read-only
            step.x[:] = nan

    close(called(spoil).objective, run().objective, "a callback that writes into x")


t.either("a callback that writes into x", "callback", changes_x)


def nested():
    inner = []
    result = called(lambda step: inner.append(run(evaluations=2).objective))
    right(len(inner) == 3 and np.isfinite(result.objective), "nested runs")


t.accept("a run inside a callback", nested)

# --- evaluations that fail ------------------------------------------------------------------------


class Fails(Quadratic):
    """A functional that fails at chosen evaluations."""

    def __init__(self, domain, failure, at=(4,)):
        super().__init__(domain)
        self.failure, self.at, self.count = failure, at, 0
        self.state = type("NoState", (), {"num_solves": 0, "settle": lambda self: False})()

    def value_and_gradient(self, rho):
        self.count += 1
        value, gradient = super().value_and_gradient(rho)
        return self.failure(value, gradient) if self.count in self.at else (value, gradient)


def refuse_it(value, gradient):
    raise dnt.InputError("logits must be finite, got NaN")


FAILURES = {
    "value NaN": lambda v, g: (nan, g),
    "value infinite": lambda v, g: (inf, g),
    "value minus infinite": lambda v, g: (-inf, g),
    "gradient NaN": lambda v, g: (v, g * nan),
    "gradient NaN on one rank": lambda v, g: (v, g * nan if comm.rank == comm.size - 1 else g),
    "an InputError": refuse_it,
    "a SolverError": lambda v, g: (_ for _ in ()).throw(dnt.SolverError("diverged")),
    "a FloatingPointError": lambda v, g: (_ for _ in ()).throw(FloatingPointError("overflow")),
}
METHODS = {
    "MMA": dnt.MMA,
    "OC": dnt.OC,
    "NLoptMMA": dnt.NLoptMMA,
    "GCMMA": optimize.GCMMA,
    "SiMPL": dnt.SiMPL,
}


def failing(failure, make=dnt.MMA, at=(4,)):
    domain = Plate().domain()
    design = dnt.Design(Fails(domain, failure, at), domain, filter=dnt.ConeFilter(domain, 1.6))
    result = minimize(design, make(), evaluations=12)
    right(np.isfinite(result.objective), f"objective {result.objective}")
    right(result.evaluations > at[-1] or "converge" in result.reason.lower(), f"ended early: {result}")


for name, failure in FAILURES.items():
    t.accept(f"evaluation 4 fails: {name}", lambda f=failure: failing(f))
for name, make in METHODS.items():
    t.accept(f"evaluation 4 fails with an InputError, {name}", lambda m=make: failing(refuse_it, m))
t.refuse("the start fails: value NaN", "start|finite", lambda: failing(FAILURES["value NaN"], at=(1,)))
t.refuse("the start fails: an InputError", "start|finite", lambda: failing(refuse_it, at=(1,)))


class Bursts(torch.nn.Module):
    """A network whose logits are NaN at the fourth evaluation."""

    def __init__(self):
        super().__init__()
        self.weights = torch.nn.Parameter(torch.zeros(4, 6, dtype=torch.float64))
        self.count = 0

    def forward(self):
        self.count += 1
        return self.weights * (nan if self.count == 4 else 1.0)


def bursting(method):
    plate = Plate()
    transfer = dnt.PixelTransfer(dnt.CellGrid(plate.mesh, (4, 6)))
    result = minimize(dnt.NeuralDesign(plate.design(), Bursts(), transfer), method, evaluations=10)
    right(np.isfinite(result.objective) and result.evaluations > 4, f"{result}")


t.accept("logits of NaN once, LBFGS", lambda: bursting(dnt.LBFGS()))
t.accept("logits of NaN once, Adam", lambda: bursting(dnt.Adam()))
t.accept("logits of NaN once, SciPyLBFGSB", lambda: bursting(dnt.SciPyLBFGSB()))
t.accept(
    "Adam with a rate of 1e20",
    lambda: right(np.isfinite(minimize(network(), dnt.Adam(1e20), evaluations=8).objective), "objective"),
)


def turns_negative():
    plane = Plane()
    state = plane.state()
    J = dnt.ReducedFunctional((plane.rho - 0.45) * ufl.dx, state, power=0.5)
    result = minimize(plane.design(J), dnt.MMA(), evaluations=20)
    right(result.objective >= 0.0 and np.isfinite(result.objective), f"{result}")


t.accept("an integral that turns negative under a power", turns_negative)


def shaped(answer):
    domain = Plate().domain()
    functional = Fails(domain, answer, range(1000))
    return minimize(dnt.Design(functional, domain), dnt.MMA())


t.values(
    "an own functional returns",
    "functional",
    shaped,
    [
        lambda v, g: (v, g[:-1]),
        lambda v, g: (v, g[:, None]),
        lambda v, g: v,
        lambda v, g: None,
        lambda v, g: (g, v),
        lambda v, g: (v, None),
        lambda v, g: (v + 1j, g),
        lambda v, g: ("low", g),
        lambda v, g: (v, g + 1j),
    ],
    says="functional|gradient|value",
)
t.refuse(
    "an own functional whose value differs between ranks",
    "functional|value|rank",
    lambda: shaped(lambda v, g: (v + comm.rank, g)),
    ranks=(2, 3),
)
t.accept("an own functional that returns a NumPy number", lambda: shaped(lambda v, g: (np.float64(v), g)))

# --- multi-start ----------------------------------------------------------------------------------


def multistart(design=None, problem=None, **options):
    plate = Plate(rectangle(16, 8))
    design = plate.design() if design is None else design
    return minimize_multistart(design, problem or (lambda mesh: Plate(mesh).compliance), **options)


t.values("minimize_multistart", "design", lambda v: multistart(design=v), ["design", 3, dnt.Design])
t.values(
    "minimize_multistart",
    "problem",
    lambda v: multistart(problem=v),
    [
        "problem",
        3,
        lambda mesh: None,
        lambda mesh: 3.0,
        Plate,
        lambda mesh: Plate(),
    ],
    says="problem|functional",
)
t.values(
    "minimize_multistart",
    "budget",
    lambda v: multistart(budget=v),
    [-1.0, 0, nan, "a", 1],
    good=150,
    other=160,
)
t.values(
    "minimize_multistart", "seed", lambda v: multistart(seed=v), [1e23, "a", None, 0.5, -1], good=0, other=1
)
t.values(
    "minimize_multistart", "parameterization", lambda v: multistart(parameterization=v), ["magic", None, 3]
)
t.values("minimize_multistart", "schedule", lambda v: multistart(schedule=v), ["fast", 3])
t.values(
    "minimize_multistart",
    "meshes",
    lambda v: multistart(meshes=v),
    [
        "grids",
        3,
        lambda comm: None,
        lambda comm: [],
        lambda comm: [3],
        lambda comm: [rectangle(5, 3, on=comm)],
    ],
    says="mesh",
)
t.values("minimize_multistart", "callback", lambda v: multistart(callback=v, budget=150), [3, "print"])
t.values("minimize_multistart", "checkpoint", lambda v: multistart(checkpoint=v), [3, "", "/proc/nope/x"])


def of_another(**change):
    """Files of a run of multi-start belong to its problem."""
    path = folder() / "run"
    for options in ({}, change):
        multistart(Plate(rectangle(16, 8)).design(**options), schedule=SHORT, checkpoint=path)


SHORT = Schedule(
    starts=(Starts(1, 1, evaluations=2, repair=2),),
    repair_level=1,
    rounds=(Round(1, level=0, evaluations=2),),
)
t.accept("multi-start that goes on", lambda: of_another(), ranks=(1, 2))
t.refuse("the files of multi-start of another radius", "belongs", lambda: of_another(radius=2.6))
t.refuse("the files of multi-start of another volume", "belongs", lambda: of_another(volume_fraction=0.3))
