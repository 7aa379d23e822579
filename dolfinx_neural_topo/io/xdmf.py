"""Meshes and their tags in XDMF, as DOLFINx and meshio write them."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import numpy as np
from dolfinx import io
from dolfinx.mesh import GhostMode
from mpi4py import MPI

from dolfinx_neural_topo.errors import InputError, collective
from dolfinx_neural_topo.io._cells import permutation
from dolfinx_neural_topo.io.msh import check_file, read_by
from dolfinx_neural_topo.io.msh_file import ELEMENTS, MshFile
from dolfinx_neural_topo.io.tagged import TaggedMesh

KINDS = {
    **{"polyvertex": 15, "polyline": 1, "edge_3": 8, "triangle": 2, "triangle_6": 9},
    **{"quadrilateral": 3, "quadrilateral_9": 10, "tetrahedron": 4, "tetrahedron_10": 11},
    **{"hexahedron": 5, "hexahedron_27": 12},
}
"""Gmsh's number of the kinds of elements that XDMF names."""

_DENSEST = 1100  # bytes that deflate makes of one


_ENCODINGS = {"HDF": io.XDMFFile.Encoding.HDF5, "XML": io.XDMFFile.Encoding.ASCII}


@dataclass(frozen=True)
class _Item:
    """Numbers that a file promises: how many rows and columns, and where they are."""

    rows: int
    columns: int
    place: str
    text: str


@collective
def read_xdmf(
    path: str | Path, comm: MPI.Comm = MPI.COMM_WORLD, *, ghost_mode: GhostMode = GhostMode.shared_facet
) -> TaggedMesh:
    """Read a mesh from an XDMF file, with the tags of its cells and facets.

    Each positive number that tags cells or facets is a group, found under that number ("3"), or under
    "NAME/3" where several tags of the file are of cells (or of facets). Tags of edges and vertices are passed
    over. The file is data: nothing in it is run, and its numbers lie in it or in an HDF5 file beside it.

    Args:
        path: File that `XDMFFile.write_mesh` and `write_meshtags` or meshio wrote: one mesh of one kind of
            cells, of first or second order, plane or of a volume.
        comm: Ranks to distribute the mesh over. Rank 0 reads.
        ghost_mode: As for `read_mesh`.

    Returns:
        Mesh and groups.

    Raises:
        FileNotFoundError: No such file.
        InputError: Not such a file, damaged, without the HDF5 file that it names; tags below 0; cells that
            `read_mesh` would refuse.

    Note: Collective.

    Example:
        >>> part = read_xdmf("part.xdmf")  # doctest: +SKIP
        >>> traction = part.ds("3")  # doctest: +SKIP
    """
    return read_by(lambda path: check_file(_parse(path)), path, comm, ghost_mode)


def _parse(path: Path) -> MshFile:
    """Read a file into what a .msh file says."""
    content = path.read_bytes()
    if b"<!ENTITY" in content:
        raise InputError("an XDMF file with entities of its own, which are not read")
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise InputError(f"not an XDMF file, or damaged: {error}") from error
    grids = [grid for grid in root.findall("./Domain/Grid") if grid.find("Topology") is not None]
    meshes = [grid for grid in grids if grid.find("Geometry") is not None]
    if root.tag != "Xdmf" or not meshes:
        raise InputError("no mesh: expected <Xdmf>, and in its <Domain> a <Grid> with Topology and Geometry")
    geometry = meshes[0].find("Geometry")
    assert geometry is not None
    columns = {"XY": 2, "XYZ": 3}.get(geometry.get("GeometryType", ""))
    if columns is None:
        raise InputError(f"GeometryType must be XY or XYZ, got {geometry.get('GeometryType')!r:.40}")
    with tempfile.TemporaryDirectory() as folder:
        read = _Reader(path, Path(folder))
        item = _item(geometry, columns)
        points = np.pad(read.points(item, geometry.get("GeometryType", "")), ((0, 0), (0, 3 - columns)))
        file = MshFile(np.arange(1, len(points) + 1), points)
        _add_elements(file, [meshes[0], *(grid for grid in grids if grid not in meshes)], read)
    return file


def _add_elements(file: MshFile, grids: Sequence[ElementTree.Element], read: _Reader) -> None:
    """Add the cells of the first grid, and the tags of all, to a file."""
    dimension = 0
    tagged: dict[int, list[_Tags]] = defaultdict(list)
    for grid in grids:
        topology = grid.find("Topology")
        assert topology is not None
        given = topology.get("TopologyType", "")
        kind = KINDS.get(given.lower())
        if kind is None:
            raise InputError(f"TopologyType must be one of {', '.join(KINDS)}, got {given!r:.40}")
        dimension = dimension or ELEMENTS[kind][0]
        if ELEMENTS[kind][0] < dimension - 1:
            continue
        nodes = 1 + read.elements(_item(topology, ELEMENTS[kind][1]), given, kind)
        if grid is grids[0]:
            file.elements[kind].append((nodes, ()))
        found = _tags_of(grid, len(nodes), read)
        tagged[ELEMENTS[kind][0]] += [(name, kind, nodes, values) for name, values in found]
    for dim, tags in tagged.items():
        free = 1 + max((int(values.max(initial=0)) for *_, values in tags), default=0)
        for k, (name, kind, nodes, values) in enumerate(tags):
            for value in np.unique(values[values > 0]):
                number, free = (int(value), free) if k == 0 else (free, free + 1)
                file.elements[kind].append((nodes[values == value], (number,)))
                if len(tags) > 1:
                    file.names[dim, number] = f"{name}/{value}"


_Tags = tuple[str, int, np.ndarray, np.ndarray]  # name, kind of elements, their nodes, their numbers


def _tags_of(grid: ElementTree.Element, size: int, read: _Reader) -> Iterator[tuple[str, np.ndarray]]:
    """Yield name and numbers of the tags of a grid; fields are passed over."""
    for attribute in grid.findall("Attribute"):
        data = attribute.find("DataItem")
        is_field = data is not None and data.get("NumberType", "Int").lower() == "float"
        if attribute.get("Center", "").lower() != "cell" or is_field:
            continue
        values = read.values(_item(attribute, 1))
        name = attribute.get("Name") or grid.get("Name") or ""
        if len(values) != size:
            raise InputError(f"tags {name!r:.40} hold {len(values)} numbers for {size} elements")
        if values.min(initial=0) < 0 or values.max(initial=0) >= 2**31:
            raise InputError(f"tags {name!r:.40} must be from 0 to 2^31 - 1, got others")
        yield name, values


def _item(parent: ElementTree.Element, columns: int) -> _Item:
    """Return what the one data item of an element promises.

    Raises:
        InputError: It is missing, or of another shape.
    """
    found = parent.findall("DataItem")
    if len(found) != 1:
        raise InputError(f"{parent.tag} must hold one DataItem, got {len(found)}")
    said = found[0].get("Dimensions", "").split()
    shape = [int(n) if n.isdecimal() and len(n) < 16 else 0 for n in said]
    if shape and len(shape) == 1 and columns == 1:
        shape.append(1)
    if len(shape) != 2 or shape[0] < 1 or shape[1] != columns:
        wanted = f"rows of {columns}" if columns > 1 else "one number a row"
        raise InputError(
            f"DataItem of {parent.tag} must hold {wanted}, got Dimensions {' '.join(said)!r:.40}"
        )
    return _Item(shape[0], shape[1], found[0].get("Format", "XML").upper(), (found[0].text or "").strip())


class _Reader:
    """Reads data items by DOLFINx, which gets a file of our own with nothing but one of them in it.

    Args:
        path: The file they come from.
        folder: Where to write.
    """

    def __init__(self, path: Path, folder: Path):
        self._path, self._folder = path, folder

    def points(self, item: _Item, kind: str) -> np.ndarray:
        """Return coordinates."""
        return self._read(item, f'<Geometry GeometryType="{kind}">', "</Geometry>", "read_geometry_data")

    def elements(self, item: _Item, name: str, kind: int) -> np.ndarray:
        """Return nodes of elements in gmsh's order, from 0."""
        rows, columns = item.rows, item.columns
        begin = f'<Topology TopologyType="{name}" NumberOfElements="{rows}" NodesPerElement="{columns}">'
        ours = self._read(item, begin, "</Topology>", "read_topology_data")
        nodes = np.empty_like(ours)
        nodes[:, permutation(kind)] = ours
        return nodes

    def values(self, item: _Item) -> np.ndarray:
        """Return one whole number a row."""
        begin = f'<Topology TopologyType="PolyVertex" NumberOfElements="{item.rows}" NodesPerElement="1">'
        return self._read(item, begin, "</Topology>", "read_topology_data").ravel()

    def _read(self, item: _Item, begin: str, end: str, read: str) -> np.ndarray:
        text, size = item.text, len(item.text)
        if item.place == "HDF":
            name, _, dataset = item.text.partition(":")
            beside = self._path.parent / name
            if not name or Path(name).name != name or not dataset.startswith("/"):
                raise InputError(f"data must be NAME.h5:/DATASET in the same folder, got {item.text!r:.80}")
            if not beside.is_file():
                raise InputError(f"its numbers are in {name!r}, which is not beside it")
            size = _DENSEST * beside.stat().st_size
            link = self._folder / "one.h5"  # DOLFINx opens the file of this name whatever the text says
            link.unlink(missing_ok=True)
            link.symlink_to(beside.absolute())
            text = f"one.h5:{dataset}"
        elif item.place not in _ENCODINGS:
            raise InputError(f"Format of a DataItem must be HDF or XML, got {item.place!r:.40}")
        if item.rows * item.columns > size:
            raise InputError(f"damaged: {item.rows} rows of {item.columns} numbers cannot be in it")
        file = self._folder / "one.xdmf"
        shape = f'Dimensions="{item.rows} {item.columns}"'
        data = f'<DataItem {shape} Format="{item.place}">{escape(text)}</DataItem>'
        file.write_text(f'<Xdmf><Domain><Grid Name="one">{begin}{data}{end}</Grid></Domain></Xdmf>')
        try:
            with io.XDMFFile(MPI.COMM_SELF, str(file), "r", _ENCODINGS[item.place]) as xdmf:
                values = np.array(getattr(xdmf, read)("one", "/Xdmf/Domain"))
        except Exception as error:  # whatever DOLFINx, pugixml and HDF5 raise
            raise InputError(
                f"{item.text!r:.80} cannot be read: {str(error).splitlines()[0]:.200}"
            ) from error
        if values.shape != (item.rows, item.columns):
            raise InputError(f"damaged: {values.shape} numbers where {item.rows, item.columns} are promised")
        return values
