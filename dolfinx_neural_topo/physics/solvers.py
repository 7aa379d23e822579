"""Linear solver presets: which PETSc options suit which operator.

A preset is a function from the traits of an operator to a `Preset`. To add one, write such a function and
enter it in `PRESETS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from dolfinx import fem
from petsc4py import PETSc

from dolfinx_neural_topo._petsc import block_smoother
from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.physics import multigrid

# Degrees of freedom up to which a reused Cholesky factorization beats multigrid: geometric on boxes,
# algebraic elsewhere.
LARGEST_DIRECT = {2: 500_000, 3: 30_000}
LARGEST_DIRECT_ON_BOX = {2: 500_000, 3: 8_000}
LARGEST_DIRECT_ON_SLAB = 100_000  # on boxes of at most 4 layers of cells, where it is twice as fast still


@dataclass(frozen=True)
class Traits:
    """What a preset may depend on; equal on all ranks.

    Attributes:
        V: Space of the state.
        bcs: Dirichlet conditions.
        symmetric: Whether the matrix is symmetric.
        definite: Whether it may be taken as positive definite.
        mixed: Whether V is a mixed space.
    """

    V: fem.FunctionSpace
    bcs: list[fem.DirichletBC]
    symmetric: bool
    definite: bool
    mixed: bool

    @property
    def num_dofs(self) -> int:
        """Number of unknowns on all ranks."""
        return self.V.dofmap.index_map.size_global * self.V.dofmap.index_map_bs


@dataclass(frozen=True)
class Preset:
    """PETSc options of a solver, and what options cannot say.

    Attributes:
        name: Name of the preset.
        options: PETSc options without prefix.
        near_nullspace: Whether the matrix shall carry the rigid-body modes (or constants).
        configure: Called once with the new KSP and its assembled operator, before the options are applied;
            returns further options.
        rebuild: Rebuild the preconditioner from nothing when iteration counts have grown (it keeps parts of
            its first set-up otherwise).
    """

    name: str
    options: dict[str, Any]
    near_nullspace: bool = False
    configure: Callable[[PETSc.KSP], dict[str, Any]] | None = field(default=None)
    rebuild: bool = False


def direct(traits: Traits) -> Preset:
    """Factorize: Cholesky where the operator is positive definite, LU elsewhere."""
    comm = traits.V.mesh.comm
    options: dict[str, Any] = {"ksp_type": "preonly", "pc_type": "cholesky" if traits.definite else "lu"}
    if traits.definite and comm.size == 1 and PETSc.Sys.hasExternalPackage("cholmod"):
        options["pc_factor_mat_solver_type"] = "cholmod"
    elif PETSc.Sys.hasExternalPackage("mumps"):
        options |= {
            "pc_factor_mat_solver_type": "mumps",
            "mat_mumps_icntl_14": 80,
        }  # room for delayed pivots, in per cent
    elif comm.size > 1:
        raise InputError(
            "solver 'direct' on several ranks needs a PETSc with MUMPS, this one has none; way out: one "
            "rank, solver='amg', "
            "or petsc_options={'pc_factor_mat_solver_type': ...}"
        )
    return Preset("direct", options)


def amg(traits: Traits) -> Preset:
    """Conjugate gradients with smoothed aggregation and rigid-body near-nullspace.

    The Chebyshev smoother needs 30 steps to estimate its largest eigenvalue at a contrast of 1e9; with
    PETSc's 10 the preconditioner becomes indefinite. Residuals are true ones: preconditioned norms mislead at
    this contrast.
    """
    _require_definite("amg", traits)
    options = {
        "ksp_type": "cg",
        "ksp_norm_type": "unpreconditioned",
        "ksp_rtol": 1e-8,
        "ksp_max_it": 1000,
        "pc_type": "gamg",
        "pc_gamg_threshold": 0.05 if traits.V.mesh.topology.dim == 2 else 0.0,
        "mg_levels_ksp_type": "chebyshev",
        "mg_levels_pc_type": block_smoother(),
        "mg_levels_esteig_ksp_max_it": 30,
    }
    return Preset("amg", options, near_nullspace=True, rebuild=True)


def gmg(traits: Traits) -> Preset:
    """Conjugate gradients with geometric multigrid, for multilinear elements on boxes."""
    _require_definite("gmg", traits)
    return Preset("gmg", {}, configure=lambda ksp: multigrid.configure(ksp, traits.V, traits.bcs))


def _require_definite(name: str, traits: Traits) -> None:
    if not traits.definite:
        kind = "indefinite (or its definiteness unknown)" if traits.symmetric else "not symmetric"
        raise InputError(
            f"solver '{name}' needs a symmetric positive definite operator, this one is {kind}; way out: "
            "solver='direct'"
        )


PRESETS: dict[str, Callable[[Traits], Preset]] = {"direct": direct, "amg": amg, "gmg": gmg}


def choose(name: str | None, traits: Traits) -> Preset:
    """Return the preset of that name, or the one that suits the operator's size and kind.

    Raises:
        InputError: No such preset, or one that the operator does not allow.
    """
    if name is None:
        dim = traits.V.mesh.topology.dim
        if not traits.definite or traits.num_dofs <= LARGEST_DIRECT_ON_BOX[dim]:
            name = "direct"
        elif (box := multigrid.find_box(traits.V)) is not None:
            thin = dim == 3 and min(box.shape) <= 5
            name = "direct" if thin and traits.num_dofs <= LARGEST_DIRECT_ON_SLAB else "gmg"
        else:
            name = "amg" if traits.num_dofs > LARGEST_DIRECT[dim] else "direct"
    if name not in PRESETS:
        raise InputError(f"solver must be None or one of {sorted(PRESETS)}, got {name!r}")
    return PRESETS[name](traits)
