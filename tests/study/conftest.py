"""What tests that start processes need."""

import os

import pytest

LAUNCHER = ("OMPI_COMM", "PMIX", "PRTE", "PMI_", "HYDRA")


@pytest.fixture
def serial(monkeypatch):
    """Hide the MPI launcher from child processes, which start MPI on their own."""
    for name in [name for name in os.environ if name.startswith(LAUNCHER)]:
        monkeypatch.delenv(name)
