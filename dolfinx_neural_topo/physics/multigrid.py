"""Geometric multigrid on boxes: conjugate gradients, nested grids, Galerkin coarse operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from dolfinx import fem
from petsc4py import PETSc

from dolfinx_neural_topo._petsc import block_smoother
from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.physics._boxes import Box, find_box, interpolation

# The coarsest grid is factorized. The larger it is the fewer iterations remain (thin members vanish on coarse
# grids): up to this part of all degrees of freedom, its factorization costs less than it saves.
COARSEST_SHARE = {2: 1 / 12, 3: 1 / 50}
COARSEST_LIMITS = {2: (2_000, 50_000), 3: (5_000, 40_000)}
EIGENVALUE_STEPS = 30


OPTIONS: dict[str, Any] = {
    "ksp_type": "cg",
    "ksp_norm_type": "unpreconditioned",
    "ksp_rtol": 1e-5,  # gradients to 5e-7, measured at contrast 1e9, with floating islands too
    "ksp_max_it": 1000,
    "pc_type": "mg",
    "pc_mg_galerkin": "both",
    "mg_levels_ksp_type": "chebyshev",
    "mg_levels_ksp_max_it": 2,
    "mg_levels_esteig_ksp_max_it": 20,
    "mg_coarse_ksp_type": "preonly",
    "mg_coarse_pc_type": "redundant",
    "mg_coarse_redundant_ksp_type": "preonly",
    "mg_coarse_redundant_pc_type": "cholesky",
}


def configure(ksp: PETSc.KSP, V: fem.FunctionSpace, bcs: Sequence[fem.DirichletBC]) -> dict[str, Any]:
    """Give a KSP with an assembled operator its levels of multigrid.

    Args:
        ksp: Solver, to which the options are applied afterwards.
        V: Space of the operator, which `find_box` recognizes.
        bcs: Dirichlet conditions, whose rows and columns of the operator are the identity's.

    Returns:
        The PETSc options that belong to it, without prefix.

    Note: Collective.
    """
    boxes = nested_boxes(V, bcs)
    pc, top = ksp.getPC(), len(boxes) - 1
    pc.setType("mg")
    pc.setMGLevels(len(boxes))
    for level, (fine, kept), (coarse, _) in zip(range(top, 0, -1), boxes[:-1], boxes[1:], strict=True):
        P = interpolation(fine, coarse, kept)
        pc.setMGInterpolation(level, P)
        P.destroy()  # PETSc keeps it
    options = OPTIONS | {"mg_levels_pc_type": block_smoother()}
    if PETSc.Sys.hasExternalPackage("cholmod"):
        options["mg_coarse_redundant_pc_factor_mat_solver_type"] = "cholmod"
    if top == 0:  # PETSc would smooth on a level that is the only one; it is small enough to be factorized
        coarsest = {name: value for name, value in options.items() if name.startswith("mg_coarse_")}
        options |= {f"mg_levels_{name.removeprefix('mg_coarse_')}": value for name, value in coarsest.items()}
    else:
        # One step before and after is cheaper in total than two on the finest grid; on the others two pay.
        options[f"mg_levels_{top}_ksp_max_it"] = 1
        largest = largest_eigenvalue(ksp.getOperators()[0])
        options[f"mg_levels_{top}_ksp_chebyshev_eigenvalues"] = f"{0.1 * largest},{1.2 * largest}"
    return options


def nested_boxes(V: fem.FunctionSpace, bcs: Sequence[fem.DirichletBC]) -> list[tuple[Box, np.ndarray]]:
    """Return the boxes from fine to coarse, each with which of its owned nodes the next one keeps.

    Raises:
        InputError: V is not a space of multilinear elements on a box.

    Note: Collective.
    """
    box = find_box(V, bcs)
    if box is None:
        raise InputError(
            "solver 'gmg' needs Lagrange elements of degree 1 on a box of quadrilaterals or hexahedra "
            f"(create_rectangle, create_box), got {V.ufl_element()} on {V.mesh.topology.cell_name()}s; way "
            "out: solver='amg'"
        )
    dim, block_size = len(box.lines), V.dofmap.index_map_bs
    limit = np.clip(COARSEST_SHARE[dim] * box.num_global_nodes * block_size, *COARSEST_LIMITS[dim])
    boxes = []
    while box.num_global_nodes * block_size > limit:
        coarse, kept = box.coarsen()
        boxes.append((box, kept))
        box = coarse
    return [*boxes, (box, np.zeros(0, dtype=bool))]


def largest_eigenvalue(A: PETSc.Mat) -> float:
    """Estimate the largest eigenvalue of D^-1 A from below, D being the (block) diagonal of A.

    For a matrix that is a sum over cells it is bounded by that of a single cell, whatever the moduli. At any
    moduli the estimate was 4 to 21 per cent below that bound, so that with some room above it serves for all.

    Note: Collective.
    """
    ksp = PETSc.KSP().create(A.comm)
    ksp.setOperators(A)
    ksp.setType("cg")
    ksp.setNormType(PETSc.KSP.NormType.NATURAL)
    ksp.getPC().setType(block_smoother())
    ksp.setComputeEigenvalues(True)
    ksp.setTolerances(rtol=1e-30, atol=0.0, max_it=EIGENVALUE_STEPS)
    x, b = A.createVecs()
    b.array_w[:] = np.random.default_rng(A.comm.rank).standard_normal(b.local_size)
    ksp.solve(b, x)
    largest = float(ksp.computeEigenvalues().real.max())
    for thing in (ksp, x, b):
        thing.destroy()
    return largest
