"""How ranks meet: what differs between them, and what one of them raises."""

import pickle

import numpy as np
import pytest
from mpi4py import MPI

from dolfinx_neural_topo.errors import (
    InputError,
    NeuralTopoError,
    ReplicationError,
    SolverError,
    agree,
    attempt,
    collective,
    together,
)

COMM = MPI.COMM_WORLD
LAST = COMM.rank == COMM.size - 1
NOTE = rf" \(first found on rank {COMM.size - 1} of {COMM.size}\)$" if COMM.size > 1 else "$"


class Doors:
    """Collective functions that do little, or what they are told to."""

    comm = COMM

    @collective
    def take(self, value=None, other=1.0):
        return value

    @collective(same=("image",), free=("rank",), x=lambda x, name, given: np.asarray(x, dtype=float))
    def arrays(self, image, x, rank=0):
        return x

    @collective
    def run(self, before, after=lambda: None):
        before()
        self.take()
        return after()

    @collective(translate=lambda error: SolverError(f"a layer below: {error}"))
    def translated(self):
        raise RuntimeError("unclear")


class Odd(Exception):
    """Cannot be sent to another rank."""

    def __init__(self, one, two):
        super().__init__("odd")


def fail(error):
    """Return a function that raises on the last rank only."""

    def action():
        if LAST:
            raise error

    return action


@pytest.mark.parametrize(
    "pair", [(1, 2), (0.3, 0.5), (None, 1), ("a", "b"), (True, False), ([1], [1, 2]), (1, 1.0)]
)
def test_a_value_that_differs_is_named_on_all_ranks(pair):
    here = pair[LAST]
    if COMM.size == 1:
        assert Doors().take(here) == here
        return
    with pytest.raises(InputError, match=r"^value of Doors.take must be the same on all ranks, got"):
        Doors().take(here)
    assert Doors().take(pair[0]) == pair[0]  # and the next call is in order


def test_arrays_count_by_kind_or_by_value():
    doors, image = Doors(), np.arange(4.0)
    assert doors.arrays(image, np.zeros(COMM.rank), rank=COMM.rank).shape == (COMM.rank,)
    assert doors.arrays(image, [1, 2]).dtype == np.float64
    with pytest.raises(ValueError, match="could not convert"):
        doors.arrays(image, "text" if LAST else [1.0])
    if COMM.size > 1:
        with pytest.raises(InputError, match=r"image of Doors.arrays must be the same"):
            doors.arrays(image + LAST, [1.0])


def test_what_fails_on_one_rank_is_raised_on_all_wherever_they_are():
    doors = Doors()
    for error in (OSError(28, "no space"), KeyError("key"), SolverError("stuck", reason=-3)):
        for arguments in ((fail(error),), (lambda: None, fail(error))):
            with pytest.raises(type(error)) as caught:
                doors.run(*arguments)
            assert caught.value.args[0] != "" and getattr(caught.value, "reason", -3) == -3
    with pytest.raises(Odd if COMM.size == 1 else NeuralTopoError, match="odd"):
        doors.run(fail(Odd(1, 2)))
    with pytest.raises(InputError, match=r"^bad" + NOTE):
        agree(COMM, "bad" if LAST else None)
    with pytest.raises(ZeroDivisionError, match=r"^bad" + NOTE):
        together(COMM, fail(ZeroDivisionError("bad")))
    with pytest.raises(SolverError, match=r"^a layer below: unclear"):
        doors.translated()
    with pytest.raises(TypeError, match="positional arguments"):
        doors.take(*[1.0] * (9 if LAST else 2))


def test_ranks_in_different_places_are_told():
    if COMM.size == 1:
        assert together(COMM, lambda: 1) == 1
        return
    with pytest.raises(ReplicationError, match=r"rank 0 is at Doors.take while rank .* is at Doors.arrays"):
        Doors().arrays(1, 2) if LAST else Doors().take()


def test_an_attempt_catches_what_was_raised_inside_only():
    doors = Doors()
    result, error = attempt(COMM, lambda: doors.run(fail(SolverError("stuck"))), SolverError)
    assert result is None and isinstance(error, SolverError)
    assert pickle.loads(pickle.dumps(error)).args == error.args
    assert attempt(COMM, lambda: doors.take(3)) == (3, None)
    with pytest.raises(KeyError):
        attempt(COMM, lambda: doors.run(fail(KeyError("other"))), SolverError)

    def outside():
        fail(SolverError("outside"))()
        return attempt(COMM, doors.take, SolverError)

    with pytest.raises(SolverError, match="outside"):
        together(COMM, outside)


def test_a_failure_among_some_ranks_is_one_of_all():
    half = COMM.Split(COMM.rank % 2, COMM.rank)

    def action():
        together(half, (lambda: None) if COMM.rank % 2 == 0 and COMM.size > 1 else fail(InputError("half")))

    with pytest.raises(InputError, match="half") if COMM.size < 3 else pytest.raises(InputError):
        together(COMM, lambda: (action(), fail(InputError("half"))()))
    half.Free()


def test_a_meeting_is_cheap():
    """Two reductions and some words; compared with reductions: ranks that wait for a core wait in both."""
    doors, x, words = Doors(), np.zeros(10), np.zeros(3)
    least = {"door": np.inf, "reduction": np.inf}
    for _ in range(200):
        for name, action in (
            ("door", lambda: doors.take(x, 0.5)),
            ("reduction", lambda: COMM.Allreduce(MPI.IN_PLACE, words, MPI.MAX)),
        ):
            start = MPI.Wtime()
            for _ in range(5):
                action()
            least[name] = min(least[name], (MPI.Wtime() - start) / 5)
    door, reduction = (COMM.allreduce(seconds, MPI.MAX) for seconds in least.values())
    assert door < 10 * reduction + 2e-4


class Nowhere:
    """Does not say which ranks it lives on: on a part of them its doors would wait for all."""

    @collective
    def act(self):
        return None


def test_a_method_of_an_object_without_communicator_is_refused():
    with pytest.raises(TypeError, match=r"Nowhere\.act needs an attribute comm"):
        Nowhere().act()
