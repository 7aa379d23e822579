"""The last stage of any method: from a grey design to one of solid and void that can be built."""

from dolfinx_neural_topo.optimize.buildable.built import Built
from dolfinx_neural_topo.optimize.buildable.stage import EVALUATIONS, make_buildable

__all__ = ["EVALUATIONS", "Built", "make_buildable"]
