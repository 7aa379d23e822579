"""Compliance of 2D elasticity by NumPy and SciPy alone: a second opinion on designs that DOLFINx made.

Nothing is shared with the rest of the package but the supports and loads of a task: own element matrix, own
numbering, own assembly, another solver.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse.linalg import splu

from dolfinx_neural_topo.tasks.sketch import Task

POISSON_RATIO, PENALTY, E_MIN = 0.3, 3.0, 1e-9
_GAUSS = 0.5 + np.array([-1.0, 1.0]) / np.sqrt(12.0)  # points of the unit interval, weights 1/2


def applies(task: Task) -> bool:
    """Return whether `compliance` can judge designs of a task."""
    return task.physics == "elasticity" and task.dim == 2


def compliance(task: Task, rho: npt.NDArray[np.float64]) -> float:
    """Return f . K(rho)^-1 f in plane stress of unit thickness.

    Args:
        task: A task that `applies`.
        rho: Physical density, shape (H, W), row 0 at the top, in [0, 1].
    """
    width, height = task.shape
    row, col = np.indices((height, width)).reshape(2, -1)
    corners = [(col, row + 1), (col + 1, row + 1), (col + 1, row), (col, row)]
    nodes = np.stack([i * (height + 1) + j for i, j in corners], axis=1)
    dofs = (2 * nodes[:, :, None] + [0, 1]).reshape(-1, 8)
    modulus = E_MIN + rho.reshape(-1) ** PENALTY * (1.0 - E_MIN)
    values = modulus[:, None, None] * _element_stiffness()
    pairs = (np.repeat(dofs, 8, axis=1).ravel(), np.tile(dofs, 8).ravel())
    size = 2 * (width + 1) * (height + 1)
    K = sparse.csc_matrix((values.ravel(), pairs), shape=(size, size))
    f = np.zeros(size)
    f[_numbers(task, task.load_at)] = task.load
    free = np.setdiff1d(np.arange(size), _numbers(task, task.fixed))
    # without pivoting, which a positive definite matrix does not need and which fills it in
    solver = splu(
        K[free][:, free], diag_pivot_thresh=0.0, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}
    )
    return float(f[free] @ solver.solve(f[free]))


def _numbers(task: Task, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Number degrees of freedom (i, j, component), columns of nodes first."""
    return 2 * (rows[:, 0] * (task.shape[1] + 1) + rows[:, 1]) + rows[:, 2]


def _element_stiffness() -> npt.NDArray[np.float64]:
    """Return the stiffness of a bilinear unit square, corners (0, 0), (1, 0), (1, 1), (0, 1), E = 1."""
    nu = POISSON_RATIO
    elasticity = np.array([[1.0, nu, 0.0], [nu, 1.0, 0.0], [0.0, 0.0, (1.0 - nu) / 2.0]]) / (1.0 - nu**2)
    K = np.zeros((8, 8))
    for x in _GAUSS:
        for y in _GAUSS:
            dx, dy = np.array([y - 1.0, 1.0 - y, y, -y]), np.array([x - 1.0, -x, x, 1.0 - x])
            B = np.zeros((3, 8))
            B[0, ::2], B[1, 1::2], B[2, ::2], B[2, 1::2] = dx, dy, dy, dx
            K += 0.25 * B.T @ elasticity @ B
    return K
