"""What is told about a case: one line for people, one JSON object for machines."""

from pathlib import Path
from typing import Literal

import msgspec

from attention_dmfnet.geometry import Triple


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
    notes: tuple[str, ...] = ()
    error: str | None = None


def skipped(case: str, output: Path) -> CaseReport:
    """The report on a case whose output is there already."""
    return CaseReport(case, "skipped", str(output), notes=(f"{output} exists; --overwrite makes it again",))


def as_line(report: CaseReport) -> str:
    """One line: name, seconds by step, ROI as left-right x front-back x head-foot in mm, organs found with mL."""
    if report.status == "failed":
        return f"{report.case}  FAILED: {report.error}"
    if report.status == "skipped":
        return f"{report.case}  skipped: {'; '.join(report.notes)}"
    steps = ", ".join(f"{name} {seconds:.1f}" for name, seconds in report.seconds.items() if name != "total")
    found = ", ".join(f"{organ} {_ml(volume)}" for organ, volume in report.volumes_ml.items() if volume > 0)
    parts = [report.case, f"{report.seconds.get('total', 0.0):.1f} s ({steps})"]
    if report.roi_mm is not None:
        parts.append("ROI {2:.0f} x {1:.0f} x {0:.0f} mm".format(*report.roi_mm))
    parts.append(found or "no organs found")
    return "  ".join(parts) + "".join(f"  [{note}]" for note in report.notes)


def as_json(report: CaseReport) -> str:
    """One JSON object on one line; seconds to the millisecond, sizes and volumes to a tenth of a percent or better."""
    rounded = msgspec.structs.replace(
        report,
        seconds={name: round(seconds, 3) for name, seconds in report.seconds.items()},
        roi_mm=None if report.roi_mm is None else tuple(round(mm, 1) for mm in report.roi_mm),
        volumes_ml={organ: round(volume, 3) for organ, volume in report.volumes_ml.items()},
    )
    return msgspec.json.encode(rounded).decode()


def _ml(volume_ml: float) -> str:
    return f"{volume_ml:.0f} mL" if volume_ml >= 10 else f"{volume_ml:.1f} mL"
