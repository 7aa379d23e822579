"""Anti-aliased lines and circles on integer grids: which nodes they touch, and how much of each.

The coverages are those of scikit-image's `line_aa` and `circle_perimeter_aa` (tested), which the paper's
tasks use.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Coverage = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]


def line(i0: int, j0: int, i1: int, j1: int) -> Coverage:
    """Return the nodes less than one cell from a line, with coverage 1 - distance.

    Args:
        i0: Column of the start.
        j0: Row of the start.
        i1: Column of the end.
        j1: Row of the end.

    Returns:
        Columns, rows (int) and coverages in (0, 1], each of shape (n,); no node outside the bounding box.
    """
    i, j = np.meshgrid(
        np.arange(min(i0, i1), max(i0, i1) + 1), np.arange(min(j0, j1), max(j0, j1) + 1), indexing="ij"
    )
    length = max(np.hypot(i1 - i0, j1 - j0), 1.0)
    distance = np.abs((i - i0) * (j1 - j0) - (j - j0) * (i1 - i0)) / length
    near = distance < 1.0
    return i[near], j[near], 1.0 - distance[near]


def circle(i0: int, j0: int, radius: int) -> Coverage:
    """Return the nodes on either side of a circle in each row or column, coverage by linear interpolation.

    Args:
        i0: Column of the centre.
        j0: Row of the centre.
        radius: Radius in cells.

    Returns:
        Columns, rows (int) and coverages in (0, 1], each of shape (n,); a node is listed once.
    """
    across = np.arange(radius + 1)
    exact = np.sqrt(radius**2 - across**2.0)
    outer = np.ceil(exact).astype(np.int64)
    last = int(np.flatnonzero(outer <= across + 1)[0])  # the diagonal
    octant = [
        (p, q, c)
        for p in range(last + 1)
        for q, c in (
            (int(outer[p]), float(1.0 - outer[p] + exact[p])),
            (int(outer[p]) - 1, float(outer[p] - exact[p])),
        )
    ]
    coverage: dict[tuple[int, int], float] = {}
    for p, q, c in octant:  # where octants meet, the later value stands, as in scikit-image
        coverage.update({(s * a, t * b): c for a, b in ((p, q), (q, p)) for s in (1, -1) for t in (1, -1)})
    kept = [(p, q, c) for (p, q), c in coverage.items() if c > 0.0]
    nodes = np.array([(i0 + p, j0 + q) for p, q, _ in kept])
    return nodes[:, 0], nodes[:, 1], np.array([c for _, _, c in kept])
