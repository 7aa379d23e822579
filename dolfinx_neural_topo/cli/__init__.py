"""The command line: `dnt`, or `python3 -m dolfinx_neural_topo`."""

import signal


def entry() -> int:
    """Run the command line of this process; see `cli.main.main`."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until `main` handles it, Ctrl-C ends it without a word
    from dolfinx_neural_topo.cli.main import main

    return main()
