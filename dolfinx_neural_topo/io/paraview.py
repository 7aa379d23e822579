"""Fields for ParaView, as XDMF with its HDF5 file beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dolfinx import fem
from dolfinx.io import XDMFFile
from dolfinx.mesh import Mesh

from dolfinx_neural_topo.errors import InputError
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
        InputError: `path` does not end in .xdmf.

    Note: Collective, as are all methods.
    """

    def __init__(self, path: str | Path, mesh: Mesh):
        path = Path(path)
        if path.suffix != ".xdmf":
            raise InputError(f"path must end in .xdmf, got {path.name!r}")
        on_rank_zero(mesh.comm, lambda: path.parent.mkdir(parents=True, exist_ok=True))
        self._mesh = mesh
        self._file = XDMFFile(mesh.comm, str(path), "w")
        self._file.write_mesh(mesh)

    def write(self, fields: Sequence[fem.Function], time: float = 0.0) -> None:
        """Write the fields under their `name`s.

        Args:
            fields: Functions on the file's mesh.
            time: Time, or number of the evaluation.

        Raises:
            InputError: A function on another mesh, or two of the same name.
        """
        names = [field.name for field in fields]
        if len(set(names)) != len(names):
            raise InputError(f"fields must have different names, got {names}; set `function.name`")
        for field in fields:
            if field.function_space.mesh is not self._mesh:
                raise InputError(f"field {field.name!r} must live on the mesh the file was opened with")
            by_cell = field.function_space.ufl_element().degree == 0
            self._file.write_function(field if by_cell else to_nodes(field), time)

    def close(self) -> None:
        """Finish the file."""
        self._file.close()

    def __enter__(self) -> ParaViewFile:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


def write_paraview(path: str | Path, *fields: fem.Function) -> None:
    """Write fields of one mesh into an XDMF file that ParaView opens.

    Args:
        path: File to write, ending in .xdmf.
        *fields: Functions, each with a `name` of its own; see `ParaViewFile`.

    Raises:
        InputError: No field, another ending, different meshes, or equal names.

    Note: Collective.
    """
    if not fields:
        raise InputError("fields must hold at least one function, got none")
    with ParaViewFile(path, fields[0].function_space.mesh) as file:
        file.write(fields)
