"""What is told about a case: one line for people, one JSON object for machines."""

import msgspec

from attention_dmfnet.files.cases import printable
from attention_dmfnet.folder import CaseReport
from attention_dmfnet.notes import Note


def as_line(report: CaseReport) -> str:
    """One line: name, seconds by step, ROI as left-right x front-back x head-foot in mm, organs found with mL."""
    report = _printable(report)
    if report.status == "failed":
        return failed_line(report.case, str(report.error))
    if report.status in ("skipped", "passed over"):
        return f"{report.case}  {report.status}: {'; '.join(report.notes)}"
    steps = ", ".join(f"{name} {seconds:.1f}" for name, seconds in report.seconds.items() if name != "total")
    found = ", ".join(f"{organ} {_ml(volume)}" for organ, volume in report.volumes_ml.items() if volume > 0)
    parts = [report.case, f"{report.seconds.get('total', 0.0):.1f} s ({steps})"]
    if report.roi_mm is not None:
        parts.append("ROI {2:.0f} x {1:.0f} x {0:.0f} mm".format(*report.roi_mm))
    parts.append(found or "no organs found")
    return "  ".join(parts) + "".join(f"  [{note}]" for note in report.notes)


def failed_line(case: str, error: str) -> str:
    """One line for a case, or whatever else was to be done, that failed."""
    return f"{printable(case)}  FAILED: {printable(error)}"


def as_json(report: CaseReport) -> str:
    """One JSON object on one line; seconds to the millisecond, sizes and volumes to a tenth of a percent or better."""
    return msgspec.json.encode(rounded(report), enc_hook=_as_object).decode()


def rounded(report: CaseReport) -> CaseReport:
    """``report`` as JSON tells it: no digit that means nothing, and names that any reader can show."""
    return msgspec.structs.replace(
        _printable(report),
        seconds={name: round(seconds, 3) for name, seconds in report.seconds.items()},
        roi_mm=None if report.roi_mm is None else tuple(round(mm, 1) for mm in report.roi_mm),
        volumes_ml={organ: round(volume, 3) for organ, volume in report.volumes_ml.items()},
    )


def _as_object(note: object) -> dict[str, str]:
    if not isinstance(note, Note):
        raise NotImplementedError(f"{type(note).__name__} has no JSON")
    return {"code": note.code, "text": str(note)}


def _printable(report: CaseReport) -> CaseReport:
    """Without the bytes of names that are not UTF-8, which JSON cannot hold, and without line breaks."""
    return msgspec.structs.replace(
        report,
        case=printable(report.case),
        output=printable(report.output),
        notes=tuple(Note(note.code, printable(note)) for note in report.notes),
        error=None if report.error is None else printable(report.error),
    )


def _ml(volume_ml: float) -> str:
    return f"{volume_ml:.0f} mL" if volume_ml >= 10 else f"{volume_ml:.1f} mL"
