"""Neural topology optimization for DOLFINx.

Public names live in the subpackages and are also reachable from here. They are resolved when first used, so
that importing the package loads neither torch nor a plotting library.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0.dev0"

_PUBLIC = {
    "errors": ("CheckpointError", "InputError", "NeuralTopoError", "ReplicationError", "SolverError"),
    "physics": (
        "Compliance",
        "EigenProblem",
        "Eigenvalue",
        "Functional",
        "ReducedFunctional",
        "StateProblem",
        "TransientFunctional",
        "TransientProblem",
        "mass",
        "nodal_load",
        "ramp",
        "simp",
        "taylor_test",
    ),
    "density": (
        "CellGrid",
        "ConeFilter",
        "DensityField",
        "Design",
        "DesignDomain",
        "HeavisideProjection",
        "HelmholtzFilter",
        "LocalVolume",
        "MultiDesign",
        "SymmetryPlane",
        "ThreeFieldProjection",
        "VolumeConstrainedSigmoid",
    ),
    "bridge": ("NeuralDesign", "PixelTransfer", "PointTransfer", "SampledTransfer", "TopologyObjective"),
    "networks": ("FourierMLP", "LeanCNN", "PaperCNN", "PixelLogits"),
    "optimize": (
        "GCMMA",
        "MMA",
        "OC",
        "Adam",
        "AugmentedLagrangian",
        "Built",
        "Continuation",
        "LBFGS",
        "NLoptMMA",
        "Result",
        "SciPyLBFGSB",
        "SiMPL",
        "make_buildable",
        "minimize",
        "minimize_multistart",
    ),
}
_HOME = {name: module for module, names in _PUBLIC.items() for name in names}

__all__ = [*sorted(_HOME), *sorted(_PUBLIC), "io", "plotting", "study", "tasks"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
