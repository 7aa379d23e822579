"""The exceptions of this package."""

from __future__ import annotations


class NeuralTopoError(Exception):
    """Base class of every error this package raises on purpose.

    Example:
        >>> try:
        ...     dnt.HeavisideProjection(beta=-1.0)
        ... except dnt.NeuralTopoError as error:
        ...     print(error)
        beta must be positive and finite, got -1.0...
    """


class InputError(NeuralTopoError, ValueError):
    """An argument is unusable; the message names it, what was expected, what was given, and the way out.

    Example:
        >>> dnt.DesignDomain(rho, volume_fraction=1.4)
        Traceback (most recent call last):
            ...
        InputError: volume_fraction must lie in (0, 1], got 1.4
    """


class SolverError(NeuralTopoError, RuntimeError):
    """A linear or nonlinear solve failed.

    Attributes:
        reason: PETSc's converged reason (negative), or 0 where the failure has none.
        iterations: Iterations done.
        residual: Last residual norm known to the solver.

    Example:
        >>> dnt.SolverError("no convergence", iterations=7).iterations
        7
    """

    def __init__(self, message: str, *, reason: int = 0, iterations: int = 0, residual: float = float("nan")):
        super().__init__(message)
        self.reason = reason
        self.iterations = iterations
        self.residual = residual


class CheckpointError(NeuralTopoError, RuntimeError):
    """A checkpoint is truncated, belongs to another problem, or was written by another version.

    Example:
        >>> issubclass(dnt.CheckpointError, dnt.NeuralTopoError)
        True
    """


class Interrupted(NeuralTopoError):
    """A signal ended the run; its checkpoint continues it."""


class ReplicationError(NeuralTopoError, RuntimeError):
    """Values that must be identical on all ranks differ.

    Example:
        >>> issubclass(dnt.ReplicationError, dnt.NeuralTopoError)
        True
    """
