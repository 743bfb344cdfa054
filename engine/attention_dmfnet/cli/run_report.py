"""``--statistics`` and ``--report`` of ``predict``: imported where one of them is given, and not before."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from attention_dmfnet.files.cases import Case, printable
from attention_dmfnet.folder import CaseReport
from attention_dmfnet.model.loading import default_models
from attention_dmfnet.model.manifest import load_manifest
from attention_dmfnet.model.wanted_organs import wanted_organs
from attention_dmfnet.report.afterwards import read_record, report_case
from attention_dmfnet.report.run_report import RunReport


def start_report(options: argparse.Namespace) -> RunReport:
    """What is gathered of the cases. Raises ``ReportError`` where pages cannot be made here."""
    manifest = load_manifest(options.models or default_models())
    wanted = manifest.labels if options.organs is None else wanted_organs(manifest, options.organs)
    organs = {organ: number for organ, number in manifest.labels.items() if organ in wanted}
    tables = options.report if options.statistics is None else options.statistics
    return RunReport(organs, manifest.release, options.report, tables)


def skipped(case: Case, said: CaseReport, outputs: Path, report: RunReport) -> CaseReport:
    """Add a case that was labelled before: ``said``, or why its scan and label map cannot be measured."""
    became = report_case(case, outputs, report, read_record(outputs).get(printable(case.name)))
    return became if became.status == "failed" else said


def gathered(reports: Iterator[CaseReport], report: RunReport, outputs: Path) -> Iterator[CaseReport]:
    """The same ``reports``; behind the last one, or where the run is broken off, tables and index are written."""
    seen = []
    try:
        for one in reports:
            seen.append(one)
            yield one
    finally:
        report.finish(seen, outputs)
