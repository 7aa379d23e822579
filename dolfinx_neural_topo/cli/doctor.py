"""`doctor`: is everything here that is needed, and which line installs what is not?"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from mpi4py import MPI

from dolfinx_neural_topo.cli import checks
from dolfinx_neural_topo.cli.console import FAILED, say
from dolfinx_neural_topo.errors import InputError


@dataclass(frozen=True)
class Check:
    """One thing to look at.

    Attributes:
        name: What it is.
        look: Returns what was found; raises, in a sentence, where it is missing or does not work.
        needed: Whether nothing works without it.
        install: The line that mends it.
    """

    name: str
    look: Callable[[], str]
    needed: bool
    install: str


CHECKS = (
    Check(
        "DOLFINx",
        checks.dolfinx,
        True,
        "conda install -c conda-forge 'fenics-dolfinx>=0.9,<0.12' (Debian 13: apt-get install "
        "python3-dolfinx-real)",
    ),
    Check(
        "PETSc, real numbers",
        checks.petsc_real,
        True,
        "conda install -c conda-forge 'petsc4py=*=*real*' (Debian: python3-petsc4py-real; container: "
        "source dolfinx-real-mode)",
    ),
    Check("form compiler", checks.form_compiler, True, "apt-get install gcc libc6-dev (conda: gcc)"),
    Check(
        "sparse factorization",
        checks.factorization,
        True,
        "a PETSc with MUMPS: conda install -c conda-forge 'petsc4py=*=*real*', or apt-get install "
        "python3-petsc4py-real",
    ),
    Check(
        "MPI launch, 2 ranks",
        checks.mpi_launch,
        False,
        "apt-get install openmpi-bin (conda: openmpi); as root: export OMPI_ALLOW_RUN_AS_ROOT=1 "
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; on one core: mpirun --oversubscribe",
    ),
    Check(
        "BLAS",
        checks.fast_blas,
        False,
        "apt-get install libopenblas0-pthread (conda: libblas=*=*openblas)",
    ),
    Check(
        "torch (networks)",
        checks.torch,
        False,
        "pip install torch (conda: pytorch-cpu; Debian: python3-torch)",
    ),
    Check(
        "matplotlib (pictures)",
        checks.matplotlib,
        False,
        "pip install matplotlib, or apt-get install python3-matplotlib",
    ),
    Check(
        "off-screen rendering (3D pictures)",
        checks.rendering,
        False,
        "pip install pyvista (Debian: apt-get install python3-pyvista xvfb libgl1-mesa-dri)",
    ),
    Check("NLopt (its MMA)", checks.nlopt, False, "pip install nlopt (conda: nlopt; Debian: python3-nlopt)"),
    Check(
        "Gmsh (to make meshes; reading needs none)",
        checks.gmsh,
        False,
        "pip install gmsh (conda: python-gmsh; Debian: python3-gmsh)",
    ),
)


def add_doctor(commands) -> None:
    """Add the parser of `doctor`."""
    parser = commands.add_parser(
        "doctor",
        help="is everything here that is needed? says which line installs what is not",
        epilog="exit status: 0; 1 if something is missing without which nothing works",
    )
    parser.set_defaults(command=_doctor)


def _doctor(arguments: argparse.Namespace) -> int:
    if MPI.COMM_WORLD.size > 1:
        raise InputError("doctor starts mpirun itself: call it without")
    return examine(CHECKS)


def examine(wanted: Iterable[Check]) -> int:
    """Look at everything, and say a line on each; return the exit status."""
    missing = []
    for check in wanted:
        try:
            found, mark = check.look(), "ok"
        except Exception as error:  # whatever a broken installation raises
            found = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            mark = "MISSING" if check.needed else "absent"
        say(f"{mark:<8} {check.name}: {found}")
        if mark != "ok":
            say(f"{'':<8}   {check.install}")
        if mark == "MISSING":
            missing.append(check.name)
    if missing:
        say(f"\nNothing works without: {', '.join(missing)}.")
        return FAILED
    say("\nEverything that is needed is here.")
    return 0
