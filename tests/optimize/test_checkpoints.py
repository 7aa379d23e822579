"""Runs that survive: kills, signals, damaged and foreign files, a full disk, another number of ranks."""

import errno
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from analytic import Bars, Valley
from mpi4py import MPI
from petsc4py import PETSc

from dolfinx_neural_topo.density import ConeFilter, Design, DesignDomain, HeavisideProjection, OverhangFilter
from dolfinx_neural_topo.errors import CheckpointError, InputError
from dolfinx_neural_topo.optimize import (
    GCMMA,
    LBFGS,
    MMA,
    OC,
    Adam,
    Continuation,
    NLoptMMA,
    SciPyLBFGSB,
    SiMPL,
    minimize,
    ordering,
)
from dolfinx_neural_topo.optimize.checkpoint_file import previous, read_file, write_file
from dolfinx_neural_topo.optimize.ordering import CanonicalOrder
from dolfinx_neural_topo.tasks import mbb_beam
from dolfinx_neural_topo.tasks.build import build

comm = MPI.COMM_WORLD
CASES = [
    (OC, Bars),
    (MMA, Bars),
    (GCMMA, Bars),
    (NLoptMMA, Bars),
    (SiMPL, Bars),
    (LBFGS, Valley),
    (Adam, Valley),
    (SciPyLBFGSB, Valley),
]
NAMES = [method.__name__ for method, _ in CASES]


@pytest.fixture
def folder(tmp_path):
    """One folder for all ranks."""
    return comm.bcast(tmp_path, root=0)


def barrier_copy(source, target):
    comm.barrier()
    if comm.rank == 0:
        shutil.copy(source, target)
    comm.barrier()


@pytest.mark.slow
@pytest.mark.parametrize("case", [*NAMES, "beam"])
def test_killed_at_20_random_moments_ends_as_if_undisturbed(case, folder):
    report = None
    if comm.rank == 0:
        launcher = ("OMPI_", "PMIX_", "PRTE_", "PMI_")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(launcher)}
        here = Path(__file__).parent
        done = subprocess.run(
            [sys.executable, "killed.py", case, folder, "20"],
            cwd=here,
            env={**environment, "OMP_NUM_THREADS": "1", "OMPI_MCA_btl": "self,sm"},
            capture_output=True,
            text=True,
            timeout=300,
        )
        report = json.loads(done.stdout) if done.returncode == 0 else {"error": done.stderr}
    report = comm.bcast(report, root=0)
    assert report.get("same"), report
    assert report["kills"] == 20 and max(report["evaluations when killed"]) > 2


@pytest.mark.parametrize(("method", "variables"), CASES, ids=NAMES)
def test_resumed_on_as_many_ranks_bit_for_bit(method, variables, folder):
    whole = minimize(variables(), method(), evaluations=24)
    part = minimize(variables(), method(), evaluations=11, checkpoint=folder / "run")
    assert part.evaluations == 11 and (folder / "run.npz").exists()
    rest = minimize(variables(), method(), evaluations=24, checkpoint=folder / "run")
    assert rest.history.objective == whole.history.objective
    assert np.array_equal(rest.last.x, whole.last.x) and np.array_equal(rest.x, whole.x)
    assert np.array_equal(rest.rho, whole.rho) and rest.best.number == whole.best.number


@pytest.mark.ranks
@pytest.mark.parametrize(("method", "variables"), CASES, ids=NAMES)
@pytest.mark.parametrize("direction", ["one to all", "all to one"])
def test_resumed_on_another_number_of_ranks(method, variables, direction, folder, monkeypatch):
    monkeypatch.setattr(ordering, "CHUNK", 5)  # several chunks a rank
    first, second = (MPI.COMM_SELF, comm) if direction == "one to all" else (comm, MPI.COMM_SELF)
    whole = minimize(variables(comm=first), method(), evaluations=13)
    own = folder / f"{comm.rank if first is MPI.COMM_SELF else 0}.npz"
    minimize(variables(comm=first), method(), evaluations=12, checkpoint=own)
    comm.barrier()
    mine = folder / f"continued {comm.rank if second is MPI.COMM_SELF else 0}.npz"
    if second is MPI.COMM_SELF or comm.rank == 0:
        shutil.copy(folder / "0.npz", mine)
    comm.barrier()
    rest = minimize(variables(comm=second), method(), evaluations=13, checkpoint=mine)
    assert np.allclose(rest.history.objective, whole.history.objective, rtol=1e-9, atol=0)


@pytest.mark.ranks
def test_a_beam_goes_on_on_another_number_of_ranks(folder):
    def run(c, evaluations, path=None):
        with build(mbb_beam(18, 6, volume_fraction=0.5), c) as task:
            return minimize(task.design, MMA(), evaluations=evaluations, checkpoint=path)

    whole = run(comm, 9)
    run(comm, 8, folder / "run.npz")
    comm.barrier()
    mine = folder / f"{comm.rank}.npz"
    shutil.copy(folder / "run.npz", mine)
    rest = run(MPI.COMM_SELF, 9, mine)
    assert np.allclose(rest.history.objective, whole.history.objective, rtol=1e-9, atol=0)


def test_a_run_with_rough_solves_goes_on(folder):
    """Solves of a run start from the states before, its first one after a resumption from zero."""

    def run(evaluations):
        with build(mbb_beam(24, 8, volume_fraction=0.5), comm, solver="amg") as task:
            task.functional.state.rtol = 0.1
            return minimize(task.design, MMA(), evaluations=evaluations, checkpoint=folder / "run.npz")

    run(8)
    assert run(10).evaluations == 10


@pytest.fixture
def repeatable_solver():
    """Parallel factorizations add in the order of arrival; one on each rank repeats the last bits."""
    options, chosen = PETSc.Options(), {}
    if comm.size > 1:
        chosen = {"task_pc_type": "redundant", "task_redundant_pc_type": "lu"}
    for name, value in chosen.items():
        options[name] = value
    yield
    for name in chosen:
        options.delValue(name)


@pytest.mark.ranks
@pytest.mark.usefixtures("repeatable_solver")
def test_a_network_goes_on_bit_for_bit_and_on_one_rank(folder):
    import torch

    from dolfinx_neural_topo.bridge import NeuralDesign, PixelTransfer
    from dolfinx_neural_topo.networks import LeanCNN

    def run(task, evaluations, path=None):
        network = LeanCNN((8, 24), channels=(8, 8, 4, 4, 1), dtype=torch.float64)
        variables = NeuralDesign(task.design, network, PixelTransfer(task.grid))
        return minimize(variables, LBFGS(), evaluations=evaluations, checkpoint=path)

    beam = mbb_beam(24, 8, volume_fraction=0.5)
    with build(beam, comm, constrain="design") as task:  # of one partition: it decides the order of sums
        whole = run(task, 9)
        run(task, 6, folder / "run.npz")
        comm.barrier()
        mine = folder / f"{comm.rank}.npz"
        shutil.copy(folder / "run.npz", mine)
        comm.barrier()
        rest = run(task, 9, folder / "run.npz")
    assert rest.history.objective == whole.history.objective
    assert np.array_equal(rest.x, whole.x) and np.array_equal(rest.rho, whole.rho)
    with build(beam, MPI.COMM_SELF, constrain="design") as task:
        alone = run(task, 7, mine)
    assert np.allclose(alone.history.objective, whole.history.objective[:7], rtol=1e-9, atol=0)


def test_a_continued_run_is_in_the_right_stage(folder):
    def run(evaluations, path=None):
        bars = Bars()
        bars.factor = 1.0
        exact = bars.exact

        def scaled(x):
            found = exact(x)
            return replace(found, value=bars.factor * found.value, gradient=bars.factor * found.gradient)

        bars.exact = scaled
        stages = Continuation(bars, [(0, 1.0), (4, 2.0), (8, 4.0)], attribute="factor")
        return minimize(bars, MMA(), evaluations=evaluations, checkpoint=path, continuation=stages)

    whole = run(12)
    assert whole.history.stage == [0] * 4 + [1] * 4 + [2] * 4
    for evaluations in (4, 6, 8, 12):
        rest = run(evaluations, folder / "run.npz")
    assert rest.history.objective == whole.history.objective and rest.history.stage == whole.history.stage


def test_a_finished_run_is_returned_again(folder):
    first = minimize(Bars(), OC(), evaluations=6, checkpoint=folder / "run.npz")
    bars = Bars()
    again = minimize(bars, OC(), evaluations=6, checkpoint=folder / "run.npz")
    assert bars.num_solves == 1  # the check that the checkpoint belongs to the problem
    assert np.array_equal(again.x, first.x) and again.reason == first.reason
    assert again.history.objective == first.history.objective


def _two_checkpoints(folder):
    path = folder / "run.npz"
    minimize(Bars(), OC(), evaluations=7, checkpoint=path, checkpoint_every=5)
    comm.barrier()
    assert previous(path).exists()
    return path


def _resume(path, variables=None, method=None):
    """Resume; return the result and the warning of rank 0."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = minimize(variables or Bars(), method or OC(), evaluations=10, checkpoint=path)
    texts = [str(w.message) for w in caught if issubclass(w.category, RuntimeWarning)]
    return result, comm.bcast("".join(texts), root=0)


def _cut(path, keep):
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])


def _flip(path):
    with np.load(path) as file:
        value = file["method/x"][0].tobytes()
    data = bytearray(path.read_bytes())
    data[bytes(data).index(value)] ^= 1
    path.write_bytes(bytes(data))


def _older(path):
    with np.load(path) as file:
        entries = dict(file)
    meta = json.loads(entries["meta"].tobytes())
    meta["version"] = 0
    entries["meta"] = np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8)
    np.savez(path, **entries)


def _without(path, section, name=None, *, shorter=False):
    with np.load(path) as file:
        entries = dict(file)
    meta = json.loads(entries["meta"].tobytes())
    if shorter:
        entries[section] = entries[section][..., 1:]
    elif section in entries:
        del entries[section]
    elif name is None:
        del meta["values"][section]
    else:
        del meta["values"][section][name]
    entries["meta"] = np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8)
    np.savez(path, **entries)


def _petabytes(path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**15,)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("meta.npy", header.getvalue())


DAMAGES = {
    "cut in half": (lambda path: _cut(path, 0.5), "truncated, damaged or no checkpoint"),
    "cut at the end": (lambda path: _cut(path, 0.99), "truncated, damaged or no checkpoint"),
    "empty": (lambda path: path.write_bytes(b""), "truncated, damaged or no checkpoint"),
    "one bit": (_flip, "truncated, damaged or no checkpoint"),
    "text": (lambda path: path.write_text("hello"), "truncated, damaged or no checkpoint"),
    "other arrays": (lambda path: np.savez(path, a=np.ones(3)), "truncated, damaged or no checkpoint"),
    "pickle": (lambda path: np.savez(path, meta=np.array([{}])), "truncated, damaged or no checkpoint"),
    "without a section": (lambda path: _without(path, "history"), "is incomplete"),
    "without the method": (lambda path: _without(path, "method"), "is incomplete"),
    "without an array": (lambda path: _without(path, "best/rho"), "is incomplete or damaged"),
    "without a number": (lambda path: _without(path, "run", "seconds"), "is incomplete or damaged"),
    "a short array": (lambda path: _without(path, "last/x", shorter=True), "expected 40"),
    "petabytes": (_petabytes, "truncated, damaged or no checkpoint"),
    "older": (_older, "of version 0, expected"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_unusable_checkpoint_is_named_and_the_one_before_used(damage, folder):
    path = _two_checkpoints(folder)
    spoil, words = DAMAGES[damage]
    expected = minimize(Bars(), OC(), evaluations=10)
    if comm.rank == 0:
        spoil(path)
    comm.barrier()
    result, warning = _resume(path)
    assert str(path) in warning and words in warning and f"going on from {previous(path)}" in warning
    assert result.history.objective == expected.history.objective


def test_wherever_bytes_are_flipped_nothing_wrong_is_read(tmp_path):
    path = tmp_path / "run.npz"
    arrays = {"last/x": np.linspace(0.0, 1.0, 5), "method/x": np.arange(3)}
    write_file(path, {"fingerprint": {"n": 5}, "values": {"run": {"seconds": 1.5}}}, arrays)
    whole, refused = path.read_bytes(), 0
    for at in range(len(whole)):
        data = bytearray(whole)
        data[at] ^= 0xFF
        path.write_bytes(bytes(data))
        try:
            values, read = read_file(path, {"n": 5})
        except CheckpointError:
            refused += 1
            continue
        assert values == {"run": {"seconds": 1.5}}, at
        assert read.keys() == arrays.keys() and all(np.array_equal(read[k], arrays[k]) for k in read), at
    assert refused > len(whole) // 2  # the others are bytes that say nothing


def test_both_unusable_is_an_error_on_all_ranks(folder):
    path = _two_checkpoints(folder)
    if comm.rank == 0:
        _cut(path, 0.5)
        _older(previous(path))
    comm.barrier()
    with pytest.raises(
        CheckpointError, match=r"run.npz is truncated.*previous.npz is a .* of version 0.*start anew"
    ):
        minimize(Bars(), OC(), evaluations=10, checkpoint=path)


def _other_cost():
    bars = Bars()
    bars.cost = bars.cost * 1.01
    return bars


@pytest.mark.parametrize(
    ("variables", "method", "words"),
    [
        (lambda: Bars(n=41), OC, "number of variables is 40 there and 41 here"),
        (Bars, MMA, "method is OC there and MMA here"),
        (_other_cost, OC, "the objective of its design 7 is 37.70.* there and 38.07.* here"),
    ],
)
def test_a_foreign_checkpoint_is_refused(variables, method, words, folder):
    path = _two_checkpoints(folder)
    with pytest.raises(CheckpointError, match=f"run.npz belongs to another run: {words}"):
        minimize(variables(), method(), evaluations=10, checkpoint=path)


@pytest.mark.ranks
def test_a_checkpoint_belongs_to_its_problem(folder):
    path = folder / "run.npz"
    with build(mbb_beam(18, 6, volume_fraction=0.5), comm) as task:
        functional, space = task.design.functional, task.design.domain.space

        def design(volume_fraction=0.5, radius=2.0, void=None, limit=1e3, manufacturing=False, **options):
            domain = DesignDomain(space, volume_fraction=volume_fraction, void=void)
            limits = [] if limit is None else [(functional, limit)]
            stages = [OverhangFilter(domain, (0, 1))] if manufacturing else []
            return Design(
                functional,
                domain,
                filter=ConeFilter(domain, radius),
                constraints=limits,
                manufacturing=stages,
                **options,
            )

        minimize(design(), MMA(), evaluations=3, checkpoint=path)
        for differs, options in {
            "constraint 0 of its design 3 is .* there": {"volume_fraction": 0.3},
            "constraint 0 of its design 3 is": {"constrain": "design"},
            "the objective of its design 3 is": {"radius": 3.0},
            "constraint 1 of its design 3 is": {"limit": 900.0},
            "the number of constraints is 2 there and 1 here": {"limit": None},
            "number of variables is": {"void": lambda x: x[0] < 2.0},
            "the stage at the start is": {"projection": HeavisideProjection(2.0)},
            "the objective of its design 3 i": {"manufacturing": True},
        }.items():
            with pytest.raises(CheckpointError, match=f"belongs to another run: {differs}"):
                minimize(design(**options), MMA(), evaluations=4, checkpoint=path)
        assert minimize(design(), MMA(), evaluations=4, checkpoint=path).evaluations == 4


def test_another_density_with_the_same_objective_is_another_problem(folder):
    path = _two_checkpoints(folder)
    bars = Bars()
    exact = bars.evaluate
    bars.evaluate = lambda x, gradient=True: replace(found := exact(x, gradient), rho=found.rho + 0.01)
    with pytest.raises(CheckpointError, match=r"the density of its design 7 differs by up to 0\.01"):
        minimize(bars, OC(), evaluations=10, checkpoint=path)


def test_a_foreign_checkpoint_gives_way_to_the_right_one_before(folder):
    path = _two_checkpoints(folder)
    minimize(_other_cost(), OC(), evaluations=4, checkpoint=folder / "other.npz")
    barrier_copy(folder / "other.npz", path)
    result, warning = _resume(path)
    assert "belongs to another run" in warning and result.evaluations == 10


def test_a_state_that_the_variables_refuse_is_a_foreign_checkpoint(folder):
    path = _two_checkpoints(folder)
    bars = Bars()

    def refuse(state):
        raise InputError("state: no projection here")

    bars.load_state_dict = refuse
    with pytest.raises(CheckpointError, match="belongs to another run: state: no projection here"):
        minimize(bars, OC(), evaluations=10, checkpoint=path)


def test_killed_between_the_two_renamings(folder):
    path = _two_checkpoints(folder)
    if comm.rank == 0:
        path.unlink()
        ended = subprocess.Popen(["true"])
        ended.wait()
        (folder / f"run.npz.{ended.pid}.tmp").write_bytes(b"half a checkpoint")
    comm.barrier()
    result, warning = _resume(path)
    assert warning == "" and result.evaluations == 10
    comm.barrier()
    assert sorted(file.name for file in folder.iterdir()) == ["run.npz", "run.previous.npz"]


@pytest.mark.parametrize(("full_at", "resumes_at"), [(8, 6), (1, 0)])
def test_a_full_disk_ends_the_run_and_leaves_the_checkpoint_before(full_at, resumes_at, folder, monkeypatch):
    path = folder / "run.npz"

    def no_space(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ordering, "CHUNK", 8)

    def fill(step):
        if step.number == full_at and comm.rank == comm.size - 1:  # any rank writes, and may find no place
            monkeypatch.setattr(os, "fsync", no_space)

    result = minimize(Bars(), OC(), evaluations=50, checkpoint=path, checkpoint_every=3, callbacks=[fill])
    assert result.unsaved and not result.interrupted
    assert result.evaluations == resumes_at + 3
    assert "run.npz could not be written: No space left on device." in result.reason
    assert ("The one before is intact." in result.reason) == (resumes_at > 0)
    assert np.all(np.isfinite(result.rho))
    comm.barrier()
    assert len(list(folder.iterdir())) == (0 if resumes_at == 0 else 2 if resumes_at > 3 else 1)
    monkeypatch.undo()
    monkeypatch.setattr(ordering, "CHUNK", 8)
    resumed, warning = _resume(path)
    assert warning == "" and not resumed.unsaved
    assert resumed.history.objective[: resumes_at + 3] == result.history.objective


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_writes_a_checkpoint_and_ends_the_run(number, folder):
    before = signal.getsignal(number)
    whole = minimize(Bars(), MMA(), evaluations=20)

    def interrupt(step):
        if step.number == 7 and comm.rank == comm.size - 1:
            os.kill(os.getpid(), number)

    path = folder / "run.npz"
    result = minimize(Bars(), MMA(), evaluations=20, checkpoint=path, callbacks=[interrupt])
    assert result.interrupted and result.evaluations == 7
    assert result.reason == f"Interrupted by {signal.Signals(number).name}."
    assert signal.getsignal(number) is before
    rest = minimize(Bars(), MMA(), evaluations=20, checkpoint=path)
    assert rest.history.objective == whole.history.objective and not rest.interrupted


@pytest.fixture
def usual_interrupt():
    """Python's own SIGINT: a background job starts without, and some libraries take it away."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_without_a_checkpoint_signals_are_left_alone(usual_interrupt):
    def interrupt(step):
        if step.number == 3:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        minimize(Bars(), OC(), evaluations=5, callbacks=[interrupt])


def test_a_second_signal_acts_at_once(folder, usual_interrupt):
    def interrupt(step):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        minimize(Bars(), OC(), evaluations=5, checkpoint=folder / "run.npz", callbacks=[interrupt])


def test_files_hold_arrays_and_json_without_pickle(tmp_path):
    meta = {"fingerprint": {"method": "X"}, "values": {"run": {"a": np.float64(np.inf), "b": [1, None, "c"]}}}
    arrays = {"run/x": np.arange(3, dtype=np.float32), "run/flags": np.array([True, False])}
    write_file(tmp_path / "new folder" / "a.npz", meta, arrays)
    values, found = read_file(tmp_path / "new folder" / "a.npz", {"method": "X"})
    assert values == {"run": {"a": np.inf, "b": [1, None, "c"]}}
    assert all(
        np.array_equal(found[name], array) and found[name].dtype == array.dtype
        for name, array in arrays.items()
    )
    with pytest.raises(TypeError, match="'run/objects' is no array of numbers"):
        write_file(tmp_path / "b.npz", meta, {"run/objects": np.array([{}])})
    assert not (tmp_path / "b.npz").exists()


@pytest.mark.ranks
@pytest.mark.parametrize("chunk", [2, 3, 64])
def test_canonical_order_gathers_and_gives_back(chunk, monkeypatch):
    monkeypatch.setattr(ordering, "CHUNK", chunk)
    n = 11
    index = np.arange(n)[comm.rank :: comm.size][::-1]
    order = CanonicalOrder(comm, 10 * index - 50)  # numbers need not be contiguous, nor positive
    assert order.size == n
    rows = np.array([index, index**2])
    whole = order.gather(rows)
    assert (whole is None) == (comm.rank > 0)
    if whole is not None:
        assert np.array_equal(whole, [np.arange(n), np.arange(n) ** 2])
    chunks = order.split(rows)
    assert all(np.array_equal(chunks[k][0], np.arange(n)[k * chunk :][:chunk]) for k in order.chunks)
    assert comm.allreduce(sum(part.shape[1] for part in chunks.values())) == n
    assert len(chunks) <= -(-order.num_chunks // comm.size)  # no rank holds much more than its share
    assert np.array_equal(order.join(chunks), rows)
    for dtype in (np.float64, np.float32, np.int64, bool):
        assert order.allgather(index.astype(dtype)).dtype == dtype
    assert np.array_equal(order.allgather(index.astype(float)), np.arange(n))
    assert np.array_equal(order.local(np.arange(n)), index)
    if order.num_chunks > 1:
        with pytest.raises(ValueError, match="the chunks of one vector are of 2 kinds"):
            order.join({k: part.astype(np.int32 if k else float) for k, part in order.split(index).items()})
    with pytest.raises(InputError, match="every number once"):
        CanonicalOrder(comm, np.zeros(2, dtype=np.int64))


def _without_a_chunk(path, key="last/x/1", new=None):
    with np.load(path) as file:
        entries = dict(file)
    del entries[key]
    np.savez(path, **entries, **(new or {}))


CHUNK_DAMAGES = {
    "without a chunk": (_without_a_chunk, "its array 'last/x/1' is missing"),
    "another chunk": (
        lambda path: _without_a_chunk(path, new={"last/x/9": np.ones(8)}),
        "its array 'last/x/1' is missing",
    ),
    "a short one": (
        lambda path: _without_a_chunk(path, new={"last/x/1": np.ones(7)}),
        "(7,) numbers, expected 8",
    ),
    "texts": (lambda path: _without_a_chunk(path, new={"last/x/1": np.array(["a"] * 8)}), "last/x holds <U1"),
    "one of another kind": (
        lambda path: _without_a_chunk(path, new={"last/x/1": np.ones(8, np.float32)}),
        "the chunks of one vector are of 2 kinds",
    ),
}


@pytest.mark.ranks
@pytest.mark.parametrize("damage", CHUNK_DAMAGES)
def test_a_checkpoint_of_several_chunks_is_checked_on_the_rank_that_reads_them(damage, folder, monkeypatch):
    monkeypatch.setattr(ordering, "CHUNK", 8)
    path = _two_checkpoints(folder)
    spoil, words = CHUNK_DAMAGES[damage]
    if comm.rank == 0:
        with np.load(path) as file:  # one file of plain arrays, whoever wrote them
            assert [len(file[f"last/x/{k}" if k else "last/x"]) for k in range(5)] == [8] * 5
        spoil(path)
    comm.barrier()
    result, warning = _resume(path)
    assert str(path) in warning and words in warning and f"going on from {previous(path)}" in warning
    assert result.history.objective == minimize(Bars(), OC(), evaluations=10).history.objective


@pytest.mark.parametrize(("method", "variables"), CASES, ids=NAMES)
def test_a_run_that_its_method_ended_has_ended(method, variables, folder):
    """A kill between the last checkpoint and the end of the program adds no evaluation (SiMPL's went on)."""
    whole = minimize(variables(), method(), evaluations=150, checkpoint=folder / "run")
    again = minimize(variables(), method(), evaluations=150, checkpoint=folder / "run")
    assert again.reason == whole.reason
    assert again.history.objective == whole.history.objective
    assert np.array_equal(again.x, whole.x) and np.array_equal(again.last.x, whole.last.x)
