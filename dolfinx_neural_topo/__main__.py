"""`python3 -m dolfinx_neural_topo`, the same as `dnt`."""

import sys

from dolfinx_neural_topo.cli import entry

if __name__ == "__main__":
    sys.exit(entry())
