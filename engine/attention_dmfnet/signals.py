"""Signals to stop that wait until a step is done whose half would stay behind."""

import contextlib
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def signals_later() -> Iterator[None]:
    """Hold SIGINT and SIGTERM back as long as the block lasts.

    Python runs their handlers on the main thread, between any two instructions: one that raises right after a partial
    file was made, or a thread was started, would leave it behind. On other threads nothing is raised.
    """
    caught: list[int] = []
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(number)
            # None: set by a program that Python is embedded in; not ours to move
            if handler is not None:
                before[number] = handler
    try:
        for number in before:
            signal.signal(number, lambda number, frame: caught.append(number))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for late in caught:
            signal.raise_signal(late)
