"""Networks that return logits: plain `torch.nn.Module`s that know nothing of finite elements or MPI.

Image networks take no argument and return a tensor of their `shape`; a coordinate network maps points
(n, dim) to (n,). Told by `distribute` how images are cut into tiles, one a process, an image network keeps
and returns its own tile of everything, by the same source. Initial weights come from a private generator
seeded by `seed`: the same on every rank and device.
"""

from dolfinx_neural_topo.networks.cnn import DeepCNN, PaperCNN
from dolfinx_neural_topo.networks.coordinate import FourierMLP
from dolfinx_neural_topo.networks.lean import LeanCNN, recipe_cnn
from dolfinx_neural_topo.networks.pixels import MultiresolutionLogits, PixelLogits

__all__ = [
    "DeepCNN",
    "FourierMLP",
    "LeanCNN",
    "MultiresolutionLogits",
    "PaperCNN",
    "PixelLogits",
    "recipe_cnn",
]
