"""Density stages on owned cells: design domain, filters, volume-constrained sigmoid, projection (layer 2)."""

from dolfinx_neural_topo.density.casting import Casting
from dolfinx_neural_topo.density.chain import Chain, Identity, Stage
from dolfinx_neural_topo.density.cone import ConeFilter
from dolfinx_neural_topo.density.design import Design
from dolfinx_neural_topo.density.domain import DesignDomain
from dolfinx_neural_topo.density.evaluation import Evaluation
from dolfinx_neural_topo.density.extrusion import Extrusion
from dolfinx_neural_topo.density.field import DensityField
from dolfinx_neural_topo.density.grid import CellGrid
from dolfinx_neural_topo.density.helmholtz import HelmholtzFilter
from dolfinx_neural_topo.density.local_volume import LocalVolume
from dolfinx_neural_topo.density.multi import MultiDesign
from dolfinx_neural_topo.density.overhang import OverhangFilter
from dolfinx_neural_topo.density.persistence import Persistence
from dolfinx_neural_topo.density.pooling import PMeanPooling, PooledFunctional
from dolfinx_neural_topo.density.projection import HeavisideProjection, ThreeFieldProjection
from dolfinx_neural_topo.density.sigmoid import VolumeConstrainedSigmoid
from dolfinx_neural_topo.density.symmetry import SymmetryPlane
from dolfinx_neural_topo.density.volume import ChainVolume, LinearVolume

__all__ = [
    "Casting",
    "CellGrid",
    "Chain",
    "ChainVolume",
    "ConeFilter",
    "DensityField",
    "Design",
    "DesignDomain",
    "Evaluation",
    "Extrusion",
    "HeavisideProjection",
    "HelmholtzFilter",
    "Identity",
    "LinearVolume",
    "LocalVolume",
    "MultiDesign",
    "OverhangFilter",
    "PMeanPooling",
    "Persistence",
    "PooledFunctional",
    "Stage",
    "SymmetryPlane",
    "ThreeFieldProjection",
    "VolumeConstrainedSigmoid",
]
