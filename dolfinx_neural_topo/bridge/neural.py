"""The weights of a network as the variables of a design problem."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from mpi4py import MPI

from dolfinx_neural_topo._checks import SetOnce, finite_array
from dolfinx_neural_topo._communication import max_replicated, sum_replicated
from dolfinx_neural_topo.bridge.objective import TopologyObjective
from dolfinx_neural_topo.bridge.transfer import Transfer, default_transfer
from dolfinx_neural_topo.bridge.weights import Weights, in_tiles
from dolfinx_neural_topo.density import Design, Evaluation, MultiDesign, Persistence
from dolfinx_neural_topo.errors import ReplicationError, agree, collective


def _weights(value: Any, name: str, given: Mapping[str, Any]) -> np.ndarray:
    """Check one number for each weight of this rank; the dtype stays."""
    return finite_array(
        name, value, (given["self"]._weights.size,), "one number for each weight of this rank"
    )


class NeuralDesign(SetOnce):
    """A design whose density comes from a network: x are its trainable weights.

        weights -> network -> logits -> rho_design -> rho_filtered -> rho -> functional

    All volumes are met exactly for any weights and are no constraints any more; the design's further
    constraints stay. Every entry of x belongs to one rank, as every cell does. Networks of this package
    that return images are cut into tiles, one a rank: parameters of pixels live with their tile. All
    other parameters are spread evenly, gathered to evaluate, and their gradients summed. A module of
    one's own that returns an image is replicated: each rank computes the whole image, so that more ranks
    make it neither faster nor smaller.

    Attributes:
        comm: Communicator.
        design: The design.
        network: The network. Do not move it to another device or dtype afterwards.
        objective: The bridge.
        persistence: Numbers of the weights in those of the whole network, and the design's stage.
        lower: None, there are no bounds.
        upper: None.

    Args:
        design: The design. One of k materials needs k + 1 logits a pixel, those of void first: a network
            with `outputs=k + 1`, or one's own with them as last axis.
        network: Module called without arguments for an image of the transfer's shape, or with points, shape
            (n, dimension), for n logits where the transfer is a `PointTransfer`. The same weights on all
            ranks, of one dtype, on one device.
        transfer: Map from the network's output to owned cells; see `default_transfer` for the default.

    Raises:
        InputError: The network has no trainable parameters, they differ in dtype or device, or are not
            finite.
        ReplicationError: Weights that every rank holds differ between ranks.

    Note: Collective.

    Example:
        >>> network = dnt.NeuralDesign(design, dnt.PixelLogits((8, 16)))
        >>> found = dnt.minimize(network, dnt.LBFGS(), evaluations=3)
        >>> found.evaluations, round(found.volume, 6)
        (3, 0.5)
    """

    lower = None
    upper = None

    @collective
    def __init__(
        self, design: Design | MultiDesign, network: torch.nn.Module, transfer: Transfer | None = None
    ):
        self.comm = design.comm
        problem = None
        if not isinstance(network, torch.nn.Module):
            problem = f"network must be a torch.nn.Module, made by a call of its class, got {network!r}"
        agree(self.comm, problem)
        self.design = design
        self.network = network
        chosen = default_transfer(design.domain, network) if transfer is None else transfer
        self.objective = TopologyObjective(design, chosen)
        chosen = self.objective.transfer
        self._replicated = hasattr(chosen, "tiles") and not getattr(network, "divisible", False)
        if hasattr(chosen, "tiles") and not self._replicated:
            problem = None
            if network.output_shape != chosen.shape:
                problem = f"network must return an image of shape {chosen.shape}, got {network.output_shape}"
                channels = chosen.shape[len(chosen.tiles.size) :]
                problem += f"; way out: outputs={channels[0] if channels else 1}"
            agree(self.comm, problem)
            cast(Any, network).distribute(chosen.tiles)
        self._weights = Weights(self.comm, network)
        self.persistence = Persistence(design, self._weights.index)
        self._arguments: tuple[torch.Tensor, ...] = ()
        if hasattr(chosen, "points"):
            like = self._weights.parameters[0]
            self._arguments = (torch.from_numpy(chosen.points).to(like.device, like.dtype),)

    def initial(self) -> np.ndarray:
        """Return a copy of this rank's part of the weights that the network holds now, in its dtype."""
        return self._weights.get()

    @collective(x=_weights)
    def evaluate(self, x: np.ndarray, gradient: bool = True) -> Evaluation:
        """Evaluate objective and constraints at given weights; the network holds them afterwards.

        Args:
            x: This rank's part of the weights.
            gradient: Whether gradients are wanted.

        Returns:
            The evaluation, gradients with respect to x in the network's dtype.

        Raises:
            InputError: x has the wrong shape, or the network returns unusable logits.

        Note: Collective.
        """
        self._weights.set(x)
        with torch.set_grad_enabled(gradient):
            logits = self._logits()
            values = list(self.objective.values(logits))
        evaluation = self.objective.last
        assert evaluation is not None
        if not gradient:
            return evaluation
        first, *others = [
            self._pull_to_weights(value, last=k == len(values) - 1) for k, value in enumerate(values)
        ]
        return replace(
            evaluation, gradient=first, constraint_gradients=np.array(others).reshape(len(others), len(x))
        )

    def _logits(self) -> torch.Tensor:
        """Return the part of the network's output that this rank hands to its neighbours' cells."""
        output, transfer = self.network(*self._arguments), self.objective.transfer
        problem = None
        if not isinstance(output, torch.Tensor):
            problem = f"network must return logits in a tensor, got {type(output).__name__}"
        elif not output.is_floating_point():
            problem = f"network must return real logits, got {output.dtype}"
        elif torch.is_grad_enabled() and not output.requires_grad:
            problem = "network must return logits that depend on its trainable parameters"
        elif not self._weights.held_by(self.network):
            problem = "network must keep its parameters, and change their values in place, it has others now"
        agree(self.comm, problem)
        output = output.to("cpu", torch.float64)
        if self._replicated:
            self._check_alike(output.detach().numpy())
        if self._replicated and tuple(output.shape) == transfer.shape:
            return output[transfer.tiles.part(transfer.tiles.size)]
        return output

    def _check_alike(self, image: np.ndarray) -> None:
        """Refuse an image that is another one on each rank; rounding may differ between processors."""
        if self.comm.size == 1:
            return
        size = float(np.nan_to_num(np.vdot(image, image)))
        largest, least = max_replicated(self.comm, [size, -size])
        wrong = largest + least > 1e-3 * largest
        problem = "network must return the same logits on all ranks; way out: no dropout, no random numbers"
        agree(self.comm, problem if wrong else None, ReplicationError)

    def _pull_to_weights(self, value: torch.Tensor, *, last: bool) -> np.ndarray:
        """Gradient of a value with respect to x."""
        parameters = self._weights.parameters
        return self._weights.gradient(
            torch.autograd.grad(value, parameters, retain_graph=not last, materialize_grads=True)
        )


@collective
def sum_gradients(comm: MPI.Comm, network: torch.nn.Module) -> None:
    """Sum the `.grad` of parameters over ranks, those of pixels left out: for one's own loop.

    Args:
        comm: Communicator.
        network: Coordinate network, or one that is cut into tiles, after `backward()`. A gradient that is
            missing here counts as zero.

    Note: Collective.
    """
    images = in_tiles(network)
    for name, parameter in network.named_parameters():
        if parameter.requires_grad and name not in images:
            local = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            total = sum_replicated(comm, local.detach().cpu().numpy())
            parameter.grad = torch.from_numpy(total).to(parameter.device, parameter.dtype)
