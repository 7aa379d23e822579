"""Exceptions, and the one way in which ranks agree that something is wrong."""

from __future__ import annotations

from mpi4py import MPI


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


class ReplicationError(NeuralTopoError, RuntimeError):
    """Values that must be identical on all ranks differ."""


def agree(comm: MPI.Comm, problem: str | None, error: type[Exception] = InputError) -> None:
    """Raise the same error on every rank if any rank found a problem.

    The message is that of the lowest rank that has one, followed by the number of that rank when
    there are several.

    Args:
        comm: Communicator over which the verdict is reduced.
        problem: What is wrong with this rank's data, or None.
        error: Exception class to raise.

    Raises:
        Exception: `error`, on all ranks of `comm` or on none.

    Note: Collective.
    """
    if comm.size == 1:
        if problem is not None:
            raise error(problem)
        return
    first = comm.allreduce(comm.size if problem is None else comm.rank, op=MPI.MIN)
    if first < comm.size:
        message = comm.bcast(problem, root=first)
        raise error(f"{message} (first found on rank {first} of {comm.size})")
