"""Where ranks meet: a reduction of three words on a communicator that nothing else uses."""

from __future__ import annotations

import sys
import threading
import zlib
from array import array
from collections.abc import Mapping
from typing import Any

from mpi4py import MPI

PATIENCE = 120.0
"""Seconds after which a failed rank ends the others, if they still wait for it in a call of MPI."""

_ALL_BITS = 2**64 - 1
_KEY = MPI.Comm.Create_keyval()  # of the attribute of a communicator that holds its group


class Group:
    """Some ranks of this program, and the communicator on which they meet.

    Attributes:
        comm: A communicator of these ranks, for meetings only: a meeting cannot be mistaken for another call.
        ranks: Their numbers in MPI.COMM_WORLD.
        depth: Number of collective functions that this rank is in.
        ended: Whether the program of a rank has ended.

    Args:
        comm: Communicator of the ranks.
        ranks: Their numbers in MPI.COMM_WORLD.

    Note: Collective.
    """

    def __init__(self, comm: MPI.Comm, ranks: tuple[int, ...]):
        self.comm, self.ranks = comm.Dup(), ranks
        self.depth = 0
        self.ended = False
        self._record = array("Q", (0, 0, 0))
        self._buffer = [self._record, 3, MPI.UINT64_T]

    def meet(self, call: tuple[str, ...], failure: Exception | None = None) -> tuple[int | None, bool]:
        """Meet the other ranks.

        Args:
            call: What this rank is doing, and with what.
            failure: What it has met with since the last meeting.

        Returns:
            The lowest rank with a failure or None, and whether all ranks do the same.

        Note: Collective.
        """
        comm, record = self.comm, self._record
        words = "\0".join(call).encode()
        digest = zlib.crc32(words) << 32 | zlib.adler32(words)
        record[0], record[1], record[2] = digest, _ALL_BITS - digest, 0
        if failure is None:
            comm.Allreduce(MPI.IN_PLACE, self._buffer, MPI.MAX)
        else:
            record[2] = comm.size - comm.rank
            timer = threading.Timer(PATIENCE, self._end_all, (failure,))
            timer.daemon = True
            timer.start()
            comm.Allreduce(MPI.IN_PLACE, self._buffer, MPI.MAX)
            timer.cancel()
        first = comm.size - record[2] if record[2] else None
        return first, record[0] + record[1] == _ALL_BITS  # the largest and the smallest digest

    def _end_all(self, failure: Exception) -> None:
        sys.stderr.write(
            f"rank {self.comm.rank} met with {type(failure).__name__}: {failure}\n"
            f"The others wait for it in a call of MPI and could not be told in {PATIENCE:g} s: all end.\n"
        )
        sys.stderr.flush()
        self.comm.Abort(1)


_groups: dict[tuple[int, ...], Group] = {}


def known_group(ranks: tuple[int, ...]) -> Group | None:
    """Return the group of some ranks of MPI.COMM_WORLD if they have met."""
    return _groups.get(ranks)


def group_of(comm: MPI.Comm) -> Group:
    """Return the group of a communicator's ranks: one for all communicators of the same ranks.

    Note: Collective where it is the first for these ranks.
    """
    group: Any = comm.Get_attr(_KEY)
    if group is None:
        members, everyone = comm.Get_group(), MPI.COMM_WORLD.Get_group()
        ranks = tuple(MPI.Group.Translate_ranks(members, list(range(comm.size)), everyone))
        group = _groups.get(ranks) or _groups.setdefault(ranks, Group(comm, ranks))
        comm.Set_attr(_KEY, group)
    return group


def communicator_among(arguments: Mapping[str, Any]) -> MPI.Comm | None:
    """Return the communicator of a method's object, or the largest among arguments, or None.

    An argument `comm` counts where no other has one: it may be a default.
    """
    others = [value for name, value in arguments.items() if name != "comm"]
    found = (communicator_of(value) for value in (arguments.get("self"), others, arguments.get("comm")))
    return next((comm for comm in found if comm is not None), None)


def communicator_of(value: Any) -> MPI.Comm | None:
    """Return the communicator of an object, the largest in a sequence, or None.

    Args:
        value: A communicator, or something with one behind `comm`, `domain`, `mesh` or `function_space`.
    """
    if isinstance(value, MPI.Comm):
        return value
    if isinstance(value, (list, tuple)):
        found = [comm for comm in map(communicator_of, value) if comm is not None]
        return max(found, key=lambda comm: comm.size) if found else None
    for name in ("comm", "domain", "mesh", "function_space"):
        inner = getattr(value, name, None)
        if inner is not None:
            return communicator_of(inner)
    return None
