"""A folder of cases: while the networks see a scan, the next one is read and the one before is labelled and written."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Literal, ParamSpec, Protocol, TypeVar

import msgspec

from attention_dmfnet.files.cases import Case, ReportError, output_of
from attention_dmfnet.files.image_io import ImageError
from attention_dmfnet.files.passed_over import PassedOver
from attention_dmfnet.files.read_ahead import CaseTimeoutError, ReadAhead, Scan, result_within
from attention_dmfnet.geometry import GeometryError, Triple, Volume
from attention_dmfnet.marks import Step, recording, seconds_by_step, step
from attention_dmfnet.model.network import NetworkError, RunError
from attention_dmfnet.notes import Note
from attention_dmfnet.segmenter import Scored, Segmentation, Segmenter
from attention_dmfnet.signals import signals_later
from attention_dmfnet.threads import run_aside

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")

_log = logging.getLogger(__name__)


class Extra(Protocol):
    """A further output of every case, beside its label map."""

    def write(self, case: Case, ct: Volume, result: Segmentation, outputs: Path) -> None:
        """Write what belongs to ``case`` into the folder ``outputs``, where its label map is complete.

        ``ct`` is the scan in HU, and ``result`` has all notes on the case; an extra with a true ``wants_probabilities``
        gets its mean probabilities, too. Whatever this raises fails the case; the user sees the sentence of an
        ``ImageError`` or a ``ReportError``.
        """
        ...


class CaseReport(msgspec.Struct, frozen=True):
    """What became of one case.

    ``seconds`` by step, with ``total`` the time from when the case was wanted to when its file was complete; steps on
    other threads (reading ahead) overlap with the case before, so they need not add up. ``roi_mm`` is z, y, x.
    ``volumes_ml`` holds every organ, 0 for those that were not found.
    """

    case: str
    status: Literal["done", "failed", "skipped", "passed over"]
    output: str
    seconds: dict[str, float] = {}
    roi_mm: Triple | None = None
    volumes_ml: dict[str, float] = {}
    notes: tuple[Note, ...] = ()
    error: str | None = None
    schema_version: int = 2


def skipped(case: Case, outputs: Path, further: Sequence[Path] = ()) -> CaseReport:
    """The report on a case whose output is there already; ``further`` ones that are asked for may be missing."""
    output = output_of(case, outputs)
    missing = "".join(f", and {path.name}, which is not there" for path in further if not path.exists())
    note = Note("exists", f"{output} exists; --overwrite makes it again{missing}")
    return CaseReport(case.name, "skipped", str(output), notes=(note,))


def passed_over(found: PassedOver) -> CaseReport:
    """The report on what looks like a scan and is not read."""
    note = Note("not-read", f"{found.path} is not read: {found.kind}")
    return CaseReport(found.path.name, "passed over", "", notes=(note,))


def made_again(fault: str) -> Note:
    """What is to be said on a case whose output was there, but with this ``fault``."""
    return Note("made-again", f"made again, because there was no whole label map: {fault}")


def predict(
    cases: Sequence[Case],
    outputs: Path,
    segmenter: Segmenter,
    on_step: Callable[[str, str], None] | None = None,
    notes: Mapping[str, Note] = MappingProxyType({}),
    case_timeout_s: float | None = None,
    strict: bool = False,
    extras: Sequence[Extra] = (),
    ahead: ReadAhead | None = None,
) -> Iterator[CaseReport]:
    """Label every case and write it to ``outputs``; a report after each, in order.

    ``notes`` are for the reports of those cases that have one, by case name. With ``case_timeout_s`` a case fails if it
    is not read and seen by the networks, or afterwards not labelled and written, within so many seconds. What it was
    doing cannot be interrupted and is left behind on its thread; the networks, if they do not return, are loaded again.

    A case that fails is reported and does not stop the others. With ``strict``, a scan whose header or values are
    doubtful fails. ``extras`` are written after each label map; with any, a scan stays in memory until they are, one
    more than without. ``ahead``, if it is given, reads these cases already. ``on_step`` hears the case's name and each
    step's, from two threads: while the networks see a scan, the labels of the one before are made and written.
    Raises ``NetworkError`` if the networks cannot be loaded: then no case can succeed.
    """
    run = _Run(outputs, segmenter, on_step, notes, case_timeout_s, tuple(extras))
    before: _Ending | None = None
    try:
        with ahead or ReadAhead(cases, strict) as ahead:
            for case in cases:
                end: BaseException | None = None
                try:
                    found = run.find(case, ahead)
                except BaseException as error:  # Ctrl-C as well: first the case that is done gets its report
                    end = error
                if before is not None:
                    yield before.report(case_timeout_s)
                if end is not None:
                    raise end
                with signals_later():  # what has begun is known, and waited for
                    before = _Ending(found.case, outputs, time.perf_counter(), run_aside("labels", run.finish, found))
            if before is not None:
                yield before.report(case_timeout_s)
    finally:
        # left through an error or Ctrl-C, the labels that are being written are waited for, and whole
        if before is not None:
            wait([before.result], timeout=case_timeout_s)


@dataclass(frozen=True, slots=True)
class _Ending:
    """A case whose labels are being made and written since ``started_s``."""

    case: Case
    outputs: Path
    started_s: float
    result: Future[CaseReport]

    def report(self, timeout_s: float | None) -> CaseReport:
        """Its report, when it is done or has taken longer than ``timeout_s``."""
        try:
            return result_within(self.result, "labels and writing", self.started_s, timeout_s)
        except CaseTimeoutError as error:
            output = output_of(self.case, self.outputs)
            return CaseReport(self.case.name, "failed", str(output), error=f"{self.case.path}: {error}")


@dataclass(frozen=True, slots=True)
class _Found:
    """A case between the networks and its labels; ``error`` instead of scores if it failed.

    ``ct`` is there if further outputs are asked for.
    """

    case: Case
    started_s: float
    steps: tuple[Step, ...] = ()
    notes: tuple[Note, ...] = ()
    scored: Scored | None = None
    error: str | None = None
    ct: Volume | None = None


@dataclass(frozen=True, slots=True)
class _Run:
    outputs: Path
    segmenter: Segmenter
    on_step: Callable[[str, str], None] | None
    notes: Mapping[str, Note]
    timeout_s: float | None = None
    extras: tuple[Extra, ...] = ()

    def find(self, case: Case, ahead: ReadAhead) -> _Found:
        """Take the scan of ``case``, which is the next one ``ahead``, and ask the networks.

        Raises ``NetworkError`` where no other case could do better.
        """
        started_s = time.perf_counter()
        said = (self.notes[case.name],) if case.name in self.notes else ()
        with self._recording(case) as steps:
            try:
                scan, scored = self._read_and_score(ahead, started_s)
            except Exception as error:  # whatever it is, the other cases must not suffer from it
                if isinstance(error, NetworkError) and not isinstance(error, RunError):
                    raise
                return _Found(case, started_s, notes=said, error=_sentence(error, case))
        return _Found(case, started_s, (*scan.steps, *steps), (*said, *scan.notes), scored, ct=scan.volume)

    def _read_and_score(self, ahead: ReadAhead, started_s: float) -> tuple[Scan, Scored]:
        with step("wait"):
            # first of the two: where no network loads, no case is worth a report
            self._ask_networks("loading the networks", started_s, self.segmenter.wait)
            scan = ahead.take(started_s, self.timeout_s)
        # for further outputs alone it stays in memory
        give = partial(scan.hand_over, keep=bool(self.extras))
        return scan, self._ask_networks("the networks", started_s, self.segmenter.score, give)

    def _ask_networks(
        self,
        what: str,
        started_s: float,
        function: Callable[_Given, _Result],
        *given: _Given.args,
        **named: _Given.kwargs,
    ) -> _Result:
        """What ``function`` of the segmenter returns; here, unless it may have to be left behind."""
        if self.timeout_s is None:
            return function(*given, **named)
        try:
            return result_within(run_aside("networks", function, *given, **named), what, started_s, self.timeout_s)
        except CaseTimeoutError:
            self.segmenter.restart()
            raise

    def finish(self, found: _Found) -> CaseReport:
        """Make and write the labels."""
        name, output = found.case.name, output_of(found.case, self.outputs)
        error = found.error
        with self._recording(found.case) as steps:
            if found.scored is not None:
                try:
                    wanted = any(getattr(extra, "wants_probabilities", False) for extra in self.extras)
                    result = self.segmenter.label(found.scored, probabilities=wanted)
                    with step("write"):
                        result.save(output)
                    self._write_extras(found, result)
                except Exception as failure:
                    error = _sentence(failure, found.case)
        if error is not None:
            return CaseReport(name, "failed", str(output), notes=found.notes, error=error)
        seconds = seconds_by_step([*found.steps, *steps])
        seconds["total"] = time.perf_counter() - found.started_s
        notes = (*found.notes, *result.notes)
        return CaseReport(name, "done", str(output), seconds, result.roi.extent_mm_zyx, result.volumes_ml, notes)

    def _write_extras(self, found: _Found, result: Segmentation) -> None:
        if found.ct is not None:
            with step("extras"):
                result = replace(result, notes=(*found.notes, *result.notes))
                for extra in self.extras:
                    extra.write(found.case, found.ct, result, self.outputs)

    def _recording(self, case: Case) -> AbstractContextManager[list[Step]]:
        on_step, name = self.on_step, case.name
        return recording(None if on_step is None else lambda what: on_step(name, what))


def _sentence(error: Exception, case: Case) -> str:
    if isinstance(error, ImageError | GeometryError | ReportError | RunError):
        return str(error)
    if isinstance(error, CaseTimeoutError):
        return f"{case.path}: {error}"
    _log.error("%s failed unexpectedly", case.name, exc_info=error)
    if isinstance(error, MemoryError):
        why = str(error) or "MemoryError"
        return f"{case.path}: there is not enough memory for it ({why}); allow more, or crop the scan"
    return f"{type(error).__name__}: {error}"
