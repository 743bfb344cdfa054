"""A folder of cases, one after the other: the next scan is read while this one is computed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from engine.cases import case_name, output_path
from engine.geometry import GeometryError, Volume
from engine.image_io import ImageError, read_volume, write_labels
from engine.manifest import Manifest
from engine.marks import Step, recording, seconds_by_step, step
from engine.network import NetworkError
from engine.report import CaseReport
from engine.runtime import Networks
from engine.segment import Segmentation, segment
from engine.stage import StageModel

_log = logging.getLogger(__name__)


def predict(
    cases: Sequence[Path],
    outputs: Path,
    manifest: Manifest,
    networks: Networks,
    on_step: Callable[[str, str], None] | None = None,
) -> Iterator[CaseReport]:
    """Label every case and write it to ``outputs``; a report after each, in order.

    A case that fails is reported and does not stop the others. ``on_step`` hears the case's name and each step's.
    Raises ``NetworkError`` if the networks cannot be loaded: then no case can succeed.
    """
    with ReadAhead(cases) as ahead:
        for path in cases:
            yield _predict_case(path, output_path(path, outputs), ahead, manifest, networks, on_step)


def _predict_case(
    path: Path,
    output: Path,
    ahead: ReadAhead,
    manifest: Manifest,
    networks: Networks,
    on_step: Callable[[str, str], None] | None,
) -> CaseReport:
    name = case_name(path)
    started_s = time.perf_counter()
    with recording(None if on_step is None else lambda what: on_step(name, what)) as steps:
        try:
            scan, result = _read_and_segment(ahead, manifest, networks)
            with step("write"):
                write_labels(result.labels, output)
        except NetworkError:
            raise
        except (ImageError, GeometryError) as error:
            return CaseReport(name, "failed", str(output), error=str(error))
        except Exception as error:  # whatever it is, the other cases must not suffer from it
            _log.exception("%s failed unexpectedly", name)
            return CaseReport(name, "failed", str(output), error=f"{type(error).__name__}: {error}")
    seconds = seconds_by_step([*scan.steps, *steps])
    seconds["total"] = time.perf_counter() - started_s
    return CaseReport(
        name, "done", str(output), seconds, result.roi_mm, result.volumes_ml, (*scan.notes, *result.notes)
    )


def _read_and_segment(ahead: ReadAhead, manifest: Manifest, networks: Networks) -> tuple[Scan, Segmentation]:
    with step("wait"):
        # first of the two: where no network loads, no case is worth a report
        networks.coarse.wait()
        scan = ahead.take()
    coarse = StageModel(manifest.coarse, networks.coarse)
    fine = StageModel(manifest.fine, networks.fine)
    return scan, segment(scan.volume, coarse, fine, manifest)


@dataclass(frozen=True, slots=True)
class Scan:
    """A scan in memory, what is to be said about it, and how long reading took."""

    volume: Volume
    notes: tuple[str, ...]
    steps: tuple[Step, ...]


class ReadAhead:
    """Reads scans one ahead of ``take``: at most the one that was taken last and the next are in memory."""

    def __init__(self, paths: Sequence[Path]) -> None:
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
            self._coming = self._reader.submit(_read, path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.shutdown(wait=False, cancel_futures=True)


def _read(path: Path) -> Scan:
    notes: list[str] = []
    with recording() as steps, step("read"):
        volume = read_volume(path, notes)
    return Scan(volume, tuple(notes), tuple(steps))
