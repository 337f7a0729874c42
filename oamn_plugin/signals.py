"""The signals that ask a process to stop, and what answers them for the length of a block."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

INTERRUPTED = 75
"""Exit code of a command that was asked to stop, kept what it had and can be run again (``EX_TEMPFAIL``)."""
STOPS = (signal.SIGTERM, signal.SIGINT, *([signal.SIGBREAK] if hasattr(signal, "SIGBREAK") else []))
"""SIGTERM, Ctrl-C and, on Windows, Ctrl-Break."""


@contextlib.contextmanager
def answering(handler: Callable[[int, FrameType | None], object], *also: signal.Signals) -> Iterator[None]:
    """Inside, ``handler(number, frame)`` answers :data:`STOPS` and ``also``; afterwards whatever answered them before.

    Signals that are ignored stay so; outside the main thread, where Python takes no handlers, nothing changes.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {one: old for one in (*STOPS, *also) if (old := signal.getsignal(one)) != signal.SIG_IGN}
    for one in before:
        signal.signal(one, handler)
    try:
        yield
    finally:
        for one, old in before.items():
            signal.signal(one, signal.SIG_DFL if old is None else old)  # None: it was not set by Python
