"""`--version`: what a report about a wrong number needs to say."""

from __future__ import annotations

import argparse
import ctypes
from typing import Any

from dolfinx_neural_topo.cli.console import say

_CORE = ("openblas_get_corename", "openblas_get_corename64_", "scipy_openblas_get_corename64_")


class Version(argparse.Action):
    """Print the versions of all that computes, and leave."""

    def __init__(self, option_strings: Any, dest: str, **kwargs: Any):
        super().__init__(option_strings, dest, nargs=0, help="versions of all that computes, and leave")

    def __call__(self, parser: argparse.ArgumentParser, *rest: Any) -> None:
        """Print and leave."""
        say("\n".join(f"{name:<20} {value}" for name, value in versions().items()))
        parser.exit()


def versions() -> dict[str, str]:
    """Return name and version of the package and of what it computes with; "missing" for what is not there.

    Beside the versions there are the kind of PETSc's numbers, the MPI library, and the BLAS library with the
    type of processor that its kernels were chosen for: that type decides how sums are rounded.
    """
    from mpi4py import MPI

    from dolfinx_neural_topo import __version__
    from dolfinx_neural_topo.study import provenance

    found = {"dolfinx_neural_topo": __version__, **dict.fromkeys(("dolfinx", "petsc", "torch"), "missing")}
    found |= {name: text for name, text in provenance.versions().items() if name != "dolfinx_neural_topo"}
    found["petsc"] = petsc()
    found["mpi"] = MPI.Get_library_version().splitlines()[0].split(", package")[0].strip("\0 ")
    found["blas"] = f"{provenance.blas()}, core type {core_type()}"
    return found


def petsc() -> str:
    """Return PETSc's version and the kind of its numbers."""
    try:
        import numpy as np
        from petsc4py import PETSc
    except ImportError:
        return "missing"
    number = ".".join(map(str, PETSc.Sys.getVersion()))
    scalar, integer = np.dtype(PETSc.ScalarType), np.dtype(PETSc.IntType)
    return f"{number} ({scalar} scalars, {integer} indices)"


def core_type() -> str:
    """Return the processor type that the loaded OpenBLAS chose its kernels for, or "unknown"."""
    from dolfinx_neural_topo.study import provenance

    kind, _, path = provenance.blas().partition(" ")
    if kind != "openblas":
        return "unknown"
    library = ctypes.CDLL(path.strip("()"))
    for name in _CORE:
        if hasattr(library, name):
            function = getattr(library, name)
            function.restype = ctypes.c_char_p
            return function().decode()
    return "unknown"
