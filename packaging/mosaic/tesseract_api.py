"""Entry for Mosaic's domain structural-mesh: density in, compliance and its vector-Jacobian product out.

It needs `tesseract_core` and `mosaic_shared`, which Mosaic installs beside it.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from hex_compliance import HexCompliance
from mosaic_shared.problems.structural_mesh import InputSchema as CanonicalInput
from mosaic_shared.problems.structural_mesh import OutputSchema as CanonicalOutput
from mosaic_shared.schema_types import make_differentiable
from pydantic import Field
from tesseract_core.runtime import ShapeDType


class InputSchema(make_differentiable(CanonicalInput, ["rho"])):
    """Inputs, with the material of all solvers."""

    E_max: float = Field(default=70000.0, description="Young's modulus of solid.")
    nu: float = Field(default=0.3, description="Poisson's ratio.")
    xmin: float = Field(default=1e-3, description="Stiffness of void over that of solid.")
    penal: float = Field(default=3.0, description="Exponent of SIMP.")


class OutputSchema(make_differentiable(CanonicalOutput, ["compliance"])):
    """The compliance."""


@lru_cache(maxsize=2)  # a mesh is made once and serves all densities
def _solver(*parts: bytes, material: tuple[float, ...]) -> HexCompliance:
    arrays = [np.frombuffer(part, dtype=kind) for part, kind in zip(parts, "dqqqd", strict=True)]
    points, cells, fixed, loaded, tractions = arrays
    names = ("E_max", "nu", "xmin", "penal")
    return HexCompliance(
        points.reshape(-1, 3),
        cells.reshape(-1, 8),
        fixed,
        loaded,
        tractions.reshape(-1, 3),
        **dict(zip(names, material, strict=True)),
    )


def _prepare(inputs: InputSchema) -> tuple[HexCompliance, np.ndarray]:
    mesh, conditions = inputs.hex_mesh, inputs.boundary_conditions
    held = conditions.dirichlet
    if held is not None and held.values is not None and np.any(np.asarray(held.values) != 0.0):
        raise ValueError("compliance needs zero displacements at the supports")
    nodes = mesh.n_points
    parts = (
        np.asarray(mesh.points[:nodes], dtype=np.float64),
        np.asarray(mesh.faces[: mesh.n_faces], dtype=np.int64),
        np.asarray(held.mask[:nodes] if held else np.zeros(nodes), dtype=np.int64),
        np.asarray(conditions.neumann.mask[:nodes], dtype=np.int64),
        np.asarray(conditions.neumann.values, dtype=np.float64),
    )
    material = (inputs.E_max, inputs.nu, inputs.xmin, inputs.penal)
    solver = _solver(*(np.ascontiguousarray(part).tobytes() for part in parts), material=material)
    return solver, np.asarray(inputs.rho[: mesh.n_faces], dtype=np.float64)


def apply(inputs: InputSchema) -> OutputSchema:
    """Return the compliance."""
    solver, rho = _prepare(inputs)
    return OutputSchema(compliance=np.float32(solver.value(rho)))


def vector_jacobian_product(
    inputs: InputSchema, vjp_inputs: set[str], vjp_outputs: set[str], cotangent_vector: dict[str, Any]
) -> dict[str, Any]:
    """Return the cotangent of the density."""
    if "rho" not in vjp_inputs:
        return {}
    found = np.zeros(len(inputs.rho), dtype=np.float32)
    weight = float(cotangent_vector.get("compliance", 0.0))
    if weight != 0.0:
        solver, rho = _prepare(inputs)
        found[: len(rho)] = weight * solver.value_and_gradient(rho)[1]
    return {"rho": found}


def abstract_eval(abstract_inputs: InputSchema) -> dict:
    """Return the shape of the output."""
    return {"compliance": ShapeDType(shape=(), dtype="float32")}
