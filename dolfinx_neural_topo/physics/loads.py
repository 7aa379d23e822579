"""Point loads: forces at mesh vertices, exactly."""

from __future__ import annotations

import numpy as np
from dolfinx import fem
from mpi4py import MPI
from scipy.spatial import cKDTree

from dolfinx_neural_topo._dolfinx import dof_points
from dolfinx_neural_topo.errors import agree, collective


@collective(same=("points", "values"))
def nodal_load(V: fem.FunctionSpace, points: np.ndarray, values: np.ndarray) -> fem.Function:
    """Return the vector of nodal forces for loads at vertices of the mesh.

    Force k acts on the node at points[k]; a node named twice carries the sum. Each node is owned by one rank,
    so that a force is applied once on any number of ranks.

    Args:
        V: Lagrange space of the state, scalar or vector-valued.
        points: Positions, shape (n, 2) or (n, 3), in the mesh's unit of length; the same on all ranks.
        values: Forces, shape (n,) for a scalar space, (n, block size of V) for a vector space.

    Returns:
        Function in V whose degrees of freedom are the forces (not a force density); pass it as `nodal_loads`.

    Raises:
        InputError: A space without nodes, shapes that do not match, a non-finite number, or a point that is
            no node of V.

    Note: Collective.

    Example:
        >>> force = dnt.nodal_load(V, [(2.0, 0.5)], [(0.0, -1.0)])
        >>> owned = force.x.array[: 2 * V.dofmap.index_map.size_local]
        >>> float(comm.allreduce(owned.sum()))
        -1.0
    """
    comm, block_size = V.mesh.comm, V.dofmap.index_map_bs
    points = np.atleast_2d(np.asarray(points, dtype=np.float64))
    values = np.asarray(values, dtype=np.float64)
    if values.size == len(points) * block_size:
        values = values.reshape(len(points), block_size)
    agree(comm, _shape_problem(points, values, block_size, V.mesh.geometry.dim))
    points = np.pad(points, ((0, 0), (0, 3 - points.shape[1])))

    num_owned = V.dofmap.index_map.size_local
    x = dof_points(V)
    agree(comm, f"V must have nodes, got {V.ufl_element()}" if x is None else None)
    load = fem.Function(V)
    forces = load.x.array[: num_owned * block_size].reshape(num_owned, block_size)
    distance, node = cKDTree(x).query(points, k=2, distance_upper_bound=1e-6 * _smallest_spacing(V))
    here = np.isfinite(distance)
    np.add.at(forces, node[here[:, 0], 0], values[here[:, 0]])
    found = here.sum(axis=1)
    comm.Allreduce(MPI.IN_PLACE, found)
    problem = None
    if (found != 1).any():
        k = int(np.flatnonzero(found != 1)[0])
        place = points[k, : V.mesh.geometry.dim].tolist()
        problem = (
            f"points[{k}] must be a node of V, but {found[k]} nodes lie at {place}; "
            "way out: give a vertex of the mesh, or spread the force over a facet with ds"
        )
    agree(comm, problem)
    load.x.scatter_forward()
    return load


def _shape_problem(points: np.ndarray, values: np.ndarray, block_size: int, dimension: int) -> str | None:
    if points.ndim != 2 or points.shape[1] not in (dimension, 3):
        return f"points must have shape (n, {dimension}), got {points.shape}"
    if values.shape != (len(points), block_size):
        return f"values must have shape ({len(points)}, {block_size}), one force a point, got {values.shape}"
    if not (np.isfinite(points).all() and np.isfinite(values).all()):
        return "points and values must be finite, got NaN or infinity"
    return None


def _smallest_spacing(V: fem.FunctionSpace) -> float:
    """Return a length well below the distance between nodes: the smallest cell size over the degree."""
    mesh = V.mesh
    num_cells = mesh.topology.index_map(mesh.topology.dim).size_local
    sizes = mesh.h(mesh.topology.dim, np.arange(num_cells, dtype=np.int32))
    smallest = float(sizes.min()) if num_cells else np.inf
    return mesh.comm.allreduce(smallest, op=MPI.MIN) / max(1, V.element.basix_element.degree)
