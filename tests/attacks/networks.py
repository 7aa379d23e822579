"""Networks, transfers, and the bridge between PyTorch and the mesh."""

from __future__ import annotations

import torch

import dolfinx_neural_topo as dnt
from attacks.case import Topic, right
from attacks.world import inf, nan
from dolfinx_neural_topo import networks

t = Topic("networks")

SHAPES = [(4,), (4, 0), (-4, 6), (4.5, 6), "4x6", None, 24, (4, 6, 2, 2), (nan, 6), ()]
for kind in (dnt.PaperCNN, dnt.LeanCNN, dnt.PixelLogits):
    name = kind.__name__
    t.values(name, "shape", lambda v, kind=kind: kind(v), SHAPES)
    t.values(name, "device", lambda v, kind=kind: kind((4, 6), device=v), ["cuda", "gpu", 3.5, "cuda:9"])
    t.values(
        name,
        "dtype",
        lambda v, kind=kind: kind((4, 6), dtype=v),
        [int, torch.int32, "float", torch.complex64],
    )
for kind in (dnt.PaperCNN, dnt.LeanCNN):
    name = kind.__name__
    t.values(name, "seed", lambda v, kind=kind: kind((4, 6), seed=v), [1e23, 0.5, "a", None, nan, 10**30])
    t.values(name, "kernel", lambda v, kind=kind: kind((4, 6), kernel=v), [0, 2, -1, 2.5, "5", None])
    t.values(
        name,
        "channels",
        lambda v, k=kind: k((4, 6), channels=v),
        [(), (8, 8, 8, 8, 2), (8, 1), (0, 8, 8, 8, 1), "a"],
    )
    t.values(
        name,
        "resizes",
        lambda v, k=kind: k((4, 6), resizes=v),
        [(), (1, 0, 2, 2, 1), (1, 2), (1.5, 2, 2, 2, 1), "ab"],
    )
t.values("LeanCNN", "activation", lambda v: dnt.LeanCNN((4, 6), activation=v), ["relu?", None, torch.sin, 3])
t.values("LeanCNN", "latent_scale", lambda v: dnt.LeanCNN((4, 6), latent_scale=v), [nan, inf, "big", None])
t.values("LeanCNN", "offset_scale", lambda v: dnt.LeanCNN((4, 6), offset_scale=v), [nan, inf, "big"])
t.values("LeanCNN", "output_resize", lambda v: dnt.LeanCNN((4, 6), output_resize=v), [0, -2, 1.5, "2", None])
t.values(
    "PixelLogits",
    "value",
    lambda v: dnt.PixelLogits((4, 6), v),
    [nan, inf, "zero", torch.zeros(6, 4), None, 1j],
)
t.values(
    "MultiresolutionLogits",
    "levels",
    lambda v: networks.MultiresolutionLogits((4, 6), levels=v),
    [0, -1, 1.5, "2"],
)


def mlp(**options):
    return dnt.FourierMLP(**{"dim": 2, "length_scale": 2.0, **options})


t.values("FourierMLP", "dim", lambda v: mlp(dim=v), [0, 4, 2.5, "2", None])
t.values("FourierMLP", "length_scale", lambda v: mlp(length_scale=v), [0.0, -1.0, nan, inf, "2", None])
t.values("FourierMLP", "features", lambda v: mlp(features=v), [0, -1, 2.5, "8", None])
t.values("FourierMLP", "hidden", lambda v: mlp(hidden=v), [(0,), (8, -1), 8, "ab", None, (2.5,)])
t.values("FourierMLP", "seed", lambda v: mlp(seed=v), [1e23, "a", None, 0.5])
t.values("FourierMLP", "device", lambda v: mlp(device=v), ["cuda", "gpu"])
t.accept(
    "FourierMLP without hidden layers",
    lambda: right(mlp(hidden=())(torch.zeros(3, 2)).shape == (3,), "shape"),
)
