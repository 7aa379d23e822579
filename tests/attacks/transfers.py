"""Transfers, and the objective as a PyTorch function."""

from __future__ import annotations

import numpy as np
import torch

import dolfinx_neural_topo as dnt
from attacks.bridge import pixels
from attacks.case import Topic, right
from attacks.world import Plate, comm, nan
from dolfinx_neural_topo.bridge import check_replicated, global_sum, sum_gradients

t = Topic("networks")

t.values(
    "SampledTransfer",
    "shape",
    lambda v: dnt.SampledTransfer(Plate().domain(), v),
    [
        (4,),
        (0, 6),
        (2.5, 6),
        "4x6",
        None,
        (4, 6, 2),
        (-1, 6),
        (nan, 6),
    ],
    good=(4, 6),
    other=(8, 6),
)
t.values("SampledTransfer", "domain", lambda v: dnt.SampledTransfer(v, (4, 6)), [None, 3])
t.values("PixelTransfer", "grid", dnt.PixelTransfer, [None, (4, 6), "grid"])
t.values("PointTransfer", "domain", dnt.PointTransfer, [None, 3, "domain"])
t.refuse("PixelTransfer.apply of another shape", "image", lambda: pixels(Plate()).apply(np.zeros((5, 6))))
t.refuse(
    "PixelTransfer.apply of a tensor that requires a gradient",
    "image|tensor|gradient",
    lambda: pixels(Plate()).apply(torch.zeros(4, 6, requires_grad=True)),
)
t.refuse(
    "SampledTransfer.apply of another shape",
    "image",
    lambda: dnt.SampledTransfer(Plate().domain(), (4, 6)).apply(np.zeros((5, 6))),
)


def objective(logits):
    plate = Plate()
    return dnt.TopologyObjective(plate.design(), pixels(plate))(logits())


t.values(
    "TopologyObjective",
    "logits",
    objective,
    [
        lambda: torch.zeros(4, 6),
        lambda: torch.zeros(6, 4, dtype=torch.float64),
        lambda: torch.full((4, 6), nan, dtype=torch.float64),
        lambda: np.zeros((4, 6)),
        lambda: None,
        lambda: torch.zeros(4, 6, dtype=torch.complex128),
        lambda: torch.zeros(4, 6, dtype=torch.float64, device="meta"),
    ],
    good=lambda: torch.zeros(4, 6, dtype=torch.float64),
    other=lambda: torch.ones(4, 6, dtype=torch.float64),
)
t.values("TopologyObjective", "design", dnt.TopologyObjective, [None, "design", 3])


def under_no_grad():
    """Whether a gradient is wanted must not differ between ranks."""
    plate = Plate()
    J = dnt.TopologyObjective(plate.design(), pixels(plate))
    logits = torch.zeros(4, 6, dtype=torch.float64, requires_grad=comm.rank == 0)
    return J(logits)


t.refuse("logits that require a gradient on one rank alone", "grad|rank", under_no_grad, ranks=(2, 3))


def twice():
    plate = Plate()
    J = dnt.TopologyObjective(plate.design(), pixels(plate))
    a = torch.zeros(4, 6, dtype=torch.float64, requires_grad=True)
    b = torch.linspace(-1, 1, 24, dtype=torch.float64).reshape(4, 6).requires_grad_()
    first, second = J(a), J(b)
    first.backward()
    expected = torch.zeros(4, 6, dtype=torch.float64, requires_grad=True)
    J(expected).backward()
    right(torch.allclose(a.grad, expected.grad) and b.grad is None, "gradient after two forward passes")
    second.backward()


t.accept("two forward passes before a backward one", twice)
t.values("global_sum", "value", lambda v: global_sum(comm, v), ["1", None, 1.0])
t.refuse(
    "global_sum of shapes that differ",
    "shape|rank",
    lambda: global_sum(comm, torch.zeros(2 + comm.rank, dtype=torch.float64)),
    ranks=(2, 3),
)
t.values("sum_gradients", "network", lambda v: sum_gradients(comm, v), ["net", None, 3])
t.refuse(
    "check_replicated of shapes that differ",
    "differ|rank",
    lambda: check_replicated(comm, np.zeros(2 + comm.rank), "x"),
    ranks=(2, 3),
)
