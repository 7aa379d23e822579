"""A design problem as a differentiable PyTorch function of logits."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from dolfinx_neural_topo._checks import SetOnce
from dolfinx_neural_topo._communication import max_replicated, sum_replicated
from dolfinx_neural_topo.bridge.replication import check_replicated
from dolfinx_neural_topo.bridge.transfer import Channels, PointTransfer, Transfer
from dolfinx_neural_topo.density import Design, Evaluation, MultiDesign
from dolfinx_neural_topo.errors import InputError, agree, collective


class TopologyObjective(SetOnce):
    """Objective of a design as a function of a network's output, for any PyTorch loop.

        objective = TopologyObjective(design, PixelTransfer(grid))
        loss = objective(network().to("cpu", torch.float64))
        loss.backward()

    The gradient is computed in the forward pass when grad mode is on; `backward` only scales it. All ranks
    get the same loss, bit for bit. The output may be of two kinds:

    - `transfer.local_shape`: this rank's tile of an image (`network.distribute(transfer.tiles)`), or its own
      points. The gradient stays with it; those of weights that all ranks hold are summed by `sum_gradients`.
    - `transfer.shape`: the whole image, the same on all ranks, from a network that is replicated. So is the
      gradient, which the backward pass gathers: memory and time of the network are those of one rank.

    For a `MultiDesign` the output has one more axis, the last: k + 1 logits of k materials, those of void
    first.

    Attributes:
        comm: Communicator.
        design: The design.
        transfer: Map from the network's output to owned cells.
        last: The latest `Evaluation`, gradients with respect to the logits of owned cells; None before.

    Args:
        design: The design.
        transfer: Map from the network's output to owned cells; default `PointTransfer`: the output holds
            this rank's owned logits.

    Raises:
        InputError: The transfer is none, or belongs to another mesh.

    Note: Collective.

    Example:
        >>> import torch
        >>> objective = dnt.TopologyObjective(design)
        >>> logits = torch.zeros(domain.num_owned_cells, dtype=torch.float64, requires_grad=True)
        >>> objective(logits).backward()
        >>> logits.grad.shape == logits.shape
        True
    """

    _changing = frozenset({"last"})

    @collective
    def __init__(self, design: Design | MultiDesign, transfer: Transfer | None = None):
        self.comm = design.comm
        self.design = design
        chosen: Any = PointTransfer(design.domain) if transfer is None else transfer
        for channels in design.logits.shape[:-1]:
            chosen = Channels(chosen, channels)
        self.transfer = chosen
        if self.transfer.mesh is not design.domain.mesh:
            raise InputError("transfer must be made for the mesh of the design, it was made for another one")
        self.last: Evaluation | None = None

    @collective
    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        """Evaluate the objective.

        Args:
            logits: The network's output, of the transfer's shape, float64 on the CPU.

        Returns:
            The objective, a float64 scalar, the same on all ranks.

        Raises:
            InputError: Logits of the wrong type, shape or device, or not finite, on any rank.
            ReplicationError: Logits that should be the same on all ranks differ.

        Note: Collective.
        """
        return self.values(logits)[0]

    @collective
    def values(self, logits: torch.Tensor) -> torch.Tensor:
        """Evaluate the objective and the design's further constraints.

        Args:
            logits: As for a call.

        Returns:
            (objective, constraint_1, ..., constraint_m), shape (1 + m,), float64, the same on all ranks.

        Note: Collective.
        """
        tile = self._tile(logits)
        return _Values.apply(tile, self, torch.is_grad_enabled() and tile.requires_grad)

    @collective
    def density(self, logits: torch.Tensor) -> torch.Tensor:
        """Physical density that logits stand for, for loss terms of one's own.

        Args:
            logits: As for a call.

        Returns:
            rho on this rank's owned cells, shape (num_owned_cells,), or (k, num_owned_cells) of k fields,
            float64. Sum what is made of it with `global_sum`.

        Note: Collective, and so is its backward pass.
        """
        return _Density.apply(self._tile(logits), self)

    def _tile(self, logits: torch.Tensor) -> torch.Tensor:
        """Return this rank's part of logits, which are refused on all ranks if they cannot be used.

        Note: Collective.
        """
        comm, transfer = self.design.comm, self.transfer
        problem, shape = None, None
        if not isinstance(logits, torch.Tensor):
            problem = f"logits must be a torch.Tensor, got {type(logits).__name__}"
        elif logits.dtype != torch.float64 or logits.device.type != "cpu":
            problem = (
                "logits must be float64 on the CPU, "
                f"got {logits.dtype} on {logits.device}; call logits.to('cpu', torch.float64)"
            )
        else:
            shape = tuple(logits.shape)
        agree(comm, problem)
        not_local, not_whole = max_replicated(comm, [shape != transfer.local_shape, shape != transfer.shape])
        if not not_local:
            return logits
        problem = None
        if shape not in (transfer.shape, transfer.local_shape):
            tile = "" if comm.size == 1 else f"; this rank's tile has shape {transfer.local_shape}"
            problem = f"logits must have shape {transfer.shape}, got {shape}{tile}"
        agree(comm, problem)
        agree(comm, "logits must be tiles on all ranks or the whole image on all" if not_whole else None)
        check_replicated(comm, logits.detach().numpy(), "logits")
        return _Cut.apply(logits, transfer.tiles)


@collective
def global_sum(comm, value: torch.Tensor) -> torch.Tensor:
    """Sum a tensor over ranks, differentiably.

    Every rank must use the result alike: the gradient of one rank's summand is that of the sum.

    Args:
        comm: MPI communicator.
        value: This rank's summand, float64 on the CPU, the same shape on all ranks.

    Returns:
        The sum, the same bits on all ranks.

    Note: Collective; the backward pass does not communicate.
    """
    return _GlobalSum.apply(value, comm)


class _Cut(torch.autograd.Function):
    """This rank's tile of an image that all ranks hold; all of them get the whole gradient."""

    @staticmethod
    def forward(ctx, image, tiles):
        ctx.tiles = tiles
        return image[tiles.part(tiles.size)].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        return torch.from_numpy(ctx.tiles.whole_image(grad_output.numpy())), None


class _Values(torch.autograd.Function):
    """(J, g_1, ..., g_m) of logits, with the Jacobian computed in forward."""

    @staticmethod
    def forward(ctx, logits, objective, wants_gradient):
        transfer = objective.transfer
        cell_logits = transfer.apply(logits.detach().numpy())
        objective.last = evaluation = objective.design.logits.evaluate(cell_logits, wants_gradient)
        if wants_gradient:
            rows = [evaluation.gradient, *evaluation.constraint_gradients]
            jacobian = np.stack([transfer.apply_transpose(row) for row in rows])
            ctx.save_for_backward(torch.from_numpy(jacobian))
        return torch.from_numpy(np.concatenate([[evaluation.value], evaluation.constraints]))

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        (jacobian,) = ctx.saved_tensors
        return torch.tensordot(grad_output, jacobian, dims=1), None, None


class _Density(torch.autograd.Function):
    """rho of logits; keeps rho_design, at which the pullback is taken."""

    @staticmethod
    def forward(ctx, logits, objective):
        design = objective.design
        cell_logits = objective.transfer.apply(logits.detach().numpy())
        rho_design = design.logits.apply(cell_logits)
        ctx.objective = objective
        ctx.save_for_backward(torch.from_numpy(cell_logits), torch.from_numpy(rho_design))
        return torch.from_numpy(design.rho_from_design(rho_design))

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        cell_logits, rho_design = (tensor.numpy() for tensor in ctx.saved_tensors)
        design = ctx.objective.design
        gradient = design.pullback_density(grad_output.numpy(), rho_design)
        gradient = design.logits.pullback(gradient, cell_logits, rho_design)
        return torch.from_numpy(ctx.objective.transfer.apply_transpose(gradient)), None


class _GlobalSum(torch.autograd.Function):
    """Sum over ranks."""

    @staticmethod
    def forward(ctx, value, comm):
        return torch.from_numpy(sum_replicated(comm, value.detach().numpy()))

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        return grad_output, None
