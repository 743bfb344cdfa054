"""The report on label maps that are there already: both are read again, the scan and its labels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from attention_dmfnet.files.cases import Case, ReportError, output_of, printable
from attention_dmfnet.files.image_io import ImageError, read_volume
from attention_dmfnet.files.label_maps import fault_of_label_map
from attention_dmfnet.folder import CaseReport
from attention_dmfnet.geometry import GeometryError, Triple, Volume
from attention_dmfnet.notes import Note
from attention_dmfnet.report.run_report import RunReport

RECORD_NAME = "run.json"
"""What ``predict`` leaves beside the label maps: seconds and notes of each case."""


def report_cases(
    cases: Sequence[Case],
    outputs: Path,
    report: RunReport,
    on_case: Callable[[str], None] | None = None,
    record: Path | None = None,
) -> Iterator[CaseReport]:
    """Add each case of which there is a label map to ``report``; what became of each, in order.

    Seconds, ROI and notes are those of the run's ``record``, where there is one; None: that beside the label maps.
    ``on_case`` hears the name of each case that is begun. ``finish`` is left to the caller.
    """
    recorded = read_record(record or outputs / RECORD_NAME)
    for case in cases:
        if on_case is not None:
            on_case(case.name)
        yield report_case(case, outputs, report, recorded.of(case, outputs))


def report_case(case: Case, outputs: Path, report: RunReport, recorded: CaseReport | None = None) -> CaseReport:
    """Add a scan and its label map to ``report``; what became of it."""
    output = output_of(case, outputs)
    if not output.exists():
        return _failed(case, outputs, f"there is no label map {output}; label the scan first")
    try:
        fault = fault_of_label_map(output, case)
        if fault is not None:
            return _failed(case, outputs, f"{fault}; label the scan again")
        said: list[Note] = []
        ct, labels = case.read(said, strict=False), read_volume(output)
        done = CaseReport(case.name, "done", str(output), notes=tuple(said))
        if recorded is not None:
            done = msgspec.structs.replace(recorded, case=case.name)
        # the grids agree to what a NIfTI header keeps, which was tested
        report.add(case.name, ct, Volume(labels.array, ct.geometry), outputs, done.notes, done.roi_mm)
    except (ImageError, GeometryError, ReportError) as error:
        return _failed(case, outputs, str(error))
    return done


def _failed(case: Case, outputs: Path, error: str) -> CaseReport:
    return CaseReport(case.name, "failed", str(output_of(case, outputs)), error=error)


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the record of a run says: by the printable name of a case, of which label map (its SHA-256), and what."""

    said: Mapping[str, tuple[str | None, CaseReport]]

    def of(self, case: Case, outputs: Path) -> CaseReport | None:
        """What it says of the label map of ``case`` in ``outputs``.

        None where it does not tell of the case, or of another label map than the one that is there.
        """
        sha256, report = self.said.get(printable(case.name), (None, None))
        if sha256 is None:
            return report
        try:
            label_map = output_of(case, outputs).read_bytes()
        except OSError:
            return None
        return report if hashlib.sha256(label_map).hexdigest() == sha256 else None


def read_record(record: Path) -> Recorded:
    """What the file ``record`` says of each case that was labelled; nothing where there is none."""
    try:
        said: Any = json.loads(record.read_text(encoding="utf-8"))
        entries = [entry for entry in said["cases"] if entry.get("status") == "done"]
        return Recorded({entry["case"]: (_hash_in(entry), _recorded(entry)) for entry in entries})
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        # a report does without it: it is not what the numbers are made of
        return Recorded({})


def _hash_in(entry: Mapping[str, Any]) -> str | None:
    return str(entry["sha256"]) if entry.get("sha256") else None


def _recorded(entry: Mapping[str, Any]) -> CaseReport:
    notes = tuple(Note(str(note["code"]), str(note["text"])) for note in entry.get("notes", ()))
    seconds = {str(step): float(value) for step, value in entry.get("seconds", {}).items()}
    roi: Triple | None = None
    if entry.get("roi_mm") is not None:
        z, y, x = (float(mm) for mm in entry["roi_mm"])
        roi = (z, y, x)
    return CaseReport(str(entry["case"]), "done", str(entry.get("output", "")), seconds, roi, notes=notes)
