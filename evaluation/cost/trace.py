"""The engine's step marks read from outside, and laid out for Chrome's and Perfetto's trace viewers.

A process writes them to the file that an environment variable names (``attention_dmfnet.marks``), one JSON object a
line. Its clock is the system's monotonic one, so marks and the measurements of another process lie on one time axis.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from attention_dmfnet.json_text import JsonError, decode_json
from attention_dmfnet.marks import STARTED, Step

from evaluation.errors import EvaluationError

START, EXIT = "start", "exit"
"""What passes before the engine's first line of code (interpreter, container) and after its last step."""

_MICROSECONDS_PER_S = 1e6


@dataclass(frozen=True, slots=True)
class Trace:
    """All steps of one process, in the order of their start; the process ran from ``start_s`` to ``stop_s``."""

    title: str
    start_s: float
    stop_s: float
    steps: tuple[Step, ...]

    @property
    def wall_s(self) -> float:
        return self.stop_s - self.start_s

    def seconds(self) -> dict[str, float]:
        """Seconds by step, inner ones (``outer/inner``) too, in the order of their first start.

        Steps on different threads overlap, so that they may add up to more than ``wall_s``.
        """
        seconds: dict[str, float] = {}
        for step in self.steps:
            seconds[step.name] = seconds.get(step.name, 0.0) + step.stop_s - step.start_s
        return seconds

    def covered_s(self, counts: Callable[[str], bool]) -> float:
        """The time during which at least one step with a name that ``counts`` was running."""
        spans = sorted((step.start_s, step.stop_s) for step in self.steps if counts(step.name))
        covered_s, end_s = 0.0, self.start_s
        for start_s, stop_s in spans:
            covered_s += max(0.0, stop_s - max(start_s, end_s))
            end_s = max(end_s, stop_s)
        return covered_s


def read_trace(file: Path, title: str, start_s: float, stop_s: float) -> Trace | None:
    """The marks in ``file`` with what came before and after them; None if the process wrote none.

    ``start_s`` and ``stop_s`` say when the process was started and seen to have ended. Raises ``EvaluationError`` for
    a file with something else in it.
    """
    try:
        lines = file.read_bytes().splitlines()
    except FileNotFoundError:
        return None
    try:
        steps = sorted((decode_json(line, Step) for line in lines), key=lambda step: step.start_s)
    except JsonError as error:
        raise EvaluationError(f"{file} is not a file of step marks: {error}") from error
    if not steps:
        return None
    begun_s, done_s = steps[0].start_s, max(step.stop_s for step in steps)
    main = steps[0].thread
    inside = (step for step in steps if step.name != STARTED)
    return Trace(
        title, start_s, stop_s, (Step(START, start_s, begun_s, main), *inside, Step(EXIT, done_s, stop_s, main))
    )


def write_chrome_trace(traces: Sequence[Trace], file: Path) -> None:
    """Write what chrome://tracing and Perfetto open: each trace as a process that starts at 0, threads as rows.

    Raises ``EvaluationError`` if the file cannot be written.
    """
    events = [event for number, trace in enumerate(traces, start=1) for event in _events(number, trace)]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}))
    except OSError as error:
        raise EvaluationError(f"cannot write the trace to {file}: {error.strerror}") from error


def threads(steps: Iterable[Step]) -> list[str]:
    """The names of the threads, in the order in which they first did something."""
    return list(dict.fromkeys(step.thread for step in steps))


def _events(process: int, trace: Trace) -> list[dict[str, object]]:
    events: list[dict[str, object]] = [_name("process_name", process, 0, trace.title)]
    for number, thread in enumerate(threads(trace.steps), start=1):
        events.append(_name("thread_name", process, number, thread))
        events += [
            {
                "ph": "X",
                "cat": "step",
                "name": step.name.rpartition("/")[2],
                "args": {"step": step.name},
                "pid": process,
                "tid": number,
                "ts": round((step.start_s - trace.start_s) * _MICROSECONDS_PER_S, 1),
                "dur": round((step.stop_s - step.start_s) * _MICROSECONDS_PER_S, 1),
            }
            for step in trace.steps
            if step.thread == thread
        ]
    return events


def _name(what: str, process: int, thread: int, name: str) -> dict[str, object]:
    return {"ph": "M", "name": what, "pid": process, "tid": thread, "args": {"name": name}}
