"""The larger the margin, the less lies outside the ROI."""

from pathlib import Path

import pytest

from evaluation.accuracy.roi_coverage import RoiCoverage
from evaluation.command import DONE, UNUSABLE
from evaluation.studies.roi_margins import main, margin_row
from tests.engine.tiny import write_models
from tests.evaluation.accuracy.test_roi_coverage import two_livers, write_case


def test_a_row_counts_scans_of_which_more_than_half_a_percent_of_an_organ_is_lost() -> None:
    coverages = [
        RoiCoverage("A", {"liver": 1.0, "aorta": 0.75}, 1.0),
        RoiCoverage("B", {"liver": 0.996, "aorta": 1.0}, 1.5),
    ]
    assert margin_row((55, 20, 20.5), coverages) == ["55, 20, 20.5", "1 of 2", "25%", "1.25"]


def test_the_script_prints_a_row_for_each_margin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The far block lies 36 to 41 slices of 3 mm above the near one: a margin of 6 mm loses it, one of 150 does not."""
    write_case(tmp_path, *two_livers(far_is_labelled_only=True))
    models = write_models(tmp_path / "models")
    folders = [str(tmp_path / "images"), str(tmp_path / "labels"), "--models", str(models)]
    assert main([*folders, "--margin", "6", "6", "6", "--margin", "150", "6", "6"]) == DONE
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("| 6, 6, 6 | 1 of 1 | 33% |")
    assert lines[3].startswith("| 150, 6, 6 | 0 of 1 | 0% |")


def test_a_negative_margin_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), str(tmp_path), "--margin", "-1", "0", "0"]) == UNUSABLE
    assert "--margin takes three sizes" in capsys.readouterr().err
