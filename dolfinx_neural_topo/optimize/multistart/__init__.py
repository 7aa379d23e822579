"""Many cheap neural starts on coarse physics, ranked; the best ones polished on the full mesh."""

from dolfinx_neural_topo.optimize.multistart.alternatives import Alternative, distance
from dolfinx_neural_topo.optimize.multistart.driver import minimize_multistart
from dolfinx_neural_topo.optimize.multistart.levels import Levels
from dolfinx_neural_topo.optimize.multistart.result import Multistart
from dolfinx_neural_topo.optimize.multistart.schedule import PRESETS, Round, Schedule, Starts, preset

__all__ = [
    "PRESETS",
    "Alternative",
    "Levels",
    "Multistart",
    "Round",
    "Schedule",
    "Starts",
    "distance",
    "minimize_multistart",
    "preset",
]
