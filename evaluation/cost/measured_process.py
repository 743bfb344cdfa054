"""A command that is watched from its start to its end: its status, wall time, CPU-seconds and memory."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from evaluation.cost.control_group import ContainerGroup
from evaluation.cost.process_tree import Descendants, TreeCost, TreeWatcher
from evaluation.errors import EvaluationError

_TIME_TO_END_S = 10.0


@dataclass(frozen=True, slots=True)
class Container:
    """The container that a command starts: the program that runs it, its name, and the file that gets its id."""

    engine: str
    name: str
    id_file: Path


class MeasuredProcess:
    """Starts a command with the ``with`` block, which has to ``wait`` for it; an exception ends the command.

    What it prints goes to the file ``log``. ``start_s`` and ``stop_s`` are ``time.perf_counter``'s; ``status`` is the
    exit status, negative for a signal; ``watcher`` has watched the command and its descendants, or its container.
    Raises ``EvaluationError`` if the command cannot be started.
    """

    def __init__(
        self, words: Sequence[str], variables: Mapping[str, str], log: Path, container: Container | None = None
    ) -> None:
        self._words = words
        self._environment = os.environ | variables
        self._log = log
        self._container = container
        self._ended = threading.Event()
        self._cpu_s: float | None = None
        self.late = False
        self.status: int | None = None

    def __enter__(self) -> Self:
        self.start_s = self.stop_s = time.perf_counter()
        # kept: an object of subprocess that is let go reaps its process, which is then no longer there to be measured
        self._process = self._start()
        self._pid = self._process.pid
        self.watcher = self._watch()
        self.watcher.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.status is None:
            threading.Thread(target=self._end).start()
            self._reap()
        self.watcher.__exit__(kind, error, trace)

    def wait(self, limit_s: float) -> None:
        """Wait for the end; after ``limit_s`` seconds end the command and all that it started, and set ``late``."""
        timer = threading.Timer(limit_s, self._end_late)
        timer.start()
        try:
            self._reap()
        finally:
            timer.cancel()
        timer.join()

    def cost(self) -> TreeCost | None:
        """CPU-seconds and peak memory; None if the processes could not be seen from here."""
        return self.watcher.cost(self._cpu_s)

    def required_cost(self) -> TreeCost:
        """The same. Raises ``EvaluationError`` if the processes could not be seen from here."""
        cost = self.cost()
        if cost is None:
            raise EvaluationError("the engine's CPU-seconds cannot be seen from here; run the study on Linux")
        return cost

    def last_lines(self, count: int = 1) -> str:
        """Of what the command printed, as one line: where one that failed says why."""
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return "; ".join(lines[-count:]) if lines else "nothing was printed"

    def _start(self) -> subprocess.Popen[bytes]:
        try:
            with self._log.open("wb") as log:
                # a session of its own: what overruns its time is ended together with all that it started
                return subprocess.Popen(
                    self._words,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=self._environment,
                    start_new_session=True,
                )
        except OSError as error:
            raise EvaluationError(f"cannot start {self._words[0]!r}: {error.strerror}; is it installed?") from error

    def _watch(self) -> TreeWatcher:
        if self._container is None:
            return TreeWatcher(Descendants(self._pid))
        group = ContainerGroup(self._container.id_file)
        return TreeWatcher(group.processes, group.cpu_s)

    def _reap(self) -> None:
        _, status, usage = os.wait4(self._pid, 0)
        self.stop_s = time.perf_counter()
        self._ended.set()
        self.status = self._process.returncode = os.waitstatus_to_exitcode(status)
        # of the process and of all descendants that were waited for; a container's are not among them
        self._cpu_s = None if self._container else usage.ru_utime + usage.ru_stime

    def _end_late(self) -> None:
        self.late = True
        self._end()

    def _end(self) -> None:
        if self._container is not None:
            stop = [self._container.engine, "container", "kill", self._container.name]
            subprocess.run(stop, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._pid, number)
            if self._ended.wait(_TIME_TO_END_S):
                return
