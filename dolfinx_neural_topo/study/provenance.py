"""Where a number comes from: commit, versions, BLAS, ranks, threads, machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from pathlib import Path
from typing import Any

from mpi4py import MPI

_DISTRIBUTIONS = {
    "dolfinx": "fenics-dolfinx",
    "petsc4py": "petsc4py",
    "torch": "torch",
    "numpy": "numpy",
    "scipy": "scipy",
    "mpi4py": "mpi4py",
}


def commit() -> str | None:
    """Return the commit of the checkout the package runs from, or None where it is installed without one."""
    git = Path(__file__).parents[2] / ".git"
    try:
        if git.is_file():  # a worktree names its folder there
            git = Path(git.read_text().removeprefix("gitdir:").strip())
        head = (git / "HEAD").read_text().strip()
        if not head.startswith("ref: "):
            return head
        name = head.removeprefix("ref: ")
        common = git / "commondir"
        git = (git / common.read_text().strip()) if common.exists() else git
        if (git / name).exists():
            return (git / name).read_text().strip()
        packed = (line.split(" ") for line in (git / "packed-refs").read_text().splitlines())
        return next(parts[0] for parts in packed if parts[-1] == name)
    except (OSError, StopIteration):
        return None


def versions() -> dict[str, str]:
    """Return the versions of the package, of Python and of what it computes with, missing ones left out."""
    found = {
        "dolfinx_neural_topo": _version("dolfinx-neural-topo") or "source",
        "python": platform.python_version(),
    }
    found |= {name: version for name, dist in _DISTRIBUTIONS.items() if (version := _version(dist))}
    if "nlopt" in sys.modules:  # Debian installs it without metadata
        found["nlopt"] = sys.modules["nlopt"].__version__
    return found


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def blas() -> str:
    """Return the BLAS this process has loaded, by the file name of its library (Linux), or "unknown"."""
    try:
        paths = {
            line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "blas" in line
        }
    except OSError:
        return "unknown"
    for path in sorted(paths):
        real = str(Path(path).resolve())
        for name in ("openblas", "mkl", "blis", "atlas"):
            if name in real.lower():
                return f"{name} ({real})"
    return f"reference ({min(paths)})" if paths else "unknown"


def describe(comm: MPI.Comm) -> dict[str, Any]:
    """Return the provenance of a run as JSON-able values: commit, versions, blas, ranks, threads, machine."""
    return {
        "commit": commit(),
        "versions": versions(),
        "blas": blas(),
        "ranks": comm.size,
        "threads": int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
