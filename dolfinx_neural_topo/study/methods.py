"""The methods a study can compare, by name: each turns a task, a seed and a budget into a design.

To add one: write a function with the signature of `Optimize` (one that handles a single `minimize` call is
made by `_single`), and list it in `METHODS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from dolfinx_neural_topo import optimize
from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.study.built import BUILT, built
from dolfinx_neural_topo.study.coarse_to_fine import coarse_to_fine
from dolfinx_neural_topo.study.job import Job, MeanVolume, Outcome, starting_at
from dolfinx_neural_topo.study.multistart import FULL_GRID, multistart_by
from dolfinx_neural_topo.tasks.build import BuiltTask, build
from dolfinx_neural_topo.tasks.catalogue import nearest

Optimize = Callable[[Job], Outcome]


@dataclass(frozen=True)
class Method:
    """An entry of the list.

    Attributes:
        name: Name on the command line and in records.
        description: One line.
        neural: True if the seed makes its start (random weights); False if it starts from a density.
        optimize: What runs it.
        several: Whether it can return alternatives.
    """

    name: str
    description: str
    neural: bool
    optimize: Optimize
    several: bool = False


def _single(constrain: str, prepare: Callable[[Job, BuiltTask], tuple[Any, Any]]) -> Optimize:
    """Return a method that is one call of `minimize`.

    Args:
        constrain: Which volume it holds: "design" or "physical".
        prepare: Returns variables and optimizer for a job and the task built for it.
    """

    def run(job: Job) -> Outcome:
        with build(job.task, job.comm, constrain=constrain, solver=job.solver) as built:
            variables, optimizer = prepare(job, built)
            result = optimize.minimize(variables, optimizer, **job.options())
            return Outcome.of(result, built)

    return run


def _network(network: str, optimizer: str, **kwargs: Any) -> Callable[[Job, BuiltTask], tuple[Any, Any]]:
    """Return what prepares the weights of a network as variables; names from `networks` and `optimize`."""

    def prepare(job: Job, built: BuiltTask) -> tuple[Any, Any]:
        from dolfinx_neural_topo import networks
        from dolfinx_neural_topo.bridge import NeuralDesign, PixelTransfer

        weights = getattr(networks, network)(job.task.image_shape, seed=job.key.seed, **kwargs)
        return NeuralDesign(built.design, weights, PixelTransfer(built.grid)), getattr(optimize, optimizer)()

    return prepare


def _lean(job: Job, built: BuiltTask) -> tuple[Any, Any]:
    """A network that does not grow with the grid."""
    variables, _ = _network("LeanCNN", "LBFGS")(job, built)
    return variables, optimize.LBFGS(first_step=0.1 if len(job.task.image_shape) == 3 else 1.0)


def _pixel_logits(job: Job, built: BuiltTask) -> tuple[Any, Any]:
    """One logit a pixel; the paper starts them all at the volume fraction."""
    import torch

    from dolfinx_neural_topo.bridge import NeuralDesign, PixelTransfer
    from dolfinx_neural_topo.networks import PixelLogits

    start = job.start_logits()
    value = job.task.volume_fraction if start is None else torch.from_numpy(start)
    network = PixelLogits(job.task.image_shape, value)
    return NeuralDesign(built.design, network, PixelTransfer(built.grid)), optimize.SciPyLBFGSB()


def _densities(optimizer: str) -> Callable[[Job, BuiltTask], tuple[Any, Any]]:
    """Return what prepares the densities of the design cells as variables; a name from `optimize`."""

    def prepare(job: Job, built: BuiltTask) -> tuple[Any, Any]:
        start = job.start_logits()
        variables = built.design if start is None else starting_at(built, start)
        return variables, getattr(optimize, optimizer)()

    return prepare


def _paper_mma(job: Job, built: BuiltTask) -> tuple[Any, Any]:
    """Densities under the paper's volume constraint."""
    variables, optimizer = _densities("NLoptMMA")(job, built)
    return MeanVolume(variables), optimizer


METHODS = {
    method.name: method
    for method in (
        Method(
            "cnn-lbfgs",
            "the paper's network, L-BFGS on its weights; design volume",
            True,
            _single("design", _network("PaperCNN", "LBFGS")),
        ),
        Method(
            "pixel-lbfgs",
            "one logit a pixel, SciPy L-BFGS-B; design volume",
            False,
            _single("design", _pixel_logits),
        ),
        Method(
            "mma",
            "densities, NLopt's MMA as in the paper; physical volume",
            False,
            _single("physical", _paper_mma),
        ),
        Method(
            "oc",
            "densities, optimality criteria; physical volume",
            False,
            _single("physical", _densities("OC")),
        ),
        Method(
            "mma-svanberg",
            "densities, distributed MMA with Svanberg's asymptotes; physical volume",
            False,
            _single("physical", _densities("MMA")),
        ),
        Method(
            "simpl",
            "densities, SiMPL (mirror descent by a latent variable); physical volume",
            False,
            _single("physical", _densities("SiMPL")),
        ),
        Method(
            "adam",
            "the paper's network, Adam on its weights; design volume",
            True,
            _single("design", _network("PaperCNN", "Adam")),
        ),
        Method(
            "lean-cnn-lbfgs",
            "a network that does not grow with the grid, L-BFGS; physical volume",
            True,
            _single("physical", _lean),
        ),
        Method(
            "coarse-to-fine",
            "densities, MMA on grids 4 and 2 times coarser, then on the task's; physical volume",
            False,
            coarse_to_fine,
        ),
        Method(
            "neural-multistart",
            "networks on coarser grids from many seeds, the best designs finished by MMA; physical volume",
            True,
            multistart_by("network"),
            several=True,
        ),
        Method(
            "linear-multistart",
            "the same with linear images of several resolutions instead of networks",
            True,
            multistart_by("linear"),
            several=True,
        ),
        Method(
            "pixel-multistart",
            "the same with MMA from smooth random densities instead of networks",
            True,
            multistart_by("pixels"),
            several=True,
        ),
        Method(
            "mma-multistart",
            "MMA from smooth random densities on the task's own grid, rising penalty; the best one finished",
            True,
            multistart_by("pixels", FULL_GRID),
            several=True,
        ),
    )
}
"""All methods by name."""


def get_method(name: str) -> Method:
    """Return a method.

    Args:
        name: Name of the list; with "-built" at its end the method gets the last stage that makes its design
            buildable.

    Raises:
        InputError: No method has that name; the nearest ones are listed.
    """
    base = name.removesuffix(BUILT)
    if base not in METHODS:
        raise InputError(
            f"unknown method {name!r}; {nearest(base, METHODS)}methods are: {', '.join(METHODS)}, each also "
            f"with {BUILT} at its end"
        )
    method = METHODS[base]
    if name == base:
        return method
    description = f"{method.description}; then made buildable"
    return replace(method, name=name, description=description, optimize=built(method.optimize))
