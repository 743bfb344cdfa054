"""Step marks: which step of the work ran when, and on which thread.

``with step("fine"):`` costs next to nothing unless someone listens with ``recording()`` or ``tracing()``. The line per
case, ``--json`` and traces are all made from these marks. Steps may nest; an inner one is named after its outer one
and a slash (``step("network")`` within ``step("fine")`` is ``fine/network``), so that the names without a slash add up
to the whole.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import Self

TRACE_VARIABLE = "ATTENTION_DMFNET_TRACE"
"""The environment variable that names a file for the engine's command line to trace itself into."""

STARTED = "started"
"""The first mark of a trace, of no length: the engine's own code begins."""


class TraceError(Exception):
    """A trace that cannot be written."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step, in seconds of ``time.perf_counter``, which all threads of the process share.

    ``cpu_s`` is what its own thread computed; what others computed for it is not in it.
    """

    name: str
    start_s: float
    stop_s: float
    thread: str
    cpu_s: float = 0.0


@dataclass(slots=True)
class _Recording:
    steps: list[Step]
    on_start: Callable[[str], None] | None


_recording: ContextVar[_Recording | None] = ContextVar("recording", default=None)
_outer: ContextVar[str] = ContextVar("outer", default="")
# the file's descriptor, for the whole process and not, as a recording, for one thread
_trace: int | None = None
_trace_lock = threading.Lock()


@contextlib.contextmanager
def recording(on_start: Callable[[str], None] | None = None) -> Iterator[list[Step]]:
    """Collect the steps that end within the block, on this thread; ``on_start`` hears of each outermost one's start."""
    steps: list[Step] = []
    token = _recording.set(_Recording(steps, on_start))
    try:
        yield steps
    finally:
        _recording.reset(token)


@contextlib.contextmanager
def tracing(file: str | None) -> Iterator[None]:
    """Write each step that ends within the block, on any thread, to ``file`` as a line of JSON; None writes nothing.

    Nothing is held back: a process that is killed leaves all steps but the unfinished ones.
    Raises ``TraceError`` if the file cannot be opened.
    """
    global _trace
    if file is None:
        yield
        return
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    except OSError as error:
        raise TraceError(
            f"cannot write the trace to {file}: {error.strerror}; set {TRACE_VARIABLE} to another file or unset it"
        ) from error
    try:
        _trace = descriptor
        now_s = time.perf_counter()
        _write(Step(STARTED, now_s, now_s, threading.current_thread().name))
        yield
    finally:
        with _trace_lock:
            _trace = None
            os.close(descriptor)


def step(name: str) -> contextlib.AbstractContextManager[object]:
    """Mark the block as one step, if anyone is recording or tracing."""
    current = _recording.get()
    return _NOBODY_LISTENS if current is None and _trace is None else _Timed(name, current)


def seconds_by_step(steps: Iterable[Step]) -> dict[str, float]:
    """Seconds spent in each outermost step, in the order of their first start."""
    seconds: dict[str, float] = {}
    for mark in sorted(steps, key=lambda mark: mark.start_s):
        if "/" not in mark.name:
            seconds[mark.name] = seconds.get(mark.name, 0.0) + mark.stop_s - mark.start_s
    return seconds


class _Timed:
    def __init__(self, name: str, listener: _Recording | None) -> None:
        outer = _outer.get()
        self._name = f"{outer}/{name}" if outer else name
        self._listener = listener

    def __enter__(self) -> Self:
        if self._listener is not None and self._listener.on_start is not None and "/" not in self._name:
            self._listener.on_start(self._name)
        self._token = _outer.set(self._name)
        self._start_s, self._start_cpu_s = time.perf_counter(), time.thread_time()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        cpu_s = time.thread_time() - self._start_cpu_s
        mark = Step(self._name, self._start_s, time.perf_counter(), threading.current_thread().name, cpu_s)
        _outer.reset(self._token)
        if self._listener is not None:
            self._listener.steps.append(mark)
        if _trace is not None:
            _write(mark)


def _write(mark: Step) -> None:
    # not needed, and not waited for, where nobody traces
    import json

    line = json.dumps({name: getattr(mark, name) for name in mark.__slots__})
    with _trace_lock:
        if _trace is not None:
            os.write(_trace, line.encode() + b"\n")


_NOBODY_LISTENS = contextlib.nullcontext()
