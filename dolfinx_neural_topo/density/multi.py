"""A design of several fields: materials, or a density and the angle of its fibres."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dolfinx_neural_topo._checks import SetOnce, real_array
from dolfinx_neural_topo.density.evaluation import Evaluation, check_functionals, evaluate_at, limits_at
from dolfinx_neural_topo.density.field import DensityField
from dolfinx_neural_topo.density.logits import Logits
from dolfinx_neural_topo.density.persistence import Persistence
from dolfinx_neural_topo.density.softmax import Sigmoids, Softmax
from dolfinx_neural_topo.errors import InputError, collective
from dolfinx_neural_topo.physics.algebra import AnyFunctional


def _of_all(value: Any, name: str, given: Mapping[str, Any]) -> np.ndarray:
    """Check one number for each field and owned cell."""
    design = given["self"]
    shape = (len(design.fields), design.domain.num_owned_cells)
    return real_array(name, value, shape, "one number for each field and owned cell")


def _variables(value: Any, name: str, given: Mapping[str, Any]) -> np.ndarray:
    """Check one number for each field and each of its owned design cells."""
    shape = (given["self"].num_variables,)
    return real_array(name, value, shape, "one number for each field and owned design cell")


class MultiDesign(SetOnce):
    """A design of k fields, each with its domain, its filter and its volume, and one objective of all.

    The form holds one function in DG0 of shape (k,), whose components are the fields:

        rho = fem.Function(fem.functionspace(mesh, ("DG", 0, (2,))))
        stiff, soft = rho
        E = E_min + E_1 * stiff**3 * (1 - soft**3) + E_2 * soft**3 * (1 - stiff**3)

    Densities, before and after the stages, have the shape (k, num_owned_cells). As variables of an optimizer,
    x holds `rho_design` on the owned design cells of the first field, then of the second and so on. The first
    k constraints are the volumes. A field whose volume fraction is 1 has no limit (an angle), and starts at
    0.5.

    From logits, the volumes are met by construction. Materials exclude each other: the shares of k materials
    and of void in a cell are a softmax of k + 1 logits, those of void first. Independent fields have a
    sigmoid and a logit each.

    Attributes:
        comm: Communicator.
        functional: Objective.
        fields: The fields.
        domain: That of the first field.
        constraints: Pairs (functional, bound), each held as functional / bound - 1 <= 0.
        projection: Has the sharpness of all projections as `beta`.
        num_variables: Number of variables of this rank.
        lower: Lower bound of x.
        upper: Upper bound of x.

    Args:
        functional: Objective, a functional of k fields: `value` and `value_and_gradient` of arrays of shape
            (k, num_owned_cells). It is counted once for every mirror image.
        fields: A `DensityField` for each, all on one mesh.
        kind: "materials", or "independent".
        constraints: Further constraints, pairs (functional, positive bound), such as a mass.

    Raises:
        InputError: Another number of fields than the functional has, fields on several meshes, a projection
            of three fields, an unknown `kind`, or a bound that is not positive.

    Note: Collective.

    Example:
        >>> both = fem.Function(fem.functionspace(plate, ("DG", 0, (2,))))
        >>> E = 1e-6 + both[0] ** 3 * (1 - both[1] ** 3) + 0.3 * both[1] ** 3 * (1 - both[0] ** 3)
        >>> form = dnt.physics.elasticity.bilinear_form(V, E)
        >>> options = {"bcs": bcs, "nodal_loads": load, "petsc_options_prefix": "alloy_"}
        >>> alloy = dnt.StateProblem((form, L), both, **options)
        >>> domains = [dnt.DesignDomain(rho, volume_fraction=fraction) for fraction in (0.2, 0.3)]
        >>> fields = [dnt.DensityField(each, filter=dnt.ConeFilter(each, radius=0.3)) for each in domains]
        >>> found = dnt.minimize(dnt.MultiDesign(dnt.Compliance(alloy), fields), dnt.MMA(), evaluations=5)
        >>> found.rho.shape == (2, half.size), bool(max(found.best.constraints) < 1e-6)
        (True, True)
        >>> alloy.destroy()
    """

    lower = 0.0
    upper = 1.0

    @collective
    def __init__(
        self,
        functional: AnyFunctional,
        fields: Sequence[DensityField],
        *,
        kind: str = "materials",
        constraints: Sequence[tuple[AnyFunctional, float]] = (),
    ):
        if kind not in ("materials", "independent"):
            raise InputError(f'kind must be "materials" or "independent", got {kind!r}')
        if len(fields) == 0:
            raise InputError("fields must hold at least one DensityField, got none")
        domains = [field.domain for field in fields]
        if any(each.mesh is not domains[0].mesh or each.symmetry != domains[0].symmetry for each in domains):
            raise InputError("fields must live on one mesh with the same symmetry planes, these do not")
        if any(len(field.projection.realizations) > 1 for field in fields):
            raise InputError(
                "fields must have one projection each, got one of three fields, whose worst cases are not "
                "combined; way out: HeavisideProjection"
            )
        check_functionals(functional, constraints, domains[0], (len(fields),))
        self.comm = domains[0].comm
        self.functional: Any = functional
        self.fields = tuple(fields)
        self.domain = domains[0]
        self.kind = kind
        self.constraints = tuple(constraints)
        self.projection = _Projections([field.projection for field in fields])
        self._ends = np.cumsum([np.count_nonzero(domain.design) for domain in domains])
        self.num_variables = int(self._ends[-1])
        self._stage: Any = None

    @property
    def logits(self) -> Logits:
        """The design as a function of logits. Note: Collective at the first use."""
        k, materials = len(self.fields), self.kind == "materials"
        if self._stage is None:
            self._stage = Softmax(self.fields) if materials else Sigmoids(self.fields)
        return Logits(self, self._stage, (k + materials,), (k,))

    @property
    def persistence(self) -> Persistence:
        """What a run needs beside values: numbers of the entries of x, stage, cost."""
        first = np.arange(len(self.fields)) * self.domain.num_global_cells
        entries = self.domain.canonical_index + first[:, None]
        return Persistence(self, self.join(entries))

    def join(self, values: np.ndarray) -> np.ndarray:
        """Return the entries of design cells, field by field.

        Args:
            values: Owned values of all fields, shape (..., k, num_owned_cells).

        Returns:
            Shape (..., num_variables).
        """
        parts = [values[..., i, field.domain.design] for i, field in enumerate(self.fields)]
        return np.concatenate(parts, axis=-1)

    def split(self, x: np.ndarray) -> list[np.ndarray]:
        """Return the variables of each field."""
        return np.split(x, self._ends[:-1])

    @collective
    def initial(self) -> np.ndarray:
        """Return constant densities that meet their volumes, 0.5 where there is no limit.

        Note: Collective.
        """
        return np.concatenate(
            [
                field.initial() if field.limited else np.full(np.count_nonzero(field.domain.design), 0.5)
                for field in self.fields
            ]
        )

    @collective(x=_variables)
    def evaluate(self, x: np.ndarray, gradient: bool = True) -> Evaluation:
        """Evaluate objective and constraints at densities.

        Args:
            x: rho_design on owned design cells, field by field, float64.
            gradient: Whether gradients are wanted; without, no adjoint problem is solved.

        Returns:
            The evaluation, gradients with respect to x; the first k constraints are the volumes.

        Note: Collective.
        """
        parts = self.split(x)
        rho_design = np.array([f.domain.expand(part) for f, part in zip(self.fields, parts, strict=True)])
        evaluation = self.evaluate_density(rho_design, gradient)
        volumes = [field.volume_constraint(part) for field, part in zip(self.fields, parts, strict=True)]
        constraints = np.concatenate([volumes, evaluation.constraints])
        if not gradient:
            return replace(evaluation, constraints=constraints)
        slopes = np.zeros((len(parts), *rho_design.shape))
        for i, field in enumerate(self.fields):
            slopes[i, i] = field.volume_slope(rho_design[i])
        rows = np.concatenate([slopes, evaluation.constraint_gradients])
        return replace(
            evaluation,
            gradient=self.join(evaluation.gradient),
            constraints=constraints,
            constraint_gradients=self.join(rows),
        )

    @collective(rho_design=_of_all)
    def evaluate_density(self, rho_design: np.ndarray, gradient: bool = True) -> Evaluation:
        """Evaluate the objective and further constraints at densities.

        Args:
            rho_design: Owned values, shape (k, num_owned_cells), passive cells at their own density.
            gradient: Whether gradients are wanted.

        Returns:
            The evaluation, gradients with respect to all of rho_design (the volumes are not among the
            constraints).

        Note: Collective.
        """
        self.domain.require_unmoved()
        stages = [field.chain.fields(each) for field, each in zip(self.fields, rho_design, strict=True)]
        rho = np.array([each[-1] for each in stages])

        def pull(slope: np.ndarray) -> np.ndarray:
            each = zip(self.fields, slope, stages, strict=True)
            return np.array([field.chain.pullback(part, densities) for field, part, densities in each])

        value, dJ_drho = evaluate_at(self.functional, rho, gradient)
        values, rows = limits_at(self.constraints, rho, pull, gradient)
        copies = self.domain.num_copies
        return Evaluation(
            value=copies * value,
            gradient=copies * pull(dJ_drho) if gradient else None,
            constraints=values,
            constraint_gradients=rows,
            rho_design=rho_design,
            rho=rho,
            volume=self.volume(rho),
        )

    @collective(rho_design=_of_all)
    def rho_from_design(self, rho_design: np.ndarray) -> np.ndarray:
        """Apply all stages to densities, shape (k, num_owned_cells). Note: Collective."""
        return np.array([f.rho_from_design(each) for f, each in zip(self.fields, rho_design, strict=True)])

    @collective(dJ_drho=_of_all, rho_design=_of_all)
    def pullback_density(self, dJ_drho: np.ndarray, rho_design: np.ndarray) -> np.ndarray:
        """Gradient with respect to rho_design from one with respect to rho: transpose of `rho_from_design`.

        Note: Collective.
        """
        each = zip(self.fields, dJ_drho, rho_design, strict=True)
        return np.array([field.pullback_density(slope, density) for field, slope, density in each])

    @collective(rho=_of_all)
    def volume(self, rho: np.ndarray) -> float:
        """Sum of the volume fractions of all fields whose volume is limited.

        Args:
            rho: Owned values, shape (k, num_owned_cells).

        Note: Collective.
        """
        return sum((f.volume(each) for f, each in zip(self.fields, rho, strict=True) if f.limited), 0.0)


def require_one_density(design: Any, who: str, why: str, way_out: str) -> None:
    """Refuse a design of several fields.

    Args:
        design: Any design.
        who: Who needs one density.
        why: Because of what.
        way_out: What to do instead.

    Raises:
        InputError: It has several fields.
    """
    if isinstance(design, MultiDesign):
        raise InputError(
            f"{who} needs a Design, of one density, got a MultiDesign of {len(design.fields)} fields: {why}; "
            f"way out: {way_out}"
        )


class _Projections:
    """The sharpness of several projections, as one thing to be stored."""

    def __init__(self, projections: Sequence[Any]):
        self._projections = projections

    @property
    def beta(self) -> Any:
        sharpness = [projection.beta for projection in self._projections]
        return None if sharpness.count(None) == len(sharpness) else sharpness

    @beta.setter
    def beta(self, beta: Any) -> None:
        for projection, each in zip(self._projections, beta or (), strict=False):
            if (projection.beta is None) != (each is None):
                raise InputError(f"state: beta is {beta}, which does not fit the projections of these fields")
            projection.beta = each
