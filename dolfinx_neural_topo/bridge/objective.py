"""A design problem as a differentiable PyTorch function of logits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from dolfinx_neural_topo._checks import check_type
from dolfinx_neural_topo._communication import sum_replicated
from dolfinx_neural_topo.bridge.replication import check_replicated
from dolfinx_neural_topo.bridge.transfer import PointTransfer
from dolfinx_neural_topo.density import Design, Evaluation
from dolfinx_neural_topo.errors import InputError, agree, collective


class TopologyObjective:
    """Objective of a design as a function of a network's output, for any PyTorch loop.

        objective = TopologyObjective(design, PixelTransfer(grid))
        loss = objective(network().to("cpu", torch.float64))
        loss.backward()

    The gradient is computed in the forward pass when grad mode is on; `backward` only scales it and does not
    communicate. With a network that is replicated all ranks get the same loss and gradient, bit for bit. With
    a coordinate network (`PointTransfer`) weight gradients must be summed over ranks: `sum_gradients`.

    Attributes:
        comm: Communicator.
        design: The design.
        transfer: Map from the network's output to owned cells.
        last: The latest `Evaluation`, gradients with respect to the network's output; None before the first.

    Args:
        design: The design.
        transfer: Map from the network's output to owned cells; default `PointTransfer`: the output holds
            this rank's owned logits.

    Raises:
        InputError: The transfer is none, or belongs to another mesh.

    Note: Collective.
    """

    @collective
    def __init__(self, design: Design, transfer=None):
        check_type("design", design, Design)
        self.comm, self.design = design.comm, design
        self.transfer = PointTransfer(design.domain) if transfer is None else transfer
        if not hasattr(self.transfer, "apply_transpose"):
            raise InputError(
                f"transfer must be a PixelTransfer, SampledTransfer or PointTransfer, got {transfer!r}"
            )
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
        self.check(logits)
        wants_gradient = torch.is_grad_enabled() and logits.requires_grad
        return _Values.apply(logits, self, wants_gradient)

    @collective
    def density(self, logits: torch.Tensor) -> torch.Tensor:
        """Physical density that logits stand for, for loss terms of one's own.

        Args:
            logits: As for a call.

        Returns:
            rho on this rank's owned cells, shape (num_owned_cells,), float64. Sum what is made of it with
            `global_sum`.

        Note: Collective, and so is its backward pass.
        """
        self.check(logits)
        return _Density.apply(logits, self)

    @collective
    def evaluate(self, logits: np.ndarray, gradient: bool) -> Evaluation:
        """Evaluate objective and constraints without autograd.

        Args:
            logits: The network's output, of the transfer's shape, float64.
            gradient: Whether gradients are wanted.

        Returns:
            The evaluation, with `gradient` of the logits' shape and `constraint_gradients` of shape (m,
            *shape).

        Note: Collective.
        """
        transfer = self.transfer
        evaluation = self.design.evaluate_logits(transfer.apply(logits), gradient)
        if gradient:
            rows = [transfer.apply_transpose(row) for row in evaluation.constraint_gradients]
            evaluation = replace(
                evaluation,
                gradient=transfer.apply_transpose(evaluation.gradient),
                constraint_gradients=np.array(rows).reshape(len(rows), *transfer.shape),
            )
        self.last = evaluation
        return evaluation

    @collective
    def check(self, logits: torch.Tensor) -> None:
        """Refuse logits that cannot be used, on all ranks.

        Raises:
            InputError: Wrong type, shape, dtype or device.
            ReplicationError: They differ between ranks although they must not.

        Note: Collective.
        """
        problem = None
        if not isinstance(logits, torch.Tensor):
            problem = f"logits must be a torch.Tensor, got {type(logits).__name__}"
        elif logits.dtype != torch.float64 or logits.device.type != "cpu":
            problem = (
                "logits must be float64 on the CPU, "
                f"got {logits.dtype} on {logits.device}; call logits.to('cpu', torch.float64)"
            )
        elif tuple(logits.shape) != self.transfer.shape:
            problem = f"logits must have shape {self.transfer.shape}, got {tuple(logits.shape)}"
        agree(self.design.comm, problem)
        if self.transfer.replicated:
            check_replicated(self.design.comm, logits.detach().numpy(), "logits")


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


class _Values(torch.autograd.Function):
    """(J, g_1, ..., g_m) of logits, with the Jacobian computed in forward."""

    @staticmethod
    def forward(ctx, logits, objective, wants_gradient):
        evaluation = objective.evaluate(logits.detach().numpy(), wants_gradient)
        if wants_gradient:
            rows = np.concatenate([evaluation.gradient[None], evaluation.constraint_gradients])
            ctx.save_for_backward(torch.from_numpy(rows))
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
        rho_design = design.design_from_logits(cell_logits)
        ctx.objective = objective
        ctx.save_for_backward(torch.from_numpy(cell_logits), torch.from_numpy(rho_design))
        return torch.from_numpy(design.rho_from_design(rho_design))

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        cell_logits, rho_design = (tensor.numpy() for tensor in ctx.saved_tensors)
        design = ctx.objective.design
        gradient = design.pullback_density(grad_output.numpy(), rho_design)
        gradient = design.pullback_logits(gradient, cell_logits, rho_design)
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
