"""Whether cells read from a file are cells that can be solved on."""

from __future__ import annotations

import basix
import numpy as np
from dolfinx.cpp.io import perm_gmsh
from dolfinx.mesh import CellType

from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.io.msh_file import ELEMENTS

CELLS = {
    **{kind: ("triangle", degree) for kind, degree in ((2, 1), (9, 2))},
    **{kind: ("quadrilateral", degree) for kind, degree in ((3, 1), (10, 2))},
    **{kind: ("tetrahedron", degree) for kind, degree in ((4, 1), (11, 2))},
    **{kind: ("hexahedron", degree) for kind, degree in ((5, 1), (12, 2))},
}
"""Gmsh's numbers of the cells this package works on: DOLFINx's name, degree of the geometry."""

FACET = {2: 1, 9: 8, 3: 1, 10: 8, 4: 2, 11: 9, 5: 3, 12: 10}
"""Gmsh's number of the facets of these cells."""

# facets of each cell as cycles of corners in gmsh's order, all seen from outside or all from inside
_FACETS = {
    "triangle": ((0, 1), (1, 2), (2, 0)),
    "quadrilateral": ((0, 1), (1, 2), (2, 3), (3, 0)),
    "tetrahedron": ((0, 2, 1), (0, 1, 3), (0, 3, 2), (1, 2, 3)),
    "hexahedron": ((0, 3, 2, 1), (4, 5, 6, 7), (0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7)),
}
_ROUNDING = 8 * np.finfo(float).eps
_AT_ONCE = 2**14  # cells whose Jacobians are in memory together


def permutation(kind: int) -> np.ndarray:
    """Return DOLFINx's order of the nodes of a cell, or of its facet, in terms of gmsh's."""
    name = CELLS[kind][0] if kind in CELLS else "interval"
    return np.asarray(perm_gmsh(getattr(CellType, name), ELEMENTS[kind][1]))


def number_rows(rows: np.ndarray) -> np.ndarray:
    """Give equal rows of whole numbers, in whatever order within a row, the same number from 0 on."""
    columns = np.sort(rows, axis=1).T
    base = int(rows.max(initial=0)) + 1
    number = columns[0]
    for column in columns[1:]:
        number = np.unique(number, return_inverse=True)[1].ravel() * base + column
    return np.unique(number, return_inverse=True)[1].ravel()


def orientations(kind: int, points: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Return the sign of the Jacobian's determinant of each cell.

    Args:
        kind: Gmsh's number of the kind of cells.
        points: Coordinates, shape `(n, dimension)`.
        cells: Nodes of the cells in gmsh's order.

    Raises:
        InputError: Cells without volume, or in which the sign changes.
    """
    name, degree = CELLS[kind]
    element = basix.create_element(
        basix.ElementFamily.P, basix.CellType[name], degree, basix.LagrangeVariant.equispaced
    )
    slopes = np.asarray(element.tabulate(1, np.asarray(element.points)))[1:, :, :, 0]
    extent = float(np.ptp(points, axis=0).max()) or 1.0
    noise = _ROUNDING * float(np.abs(points).max()) / extent
    scaled = (points - points[0]) / extent
    ordered = cells[:, permutation(kind)]
    sign = np.empty(len(cells))
    flat = turned = 0
    for start in range(0, len(cells), _AT_ONCE):
        x = scaled[ordered[start : start + _AT_ONCE]]
        size = np.ptp(x, axis=1).max(axis=1)
        # below this a determinant is rounding: of its own products, and of the coordinates
        tiny = 1e-14 * size ** x.shape[2] + noise * size ** (x.shape[2] - 1)
        determinant = np.linalg.det(np.einsum("cki,dqk->cqid", x, slopes))
        low, high = determinant.min(axis=1), determinant.max(axis=1)
        flat += int(np.count_nonzero(np.maximum(-low, high) <= tiny))
        turned += int(np.count_nonzero((low < -tiny) & (high > tiny)))
        sign[start : start + _AT_ONCE] = np.where(-low > high, -1.0, 1.0)
    repeated = np.any(np.diff(np.sort(cells, axis=1), axis=1) == 0, axis=1).sum()
    if flat or repeated:
        raise InputError(f"{max(flat, repeated)} of {len(cells)} cells have no volume; remesh")
    if turned:
        raise InputError(f"{turned} of {len(cells)} cells are inverted or self-intersecting; remesh")
    return sign


def count_sides(kind: int, cells: np.ndarray, sign: np.ndarray, facets: np.ndarray) -> np.ndarray:
    """Return for each of some facets to how many cells it belongs: 0, 1 or 2.

    Args:
        kind: Gmsh's number of the kind of cells.
        cells: Nodes of the cells in gmsh's order.
        sign: Orientation of each cell.
        facets: Nodes of the facets, shape `(n, nodes)`.

    Raises:
        InputError: Facets of three cells, or of two cells that lie on the same side.
    """
    cycles = cells[:, np.array(_FACETS[CELLS[kind][0]])]
    width = cycles.shape[2]
    first = np.argmin(cycles, axis=2)[..., None]
    after = np.take_along_axis(cycles, (first + 1) % width, axis=2)
    before = np.take_along_axis(cycles, (first - 1) % width, axis=2)
    forward = (after < before) if width > 2 else (first == 0)
    side = np.where(forward[..., 0], 1, -1) * sign[:, None].astype(int)
    own = cycles.reshape(-1, width)
    number = number_rows(np.concatenate([own, facets[:, :width]]))
    count = np.bincount(number[: len(own)], minlength=int(number.max()) + 1)
    balance = np.bincount(number[: len(own)], weights=side.ravel(), minlength=len(count))
    if np.any(count > 2):
        raise InputError(f"{np.count_nonzero(count > 2)} facets belong to more than two cells; remesh")
    if np.any((count == 2) & (balance != 0)):
        wrong = np.count_nonzero((count == 2) & (balance != 0))
        raise InputError(f"cells are inverted or overlap: {wrong} facets have two cells on one side; remesh")
    return count[number[len(own) :]]
