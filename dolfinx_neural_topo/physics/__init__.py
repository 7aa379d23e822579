"""Any UFL problem as a differentiable function of its DG0 density: state, adjoint, objective."""

from dolfinx_neural_topo.physics.algebra import Functional
from dolfinx_neural_topo.physics.eigen import EigenProblem
from dolfinx_neural_topo.physics.eigenvalue import Eigenvalue
from dolfinx_neural_topo.physics.functional import Compliance, ReducedFunctional
from dolfinx_neural_topo.physics.loads import nodal_load
from dolfinx_neural_topo.physics.material import mass, ramp, simp, simp_penalty
from dolfinx_neural_topo.physics.state import StateProblem
from dolfinx_neural_topo.physics.transient import TransientProblem
from dolfinx_neural_topo.physics.transient_functional import TransientFunctional
from dolfinx_neural_topo.physics.verification import random_density, taylor_test

__all__ = [
    "Compliance",
    "EigenProblem",
    "Eigenvalue",
    "Functional",
    "ReducedFunctional",
    "StateProblem",
    "TransientFunctional",
    "TransientProblem",
    "mass",
    "nodal_load",
    "ramp",
    "random_density",
    "simp",
    "simp_penalty",
    "taylor_test",
]
