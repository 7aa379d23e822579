"""Motions that cost no energy: what multigrid must know, and what supports must prevent."""

from __future__ import annotations

import numpy as np
from dolfinx import fem
from petsc4py import PETSc

from dolfinx_neural_topo._communication import sum_replicated
from dolfinx_neural_topo._dolfinx import dof_points
from dolfinx_neural_topo.errors import SolverError


def is_mixed(V: fem.FunctionSpace) -> bool:
    """Return whether V is a mixed (not only a blocked) space."""
    return V.dofmap.index_map_bs == 1 and V.num_sub_spaces > 0


def free_motions(V: fem.FunctionSpace) -> tuple[list[str], np.ndarray]:
    """Return the motions that an elliptic operator without supports does not resist.

    Translations and rotations where V has one component for each space dimension, constants elsewhere (of
    each part of a mixed space). None where the degrees of freedom are not values at points.

    Returns:
        Names, and orthonormal modes, shape (owned degrees of freedom, number of modes).

    Note: Collective.
    """
    if is_mixed(V):
        names, modes = _constants_of_parts(V)
    else:
        names, modes = _block_motions(V)
    if not names:
        return names, modes
    gram = sum_replicated(V.mesh.comm, modes.T @ modes)
    return names, np.linalg.solve(np.linalg.cholesky(gram), modes.T).T


def _block_motions(V: fem.FunctionSpace) -> tuple[list[str], np.ndarray]:
    dofmap, dim = V.dofmap, V.mesh.geometry.dim
    num_owned, block_size = dofmap.index_map.size_local, dofmap.index_map_bs
    rotations = [(0, 1), (1, 2), (2, 0)][: 1 if dim == 2 else 3] if block_size == dim else []
    names = [f"translation in {axis}" for axis in "xyz"[:dim]] if rotations else ["constant"] * block_size
    modes = np.zeros((num_owned, block_size, block_size + len(rotations)))
    for component in range(block_size):
        modes[:, component, component] = 1.0
    x = dof_points(V)
    if x is None:  # its constants are no vectors of equal entries
        return [], np.zeros((num_owned * block_size, 0))
    count = dofmap.index_map.size_global
    centred = x - sum_replicated(V.mesh.comm, x.sum(axis=0)) / count
    for k, (i, j) in enumerate(rotations):
        modes[:, i, block_size + k] = -centred[:, j]
        modes[:, j, block_size + k] = centred[:, i]
        names.append(f"rotation in the {'xyz'[min(i, j)]}{'xyz'[max(i, j)]} plane")
    return names, modes.reshape(num_owned * block_size, modes.shape[2])


def _constants_of_parts(V: fem.FunctionSpace) -> tuple[list[str], np.ndarray]:
    num_owned = V.dofmap.index_map.size_local
    names, columns = [], []
    for part in range(V.num_sub_spaces):
        W, to_parent = V.sub(part).collapse()
        block_size = W.dofmap.index_map_bs
        dofs = np.asarray(to_parent).reshape(-1, block_size)
        for component in range(block_size):
            column = np.zeros(num_owned)
            owned = dofs[:, component]
            column[owned[owned < num_owned]] = 1.0
            columns.append(column)
            names.append(f"constant of component {component} of part {part} of the mixed space")
    return names, np.column_stack(columns)


def attach_near_nullspace(A: PETSc.Mat, modes: np.ndarray) -> list[PETSc.Vec]:
    """Give the matrix its near-nullspace; return the vectors, which the caller destroys after the matrix.

    Note: Collective.
    """
    vectors = []
    for mode in modes.T:
        vector = A.createVecLeft()
        vector.array_w[:] = mode
        vectors.append(vector)
    nullspace = PETSc.NullSpace().create(vectors=vectors, comm=A.comm)
    A.setNearNullSpace(nullspace)
    nullspace.destroy()
    return vectors


def check_supports(A: PETSc.Mat, names: list[str], modes: np.ndarray) -> None:
    """Refuse a matrix that leaves a combination of motions free.

    The smallest singular value of (matrix times modes) is found through a QR factorization on each rank.

    Raises:
        SolverError: A combination of modes meets no resistance.

    Note: Collective.
    """
    if not names:
        return
    x, y = A.createVecs()
    images = np.empty_like(modes)
    for k in range(modes.shape[1]):
        x.array_w[:] = modes[:, k]
        A.mult(x, y)
        images[:, k] = y.array_r
    x.destroy()
    y.destroy()
    factors = A.comm.tompi4py().allgather(np.linalg.qr(images, mode="r"))
    _, resistance, combinations = np.linalg.svd(np.vstack(factors))
    if not resistance[-1] > 1e-12 * A.norm(PETSc.NormType.INFINITY):
        free = [names[k] for k in np.flatnonzero(np.abs(combinations[-1]) > 0.3)]
        raise SolverError(
            f"the supports leave a motion free ({', '.join(free)}), so that the state is not unique; way "
            "out: fix it by bcs, "
            "or add springs to a"
        )
