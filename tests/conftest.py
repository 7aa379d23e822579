"""What every test gets: rank-0 output, no PETSc object alive past its test, one torch thread a rank."""

import gc
import io
import os
import sys

import pytest
from _pytest._io import TerminalWriter
from mpi4py import MPI

comm = MPI.COMM_WORLD
LAUNCHER = ("OMPI_COMM", "PMIX", "PRTE", "PMI_", "HYDRA")


@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    """Let rank 0 alone report; the other ranks speak up only when a test of theirs fails."""
    if comm.rank > 0:
        config.pluginmanager.getplugin("terminalreporter")._tw = TerminalWriter(io.StringIO())
        config.pluginmanager.register(_FailuresOnly(), "failures-only")


class _FailuresOnly:
    def pytest_runtest_logreport(self, report):
        if report.failed:
            print(f"\n[rank {comm.rank}] {report.nodeid}\n{report.longreprtext}", file=sys.stderr, flush=True)


@pytest.fixture(autouse=True, scope="module")
def _freeze():
    """Leave what imports have made out of the collections after each test: 0.3 s each otherwise."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _collect_together():
    """Free PETSc objects at the same place on every rank: their destruction is collective."""
    yield
    gc.collect()
    comm.barrier()


@pytest.fixture
def serial(monkeypatch):
    """Hide the MPI launcher from child processes, which start MPI on their own."""
    for name in [name for name in os.environ if name.startswith(LAUNCHER)]:
        monkeypatch.delenv(name)
