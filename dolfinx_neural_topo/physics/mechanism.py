"""Compliant mechanisms: patches of the boundary that are driven, or that drive something."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import ufl
from dolfinx import fem

from dolfinx_neural_topo._communication import sum_replicated
from dolfinx_neural_topo.errors import InputError, checked
from dolfinx_neural_topo.physics.material import check_scalar


class Port:
    """Input or output of a mechanism: a patch of the boundary and a direction.

    The maximal output of an inverter is `ReducedFunctional(output.displacement(u), state)` with the force of
    the input as load and the springs of both added to the bilinear form. This functional is not
    self-adjoint: its gradient costs a second solve.

    Args:
        V: Vector space of the displacement.
        ds: Measure of the patch, such as `ufl.Measure("ds", mesh, subdomain_data=facet_tags)(3)`.
        direction: Direction in which forces, springs and displacements count, shape (dim,); normalized here.

    Attributes:
        area: Length or area of the patch.

    Raises:
        InputError: A patch of zero area, or a direction of other length than space has dimensions.

    Note: Collective.
    """

    @checked
    def __init__(self, V: fem.FunctionSpace, ds: ufl.Measure, direction: Sequence[float]):
        mesh = V.mesh
        length = sum(float(d) ** 2 for d in direction) ** 0.5
        if len(direction) != mesh.geometry.dim or not 0.0 < length < float("inf"):
            raise InputError(
                f"direction must have {mesh.geometry.dim} components, not all zero, got {list(direction)}"
            )
        self.V, self.ds = V, ds
        self.direction = ufl.as_vector([float(d) / length for d in direction])
        one = fem.Constant(mesh, np.float64(1.0))
        self.area = float(sum_replicated(mesh.comm, fem.assemble_scalar(fem.form(one * ds))))
        if not self.area > 0.0:
            raise InputError(
                "ds must cover a patch of the boundary, got one of zero area; way out: check facet tags"
            )

    @checked
    def force(self, total: Any) -> ufl.Form:
        """Return L(v) of a force spread evenly over the patch.

        Args:
            total: Whole force, a number or `fem.Constant`.
        """
        total = check_scalar("total", total, "(-inf, inf)")
        return total / self.area * ufl.dot(self.direction, ufl.TestFunction(self.V)) * self.ds

    @checked
    def spring(self, stiffness: Any) -> ufl.Form:
        """Return a(u, v) of springs on the patch, stiffness / area int (u . d) (v . d) ds.

        Args:
            stiffness: Force of the whole patch for a unit of displacement, a number or `fem.Constant`.
        """
        u, v = ufl.TrialFunction(self.V), ufl.TestFunction(self.V)
        d = self.direction
        stiffness = check_scalar("stiffness", stiffness, "[0, inf)")
        return stiffness / self.area * ufl.dot(u, d) * ufl.dot(v, d) * self.ds

    @checked
    def displacement(self, u: fem.Function) -> ufl.Form:
        """Return the mean displacement of the patch in its direction, a functional of the state."""
        return ufl.dot(u, self.direction) / self.area * self.ds
