"""What ends a process, and what it says then."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_PR_SET_PDEATHSIG = 1


def die_with_parent(number: signal.Signals) -> None:
    """Ask Linux for a signal to this process when its parent is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() == 1 and os.getpid() != 1:  # it is gone already
            os.kill(os.getpid(), number)


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Let SIGTERM and SIGINT raise a `KeyboardInterrupt` with their name, where Python allows it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, _interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def stop(number: int, frame: object) -> None:
    """End a process that is still loading, where an exception would be swallowed or spoil what it imports."""
    os.write(2, f"error: stopped by {signal.Signals(number).name}\n".encode())
    os._exit(130)


def _interrupt(number: int, frame: FrameType | None) -> None:
    inner = frame
    while inner is not None:
        if inner.f_code.co_filename.startswith("<frozen importlib"):
            stop(number, frame)
        inner = inner.f_back
    raise KeyboardInterrupt(signal.Signals(number).name)
