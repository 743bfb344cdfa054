"""A folder of cases: while the networks see a scan, the next one is read and the one before is labelled and written."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import msgspec

from attention_dmfnet.files.cases import case_name, output_path
from attention_dmfnet.files.image_io import ImageError, read_scan
from attention_dmfnet.geometry import GeometryError, Triple, Volume
from attention_dmfnet.marks import Step, recording, seconds_by_step, step
from attention_dmfnet.model.network import NetworkError, RunError
from attention_dmfnet.notes import Note
from attention_dmfnet.segmenter import Scored, Segmenter

_log = logging.getLogger(__name__)


class CaseReport(msgspec.Struct, frozen=True):
    """What became of one case.

    ``seconds`` by step, with ``total`` the time from when the case was wanted to when its file was complete; steps on
    other threads (reading ahead) overlap with the case before, so they need not add up. ``roi_mm`` is z, y, x.
    ``volumes_ml`` holds every organ, 0 for those that were not found.
    """

    case: str
    status: Literal["done", "failed", "skipped"]
    output: str
    seconds: dict[str, float] = {}
    roi_mm: Triple | None = None
    volumes_ml: dict[str, float] = {}
    notes: tuple[Note, ...] = ()
    error: str | None = None
    schema_version: int = 2


def skipped(path: Path, outputs: Path) -> CaseReport:
    """The report on a case whose output is there already."""
    output = output_path(path, outputs)
    note = Note("exists", f"{output} exists; --overwrite makes it again")
    return CaseReport(case_name(path), "skipped", str(output), notes=(note,))


def predict(
    cases: Sequence[Path],
    outputs: Path,
    segmenter: Segmenter,
    on_step: Callable[[str, str], None] | None = None,
    strict: bool = False,
) -> Iterator[CaseReport]:
    """Label every case and write it to ``outputs``; a report after each, in order.

    A case that fails is reported and does not stop the others. With ``strict``, a scan whose header or values are
    doubtful fails. ``on_step`` hears the case's name and each step's, from
    two threads: while the networks see a scan, the labels of the one before are made and written.
    Raises ``NetworkError`` if the networks cannot be loaded: then no case can succeed.
    """
    run = _Run(outputs, segmenter, on_step)
    # left through an error or Ctrl-C, the labels that are being written are waited for, and whole
    with ReadAhead(cases, strict) as ahead, ThreadPoolExecutor(max_workers=1, thread_name_prefix="labels") as labels:
        before: Future[CaseReport] | None = None
        for path in cases:
            end: BaseException | None = None
            try:
                found = run.find(path, ahead)
            except BaseException as error:  # Ctrl-C as well: first the case that is done gets its report
                end = error
            if before is not None:
                yield before.result()
            if end is not None:
                raise end
            before = labels.submit(run.finish, found)
        if before is not None:
            yield before.result()


@dataclass(frozen=True, slots=True)
class _Found:
    """A case between the networks and its labels; ``error`` instead of scores if it failed."""

    path: Path
    started_s: float
    steps: tuple[Step, ...] = ()
    notes: tuple[Note, ...] = ()
    scored: Scored | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class _Run:
    outputs: Path
    segmenter: Segmenter
    on_step: Callable[[str, str], None] | None

    def find(self, path: Path, ahead: ReadAhead) -> _Found:
        """Take the scan at ``path``, which is the next one ``ahead``, and ask the networks.

        Raises ``NetworkError`` where no other case could do better.
        """
        started_s = time.perf_counter()
        with self._recording(path) as steps:
            try:
                scan, scored = self._read_and_score(ahead)
            except Exception as error:  # whatever it is, the other cases must not suffer from it
                if isinstance(error, NetworkError) and not isinstance(error, RunError):
                    raise
                return _Found(path, started_s, error=_sentence(error, path))
        return _Found(path, started_s, (*scan.steps, *steps), scan.notes, scored)

    def _read_and_score(self, ahead: ReadAhead) -> tuple[Scan, Scored]:
        with step("wait"):
            # first of the two: where no network loads, no case is worth a report
            self.segmenter.wait()
            scan = ahead.take()
        return scan, self.segmenter.score(scan.volume)

    def finish(self, found: _Found) -> CaseReport:
        """Make and write the labels."""
        name, output = case_name(found.path), output_path(found.path, self.outputs)
        error = found.error
        with self._recording(found.path) as steps:
            if found.scored is not None:
                try:
                    result = self.segmenter.label(found.scored)
                    with step("write"):
                        result.save(output)
                except Exception as failure:
                    error = _sentence(failure, found.path)
        if error is not None:
            return CaseReport(name, "failed", str(output), error=error)
        seconds = seconds_by_step([*found.steps, *steps])
        seconds["total"] = time.perf_counter() - found.started_s
        notes = (*found.notes, *result.notes)
        return CaseReport(name, "done", str(output), seconds, result.roi.extent_mm_zyx, result.volumes_ml, notes)

    def _recording(self, path: Path) -> AbstractContextManager[list[Step]]:
        on_step, name = self.on_step, case_name(path)
        return recording(None if on_step is None else lambda what: on_step(name, what))


def _sentence(error: Exception, path: Path) -> str:
    if isinstance(error, ImageError | GeometryError | RunError):
        return str(error)
    _log.error("%s failed unexpectedly", case_name(path), exc_info=error)
    return f"{type(error).__name__}: {error}"


@dataclass(frozen=True, slots=True)
class Scan:
    """A scan in memory, what is to be said about it, and how long reading took."""

    volume: Volume
    notes: tuple[Note, ...]
    steps: tuple[Step, ...]


class ReadAhead:
    """Reads scans one ahead of ``take``: at most the one that was taken last and the next are in memory."""

    def __init__(self, paths: Sequence[Path], strict: bool = False) -> None:
        """``strict`` refuses scans that are doubtful, as ``read_scan`` does."""
        self._strict = strict
        self._paths = iter(paths)
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reader")
        self._coming: Future[Scan] | None = None
        self._read_next()

    def take(self) -> Scan:
        """The next scan, when it is read; only then reading the one after it begins.

        The scan taken before must not be held any longer. Raises ``ImageError`` if this one cannot be read.
        """
        coming, self._coming = self._coming, None
        if coming is None:
            raise IndexError("every scan was taken")
        try:
            return coming.result()
        finally:
            self._read_next()

    def _read_next(self) -> None:
        path = next(self._paths, None)
        if path is not None:
            self._coming = self._reader.submit(_read, path, self._strict)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.shutdown(wait=False, cancel_futures=True)


def _read(path: Path, strict: bool) -> Scan:
    notes: list[Note] = []
    with recording() as steps, step("read"):
        volume = read_scan(path, notes, strict)
    return Scan(volume, tuple(notes), tuple(steps))
