"""Exceptions, and how ranks agree on them."""

from dolfinx_neural_topo.errors.agreement import agree, attempt, meet, same, together
from dolfinx_neural_topo.errors.door import collective
from dolfinx_neural_topo.errors.exceptions import (
    CheckpointError,
    InputError,
    Interrupted,
    NeuralTopoError,
    ReplicationError,
    SolverError,
)
from dolfinx_neural_topo.errors.kinds import checked

__all__ = [
    "CheckpointError",
    "InputError",
    "Interrupted",
    "NeuralTopoError",
    "ReplicationError",
    "SolverError",
    "agree",
    "attempt",
    "checked",
    "collective",
    "meet",
    "same",
    "together",
]
