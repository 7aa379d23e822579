"""The command line: `dnt`, or `python3 -m dolfinx_neural_topo`."""

import signal

from dolfinx_neural_topo._processes import stop


def entry() -> int:
    """Run the command line of this process; see `cli.main.main`."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)  # until `main` handles them
    waiting = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    from mpi4py import MPI  # noqa: F401  # a signal may hang its start

    signal.pthread_sigmask(signal.SIG_SETMASK, waiting)
    from dolfinx_neural_topo.cli.main import main

    return main()
