"""Reading scans one ahead of their use. Nothing here needs NumPy: the first one is begun before it is imported."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextvars import Context
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from attention_dmfnet.files.cases import Case
from attention_dmfnet.marks import Step, recording, step
from attention_dmfnet.threads import run_aside

if TYPE_CHECKING:
    from attention_dmfnet.geometry import Volume
    from attention_dmfnet.notes import Note

_Result = TypeVar("_Result")


class CaseTimeoutError(Exception):
    """A case that took longer than it may."""


def result_within(future: Future[_Result], what: str, started_s: float, timeout_s: float | None) -> _Result:
    """The result of ``future``; ``what`` it is goes into words.

    Raises ``CaseTimeoutError`` if it is not there ``timeout_s`` after ``started_s``, and what the future holds.
    """
    left_s = None if timeout_s is None else max(0.0, started_s + timeout_s - time.perf_counter())
    try:
        return future.result(left_s)
    except TimeoutError:
        # a disk may report a time-out of its own
        if future.done():
            raise
    raise CaseTimeoutError(f"{what} took longer than the {timeout_s:g} s of --case-timeout")


@dataclass(slots=True)
class Scan:
    """A scan in memory until it is handed over, what is to be said about it, and how long reading took.

    ``reader`` reads it again where it is asked for again, as strictly. ``source`` is the file or folder that it comes
    from, None for one from memory.
    """

    source: Path | None
    volume: Volume | None
    notes: tuple[Note, ...]
    steps: tuple[Step, ...]
    reader: Callable[[list[Note], bool], Volume]
    strict: bool
    stamp: _Stamp | None

    def hand_over(self, keep: bool = False) -> Volume:
        """The volume; unless it is to ``keep``, nothing of it stays here, and whoever asks again gets it read again.

        Raises ``ImageError`` if it cannot be read again, or its file is another one now.
        """
        volume = self.volume
        if volume is None:
            with step("read"):
                volume = self.reader([], self.strict)
            # after reading: a file that changes meanwhile is another one, too
            if stamp_of(self.source) != self.stamp:
                # late: this module is loaded before NumPy is, and hardly any scan comes here
                from attention_dmfnet.files.image_io import ImageError

                raise ImageError(f"{self.source} has changed while it was labelled")
        self.volume = volume if keep else None
        return volume


_Stamp = tuple[int, int, int]
"""A file's inode, size and time of its last change."""


def stamp_of(source: Path | None) -> _Stamp | None:
    """By which a file or folder is known as the one that it was; None for a scan from memory and where none is."""
    try:
        found = None if source is None else source.stat()
    except OSError:
        return None
    return None if found is None else (found.st_ino, found.st_size, found.st_mtime_ns)


class ReadAhead:
    """Reads scans one ahead of ``take``: at most the one that was taken last and the next are in memory."""

    def __init__(self, cases: Sequence[Case], strict: bool = False) -> None:
        """``strict`` refuses scans that are doubtful, as ``Case.read`` does."""
        self._strict = strict
        self._cases = iter(cases)
        self._coming: Future[Scan] | None = None
        self._read_next()

    def take(self, started_s: float = 0.0, timeout_s: float | None = None) -> Scan:
        """The next scan, when it is read; only then reading the one after it begins.

        The scan taken before must not be held any longer. Raises ``ImageError`` if this one cannot be read, and
        ``CaseTimeoutError`` if it is not there ``timeout_s`` after ``started_s``: reading it is left behind.
        """
        coming, self._coming = self._coming, None
        if coming is None:
            raise IndexError("every scan was taken")
        try:
            return result_within(coming, "reading", started_s, timeout_s)
        finally:
            self._read_next()

    def _read_next(self) -> None:
        case = next(self._cases, None)
        if case is not None:
            # a context of its own: this is called in the step of waiting for the case before
            self._coming = Context().run(run_aside, "reader", _read, case, self._strict)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cases = iter(())


def _read(case: Case, strict: bool) -> Scan:
    notes: list[Note] = []
    stamp = stamp_of(case.path)
    with recording() as steps, step("read"):
        volume = case.read(notes, strict)
    return Scan(case.path, volume, tuple(notes), tuple(steps), case.read, strict, stamp)
