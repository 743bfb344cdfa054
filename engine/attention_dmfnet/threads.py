"""Work on a thread that nobody has to wait for.

Python cannot interrupt a thread that is in C code: a read from a disk that stalls, a network in a runtime. It can
only be left behind. So these threads are daemons, which do not keep the process from ending, and each does one piece
of work: where one is left behind, the next piece gets a thread of its own.
"""

import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, ParamSpec, TypeVar

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


def run_aside(
    name: str, function: Callable[_Given, _Result], *given: _Given.args, **named: _Given.kwargs
) -> Future[_Result]:
    """Call ``function`` on a thread called ``name``, with the caller's context; the result when it is there.

    Where no thread can be started (too many, no memory for its stack) the work is done at once, here: later than it
    might, and not lost.
    """
    future: Future[_Result] = Future()
    context = contextvars.copy_context()
    arguments = (future, lambda: context.run(function, *given, **named))
    try:
        threading.Thread(target=fulfil, args=arguments, name=name, daemon=True).start()
    except (RuntimeError, MemoryError):
        fulfil(*arguments)
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
