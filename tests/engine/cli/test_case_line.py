import json
from pathlib import Path

from attention_dmfnet.cli.case_line import as_json, as_line
from attention_dmfnet.files.cases import ScanFile
from attention_dmfnet.folder import CaseReport, skipped
from attention_dmfnet.notes import Note

DONE = CaseReport(
    "Case_1",
    "done",
    "out/Case_1.nii.gz",
    seconds={"read": 0.31, "fine": 2.0449, "total": 3.25},
    roi_mm=(240.4, 261.0, 330.6),
    volumes_ml={"liver": 1520.44, "spleen": 0.0, "gallbladder": 9.96, "left adrenal gland": 3.14},
    notes=(Note("roi-at-edge", "the organs reach the scan's superior edge and may be cut off"),),
)


def test_the_line_tells_seconds_by_step_the_roi_and_the_organs_found() -> None:
    assert as_line(DONE) == (
        "Case_1  3.2 s (read 0.3, fine 2.0)  ROI 331 x 261 x 240 mm  "
        "liver 1520 mL, gallbladder 10.0 mL, left adrenal gland 3.1 mL"
        "  [the organs reach the scan's superior edge and may be cut off]"
    )


def test_a_case_without_organs_says_so() -> None:
    assert as_line(CaseReport("a", "done", "a.nii.gz", {"total": 1.0}, (1, 2, 3), {"liver": 0.0})).endswith(
        "no organs found"
    )


def test_failed_and_skipped_cases_say_why() -> None:
    assert as_line(CaseReport("a", "failed", "a.nii.gz", error="cannot read a")) == "a  FAILED: cannot read a"
    assert as_line(skipped(ScanFile(Path("in/a_0000.nii")), Path("out"))) == (
        "a  skipped: out/a.nii.gz exists; --overwrite makes it again"
    )


def test_machines_get_every_organ_and_unrounded_sizes_on_one_line() -> None:
    line = as_json(DONE)
    assert "\n" not in line
    report = json.loads(line)
    assert report["status"] == "done"
    assert report["seconds"] == {"read": 0.31, "fine": 2.045, "total": 3.25}
    assert report["roi_mm"] == [240.4, 261.0, 330.6]
    assert report["volumes_ml"]["spleen"] == 0
    assert report["volumes_ml"]["liver"] == 1520.44
    assert report["notes"] == [{"code": "roi-at-edge", "text": str(DONE.notes[0])}]
    assert report["schema_version"] == 2
    assert report["error"] is None
