"""Fields for ParaView, as XDMF with its HDF5 file beside it."""

from __future__ import annotations

import ctypes
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dolfinx import fem
from dolfinx.io import XDMFFile
from dolfinx.mesh import Mesh

from dolfinx_neural_topo._files import as_path, in_a_sentence
from dolfinx_neural_topo.errors import InputError, agree, collective
from dolfinx_neural_topo.io._ranks import on_rank_zero
from dolfinx_neural_topo.io.gather import to_nodes


class ParaViewFile:
    """An XDMF file of one mesh and fields on it, at one or several times. A context manager.

    Fields with one value a cell (density, von Mises stress) are written on cells, all others at the nodes of
    the mesh: the cell corners, and the points between them on a mesh of second order. In ParaView choose the
    reader "Xdmf3 Reader S".

    Args:
        path: File to write, ending in .xdmf; its folder is made. An .h5 file appears beside it.
        mesh: Mesh of all fields.

    Raises:
        InputError: `path` does not end in .xdmf, has a ':' in its name, or cannot be written.

    Note: Collective, as are all methods.
    """

    _file: Any = None

    @collective
    def __init__(self, path: str | Path, mesh: Mesh):
        path = _as_xdmf(path)
        problem = None
        if mesh.comm.rank == 0:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                for file in (path, path.with_suffix(".h5")):
                    file.open("ab").close()
            except OSError as error:
                problem = f"path {path} cannot be written: {error.strerror}; choose another one"
        agree(mesh.comm, problem)
        self.comm, self._mesh = mesh.comm, mesh
        self._path = path
        with self._sentences():
            self._file = XDMFFile(mesh.comm, str(path), "w")
            self._file.write_mesh(mesh)

    @collective
    def write(self, fields: Sequence[fem.Function], time: float = 0.0) -> None:
        """Write the fields under their `name`s. Note: Collective.

        Args:
            fields: Functions on the file's mesh.
            time: Time, or number of the evaluation.

        Raises:
            InputError: A function on another mesh, two of the same name, or a name that XDMF cannot hold.
        """
        for field in fields:
            if not isinstance(field, fem.Function):
                raise InputError(f"fields must be dolfinx.fem.Functions, got {type(field).__name__}")
        names = [field.name for field in fields]
        if any("'" in name or not name.isprintable() for name in names):
            raise InputError(
                f"fields must have names of one line without ', got {names}; set `function.name`"
            )
        if len(set(names)) != len(names):
            raise InputError(f"fields must have different names, got {names}; set `function.name`")
        for field in fields:
            if field.function_space.mesh is not self._mesh:
                raise InputError(f"field {field.name!r} must live on the mesh the file was opened with")
            by_cell = field.function_space.ufl_element().degree == 0
            with self._sentences():
                self._file.write_function(field if by_cell else to_nodes(field), time)

    def close(self) -> None:
        """Finish the file."""
        with self._sentences():
            self._file.close()

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        """Turn what DOLFINx says about a file that cannot be written into an `InputError`."""
        try:
            yield
        except RuntimeError as error:
            if self._file is not None:  # it stays: its destructor would close it again, and end the process
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._file))
            raise InputError(f"path {self._path} cannot be written (disk full?): {error}") from error

    def __enter__(self) -> ParaViewFile:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


@collective
def write_paraview(path: str | Path, *fields: fem.Function) -> None:
    """Write fields of one mesh into an XDMF file that ParaView opens.

    A file that is there, and its .h5 file, are replaced when the new ones are whole.

    Args:
        path: File to write, ending in .xdmf.
        *fields: Functions, each with a `name` of its own; see `ParaViewFile`.

    Raises:
        InputError: No field, another ending, different meshes, equal names, or it cannot be written.

    Note: Collective.
    """
    target = _as_xdmf(path)
    if not fields:
        raise InputError("fields must hold at least one function, got none")
    if not isinstance(fields[0], fem.Function):
        raise InputError(f"fields must be dolfinx.fem.Functions, got {type(fields[0]).__name__}")
    mesh = fields[0].function_space.mesh

    def prepare() -> str:
        with in_a_sentence(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            return tempfile.mkdtemp(prefix=f"{target.name}.", suffix=".tmp", dir=target.parent)

    def finish() -> None:
        with in_a_sentence(target):
            for name in (target.with_suffix(".h5").name, target.name):
                (beside / name).replace(target.with_name(name))

    beside = Path(mesh.comm.bcast(on_rank_zero(mesh.comm, prepare)))
    try:
        with ParaViewFile(beside / target.name, mesh) as file:
            file.write(fields)
        on_rank_zero(mesh.comm, finish)
    finally:
        if mesh.comm.rank == 0:
            shutil.rmtree(beside, ignore_errors=True)


def _as_xdmf(path: str | Path) -> Path:
    """Return an argument as the path of an XDMF file."""
    path = as_path(path, suffix=".xdmf")
    if ":" in path.name:
        raise InputError(f"path must have no ':' in its name, which XDMF cannot hold, got {path.name!r}")
    return path
