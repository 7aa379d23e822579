"""Networks as variables, transfers, and the objective as a PyTorch function."""

from __future__ import annotations

import numpy as np
import torch

import dolfinx_neural_topo as dnt
from attacks.case import Topic, close, right
from attacks.networks import mlp
from attacks.world import Plane, Plate, comm, inf, minimize, nan

t = Topic("networks")


def neural(network=None, transfer=None, plate=None, **options):
    plate = plate or Plate()
    network = mlp(features=8, hidden=(8,)) if network is None else network
    return dnt.NeuralDesign(plate.design(**options), network, transfer and transfer(plate))


def pixels(plate):
    return dnt.PixelTransfer(dnt.CellGrid(plate.mesh, (4, 6)))


def without_transfer(network, plate=None):
    variables = neural(network, plate=plate)
    result = minimize(variables, dnt.LBFGS())
    right(np.isfinite(result.objective), "objective")
    return result


def same_as_pixels():
    given = without_transfer(dnt.PaperCNN((4, 6))).objective
    close(given, minimize(neural(dnt.PaperCNN((4, 6)), pixels), dnt.LBFGS()).objective, "objective", rel=1e-4)


t.accept("PaperCNN without a transfer, on its grid", same_as_pixels)
t.either(
    "PaperCNN without a transfer, on triangles",
    "transfer",
    lambda: without_transfer(dnt.PaperCNN((4, 6)), Plane()),
)
t.either(
    "PaperCNN without a transfer, another shape", "transfer", lambda: without_transfer(dnt.PaperCNN((8, 8)))
)
t.either("LeanCNN without a transfer", "transfer", lambda: without_transfer(dnt.LeanCNN((4, 6))))
t.either("PixelLogits without a transfer", "transfer", lambda: without_transfer(dnt.PixelLogits((4, 6))))
t.accept("FourierMLP without a transfer", lambda: without_transfer(None))


class Strange(torch.nn.Module):
    """A network that returns something else."""

    def __init__(self, answer):
        super().__init__()
        self.weights = torch.nn.Parameter(torch.zeros(4, 6, dtype=torch.float64))
        self.answer = answer

    def forward(self):
        return self.answer(self.weights)


def strange(answer):
    variables = neural(Strange(answer), pixels)
    return variables.evaluate(variables.initial())


t.values(
    "NeuralDesign, the network returns",
    "logits",
    strange,
    [
        lambda w: w.T,
        lambda w: w.reshape(-1),
        lambda w: w[None],
        lambda w: None,
        lambda w: 0.0,
        lambda w: w.detach().numpy(),
        lambda w: (w, w),
        lambda w: w + nan,
        lambda w: w.detach(),
        lambda w: w + 1j,
        lambda w: w.to(torch.int64),
    ],
    says="logits|network",
    good=lambda w: w,
)
t.accept(
    "a network in single precision", lambda: right(np.isfinite(strange(lambda w: w.float()).value), "value")
)


class Points(torch.nn.Module):
    """A coordinate network that returns something else."""

    def __init__(self, answer):
        super().__init__()
        self.weights = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
        self.answer = answer

    def forward(self, points):
        return self.answer(points @ self.weights)


def of_points(answer):
    variables = neural(Points(answer))
    return variables.evaluate(variables.initial())


t.values(
    "NeuralDesign, the coordinate network returns",
    "logits",
    of_points,
    [
        lambda y: y[:, None],
        lambda y: y.sum(),
        lambda y: y[:-1],
        lambda y: y + nan,
        lambda y: None,
    ],
    says="logits|network",
    good=lambda y: y,
)


class Frozen(Strange):
    def __init__(self):
        super().__init__(lambda w: w)
        self.weights.requires_grad_(False)


class Mixed(Strange):
    def __init__(self):
        super().__init__(lambda w: w)
        self.more = torch.nn.Parameter(torch.zeros(2, dtype=torch.float32))


class Half(Strange):
    def __init__(self):
        super().__init__(lambda w: w)
        self.weights = torch.nn.Parameter(torch.zeros(4, 6, dtype=torch.float16))


class NotFinite(Strange):
    def __init__(self):
        super().__init__(lambda w: w)
        self.weights.data[0, 0] = nan


class Nowhere(Strange):
    def __init__(self):
        super().__init__(lambda w: w)
        self.to("meta")


class Lazy(torch.nn.Module):
    """A network whose weights have no size yet."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.LazyLinear(6)

    def forward(self):
        return self.layer(torch.zeros(4, 3))


t.values(
    "NeuralDesign",
    "network",
    lambda v: neural(v() if isinstance(v, type) else v, pixels),
    [
        Frozen,
        Mixed,
        NotFinite,
        Lazy,
        Nowhere,
        torch.nn.Identity,
        "CNN",
        3,
        lambda: torch.zeros(4, 6),
    ],
)
t.refuse("NeuralDesign of a class", "network", lambda: dnt.NeuralDesign(Plate().design(), dnt.PaperCNN))
t.either(
    "weights in half precision",
    "float16|precision|dtype|float32",
    lambda: minimize(neural(Half(), pixels), dnt.LBFGS()),
)
t.values("NeuralDesign", "design", lambda v: dnt.NeuralDesign(v, mlp()), [None, "design", 3, dnt.Design])
t.values(
    "NeuralDesign",
    "transfer",
    lambda v: dnt.NeuralDesign(Plate().design(), mlp(), v),
    ["pixels", 3, dnt.PixelTransfer],
)
t.refuse(
    "a transfer of another mesh",
    "transfer|mesh",
    lambda: neural(dnt.PaperCNN((4, 6)), lambda p: pixels(Plate())),
)
t.refuse(
    "weights that differ between ranks",
    "weights|rank",
    lambda: neural(dnt.PaperCNN((4, 6), seed=comm.rank), pixels),
    ranks=(2, 3),
)
t.refuse(
    "networks of other sizes on the ranks",
    "weights|rank|network",
    lambda: neural(mlp(features=8 + comm.rank)),
    ranks=(2, 3),
)
t.refuse(
    "a transfer on one rank alone",
    "transfer|rank|logits|network",
    lambda: neural(dnt.PixelLogits((4, 6)), pixels if comm.rank else None),
    ranks=(2, 3),
)


def at(x):
    variables = neural()
    return variables.evaluate(x(variables.initial()))


t.values(
    "NeuralDesign.evaluate",
    "x",
    at,
    [
        lambda x: x[:-1],
        lambda x: x[:, None],
        lambda x: x + nan,
        lambda x: x + inf,
        lambda x: 0.0,
        lambda x: "weights",
        lambda x: x + 1j,
        lambda x: torch.from_numpy(x).requires_grad_(),
    ],
    good=lambda x: x,
)


def raising(answer):
    try:
        strange(answer)
    except RuntimeError as error:
        right("mine" in str(error), f"another error: {error}")
        return
    right(False, "the network's error is lost")


def mine(w):
    raise RuntimeError("mine")


t.accept("a network that raises", lambda: raising(mine))
t.accept(
    "a network that raises on one rank", lambda: raising(lambda w: mine(w) if comm.rank else w), ranks=(2, 3)
)
