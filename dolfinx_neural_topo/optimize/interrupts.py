"""SIGTERM and SIGINT as a flag that a loop looks at when it is safe to stop."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any


class Interrupts:
    """While entered, remember the first SIGTERM or SIGINT instead of dying of it.

    The handlers that were there before are put back by the first signal (a second one acts at once, as usual)
    and at the end. Outside the main thread, where Python allows no handlers, nothing happens.

    Args:
        enabled: False to change nothing.

    Attributes:
        caught: Name of the signal, or None.
    """

    _signals = (signal.SIGTERM, signal.SIGINT)

    def __init__(self, enabled: bool = True):
        self.caught: str | None = None
        self._enabled = enabled and threading.current_thread() is threading.main_thread()
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        if self._enabled:
            self._previous = {number: signal.signal(number, self._handle) for number in self._signals}
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.caught = signal.Signals(number).name
        self._put_back()

    def _put_back(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def __exit__(self, *error: object) -> None:
        self._put_back()
