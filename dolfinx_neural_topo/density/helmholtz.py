"""Helmholtz density filter: a screened Poisson equation instead of stored weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dolfinx.fem.petsc as fem_petsc
import numpy as np
import ufl
from dolfinx import fem
from petsc4py import PETSc

from dolfinx_neural_topo._checks import SetOnce, check_number, owned_values
from dolfinx_neural_topo._petsc import Owner, Unread, check_prefix, options, reason_name, take_options
from dolfinx_neural_topo.density.domain import DesignDomain
from dolfinx_neural_topo.errors import InputError, SolverError, collective
from dolfinx_neural_topo.physics.periodic import Periodicity
from dolfinx_neural_topo.physics.solvers import LARGEST_DIRECT

LARGEST_RADIUS = 10.0  # relative to the extent of the domain; rounding grows with its square
ACCEPTED = 1e-9  # true residual relative to the load: filter and transpose are exact to far below 1e-5


class HelmholtzFilter(SetOnce, Owner):
    """Smooth a density by a diffusion equation on the design cells.

        -kappa laplace(w) + w = rho_design,    no flux through the boundary,    kappa = radius^2 / 12,

    with first-order elements for w, and rho_filtered the mean of w over each cell. Passive cells keep their
    value and are no part of the equation. In matrices, with B = (integral of phi_i over cell j), cell volumes
    V and K = kappa (grad phi_i, grad phi_j) + the lumped mass,

        H = V^-1 B^T K^-1 B,    H^T = B^T K^-1 B V^-1.

    Constants and the volume are kept exactly. The lumped mass keeps densities between 0 and 1 wherever the
    Laplacian has no positive couplings (rectangles, cubes, meshes without obtuse angles). Memory does not
    grow with the radius, and symmetry planes need nothing: a mirror image lets no flux through. On a periodic
    domain w repeats, so that opposite faces need the same nodes.

    With `void_beyond` no flux becomes kappa dw/dn + sqrt(kappa) w = 0 on a part of the boundary, as if void
    surrounded the mesh there: material keeps off it, and constants and the volume are no longer kept. A
    domain with `weight` smooths with that weight in all integrals.

    Attributes:
        domain: Design domain.
        radius: Radius of the cone filter with the same second moment (in 1D), in units of the mesh.
        void_beyond: Measure of the free surface, or None.

    Args:
        domain: Design domain.
        radius: Radius in units of the mesh.
        void_beyond: Measure of the free surface, such as ufl.Measure("ds", mesh, subdomain_data=tags)(1).
        petsc_options_prefix: Prefix of this filter's PETSc options, the same on all ranks.
        petsc_options: Options over the defaults: a factorization that is made once, or conjugate gradients
            with algebraic multigrid on large meshes.

    Raises:
        InputError: The radius is not positive, or far larger than the domain.

    References:
        Lazarov and Sigmund (2011), International Journal for Numerical Methods in Engineering 86.

    Note: Collective.

    Example:
        >>> smooth = dnt.HelmholtzFilter(domain, radius=0.3)
        >>> bool(np.allclose(smooth.apply(half), 0.5))
        True
        >>> smooth.destroy()
    """

    @collective
    def __init__(
        self,
        domain: DesignDomain,
        radius: float,
        *,
        void_beyond: ufl.Measure | None = None,
        petsc_options_prefix: str = "helmholtz_filter_",
        petsc_options: Mapping[str, Any] | None = None,
    ):
        super().__init__()
        self.domain = domain
        self._radius = check_number("radius", radius, "(0, inf)")
        extent = float(np.ptp(domain.bounding_box(), axis=0).max())
        if self.radius > LARGEST_RADIUS * extent:
            raise InputError(
                f"radius must be at most {LARGEST_RADIUS:g} times the extent of the domain, {extent:.4g}, "
                f"got {radius:g}: what is smoothed so far is the mean"
            )
        self._prefix = check_prefix(domain.comm, petsc_options_prefix)
        self._options = dict(petsc_options or {})
        space = fem.functionspace(domain.mesh, ("Lagrange", 1))
        self._K, self._B = self._matrices(space, void_beyond)
        self._cells, self._load = (self.own(vector) for vector in self._B.createVecs())
        self._solution, self._work = (self.own(self._load.duplicate()) for _ in range(2))
        self._ksp = self._solver(space, self._options)
        self.void_beyond = void_beyond

    @property
    def radius(self) -> float:
        """Radius in units of the mesh. It stays: another one needs another filter."""
        return self._radius

    @collective
    def on(self, domain: DesignDomain) -> HelmholtzFilter:
        """Return the same filter on another domain, to be destroyed.

        Raises:
            InputError: The filter knows a part of this mesh's boundary.

        Note: Collective.
        """
        if self.void_beyond is not None:
            raise InputError(
                "a filter with void_beyond cannot be made again on another mesh; way out: without"
            )
        return HelmholtzFilter(
            domain, self.radius, petsc_options_prefix=self._prefix, petsc_options=self._options
        )

    @collective(rho_design=owned_values)
    def apply(self, rho_design: np.ndarray) -> np.ndarray:
        """Filter a density: H rho_design.

        Args:
            rho_design: Owned values, shape (num_owned_cells,), float64.

        Returns:
            Filtered owned values, same shape.

        Raises:
            SolverError: The solver did not converge, or left a true residual above 1e-9.

        Note: Collective.
        """
        smoothed = self._smooth(rho_design) / self.domain.cell_volumes
        return np.where(self.domain.design, smoothed, rho_design)

    @collective(values=owned_values)
    def apply_transpose(self, values: np.ndarray) -> np.ndarray:
        """Apply the transpose: H^T values.

        Args:
            values: Owned values, shape (num_owned_cells,), float64.

        Returns:
            Owned values, same shape.

        Raises:
            SolverError: The solver did not converge.

        Note: Collective.
        """
        return np.where(self.domain.design, self._smooth(values / self.domain.cell_volumes), values)

    @collective(dJ_drho_filtered=owned_values)
    def pullback(self, dJ_drho_filtered: np.ndarray, rho_design=None, rho_filtered=None) -> np.ndarray:
        """Gradient with respect to the density before the filter; the point does not matter.

        Note: Collective.
        """
        return self.apply_transpose(dJ_drho_filtered)

    def _smooth(self, values: np.ndarray) -> np.ndarray:
        """Return B^T K^-1 B values."""
        self._cells.array_w[:] = values
        self._B.mult(self._cells, self._load)
        self._ksp.solve(self._load, self._solution)
        reason = self._ksp.getConvergedReason()
        self._K.mult(self._solution, self._work)
        self._work.aypx(-1.0, self._load)
        iterations, residual = self._ksp.getIterationNumber(), self._work.norm()
        if reason < 0 or not residual <= ACCEPTED * self._load.norm():
            raise SolverError(
                f"filter solver '{self._prefix}' failed with "
                f"{reason_name(PETSc.KSP.ConvergedReason, reason)} after {iterations} iterations at "
                f"residual {residual:.3g}; check the density for NaN, or give "
                "petsc_options={'ksp_type': 'preonly', 'pc_type': 'cholesky'}, or a smaller ksp_rtol",
                reason=reason,
                iterations=iterations,
                residual=residual,
            )
        self._B.multTranspose(self._solution, self._cells)
        return self._cells.array_r.copy()

    def _matrices(
        self, space: fem.FunctionSpace, void_beyond: ufl.Measure | None
    ) -> tuple[PETSc.Mat, PETSc.Mat]:
        """Assemble K and B over the design cells."""
        domain = self.domain
        inside = fem.Function(domain.space)
        inside.x.array[: domain.num_owned_cells] = domain.design
        inside.x.scatter_forward()
        u, v, rho = ufl.TrialFunction(space), ufl.TestFunction(space), ufl.TrialFunction(domain.space)
        kappa = self.radius**2 / 12.0
        inside = inside if domain.weight is None else inside * domain.weight
        diffusion = kappa * inside * ufl.dot(ufl.grad(u), ufl.grad(v)) * ufl.dx
        if void_beyond is not None:
            diffusion += kappa**0.5 * inside * u * v * void_beyond
        K = self.own(fem_petsc.assemble_matrix(fem.form(diffusion)))
        K.assemble()
        B = self.own(fem_petsc.assemble_matrix(fem.form(inside * rho * v * ufl.dx)))
        B.assemble()
        ones, mass = B.createVecs()
        ones.set(1.0)
        B.mult(ones, mass)
        mass.array_w[mass.array_r == 0.0] = 1.0  # nodes of passive cells only: a row of the identity
        K.setDiagonal(mass, addv=PETSc.InsertMode.ADD_VALUES)
        if domain.periodic:
            periodicity = self.own(Periodicity(space, [], domain.periodic))
            K = self.own(periodicity.reduce(K, None, 1.0))
            B = self.own(periodicity.fold_rows(B))
        K.setOption(PETSc.Mat.Option.SPD, True)
        ones.destroy()
        mass.destroy()
        return K, B

    def _solver(self, space: fem.FunctionSpace, given: Mapping[str, Any]) -> PETSc.KSP:
        """Set up the solver, factorization included: the matrix never changes."""
        num_nodes = space.dofmap.index_map.size_global
        values: dict[str, Any] = {"ksp_type": "cg", "ksp_rtol": 1e-13, "ksp_max_it": 500, "pc_type": "gamg"}
        if num_nodes <= LARGEST_DIRECT[self.domain.mesh.topology.dim]:
            values = {"ksp_type": "preonly", "pc_type": "cholesky"}
            if self.domain.comm.size > 1:
                values["pc_factor_mat_solver_type"] = "mumps"
        ksp = self.own(PETSc.KSP().create(self.domain.comm))
        ksp.setOptionsPrefix(self._prefix)
        ksp.setOperators(self._K)
        unread = Unread(given)
        with options(self._prefix, {**values, **given}, unread):
            take_options(ksp, self._prefix)
            ksp.setUp()
        unread.check(self._prefix)
        return ksp
