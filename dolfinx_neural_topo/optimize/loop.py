"""The loop around every method: budget, best so far, continuation, failures, checkpoints."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import closing

from dolfinx_neural_topo._checks import check_count, check_number
from dolfinx_neural_topo._files import as_path
from dolfinx_neural_topo.errors import collective
from dolfinx_neural_topo.optimize.checkpoint import held
from dolfinx_neural_topo.optimize.continuation import Continuation, as_continuations
from dolfinx_neural_topo.optimize.interrupts import Interrupts
from dolfinx_neural_topo.optimize.method import Method, Variables
from dolfinx_neural_topo.optimize.progress import Progress
from dolfinx_neural_topo.optimize.result import History, Result
from dolfinx_neural_topo.optimize.run import Run
from dolfinx_neural_topo.optimize.step import Step


@collective(free=("callbacks", "progress"))
def minimize(
    variables: Variables,
    method: Method,
    *,
    evaluations: int = 200,
    seconds: float | None = None,
    callbacks: Sequence[Callable[[Step], str | None]] = (),
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 10,
    stop: Callable[[History], str | None] | None = None,
    continuation: Continuation | Sequence[Continuation] | None = None,
    progress: bool | None = None,
) -> Result:
    """Minimize the objective of `variables` by `method`.

    A failed evaluation (a solve that did not converge, a value that is not finite, any error) makes the
    method shrink its step; `MAX_FAILURES` of them in a row end the run with the best design so far. Only a
    failure at the start raises, and replicated variables that differ between ranks. What a callback raises on
    one rank ends the run on all, after a checkpoint. Where `state.rtol` let solves be rough while the design
    moved, the best design is evaluated once more at the end, with the state solved to a true residual of
    1e-5; if that fails, `reason` says so.

    Args:
        variables: A `Design`, a `NeuralDesign`, or anything with that interface.
        method: Optimizer, for instance ``OC()``, ``MMA()``, ``LBFGS()``.
        evaluations: Budget of evaluations, line-search trials and those before a resumption included.
        seconds: Budget of wall seconds, likewise; None for no limit.
        callbacks: Called with a `Step` after every evaluation, on all ranks; a sentence returned ends the
            run.
        checkpoint: File to write to and to resume from if it exists, for one run at a time; ".npz" is
            appended if it has another ending. A run that is resumed may have other options of the method.
            While it is given, SIGTERM and SIGINT end the run after the evaluation that is under way, with a
            checkpoint and ``result.interrupted``.
        checkpoint_every: Evaluations between checkpoints; one is always written at the end.
        stop: Early stop, for instance ``RelativeProgress(1e-3, 10)``: gets the history, returns a sentence to
            stop. Asked after the first evaluation of the last stage of all continuations.
        continuation: `Continuation` or several.
        progress: True or False to show or hide the progress line; None shows it on a
            terminal, and a line a minute elsewhere.

    Returns:
        Best and last design, reason, history, cost.

    Raises:
        InputError: If a budget is not positive, `checkpoint` given for variables without `persistence`, or it
            cannot be written, or another run writes to it.
        SolverError: If the start cannot be evaluated.
        CheckpointError: If `checkpoint` exists and neither it nor the one before it can be used.

    Note: Collective.

    Example:
        >>> found = dnt.minimize(design, dnt.OC(), evaluations=3)
        >>> found.evaluations, found.reason
        (3, 'The budget of 3 evaluations is used up.')
    """
    check_count("evaluations", evaluations)
    check_count("checkpoint_every", checkpoint_every)
    if seconds is not None:
        check_number("seconds", seconds, "(0, inf]")
    path = None if checkpoint is None else as_path(checkpoint, "checkpoint")
    if path is not None and path.suffix != ".npz":
        path = path.with_name(f"{path.name}.npz")
    with closing(method), held(variables.comm, path):
        run = Run(
            variables,
            method,
            evaluations=evaluations,
            seconds=seconds,
            continuations=as_continuations(continuation),
            stop=stop,
            callbacks=callbacks,
            progress=Progress(variables.comm, evaluations, seconds, progress),
            checkpoint=path,
            every=checkpoint_every,
        )
        with Interrupts(enabled=checkpoint is not None) as interrupts:
            run.loop(interrupts)
        return run.result()
