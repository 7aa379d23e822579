"""A problem as a file describes it, before anything is computed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dolfinx_neural_topo.problem.document import Document, Table

AXES = "xyz"
SIDES = {2: ("left", "right", "bottom", "top"), 3: ("left", "right", "front", "back", "bottom", "top")}
"""Groups that a box has without being told: lower and upper side along each axis."""


@dataclass(frozen=True)
class Mesh:
    """Files, the finest first, or sizes and numbers of cells of a box that begins at the origin.

    Attributes:
        dim: Dimension of space; 0 for meshes in files, which tell it later.
        sizes: For a CAD part, the one file there is then: largest edges of the cells, the finest first.
        unit: Likewise, its unit of length.
    """

    table: Table
    files: tuple[str, ...]
    box: tuple[list[float], list[int]] | None
    dim: int
    sizes: tuple[float, ...] = ()
    unit: str = "m"


@dataclass(frozen=True)
class Group:
    """A part of the mesh with a name: what lies within a box, faces at the boundary and cells alike.

    Attributes:
        colour: In place of the box: red, green and blue of faces of a CAD part.
    """

    name: str
    lower: list[float]
    upper: list[float]
    colour: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class Material:
    """Modulus or conductivity of solid, that of void over it, the exponent of SIMP; for elasticity more."""

    table: Table
    solid: float
    void: float
    penalty: float
    nu: float = 0.3
    model: str | None = None


@dataclass(frozen=True)
class Support:
    """Where the state is zero: on a group or at a point; in the components named, in all if none is."""

    table: Table
    on: str | None
    at: list[float] | None
    components: list[int]


@dataclass(frozen=True)
class Load:
    """A load of one case: a total spread over a group, or on each unit of area; at a point; in all cells."""

    table: Table
    case: str
    on: str | None
    at: list[float] | None
    total: list[float] | None
    density: list[float] | None


@dataclass(frozen=True)
class Region:
    """What is designed, and for what: the volume is a fraction, planes of symmetry are (point, normal)."""

    table: Table
    objective: str
    volume: float
    solid: list[str]
    void: list[str]
    filter: str
    radius: float
    symmetry: list[tuple[list[float], list[float]]]


@dataclass(frozen=True)
class Constraint:
    """A limit beside the volume."""

    table: Table
    kind: str
    bound: float
    radius: float | None


@dataclass(frozen=True)
class Search:
    """The method, its budget of evaluations and its seed."""

    table: Table
    name: str
    evaluations: int
    seed: int


@dataclass(frozen=True)
class Network:
    """The network of a method that has one."""

    table: Table
    kind: str
    length_scale: float | None
    image: list[int]


@dataclass(frozen=True)
class Widths:
    """Least widths of what is built, None where there is no wish."""

    table: Table
    min_member: float | None
    min_gap: float | None


@dataclass(frozen=True)
class Output:
    """Which files are written beside the numbers."""

    picture: bool
    paraview: bool
    stl: bool


@dataclass(frozen=True)
class Problem:
    """A whole problem; attributes are named as the tables of the file are."""

    document: Document
    title: str
    equation: str
    mesh: Mesh
    groups: list[Group]
    material: Material
    supports: list[Support]
    loads: list[Load]
    design: Region
    constraints: list[Constraint]
    method: Search
    network: Network
    buildable: Widths | None
    output: Output

    @property
    def folder(self) -> Path:
        """Folder that paths in the file start from."""
        return self.document.path.parent

    @property
    def names(self) -> set[str]:
        """Names of all groups that are in use."""
        used = {s.on for s in self.supports if s.on} | {load.on for load in self.loads if load.on}
        return used | {*self.design.solid, *self.design.void}
