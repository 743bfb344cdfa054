"""Step marks: which step of the work ran when, and on which thread.

``with step("fine"):`` costs next to nothing unless someone listens with ``recording()``. The line per case, ``--json``
and traces are all made from these marks. Steps may nest; an inner one is named after its outer one and a slash, so
that the names without a slash add up to the whole.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import Self


@dataclass(frozen=True, slots=True)
class Step:
    """One step, in seconds of ``time.perf_counter``, which all threads of the process share."""

    name: str
    start_s: float
    stop_s: float
    thread: str


@dataclass(slots=True)
class _Recording:
    steps: list[Step]
    on_start: Callable[[str], None] | None


_recording: ContextVar[_Recording | None] = ContextVar("recording", default=None)


@contextlib.contextmanager
def recording(on_start: Callable[[str], None] | None = None) -> Iterator[list[Step]]:
    """Collect the steps that end within the block, on this thread; ``on_start`` hears each name as it begins."""
    steps: list[Step] = []
    token = _recording.set(_Recording(steps, on_start))
    try:
        yield steps
    finally:
        _recording.reset(token)


def step(name: str) -> contextlib.AbstractContextManager[object]:
    """Mark the block as one step, if anyone is recording."""
    current = _recording.get()
    return _NOBODY_LISTENS if current is None else _Timed(name, current)


def seconds_by_step(steps: Iterable[Step]) -> dict[str, float]:
    """Seconds spent in each outermost step, in the order of their first start."""
    seconds: dict[str, float] = {}
    for mark in sorted(steps, key=lambda mark: mark.start_s):
        if "/" not in mark.name:
            seconds[mark.name] = seconds.get(mark.name, 0.0) + mark.stop_s - mark.start_s
    return seconds


class _Timed:
    def __init__(self, name: str, listener: _Recording) -> None:
        self._name = name
        self._listener = listener

    def __enter__(self) -> Self:
        if self._listener.on_start is not None:
            self._listener.on_start(self._name)
        self._start_s = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stop_s = time.perf_counter()
        self._listener.steps.append(Step(self._name, self._start_s, stop_s, threading.current_thread().name))


_NOBODY_LISTENS = contextlib.nullcontext()
