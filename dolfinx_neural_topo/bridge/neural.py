"""The weights of a network as the variables of a design problem."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from mpi4py import MPI

from dolfinx_neural_topo.bridge.objective import TopologyObjective
from dolfinx_neural_topo.bridge.replication import check_replicated
from dolfinx_neural_topo.bridge.transfer import default_transfer
from dolfinx_neural_topo.density import Design, Evaluation
from dolfinx_neural_topo.errors import agree, collective


class NeuralDesign:
    """A design whose density comes from a network: x are its trainable weights.

        weights -> network -> logits -> rho_design -> rho_filtered -> rho -> functional

    The volume is met exactly for any weights and is no constraint any more; the design's further constraints
    stay. The trainable parameters become views of one flat tensor, so that copying x into the network is a
    single copy; their `.grad` is left alone.

    Attributes:
        comm: Communicator.
        design: The design.
        network: The network. Do not move it to another device or dtype afterwards.
        objective: The bridge.
        distributed: False: x is the same on all ranks.
        lower: None, there are no bounds.
        upper: None.

    Args:
        design: The design.
        network: Module called without arguments for an image of the transfer's shape, or with points, shape
            (n, dimension), for n logits where the transfer is a `PointTransfer`. The same weights on all
            ranks, of one dtype, on one device.
        transfer: Map from the network's output to owned cells; see `default_transfer` for the default.

    Raises:
        InputError: The network has no trainable parameters, or they differ in dtype or device.
        ReplicationError: The weights differ between ranks.

    Note: Collective.
    """

    distributed = False
    lower = None
    upper = None

    @collective
    def __init__(self, design: Design, network: torch.nn.Module, transfer=None):
        self.comm = design.comm
        self.design = design
        self.network = network
        transfer = default_transfer(design.domain, network) if transfer is None else transfer
        self.objective = TopologyObjective(design, transfer)
        self._parameters = [p for p in network.parameters() if p.requires_grad]
        kinds = {(p.dtype, p.device) for p in self._parameters}
        agree(
            self.comm,
            None
            if len(kinds) == 1
            else f"network must have trainable parameters of one dtype on one device, got {kinds or 'none'}",
        )
        self._weights = torch.cat([p.detach().reshape(-1) for p in self._parameters])
        for parameter, part in zip(self._parameters, self._split(self._weights), strict=True):
            parameter.data = part
        self._arguments: tuple[torch.Tensor, ...] = ()
        if not self.objective.transfer.replicated:
            points = torch.from_numpy(self.objective.transfer.points)
            self._arguments = (points.to(self._weights.device, self._weights.dtype),)
        check_replicated(self.comm, self._weights.cpu().numpy(), "network weights")

    def initial(self) -> np.ndarray:
        """Return a copy of the weights that the network holds now, flat, in the network's dtype."""
        return self._weights.cpu().numpy().copy()

    @collective
    def evaluate(self, x: np.ndarray, gradient: bool = True) -> Evaluation:
        """Evaluate objective and constraints at given weights; the network holds them afterwards.

        Args:
            x: Flat weights, the same on all ranks.
            gradient: Whether gradients are wanted.

        Returns:
            The evaluation, gradients with respect to x in the network's dtype, the same bits on all ranks.

        Raises:
            InputError: x has the wrong shape, or the network returns unusable logits.
            ReplicationError: x or the logits differ between ranks.

        Note: Collective.
        """
        self._assign(x)
        with torch.set_grad_enabled(gradient):
            output = self.network(*self._arguments)
            logits = output.to("cpu", torch.float64)
        self.objective.check(logits)
        evaluation = self.objective.evaluate(logits.detach().numpy(), gradient)
        if not gradient:
            return evaluation
        rows = [evaluation.gradient, *evaluation.constraint_gradients]
        first, *others = [self._pull_to_weights(logits, row, last=row is rows[-1]) for row in rows]
        return replace(
            evaluation, gradient=first, constraint_gradients=np.array(others).reshape(len(others), len(x))
        )

    @collective
    def describe(self) -> dict[str, Any]:
        """Return what defines the problem: the design, and the network's kind and parameters.

        Note: Collective.
        """
        shapes = [f"{name} {list(p.shape)}" for name, p in self.network.named_parameters()]
        return {**self.design.describe(), "network": f"{type(self.network).__name__}: {', '.join(shapes)}"}

    @property
    def cell_index(self) -> np.ndarray:
        """Number of each owned cell that does not depend on the partition; int64."""
        return self.design.cell_index

    @property
    def num_solves(self) -> int:
        """Solves of the objective's state so far."""
        return self.design.num_solves

    @property
    def canonical_index(self) -> None:
        """None: x is replicated."""
        return None

    @collective
    def settle(self) -> bool:
        """Solve as accurately as results must be; return whether that is a change. Note: Collective."""
        return self.design.settle()

    def state_dict(self) -> dict[str, Any]:
        """Return the design's continuation stage (the weights are x)."""
        return self.design.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a continuation stage."""
        self.design.load_state_dict(state)

    def _assign(self, x: np.ndarray) -> None:
        """Copy flat weights into the network."""
        shape = (self._weights.numel(),)
        agree(self.comm, None if np.shape(x) == shape else f"x must have shape {shape}, got {np.shape(x)}")
        check_replicated(self.comm, x, "network weights x")
        if self._weights.device.type == "cpu":
            np.copyto(self._weights.numpy(), x, casting="same_kind")
        else:
            self._weights.copy_(torch.from_numpy(np.asarray(x)))

    def _pull_to_weights(self, logits: torch.Tensor, dJ_dlogits: np.ndarray, *, last: bool) -> np.ndarray:
        """Gradient with respect to the flat weights."""
        gradients = torch.autograd.grad(
            logits,
            self._parameters,
            torch.from_numpy(dJ_dlogits),
            retain_graph=not last,
            materialize_grads=True,
        )
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        return replicated_gradient(
            self.comm, flat.cpu().numpy(), summed=not self.objective.transfer.replicated
        )

    def _split(self, flat: torch.Tensor) -> list[torch.Tensor]:
        """Views of a flat tensor in the shapes of the parameters."""
        parts = flat.split([p.numel() for p in self._parameters])
        return [part.view(p.shape) for part, p in zip(parts, self._parameters, strict=True)]


@collective
def replicated_gradient(comm: MPI.Comm, gradient: np.ndarray, *, summed: bool) -> np.ndarray:
    """Make a weight gradient the same on all ranks, in place.

    Args:
        comm: Communicator.
        gradient: This rank's gradient, contiguous.
        summed: Sum the ranks' gradients (data-parallel networks); else they agree up to rounding already,
            and rank 0 decides.

    Returns:
        The gradient.

    Note: Collective.
    """
    if comm.size > 1:
        if summed:
            comm.Reduce(MPI.IN_PLACE if comm.rank == 0 else gradient, gradient, op=MPI.SUM, root=0)
        comm.Bcast(gradient, root=0)
    return gradient


@collective
def sum_gradients(comm: MPI.Comm, network: torch.nn.Module) -> None:
    """Sum the `.grad` of all parameters over ranks: for one's own loop around a coordinate network.

    Args:
        comm: Communicator.
        network: Network after `backward()`, the same on all ranks. A gradient that is missing here counts as
            zero.

    Note: Collective.
    """
    for parameter in network.parameters():
        if parameter.requires_grad:
            local = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            total = replicated_gradient(comm, local.detach().cpu().contiguous().numpy(), summed=True)
            parameter.grad = torch.from_numpy(total).to(parameter.device)
