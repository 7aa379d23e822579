"""The method that a problem file asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dolfinx_neural_topo.density import CellGrid, Design
from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.io import TaggedMesh
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

    if name == "multistart":
        return _multistart(problem, design, checkpoint, progress)
    with table.at("name"):
        variables: Any = design
        optimizer: Any = {"mma": MMA, "oc": OC, "simpl": SiMPL, "lbfgs": LBFGS, "adam": Adam}[name]()
        if name in ("lbfgs", "adam"):
            variables = _neural(problem, design)
            optimizer = AugmentedLagrangian(optimizer) if problem.constraints else optimizer
        return minimize(
            variables, optimizer, evaluations=evaluations, checkpoint=checkpoint, progress=progress
        )


def _multistart(problem: Problem, design: Design, checkpoint: Path, progress: bool | None) -> Any:
    """Return what multi-start finds; what is wrong with coarser meshes has their line. Note: Collective."""
    method, mesh = problem.method, problem.mesh

    def on(coarse: TaggedMesh) -> Any:
        try:
            return objective(problem, state_problem(problem, coarse))
        except InputError as error:
            if mesh.box:
                raise InputError(
                    f"{error}; multi-start also halves the numbers of cells, up to three times; way out: "
                    "numbers that keep this a vertex, or a group in place of a point"
                ) from error
            raise InputError(f"meshes: one does not suit the problem: {error}") from error

    try:
        return minimize_multistart(
            design,
            on,
            meshes=None if mesh.box else lambda comm: regions(problem, comm),
            budget=method.evaluations,
            seed=method.seed,
            last_stage=problem.buildable is not None,
            checkpoint=checkpoint,
            progress=progress,
        )
    except InputError as error:
        table, name = (
            (mesh.table, "coarser") if str(error).startswith("meshes") else (method.table, "evaluations")
        )
        with table.at(name):
            raise


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
