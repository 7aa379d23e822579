"""Problems described in a TOML file, for those who do not write UFL."""

from dolfinx_neural_topo.problem.description import Problem
from dolfinx_neural_topo.problem.reading import read_problem
from dolfinx_neural_topo.problem.run import run_file

__all__ = ["Problem", "read_problem", "run_file"]
