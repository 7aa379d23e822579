"""The command line: `dnt`, or `python3 -m dolfinx_neural_topo`."""

import os
import signal


def entry() -> int:
    """Run the command line of this process; see `cli.main.main`."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)  # until `main` handles them
    from dolfinx_neural_topo.cli.main import main

    return main()


def _stop(number: int, frame: object) -> None:
    """End a process that is still loading, where an exception might be swallowed by what it imports."""
    os.write(2, f"error: stopped by {signal.Signals(number).name}\n".encode())
    os._exit(130)
