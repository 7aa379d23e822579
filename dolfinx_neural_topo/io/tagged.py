"""A mesh whose cells and facets have names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import ufl
from dolfinx.mesh import Mesh, MeshTags

from dolfinx_neural_topo.errors import InputError, checked
from dolfinx_neural_topo.io.groups import Tags


@dataclass(frozen=True)
class TaggedMesh:
    """A distributed mesh whose cells and facets are found by the names given to them in gmsh.

    Groups may overlap. A tag holds one number an entity, so where groups overlap a group has several: an
    entity in one group has gmsh's number of it, each combination of groups has a number of its own. UFL's
    measures take both, as in `ufl.ds(subdomain_data=facet_tags)(facet_groups["load"])`; `DesignDomain` takes
    `(cell_tags, cell_groups["rings"])`.

    Attributes:
        mesh: The mesh.
        cell_tags: Tag of each cell, 0 for those in no group.
        facet_tags: Tag of each facet that is in a group.
        cell_groups: Name of a physical group of cells to its tag or tags; "" is the cells in no group.
        facet_groups: Name of a physical group of facets to its tag or tags.
        unusable: Name of a physical group of facets to the reason why it is none of this mesh.
        inside: Names of groups of facets between cells, of which none is at the boundary.
    """

    mesh: Mesh
    cell_tags: MeshTags
    facet_tags: MeshTags
    cell_groups: dict[str, Tags]
    facet_groups: dict[str, Tags]
    unusable: dict[str, str] = field(default_factory=dict)
    inside: frozenset[str] = frozenset()

    @checked
    def cells(self, name: str) -> np.ndarray:
        """Return the local cells (ghosts included) of a group, shape `(n,)`, int32.

        Raises:
            InputError: No such group.
        """
        return _find(self.cell_tags, self._tags(self.cell_groups, name, "cells"))

    @checked
    def owned_cells(self, name: str) -> np.ndarray:
        """Return for each owned cell whether it is in the group, shape `(owned cells,)`, bool.

        Raises:
            InputError: No such group.
        """
        inside = np.zeros(self.mesh.topology.index_map(self.mesh.topology.dim).size_local, dtype=bool)
        cells = self.cells(name)
        inside[cells[cells < len(inside)]] = True
        return inside

    @checked
    def facets(self, name: str) -> np.ndarray:
        """Return the local facets of a group, as `locate_dofs_topological` takes them, shape `(n,)`, int32.

        Raises:
            InputError: No such group.
        """
        return _find(self.facet_tags, self._tags(self.facet_groups, name, "facets"))

    @checked
    def ds(self, name: str) -> ufl.Measure:
        """Return the integration measure over the exterior facets of a group.

        Raises:
            InputError: No such group, or one without exterior facets.
        """
        tags = self._tags(self.facet_groups, name, "facets")
        if name in self.inside:
            raise InputError(f"no facet of group {name!r} is at the boundary; integrate over `dS({name!r})`")
        return ufl.Measure("ds", domain=self.mesh, subdomain_data=self.facet_tags)(tags)

    @checked
    def dS(self, name: str) -> ufl.Measure:
        """Return the integration measure over the facets of a group that lie between two cells.

        Raises:
            InputError: No such group.
        """
        tags = self._tags(self.facet_groups, name, "facets")
        return ufl.Measure("dS", domain=self.mesh, subdomain_data=self.facet_tags)(tags)

    def _tags(self, groups: Mapping[str, Tags], name: str, kind: str) -> Tags:
        """Look a group up."""
        if name in groups:
            return groups[name]
        if kind == "facets" and name in self.unusable:
            raise InputError(f"group {name!r} cannot be used: {self.unusable[name]}")
        present = ", ".join(map(repr, groups)) or "none"
        raise InputError(f"the mesh has no group of {kind} named {name!r}; it has {present}")


def _find(tags: MeshTags, wanted: Tags) -> np.ndarray:
    return tags.indices[np.isin(tags.values, wanted)]
