"""The exceptions of this package."""

from __future__ import annotations


class NeuralTopoError(Exception):
    """Base class of every error this package raises on purpose."""


class InputError(NeuralTopoError, ValueError):
    """An argument is unusable; the message names it, what was expected, what was given, and the way out."""


class SolverError(NeuralTopoError, RuntimeError):
    """A linear or nonlinear solve failed.

    Attributes:
        reason: PETSc's converged reason (negative), or 0 where the failure has none.
        iterations: Iterations done.
        residual: Last residual norm known to the solver.
    """

    def __init__(self, message: str, *, reason: int = 0, iterations: int = 0, residual: float = float("nan")):
        super().__init__(message)
        self.reason = reason
        self.iterations = iterations
        self.residual = residual


class CheckpointError(NeuralTopoError, RuntimeError):
    """A checkpoint is truncated, belongs to another problem, or was written by another version."""


class Interrupted(NeuralTopoError):
    """A signal ended the run; its checkpoint continues it."""


class ReplicationError(NeuralTopoError, RuntimeError):
    """Values that must be identical on all ranks differ."""
