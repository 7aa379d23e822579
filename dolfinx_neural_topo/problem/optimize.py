"""The method that a problem file asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dolfinx_neural_topo.density import CellGrid, Design
from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.optimize import (
    LBFGS,
    MMA,
    OC,
    Adam,
    AugmentedLagrangian,
    SiMPL,
    minimize,
    minimize_multistart,
)
from dolfinx_neural_topo.problem.description import Problem
from dolfinx_neural_topo.problem.physics import objective, state_problem
from dolfinx_neural_topo.problem.region import regions


def optimize(problem: Problem, design: Design, folder: Path, progress: bool | None) -> Any:
    """Return what the method of the problem finds.

    Raises:
        InputError: The method does not suit the problem; with the line.

    Note: Collective.
    """
    name, evaluations, table = problem.method.name, problem.method.evaluations, problem.method.table
    checkpoint = folder / "checkpoint"
    with table.at("evaluations" if name == "multistart" else "name"):
        if name == "multistart":
            return minimize_multistart(
                design,
                lambda where: objective(problem, state_problem(problem, where)),
                meshes=None if problem.mesh.box else lambda comm: regions(problem, comm),
                budget=evaluations,
                seed=problem.method.seed,
                checkpoint=checkpoint,
                progress=progress,
            )
        variables: Any = design
        optimizer: Any = {"mma": MMA, "oc": OC, "simpl": SiMPL, "lbfgs": LBFGS, "adam": Adam}[name]()
        if name in ("lbfgs", "adam"):
            variables = _neural(problem, design)
            optimizer = AugmentedLagrangian(optimizer) if problem.constraints else optimizer
        return minimize(
            variables, optimizer, evaluations=evaluations, checkpoint=checkpoint, progress=progress
        )


def _neural(problem: Problem, design: Design) -> Any:
    """Return the weights of the problem's network as variables. Note: Collective."""
    from dolfinx_neural_topo.bridge import NeuralDesign
    from dolfinx_neural_topo.networks import FourierMLP, LeanCNN, PaperCNN

    network, seed = problem.network, problem.method.seed
    domain = design.domain
    dim = domain.mesh.geometry.dim
    if network.kind == "fourier":
        lower, upper = domain.bounding_box()
        length = network.length_scale or 0.15 * float((upper - lower)[:dim].max())
        return NeuralDesign(design, FourierMLP(dim, length_scale=length, seed=seed))
    grid = CellGrid.find(domain.mesh)
    shape = tuple(network.image) or (None if grid is None else grid.shape)
    if shape is None:
        raise InputError(
            '[network] needs image = [rows, columns] where the mesh is no grid (or kind "fourier")'
        )
    with network.table.at("image" if network.image else "kind"):
        if network.kind == "paper":
            return NeuralDesign(design, PaperCNN(shape, seed=seed))
        return NeuralDesign(design, LeanCNN(shape, seed=seed))
