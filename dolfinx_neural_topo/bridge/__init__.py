"""PyTorch on one side, owned cells on the other: transfers, objective, weights as variables (layer 4)."""

from dolfinx_neural_topo.bridge.neural import NeuralDesign, sum_gradients
from dolfinx_neural_topo.bridge.objective import TopologyObjective, global_sum
from dolfinx_neural_topo.bridge.replication import check_replicated
from dolfinx_neural_topo.bridge.transfer import PixelTransfer, PointTransfer, SampledTransfer

__all__ = [
    "NeuralDesign",
    "PixelTransfer",
    "PointTransfer",
    "SampledTransfer",
    "TopologyObjective",
    "check_replicated",
    "global_sum",
    "sum_gradients",
]
