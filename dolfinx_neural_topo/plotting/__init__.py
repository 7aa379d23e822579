"""Pictures, drawn off-screen on rank 0 from distributed fields or from images."""

from dolfinx_neural_topo.plotting.convergence import plot_convergence
from dolfinx_neural_topo.plotting.density import plot_density, plot_designs

__all__ = ["plot_convergence", "plot_density", "plot_designs"]
