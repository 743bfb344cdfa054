"""SIGTERM and Ctrl-C during training: the step under way is finished, a checkpoint written, then the run ends."""

from __future__ import annotations

import contextlib
import errno
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from training.errors import TrainingError
from training.learning.run_files import CHECKPOINT


class TrainingStoppedError(TrainingError):
    """A run that was asked to stop and did; it can go on."""

    def __init__(self, sentence: str, signal_number: int) -> None:
        super().__init__(sentence)
        # another process of the run may be the one that was asked
        self.signal_number = signal_number or signal.SIGTERM


_ONE_REQUEST_S = 1.0
"""Signals within so long are one request: a scheduler and a launcher both pass theirs on to every process."""


class StopRequest:
    """Within this context the first SIGTERM or SIGINT only sets ``signal_number``; a later one acts as usual."""

    def __init__(self) -> None:
        self.signal_number, self._at = 0, 0.0
        self._before: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether the run has been asked to stop."""
        return self.signal_number != 0

    def __enter__(self) -> StopRequest:
        # Python hands signals to the main thread only; elsewhere whoever runs that thread decides
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self.requested:
            self.signal_number, self._at = number, time.monotonic()
        elif time.monotonic() - self._at > _ONE_REQUEST_S:
            self._restore()
            signal.raise_signal(number)

    def _restore(self) -> None:
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)


@contextlib.contextmanager
def full_disk_told(run: Path) -> Iterator[None]:
    """Turn a full disk into a sentence; checkpoints are replaced in one step, so the last one, if any, is good."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        if (run / CHECKPOINT).exists():
            then = "the last checkpoint there is whole: free some space and go on with --resume"
        else:
            then = "there is no checkpoint yet: free some space and start again"
        raise TrainingError(f"the disk of {run} is full ({error.strerror}); {then}") from error
