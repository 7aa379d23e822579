"""Pictures, drawn off-screen on rank 0 from distributed fields or from images."""

from dolfinx_neural_topo.plotting.convergence import plot_convergence
from dolfinx_neural_topo.plotting.density import plot_density, plot_designs
from dolfinx_neural_topo.plotting.field import plot_displacement, plot_field
from dolfinx_neural_topo.plotting.movie import Movie
from dolfinx_neural_topo.plotting.solid import plot_solid

__all__ = [
    "Movie",
    "plot_convergence",
    "plot_density",
    "plot_designs",
    "plot_displacement",
    "plot_field",
    "plot_solid",
]
