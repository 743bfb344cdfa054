"""``--statistics`` and ``--report`` of ``predict``: imported where one of them is given, and not before."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import msgspec

from attention_dmfnet.files.cases import Case
from attention_dmfnet.folder import CaseReport
from attention_dmfnet.model.loading import default_models
from attention_dmfnet.model.manifest import load_manifest
from attention_dmfnet.model.wanted_organs import wanted_organs
from attention_dmfnet.report.afterwards import RECORD_NAME, Recorded, read_record, report_case
from attention_dmfnet.report.run_report import RunReport


def start_report(options: argparse.Namespace) -> RunReport:
    """What is gathered of the cases. Raises ``ReportError`` where pages cannot be made here."""
    manifest = load_manifest(options.models or default_models())
    wanted = manifest.labels if options.organs is None else wanted_organs(manifest, options.organs)
    organs = {organ: number for organ, number in manifest.labels.items() if organ in wanted}
    tables = options.report if options.statistics is None else options.statistics
    return RunReport(organs, manifest.release, options.report, tables)


class Earlier:
    """The cases that were labelled before: what the record says of them, read once when the first one comes."""

    def __init__(self, options: argparse.Namespace, report: RunReport) -> None:
        """``options`` are those of the command ``predict``; ``report`` is where the run's numbers are gathered."""
        self.report = report
        self._outputs: Path = options.outputs
        self._record: Path = options.record or options.outputs / RECORD_NAME
        self._before: dict[str, CaseReport] = {}

    @cached_property
    def _recorded(self) -> Recorded:
        return read_record(self._record)

    def add(self, case: Case, said: CaseReport) -> CaseReport:
        """Add such a case to the report: ``said``, or why its scan and label map cannot be measured."""
        became = self.measured(case, self._outputs, self.report)
        return became if became.status == "failed" else said

    def measured(self, case: Case, outputs: Path, report: RunReport) -> CaseReport:
        """Add such a case, whose label map is in ``outputs``, to ``report``; what became of it."""
        before = self._recorded.of(case, outputs)
        if before is not None:
            self._before[case.name] = before
        return report_case(case, outputs, report, before)

    def row(self, one: CaseReport) -> CaseReport:
        """What the index shows of it: of a case that was skipped, time, ROI and notes of the run that made it."""
        before = self._before.get(one.case) if one.status == "skipped" else None
        if before is None:
            return one
        notes = (*before.notes, *one.notes)
        return msgspec.structs.replace(one, seconds=before.seconds, roi_mm=before.roi_mm, notes=notes)


def gathered(
    reports: Iterator[CaseReport], report: RunReport, outputs: Path, earlier: Earlier | None = None
) -> Iterator[CaseReport]:
    """The same ``reports``; behind the last one, or where the run is broken off, tables and index are written."""
    seen = []
    try:
        for one in reports:
            seen.append(one if earlier is None else earlier.row(one))
            yield one
    finally:
        report.finish(seen, outputs)
