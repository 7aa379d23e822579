"""Owned cell values and UFL expressions as functions that can be written and drawn."""

from __future__ import annotations

import numpy as np
import ufl
from dolfinx import fem
from dolfinx.mesh import Mesh

from dolfinx_neural_topo._dolfinx import owned_cells, share
from dolfinx_neural_topo.errors import InputError, agree, collective


@collective
def as_function(
    values: np.ndarray, space: fem.FunctionSpace | fem.Function, *, name: str = "density"
) -> fem.Function:
    """Put owned cell values, such as `Result.rho`, into a function of their own.

    Args:
        values: Values of owned cells in DG0 dof order, shape (num_owned_cells,); of k fields,
            (k, num_owned_cells).
        space: DG0 space, or a function in it.
        name: Name of the result.

    Returns:
        Function with its ghosts updated.

    Raises:
        InputError: Another number of values than owned cells, on any rank.

    Note: Collective.
    """
    space = space.function_space if isinstance(space, fem.Function) else space
    function = fem.Function(space, name=name)
    owned, problem = owned_cells(function), None
    if np.shape(values) != owned.shape:
        problem = (
            f"values must have shape {owned.shape}, one number for each owned cell, got {np.shape(values)}"
        )
    agree(space.mesh.comm, problem)
    owned[:] = values
    function.x.scatter_forward()
    return function


@collective
def cell_mean(
    expression: ufl.core.expr.Expr, mesh: Mesh, *, name: str = "cell_mean", quadrature_degree: int = 2
):
    """Average a scalar UFL expression over each cell, for instance a von Mises stress.

    Args:
        expression: Scalar expression of functions on `mesh`.
        mesh: Mesh to integrate over.
        name: Name of the result.
        quadrature_degree: Degree of the quadrature rule.

    Returns:
        Scalar DG0 function, in the unit of the expression.

    Raises:
        InputError: The expression is no scalar.

    Note: Collective.
    """
    if ufl.as_ufl(expression).ufl_shape != () or ufl.as_ufl(expression).ufl_free_indices:
        raise InputError(f"expression must be scalar, got one of shape {expression.ufl_shape}")
    space = fem.functionspace(mesh, ("DG", 0))
    test = ufl.TestFunction(space)
    dx = ufl.dx(mesh, metadata={"quadrature_degree": quadrature_degree})
    form = expression * test * dx
    share(form.coefficients())
    integral = fem.assemble_vector(fem.form(form))
    volume = fem.assemble_vector(fem.form(test * dx))
    mean = fem.Function(space, name=name)
    mean.x.array[:] = integral.array / np.where(
        volume.array == 0.0, 1.0, volume.array
    )  # ghosts hold no integral
    mean.x.scatter_forward()
    return mean
