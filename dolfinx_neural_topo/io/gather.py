"""A distributed mesh and its fields as plain arrays on rank 0, in an order that no rank count changes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from dolfinx import fem
from dolfinx.mesh import Mesh

from dolfinx_neural_topo._dolfinx import geometry_nodes, original_cells
from dolfinx_neural_topo.errors import InputError, agree
from dolfinx_neural_topo.io._ranks import gather_rows

# corners of a cell in the order in which VTK and matplotlib go round it, from DOLFINx's tensor order
CORNERS = {
    "triangle": (0, 1, 2),
    "quadrilateral": (0, 1, 3, 2),
    "tetrahedron": (0, 1, 2, 3),
    "hexahedron": (0, 1, 3, 2, 4, 5, 7, 6),
}


@dataclass(frozen=True)
class GatheredMesh:
    """Cells and corner points of a whole mesh, straight-sided.

    Attributes:
        points: Corner coordinates, shape `(n, 3)`, in the mesh's length unit.
        cells: Corner numbers, shape `(m, corners)`, int64, going round each cell as VTK does.
        cell_name: "triangle", "quadrilateral", "tetrahedron" or "hexahedron".
        order: Row of each cell in the concatenation over ranks, shape `(m,)`; sorts gathered cell values.
    """

    points: np.ndarray
    cells: np.ndarray
    cell_name: str
    order: np.ndarray


def corner_nodes(mesh: Mesh) -> np.ndarray:
    """Return the local geometry nodes at the corners of the owned cells, shape `(owned cells, corners)`.

    Raises:
        InputError: Cells that are neither triangles, quadrilaterals, tetrahedra nor hexahedra.

    Note: Collective only where it raises.
    """
    name = mesh.topology.cell_name()
    if name not in CORNERS:
        raise InputError(f"mesh must consist of one of {', '.join(CORNERS)}, got {name} cells")
    owned = mesh.topology.index_map(mesh.topology.dim).size_local
    # the vertices come first in the node order of a Lagrange geometry of any degree
    return geometry_nodes(mesh)[:owned][:, list(CORNERS[name])].astype(np.int32)


def global_nodes(mesh: Mesh) -> np.ndarray:
    """Return the number of each local geometry node that all ranks agree on, int64 `(local nodes,)`."""
    nodes = mesh.geometry.index_map()
    local = np.arange(nodes.size_local + nodes.num_ghosts, dtype=np.int32)
    return nodes.local_to_global(local)


def gather_mesh(mesh: Mesh) -> GatheredMesh | None:
    """Gather the mesh on rank 0.

    Returns:
        The mesh on rank 0, cells sorted by `topology.original_cell_index`; None on the other ranks.

    Note: Collective.
    """
    comm = mesh.comm
    corners = corner_nodes(mesh)
    owned = mesh.geometry.index_map().size_local
    points = gather_rows(comm, mesh.geometry.x[:owned])  # owned ranges are contiguous in rank order
    cells = gather_rows(comm, global_nodes(mesh)[corners])
    original = gather_rows(comm, original_cells(mesh)[: len(corners)])
    if points is None or cells is None or original is None:
        return None
    order = np.argsort(original, kind="stable")
    return GatheredMesh(points, cells[order], mesh.topology.cell_name(), order)


def function_of_cells(density: object) -> fem.Function:
    """Return an argument that must be a function.

    Raises:
        InputError: It is none.
    """
    if not isinstance(density, fem.Function):
        raise InputError(f"density must be a dolfinx.fem.Function, got {type(density).__name__}")
    return density


def values_by_cell(field: fem.Function) -> np.ndarray:
    """Return the values of a scalar DG0 function on the owned cells, in cell order.

    Raises:
        InputError: `field` is not a function with one value a cell.

    Note: Collective.
    """
    space = function_of_cells(field).function_space
    element = space.ufl_element()
    problem = None
    if element.degree != 0 or element.reference_value_shape != ():
        problem = f"field must have one value a cell (a scalar DG0 function), got {element}"
    agree(space.mesh.comm, problem)
    owned = space.mesh.topology.index_map(space.mesh.topology.dim).size_local
    return np.real(field.x.array[space.dofmap.list[:owned, 0]])


def finite_by_cell(density: fem.Function) -> np.ndarray:
    """Return the same for a density, which a file or a picture should not hide the faults of.

    Raises:
        InputError: Some of its values are NaN or infinite.

    Note: Collective.
    """
    values = values_by_cell(density)
    bad = np.count_nonzero(~np.isfinite(values))
    problem = f"density must be finite, got NaN or infinity in {bad} cells" if bad else None
    agree(density.function_space.mesh.comm, problem)
    return values


def gather_cell_values(field: fem.Function, gathered: GatheredMesh | None) -> np.ndarray | None:
    """Gather a scalar DG0 function on rank 0, in the cell order of `gathered`.

    Note: Collective.
    """
    values = gather_rows(field.function_space.mesh.comm, values_by_cell(field))
    return None if values is None or gathered is None else values[gathered.order]


def to_nodes(field: fem.Function, degree: int | None = None) -> fem.Function:
    """Interpolate a scalar or vector function to the degree of the mesh, so that its values sit at the nodes.

    Args:
        field: The function.
        degree: Another degree; 1 gives values at the cell corners.

    Returns:
        Function in the continuous Lagrange space of that degree and the same value shape.

    Note: Collective.
    """
    mesh = field.function_space.mesh
    degree = degree or mesh.ufl_domain().ufl_coordinate_element().degree
    space = fem.functionspace(mesh, ("Lagrange", degree, tuple(field.ufl_shape)))
    at_nodes = fem.Function(space, name=field.name)
    at_nodes.interpolate(field)
    at_nodes.x.scatter_forward()
    return at_nodes


def gather_corner_values(field: fem.Function, gathered: GatheredMesh | None) -> np.ndarray | None:
    """Gather a scalar or vector function on rank 0, at the points of `gathered`.

    Args:
        field: Scalar or vector function with a continuous space of any degree.
        gathered: What `gather_mesh` returned on this rank.

    Returns:
        Values on rank 0, shape `(n, components)`; None on the other ranks.

    Note: Collective.
    """
    mesh = field.function_space.mesh
    linear = to_nodes(field, 1)
    corners = corner_nodes(mesh)
    space = linear.function_space
    width = space.dofmap.index_map_bs
    dofs = space.dofmap.list[: len(corners)][:, list(CORNERS[mesh.topology.cell_name()])]
    by_cell = np.real(linear.x.array).reshape(-1, width)[dofs]
    values = gather_rows(mesh.comm, by_cell)
    if values is None or gathered is None:
        return None
    at_points = np.zeros((len(gathered.points), width))
    at_points[gathered.cells] = values[gathered.order]
    return at_points
