"""The command ``attention-dmfnet``: streams, signals and the exit status; each command is a module of its own."""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType

from attention_dmfnet.cli.commands import COMMANDS
from attention_dmfnet.cli.parser import parse
from attention_dmfnet.cli.progress import say
from attention_dmfnet.cli.status import INTERRUPTED, missing_package, refuse
from attention_dmfnet.marks import TRACE_VARIABLE, TraceError, tracing

_HEEDED = (signal.SIGTERM, signal.SIGINT)
_AGAIN_S = 0.01


def run() -> None:
    """Be the command ``attention-dmfnet``; does not return."""
    _keep_output_to_ourselves()
    status = main()
    # Every file is complete. To take networks, threads and libraries down in order takes a fifth of a second.
    os._exit(status)


def _keep_output_to_ourselves() -> None:
    """Standard output is for our lines alone: what libraries print there goes to standard error.

    CUDA's loader does so, before the first line of JSON. Where a standard stream is closed, the first file that is
    opened would take its place and be written into.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, which is this one
    lines = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = open(lines, "w", encoding=getattr(sys.stdout, "encoding", None), newline="\n")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    return guarded(lambda: COMMANDS[options.command].load().run(options))


def guarded(command: Callable[[], int]) -> int:
    """Run a command so that signals, traces and missing packages end it as they should; returns the exit status."""
    # NumPy reads this when it is imported. The matrices of resampling are small: a second thread gains nothing on a
    # quiet machine and waits in a busy loop on one that is not (docs/decisions/0007-make-a-cold-start-cheap.md).
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # of a process in the background, which a shell has told to ignore Ctrl-C, that stays so
    heeded = [number for number in _HEEDED if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, _stop) for number in (*heeded, signal.SIGALRM)}
    try:
        with tracing(os.environ.get(TRACE_VARIABLE)):
            return command()
    except TraceError as error:
        return refuse(str(error))
    except ModuleNotFoundError as error:
        return refuse(missing_package(error))
    except KeyboardInterrupt:
        say("\ninterrupted; the label maps that are there are complete", sys.stderr)
        return INTERRUPTED
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    """End as Ctrl-C does, also on SIGTERM, which ``docker stop`` sends: unfinished files are removed on the way out.

    Not within an import: what is raised there may be swallowed in a callback of Python's import locks, which then stay
    locked, and the thread that loads the networks waits for ever. The clock asks again a moment later.
    """
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)
            return
        frame = frame.f_back
    raise KeyboardInterrupt
