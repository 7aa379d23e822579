"""Where starts come from: a network, images of several resolutions, random densities, the uniform density."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from dolfinx_neural_topo.density import Design
from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.optimize.lbfgs import LBFGS
from dolfinx_neural_topo.optimize.method import Method, Variables
from dolfinx_neural_topo.optimize.mma import MMA
from dolfinx_neural_topo.optimize.starting_at import StartingAt

if TYPE_CHECKING:
    from dolfinx_neural_topo.optimize.multistart.schedule import Starts

Prepare = Callable[[Design, Any, "Starts", int], tuple[Variables, Method]]


def _network(design: Design, transfer: Any, starts: Starts, seed: int) -> tuple[Variables, Method]:
    """Weights of the recipe's network, by L-BFGS."""
    from dolfinx_neural_topo.bridge import NeuralDesign
    from dolfinx_neural_topo.networks import recipe_cnn

    network = recipe_cnn(transfer.shape, half_resolution=starts.half_resolution, seed=seed)
    return NeuralDesign(design, network, transfer), LBFGS()


def _linear(design: Design, transfer: Any, starts: Starts, seed: int) -> tuple[Variables, Method]:
    """The network without its nonlinearity: a sum of enlarged images, by the same L-BFGS."""
    from dolfinx_neural_topo.bridge import NeuralDesign
    from dolfinx_neural_topo.networks import MultiresolutionLogits

    network = MultiresolutionLogits(transfer.shape, seed=seed)
    return NeuralDesign(design, network, transfer), LBFGS()


def _pixels(design: Design, transfer: Any, starts: Starts, seed: int) -> tuple[Variables, Method]:
    """Densities of the cells by MMA, from smooth random ones with features of eight cells."""
    from dolfinx_neural_topo.networks import MultiresolutionLogits

    network = MultiresolutionLogits(transfer.shape, levels=4, seed=seed)
    network.distribute(transfer.tiles)
    image = network().detach().numpy().astype(np.float64)
    rho_design = design.logits.apply(transfer.apply(image))
    return StartingAt(design, rho_design[design.domain.design]), MMA()


def _uniform(design: Design, transfer: Any, starts: Starts, seed: int) -> tuple[Variables, Method]:
    """Densities of the cells by MMA, from the uniform design: the same for all seeds."""
    return design, MMA()


PARAMETERIZATIONS: dict[str, Prepare] = {
    "network": _network,
    "linear": _linear,
    "pixels": _pixels,
    "uniform": _uniform,
}
"""What prepares variables and method of a start, by name. The others are controls for the first."""


def get_parameterization(name: str) -> Prepare:
    """Return a parameterization.

    Raises:
        InputError: There is none of that name.
    """
    if name not in PARAMETERIZATIONS:
        raise InputError(f"parameterization must be one of {sorted(PARAMETERIZATIONS)}, got {name!r}")
    return PARAMETERIZATIONS[name]


def seed_of(seed: int, start: int) -> int:
    """Return the seed of one start, from that of the run and its number; in [0, 2^32)."""
    return int(np.random.SeedSequence([seed, start]).generate_state(1)[0])
