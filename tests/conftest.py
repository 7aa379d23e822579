"""What every test gets: rank-0 output, no PETSc object alive past its test, one torch thread a rank."""

import gc
import io
import itertools
import os
import sys

import dolfinx.cpp
import dolfinx.mesh
import pytest
from _pytest._io import TerminalWriter
from dolfinx.cpp.graph import AdjacencyList_int32
from mpi4py import MPI

comm = MPI.COMM_WORLD
LAUNCHER = ("OMPI_COMM", "PMIX", "PRTE", "PMI_", "HYDRA")


def _never_twice_the_same(create_partitioner):
    """Let the ranks change places at every mesh: a mesh made twice may be partitioned in two ways.

    SCOTCH does so by itself once in 25 to 50 times, when a rank is late.
    """
    meshes = itertools.count()

    def create(*args):
        partition = create_partitioner(*args)

        def turned(comm, num_parts, *cells):
            found = partition(comm, num_parts, *cells)
            turn = comm.bcast(next(meshes))
            return AdjacencyList_int32((found.array + turn) % num_parts, found.offsets)

        return turned

    return create


if comm.size > 1:
    for module in (dolfinx.cpp.mesh, dolfinx.mesh):
        module.create_cell_partitioner = _never_twice_the_same(module.create_cell_partitioner)


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
