"""PETSc: options under a prefix, reasons in words, and who destroys what."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from mpi4py import MPI
from petsc4py import PETSc

from dolfinx_neural_topo.errors import InputError, agree

if TYPE_CHECKING:
    from typing_extensions import Self

_PREFIX = re.compile(r"[A-Za-z][A-Za-z0-9_]*_")


def require_real(comm: MPI.Comm) -> None:
    """Refuse a PETSc whose scalars are complex.

    Raises:
        InputError: PETSc was built with complex scalars.

    Note: Collective.
    """
    problem = None
    if np.issubdtype(PETSc.ScalarType, np.complexfloating):
        problem = (
            "PETSc must be built with real scalars, this one has complex scalars; way out: use the real "
            "build "
            "(Debian: python3-dolfinx-real, conda: petsc=*=real*)"
        )
    agree(comm, problem)


def check_prefix(comm: MPI.Comm, prefix: object) -> str:
    """Return a PETSc options prefix after checking its form and that all ranks give the same.

    Raises:
        InputError: Not a string of letters, digits and underscores that ends in an underscore, or not the
            same on all ranks.

    Note: Collective.
    """
    problem = None
    if not isinstance(prefix, str) or _PREFIX.fullmatch(prefix) is None:
        problem = (
            "petsc_options_prefix must be a name of letters, digits and underscores that ends in an "
            "underscore "
            f"(for instance 'bridge_'), got {prefix!r}"
        )
    agree(comm, problem)
    first = comm.bcast(prefix, root=0)
    if prefix != first:
        problem = (
            f"petsc_options_prefix must be the same on all ranks, got {prefix!r} here and {first!r} on rank 0"
        )
    agree(comm, problem)
    return str(prefix)


class Unread:
    """Options that a user gave and that nothing has read yet: most likely mistyped.

    Args:
        names: Names without prefix. Tolerances may be there in vain: a direct solver reads none.
    """

    def __init__(self, names: Iterable[str]):
        self._names = set(names) - {"ksp_rtol", "ksp_atol", "ksp_divtol", "ksp_max_it"}

    def note(self, prefix: str) -> None:
        """Look in PETSc's database which of them have been read, or were there before ours."""
        self._names = {name for name in self._names if not _was_read(prefix + name)}

    def check(self, prefix: str) -> None:
        """Refuse those that are left; say so once.

        Raises:
            InputError: There are some.
        """
        left, self._names = sorted(self._names), set()
        if left:
            raise InputError(
                f"petsc_options: nothing in '{prefix}' has read {', '.join(left)}; way out: check the "
                "spelling, and whether this solver has such an option (-help lists them), or leave it out"
            )


def _was_read(name: str) -> bool:
    used = ctypes.c_int(0)  # PETSc's bool has had one byte or four
    library = ctypes.CDLL(PETSc.__file__)
    _check(library.PetscOptionsUsed(None, name.encode(), ctypes.byref(used)))
    return bool(used.value)


def take_options(solver: Any, prefix: str) -> None:
    """Let a solver read its options.

    Raises:
        InputError: PETSc knows no such solver, preconditioner or value.
    """
    try:
        solver.setFromOptions()
    except PETSc.Error as error:
        told = [line.rsplit("] ", 1)[-1].strip() for line in str(error).splitlines()]
        said = " ".join(line for line in told if line and "() at " not in line and "error code" not in line)
        raise InputError(
            f"petsc_options of '{prefix}' must be ones that PETSc has, it says: {said:.200}"
        ) from error


@contextmanager
def options(prefix: str, values: Mapping[str, Any], unread: Unread | None = None) -> Iterator[None]:
    """Put options into PETSc's database under a prefix, and take them out again at the end.

    An option that is there already (from the command line or PETSC_OPTIONS) wins and stays.

    Args:
        prefix: Prefix of the solver that shall read the options.
        values: Option names without the prefix. None stands for an option without a value.
        unread: Is told what has been read.
    """
    database = PETSc.Options()
    names = [name for name in (prefix + key for key in values) if not database.hasName(name)]
    for name in names:
        database[name] = values[name[len(prefix) :]]
    try:
        yield
    finally:
        if unread is not None:
            unread.note(prefix)
        for name in names:
            database.delValue(name)


def reason_name(reasons: type, reason: int) -> str:
    """Return PETSc's name of a converged reason, such as 'DIVERGED_MAX_IT'."""
    names = [
        name for name, value in vars(reasons).items() if value == reason and "_" in name and name[0] != "_"
    ]
    return names[0] if names else f"reason {reason}"


class Owner:
    """Owns PETSc objects: destroys them together, once, when told to.

    `destroy` is collective, so it is never called by the garbage collector: use it, or a `with` statement.
    """

    def __init__(self) -> None:
        self._owned: list[Any] = []
        self._destroyed = False

    def own(self, thing: Any) -> Any:
        """Take charge of something that has a `destroy` method, and return it."""
        self._owned.append(thing)
        return thing

    @property
    def destroyed(self) -> bool:
        """Whether `destroy` was called."""
        return self._destroyed

    def destroy(self) -> None:
        """Destroy all that is owned; a second call does nothing.

        Note: Collective.
        """
        self._destroyed = True
        while self._owned:
            self._owned.pop().destroy()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception) -> None:
        self.destroy()


@cache
def block_smoother() -> str:
    """Return "pbjacobi", or "jacobi" where this PETSc would smooth with the blocks of an earlier matrix.

    PETSc 3.25 inverts the diagonal blocks of an AIJ matrix once and keeps them when values change. On designs
    of high contrast multigrid then fails, so that the behaviour is tried out on a matrix of two rows.
    """
    A = PETSc.Mat().createAIJ((2, 2), bsize=2, nnz=2, comm=MPI.COMM_SELF)
    inverses = []
    for value in (1.0, 2.0):
        A.zeroEntries()
        A.setValues([0, 1], [0, 1], np.diag([value, value]))
        A.assemble()
        inverses.append(float(np.ravel(A.invertBlockDiagonal())[0]))
    A.destroy()
    return "pbjacobi" if inverses == [1.0, 0.5] else "jacobi"


def csr_values(A: PETSc.Mat) -> list[np.ndarray]:
    """Return the values of an AIJ matrix without a copy, row by row, columns ascending.

    Those of columns that this rank owns and, on several ranks, those of the others. petsc4py has only copies
    of them. Whoever writes here calls `A.assemble()` and `A.stateIncrease()` afterwards.

    Args:
        A: Assembled matrix of type seqaij or mpiaij; it must outlive the arrays.
    """
    library = ctypes.CDLL(PETSc.__file__)  # finds PETSc's own functions too, on which it depends
    parts = [ctypes.c_void_p(A.handle)]
    if A.getType() == "mpiaij":
        parts = [ctypes.c_void_p(), ctypes.c_void_p()]
        _check(library.MatMPIAIJGetSeqAIJ(ctypes.c_void_p(A.handle), *map(ctypes.byref, parts), None))
    arrays = []
    for part in parts:
        values, sizes = ctypes.POINTER(ctypes.c_double)(), (ctypes.c_double * 10)()
        _check(library.MatSeqAIJGetArray(part, ctypes.byref(values)))
        _check(library.MatGetInfo(part, 1, sizes))
        num_values = int(sizes[2])  # MatInfo: block_size, nz_allocated, nz_used, ...
        arrays.append(np.ctypeslib.as_array(values, shape=(num_values,)) if num_values else np.zeros(0))
        _check(library.MatSeqAIJRestoreArray(part, ctypes.byref(values)))
    return arrays


def _check(error: int) -> None:
    if error:
        raise PETSc.Error(error)
