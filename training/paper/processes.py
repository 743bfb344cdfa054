"""The commands of steps as processes, one after the other or several at once, each on a GPU of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

_POLL_S = 0.2


@dataclass(frozen=True)
class Ended:
    """A command's exit status, 128 and the signal's number for one that a signal ended, and the seconds it took."""

    status: int
    took_s: float


def run_commands(commands: Sequence[Sequence[str]], at_once: int = 1) -> list[Ended]:
    """``python -m`` with the words of each, at most ``at_once`` at a time; what one does, does not stop the others.

    Several at once see one GPU each. When this process is asked to stop, so are those that run, and no more are begun.
    """
    ended: dict[int, Ended] = {}
    waiting = list(enumerate(commands))
    running: dict[int, tuple[int, subprocess.Popen[bytes], float]] = {}
    told: dict[int, int] = {}
    with _asked_to_stop() as asked:
        while waiting or running:
            while waiting and not asked and len(running) < at_once:
                slot = min(set(range(at_once)) - running.keys())
                number, words = waiting.pop(0)
                environment = {**os.environ, **({"CUDA_VISIBLE_DEVICES": _gpu(slot)} if at_once > 1 else {})}
                # a session of its own, so that a signal for it reaches all its processes, and reaches them once
                process = subprocess.Popen([sys.executable, "-m", *words], env=environment, start_new_session=True)
                running[slot] = number, process, time.monotonic()
                told[slot] = 0
            for slot, (number, process, began) in list(running.items()):
                # here and not when a signal comes: a process that is being started then is known here
                for signal_number in asked[told[slot] :]:
                    told[slot] += 1
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal_number)
                status = process.poll()
                if status is not None:
                    del running[slot]
                    ended[number] = Ended(status if status >= 0 else 128 - status, time.monotonic() - began)
            if asked:
                ended |= {number: Ended(128 + asked[0], 0.0) for number, _ in waiting}
                waiting.clear()
            time.sleep(_POLL_S)
    return [ended[number] for number in range(len(commands))]


def _gpu(slot: int) -> str:
    """The GPU of a slot, by the name under which this process sees it."""
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return visible[slot % len(visible)] if visible else str(slot)


@contextlib.contextmanager
def _asked_to_stop() -> Iterator[list[int]]:
    """SIGTERM and Ctrl-C only add their numbers to the list; every one of them is to be passed on."""
    asked: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        asked.append(number)

    before: dict[int, Any] = {each: signal.signal(each, note) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
