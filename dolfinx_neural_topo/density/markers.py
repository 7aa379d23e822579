"""Which cells are meant: by a function of their midpoints, by bools, or by tags."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from dolfinx_neural_topo.errors import InputError, agree

if TYPE_CHECKING:
    from dolfinx_neural_topo.density.domain import DesignDomain

Marker = Callable[[np.ndarray], np.ndarray] | np.ndarray | tuple[Any, Any]


def marked(domain: DesignDomain, marker: Marker | None, name: str) -> np.ndarray:
    """Turn any marker into bools on owned cells, shape (num_owned_cells,).

    Raises:
        InputError: The marker is unusable.

    Note: Collective.
    """
    if marker is None:
        return np.zeros(domain.num_owned_cells, dtype=bool)
    if isinstance(marker, tuple):
        if len(marker) != 2 or not hasattr(marker[0], "indices"):
            raise InputError(f"{name} must be (cell tags, number or numbers of them), got {marker!r:.80}")
        tags, values = marker[0], np.atleast_1d(marker[1])
        if values.dtype.kind not in "iu":
            raise InputError(f"{name} must name tags by whole numbers, got {marker[1]!r}")
        dim = domain.mesh.topology.dim
        topology = domain.mesh.topology
        if tags.topology not in (topology, getattr(topology, "_cpp_object", None)):
            raise InputError(f"{name} needs cell tags of the domain's mesh, got those of another mesh")
        if tags.dim != dim:
            raise InputError(f"{name} needs cell tags (dimension {dim}), got tags of dimension {tags.dim}")
        cells = tags.indices[np.isin(tags.values, values)]
        if domain.comm.allreduce(len(cells)) == 0:
            raise InputError(f"{name} must name tags that cells have, got {values.tolist()}")
        marked = np.zeros(domain.num_owned_cells, dtype=bool)
        marked[domain.cell_dofs[cells[cells < domain.num_owned_cells]]] = True
        return marked
    try:
        given = np.asarray(marker(domain.midpoints.T) if callable(marker) else marker)
    except Exception as error:  # of the user's function
        raise InputError(f"{name}: the function raised {type(error).__name__}: {error}") from error
    right = given.shape == (domain.num_owned_cells,) and given.dtype == bool
    agree(
        domain.comm,
        None
        if right
        else f"{name} must give one bool per owned cell, shape ({domain.num_owned_cells},), "
        f"got shape {given.shape} of {given.dtype}",
    )
    return given.copy()
