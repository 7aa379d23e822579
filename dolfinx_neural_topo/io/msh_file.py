"""What a .msh file says (versions 2.2 and 4.1, text and binary), read by NumPy alone.

Gmsh is not asked: it runs what it takes for a script, and trusts the sizes that a file claims.
"""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from dolfinx_neural_topo.errors import InputError

_HEADER = re.compile(rb"\$MeshFormat\s+(2\.2|4\.1) ([01]) (\d+)[ \r]*\n")

ELEMENTS = {
    15: (0, 1, "points"),
    **{kind: (1, nodes, "lines") for kind, nodes in ((1, 2), (8, 3), (26, 4), (27, 5), (28, 6))},
    **{kind: (2, nodes, "triangles") for kind, nodes in ((2, 3), (9, 6), (20, 9), (21, 10), (23, 15))},
    **{kind: (2, nodes, "quadrilaterals") for kind, nodes in ((3, 4), (10, 9), (16, 8), (36, 16))},
    **{kind: (3, nodes, "tetrahedra") for kind, nodes in ((4, 4), (11, 10), (29, 20), (30, 35))},
    **{kind: (3, nodes, "hexahedra") for kind, nodes in ((5, 8), (12, 27), (17, 20), (92, 64))},
    **{kind: (3, nodes, "prisms") for kind, nodes in ((6, 6), (13, 18), (18, 15))},
    **{kind: (3, nodes, "pyramids") for kind, nodes in ((7, 5), (14, 14), (19, 13))},
}
"""Gmsh's number of a kind of element: its dimension, its nodes, its name."""


@dataclass
class MshFile:
    """Nodes, elements and groups of a file.

    Attributes:
        node_tags: Numbers of the nodes, shape `(n,)`, int64.
        coordinates: Their coordinates, shape `(n, 3)`.
        elements: By gmsh's number of the kind: node numbers, shape `(elements, nodes)`, of elements that are
            in the same physical groups, with the numbers of these groups; an element may be there twice.
        names: Names of physical groups by dimension and number.
    """

    node_tags: np.ndarray
    coordinates: np.ndarray
    elements: dict[int, list[tuple[np.ndarray, tuple[int, ...]]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    names: dict[tuple[int, int], str] = field(default_factory=dict)


def parse_msh(content: bytes) -> MshFile:
    """Read the bytes of a .msh file.

    Raises:
        InputError: Not such a file, another version, damaged, or an unknown kind of elements.
    """
    header = _HEADER.match(content)
    if header is None:
        raise InputError("not a mesh file of version 2.2 or 4.1 (gmsh: `Mesh.MshFileVersion`)")
    version, binary, size = header[1], header[2] == b"1", int(header[3])
    if binary and size != 8:
        raise InputError(f"binary numbers of {size} bytes; expected 8")
    order = "<"
    if binary:
        order = "<" if content[header.end() : header.end() + 4] == b"\1\0\0\0" else ">"

    def section(name: str) -> _Numbers:
        body = _section(content, name)
        if body is None:
            raise InputError(f"damaged: no whole section ${name}")
        return _Numbers(body, name, order if binary else None)

    read_nodes, read_elements = (_nodes_2, _elements_2) if version == b"2.2" else (_nodes_4, _elements_4)
    mesh = MshFile(*read_nodes(section("Nodes")))
    twice = np.sort(mesh.node_tags)[1:][np.diff(np.sort(mesh.node_tags)) == 0]
    if len(twice):
        raise InputError(f"damaged: two nodes have the number {twice[0]}")
    mesh.names = _names(_section(content, "PhysicalNames") or b"")
    groups: dict[tuple[int, int], tuple[int, ...]] = {}
    for name in ("Entities", "PartitionedEntities") if version == b"4.1" else ():
        if _section(content, name) is not None:
            groups.update(_entities(section(name), partitioned=name != "Entities"))
    for kind, nodes, tags in read_elements(section("Elements"), groups):
        mesh.elements[kind].append((nodes, tuple(sorted({abs(tag) for tag in tags if tag}))))
    return mesh


def _section(content: bytes, name: str) -> bytes | None:
    """Return what stands between $NAME and $EndNAME, or None."""
    start = re.search(rb"\$%b[ \r]*\n" % name.encode(), content)
    end = -1 if start is None else content.find(b"$End" + name.encode(), start.end())
    return None if start is None or end < 0 else content[start.end() : end]


def _names(body: bytes) -> dict[tuple[int, int], str]:
    """Read the names of physical groups, which are text in binary files too."""
    found = re.findall(rb'^[ \t]*(\d) +(-?\d{1,10}) +"(.*)"', body, re.MULTILINE)
    return {(int(dim), abs(int(tag))): name.decode(errors="replace") for dim, tag, name in found}


class _Numbers:
    """The numbers of a section, taken one after the other; a section that ends too early is refused."""

    def __init__(self, body: bytes, name: str, order: str | None):
        self.binary = order is not None
        self._name, self._at = name, 0
        self.types = {"int": f"{order}i4", "size": f"{order}u8", "float": f"{order}f8"}
        self._body = body
        if not self.binary:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # of NumPy, where something is no number
                try:
                    self._values = np.fromstring(body, dtype=np.float64, sep=" ")
                except (DeprecationWarning, ValueError):
                    raise self._damaged("holds something that is no number") from None

    def _damaged(self, what: str) -> InputError:
        return InputError(f"damaged: section ${self._name} {what}")

    def line(self) -> int:
        """Take the count that stands on a line of its own, as text, in version 2.2."""
        if not self.binary:
            return int(self.take("int", 1)[0])
        end = self._body.find(b"\n", self._at)
        text = self._body[self._at : max(end, self._at)].strip()
        if not text.isdigit() or len(text) > 18:
            raise self._damaged("does not begin with a count")
        self._at = end + 1
        return int(text)

    def take(self, kind: str, *shape: int) -> np.ndarray:
        """Take numbers of a kind: "int" and "size" as int64, "float" as float64."""
        count = int(np.prod(shape, dtype=object))
        if self.binary:
            return self.records([("all", self.types[kind])], count)["all"].astype(
                np.float64 if kind == "float" else np.int64
            ).reshape(shape)  # fmt: skip
        values = self._values[self._at : self._at + count]
        if count < 0 or len(values) < count:
            raise self._damaged("is shorter than it claims")
        self._at += count
        if kind == "float":
            return values.reshape(shape)
        whole = np.abs(values) < 2.0**53
        if not (np.all(whole) and np.all(values == np.floor(values))):
            raise self._damaged("holds a number that should be whole")
        return values.astype(np.int64).reshape(shape)

    def records(self, fields: list[tuple], count: int) -> np.ndarray:
        """Take packed binary records."""
        dtype = np.dtype(fields)
        if count < 0 or count * dtype.itemsize > len(self._body) - self._at:
            raise self._damaged("is shorter than it claims")
        found = np.frombuffer(self._body, dtype, count, self._at)
        self._at += count * dtype.itemsize
        return found

    def rest(self) -> np.ndarray:
        """Take all that is left, as whole numbers."""
        if self.binary:
            left = (len(self._body) - self._at) // 4
            return self.take("int", left)
        return self.take("size", len(self._values) - self._at)


def nodes_of(kind: int) -> int:
    """Return the number of nodes of a kind of elements.

    Raises:
        InputError: A kind that is not known here.
    """
    if kind not in ELEMENTS:
        raise InputError(f"elements of gmsh type {kind}; expected first or second order")
    return ELEMENTS[kind][1]


def _nodes_2(numbers: _Numbers) -> tuple[np.ndarray, np.ndarray]:
    count = numbers.line()
    if numbers.binary:
        rows = numbers.records([("tag", numbers.types["int"]), ("x", numbers.types["float"], 3)], count)
        return rows["tag"].astype(np.int64), rows["x"].astype(np.float64)
    rows = numbers.take("float", count, 4)
    return rows[:, 0].astype(np.int64), rows[:, 1:]


def _elements_2(numbers: _Numbers, _groups):
    """Yield kind, nodes and group of elements; the first tag of an element is its group, 0 for none.

    A row of text is number, kind, tags, then that many tags, then nodes. In binary it is kind, elements,
    tags, then of each element number, tags, nodes.
    """
    left, values = numbers.line(), numbers.rest()
    fixed = slice(0, 3) if numbers.binary else slice(1, 3)
    while left > 0:
        if len(values) < 3:
            raise InputError("damaged: section $Elements is shorter than it claims")
        head = [int(value) for value in values[:3]]
        kind, each, tags = head if numbers.binary else (head[1], 1, head[2])
        width = tags + nodes_of(kind) + numbers.binary
        if tags < 0 or each < 1 or not 3 + each * width <= len(values):
            raise InputError("damaged: section $Elements is shorter than it claims")
        rows = _rows_alike(values, 3 + each * width, fixed)[: -(-left // each)]
        values = values[rows.size :]
        left -= len(rows) * each
        one = rows[:, 3:].reshape(-1, width)[:, int(numbers.binary) :]
        group = one[:, 0] if tags else np.zeros(len(one), dtype=np.int64)
        for tag in np.unique(group):
            yield kind, one[group == tag, tags:], (int(tag),)


def _rows_alike(values: np.ndarray, width: int, fixed: slice) -> np.ndarray:
    """Return the leading rows of a width that agree with the first in the fixed columns."""
    most, count = len(values) // width, 1
    while True:  # twice as many each time, so that a short run costs little
        rows = values[: min(count, most) * width].reshape(-1, width)
        alike = np.all(rows[:, fixed] == values[fixed], axis=1)
        if not alike.all():
            return rows[: int(np.argmin(alike))]
        if len(rows) == most:
            return rows
        count *= 2


def _nodes_4(numbers: _Numbers) -> tuple[np.ndarray, np.ndarray]:
    blocks = numbers.take("size", 4)[0]
    tags: list[np.ndarray] = [np.empty(0, dtype=np.int64)]
    coordinates: list[np.ndarray] = [np.empty((0, 3))]
    for _ in range(blocks):
        dimension, _, parametric = numbers.take("int", 3)
        count = int(numbers.take("size", 1)[0])
        tags.append(numbers.take("size", count))
        width = 3 + (int(dimension) if parametric else 0)
        coordinates.append(numbers.take("float", count, width)[:, :3])
    return np.concatenate(tags), np.concatenate(coordinates)


def _elements_4(numbers: _Numbers, groups: dict[tuple[int, int], tuple[int, ...]]):
    """Yield kind, nodes and groups of elements; the entity of an element says its groups."""
    for _ in range(numbers.take("size", 4)[0]):
        dimension, entity, kind = (int(value) for value in numbers.take("int", 3))
        count = int(numbers.take("size", 1)[0])
        rows = numbers.take("size", count, 1 + nodes_of(kind))
        yield kind, rows[:, 1:], groups.get((dimension, entity), ())


def _entities(numbers: _Numbers, *, partitioned: bool) -> dict[tuple[int, int], tuple[int, ...]]:
    """Return the groups of each geometric entity, or part of one, by dimension and number."""
    if partitioned:
        numbers.take("size", 1)
        numbers.take("int", int(numbers.take("size", 1)[0]), 2)  # ghost entities
    groups = {}
    for dimension, count in enumerate(numbers.take("size", 4)):
        for _ in range(count):
            tag = int(numbers.take("int", 1)[0])
            if partitioned:
                numbers.take("int", 2)  # the entity it is a part of
                numbers.take("int", int(numbers.take("size", 1)[0]))  # partitions
            numbers.take("float", 6 if dimension else 3)  # bounding box
            physical = numbers.take("int", int(numbers.take("size", 1)[0]))
            groups[dimension, tag] = tuple(int(group) for group in physical)
            if dimension:
                numbers.take("int", int(numbers.take("size", 1)[0]))  # its boundary
    return groups
