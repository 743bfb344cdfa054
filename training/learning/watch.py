"""Processes that train together end together: one that fails is noticed by the others, who otherwise wait for hours.

Each tells the others that it lives, by a number that grows in the store through which they found each other, and the
sentence that it failed with. A wait for another's part of a sum cannot be interrupted, so the process itself ends; the
first one has its last whole step written before. A checkpoint is whole whenever that is.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

import torch.distributed as dist

from training.errors import TrainingError
from training.learning.stop import TrainingStoppedError

_POLL_S = 2.0
_SILENT_POLLS = 20
"""A process that was not heard of in so many polls, 40 s, is gone. Polls, not seconds: a suspended machine is not."""

_ONE_POLL_S = 20.0
"""A poll that takes longer than this has nobody to ask."""

_KEEP_S = 30.0
"""A checkpoint that takes longer waits for a disk or a device that does not answer."""

_FAILED = "failed"
_GONE = "{} of the run is gone, most likely killed for want of memory"


class Store(Protocol):
    """What is needed of torch's store."""

    def set(self, key: str, value: str) -> None:
        """Keep ``value``."""

    def get(self, key: str) -> bytes:
        """What was kept."""

    def check(self, keys: list[str]) -> bool:
        """Whether all of ``keys`` are kept."""


class Watch:
    """While this context is open; with one process it does nothing."""

    def __init__(
        self, rank: int, processes: int, store: Store | None = None, end: Callable[[str], None] | None = None
    ) -> None:
        self._rank, self._others = rank, [other for other in range(processes) if other != rank]
        self._store = store
        self._end = end or _end_process
        self._over = threading.Event()
        self.keeping = threading.Lock()
        """Held while a checkpoint is written or a step taken: the process is not ended in the middle of that."""
        self.keep: Callable[[], str] | None = None
        """Writes what this process has to keep before it is ended, and returns a sentence on it. None: nothing, or not
        now, as a step is half done. Asked in a thread of its own while ``keeping`` is held."""
        self._heard: dict[int, tuple[bytes, int]] = {}
        self._beats = 0

    def __enter__(self) -> Watch:
        if self._others:
            if self._store is None:
                found = dist.distributed_c10d._get_default_store()
                self._store = dist.PrefixStore("watch", found)  # type: ignore[attr-defined]
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._others:
            return
        if is_of_connection(error):
            # another process is gone: what is known of it is told in a moment, and ends this one
            self._await_a_poll()
            self._over.set()
            raise TrainingError(f"{_GONE.format('another process')}; go on with --resume") from error
        if error is not None and not isinstance(error, TrainingStoppedError):
            self._tell(_FAILED, f"{self._rank}: {error}")
        self._over.set()
        self._tell(f"over-{self._rank}", "")

    def _await_a_poll(self) -> None:
        """Wait until the thread has asked once more, which takes longer where the machine is busy; not for ever."""
        beats, until = self._beats, time.monotonic() + _ONE_POLL_S
        # the one after it has begun
        while self._beats < beats + 2 and time.monotonic() < until:
            time.sleep(0.1)

    def poll(self) -> str | None:
        """Say that this process lives, and what is wrong with another one, if something is."""
        assert self._store is not None
        self._beats += 1
        try:
            self._store.set(f"beat-{self._rank}", str(self._beats))
            if self._store.check([_FAILED]):
                who, _, why = self._store.get(_FAILED).decode().partition(": ")
                return None if int(who) == self._rank else f"process {who} of the run failed: {why}"
            for other in self._others:
                if self._is_silent(other):
                    return _GONE.format(f"process {other}")
        except (RuntimeError, OSError):  # dist.DistError is one: who kept the store is gone
            return "the run's first process is gone"
        return None

    def _is_silent(self, other: int) -> bool:
        assert self._store is not None
        if self._store.check([f"over-{other}"]):
            return False
        beat = self._store.get(f"beat-{other}") if self._store.check([f"beat-{other}"]) else b""
        before, polls = self._heard.get(other, (b"", 0))
        polls = polls + 1 if beat == before else 0
        self._heard[other] = beat, polls
        return polls >= _SILENT_POLLS

    def _watch(self) -> None:
        while not self._over.wait(_POLL_S):
            wrong = self.poll()
            if wrong is not None and not self._over.is_set():
                self._keep_and_end(wrong)
                return

    def _keep_and_end(self, wrong: str) -> None:
        is_held = self.keeping.acquire(timeout=_KEEP_S)
        try:
            if self._over.is_set():
                return
            kept = self._kept_in_time(self.keep) if is_held and self.keep else ""
            self._end(f"{wrong}; this one ends too{f'; {kept}' if kept else ': go on with --resume'}")
        finally:
            if is_held:
                self.keeping.release()

    def _kept_in_time(self, keep: Callable[[], str]) -> str:
        said: list[str] = []
        writer = threading.Thread(target=lambda: said.append(keep()), daemon=True)
        writer.start()
        writer.join(_KEEP_S)
        return said[0] if said else f"no checkpoint was written within {_KEEP_S:.0f} s: go on from the one before"

    def _tell(self, key: str, value: str) -> None:
        assert self._store is not None
        try:
            if key != _FAILED or not self._store.check([_FAILED]):
                self._store.set(key, value)
        except (RuntimeError, OSError):
            pass  # nobody is left to be told


def is_of_connection(error: BaseException | None) -> bool:
    """Whether ``error`` is torch's for a sum over processes of which one does not answer."""
    of_torch = isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "onnection" in str(error))
    return of_torch and not isinstance(error, TrainingError)


def _end_process(sentence: str) -> None:
    print(f"python -m training fit: {sentence}", file=sys.stderr, flush=True)
    os._exit(1)
