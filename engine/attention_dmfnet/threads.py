"""Work on a thread that nobody has to wait for.

Python cannot interrupt a thread that is in C code: a read from a disk that stalls, a network in a runtime. It can
only be left behind. So these threads are daemons, which do not keep the process from ending, and each does one piece
of work: where one is left behind, the next piece gets a thread of its own.
"""

import contextlib
import contextvars
import threading
from _thread import start_new_thread as start_new_thread  # named twice: tests let it fail
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, ParamSpec, TypeVar

BEGINS_WITHIN_S = 10.0
"""A thread that has not begun by then is taken for lost; should it begin after all, it finds nothing to do."""

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


def run_aside(
    name: str, function: Callable[_Given, _Result], *given: _Given.args, **named: _Given.kwargs
) -> Future[_Result]:
    """Call ``function`` on a thread called ``name``, with the caller's context; the result when it is there.

    Where no thread can be started (too many, no memory for its stack), or one ends before it has begun, the work is
    done at once, here: later than it might, and not lost.
    """
    future: Future[_Result] = Future()
    context = contextvars.copy_context()
    begun = threading.Event()
    # taken out by whoever does the work; an error's traceback holds the frames below, which must not hold the future
    waiting = [future]

    def work() -> None:
        begun.set()
        # one step, so that no two threads can both take it
        with contextlib.suppress(IndexError):
            fulfil(waiting.pop(), lambda: context.run(function, *given, **named))

    def work_aside() -> None:
        with contextlib.suppress(MemoryError):
            threading.current_thread().name = name
        work()

    try:
        # not threading.Thread: a thread that gets no memory as it begins ends, and its ``start`` waits for ever
        start_new_thread(work_aside, ())
    except (RuntimeError, MemoryError):
        work()
    else:
        if not begun.wait(BEGINS_WITHIN_S):
            work()
    return future


def fulfil(future: Future[Any], function: Callable[[], Any]) -> None:
    """Put what ``function`` returns or raises into ``future``."""
    try:
        result = function()
    except BaseException as error:
        future.set_exception(error)
        # the exception's traceback holds this frame: together with the future they would keep a scan in memory
        del future, function
    else:
        future.set_result(result)
