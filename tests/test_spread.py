"""The command that measures how far numbers move disturbs what it says."""

import numpy as np
import pytest
import spread
import torch
from mpi4py import MPI

from dolfinx_neural_topo import Design, LeanCNN, NeuralDesign, PixelTransfer, TopologyObjective
from dolfinx_neural_topo.tasks import mbb_beam
from dolfinx_neural_topo.tasks.build import build


def test_a_disturbance_reaches_densities_and_the_first_logits(monkeypatch):
    monkeypatch.setattr(Design, "initial", Design.initial)  # taken back after the test
    monkeypatch.setattr(TopologyObjective, "values", TopologyObjective.values)
    with build(mbb_beam(24, 8, volume_fraction=0.5), MPI.COMM_WORLD) as task:

        def neural():
            network = LeanCNN((8, 24), channels=(8, 8, 4, 4, 1), dtype=torch.float64)
            return NeuralDesign(task.design, network, PixelTransfer(task.grid))

        variables, density = neural(), task.design.initial()
        weights = variables.initial()
        value = variables.evaluate(weights, gradient=False).value
        spread.disturb(1e-6)
        assert 1e-8 < np.max(np.abs(task.design.initial() / density - 1.0)) <= 1e-6
        disturbed = neural()
        first, second = (disturbed.evaluate(weights, gradient=False).value for _ in range(2))
        assert 1e-12 < abs(first / value - 1.0) < 1e-4
        assert second == pytest.approx(value, rel=1e-12)
