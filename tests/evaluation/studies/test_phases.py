"""Two phases of one patient are compared where both see."""

from pathlib import Path

import numpy as np
import pytest
from attention_dmfnet.files.image_io import write_labels
from attention_dmfnet.geometry import CANONICAL_AXES_LPS, Geometry, Volume

from evaluation.accuracy.phases import agreement, patient_of
from evaluation.errors import EvaluationError
from evaluation.studies.phases import main, phases_of


def labels(z_mm: float = 0.0, moved: int = 0) -> Volume:
    """A liver of ten slices from 10 mm up, and a spleen, on 20 slices of 2 mm that begin at ``z_mm``."""
    array = np.zeros((20, 8, 8), np.uint8)
    first = round((10 - z_mm) / 2)
    array[max(first, 0) : first + 10, 2:6, 1 + moved : 4 + moved] = 1
    array[12:14, 2:4, 6:8] = 3
    return Volume(array, Geometry((20, 8, 8), (2.0, 1.0, 1.0), (0.0, 0.0, z_mm), CANONICAL_AXES_LPS))


def test_equal_phases_agree_wholly() -> None:
    assert agreement(labels(), labels()) == {1: 1.0, 3: 1.0}


def test_a_liver_one_of_three_columns_aside_agrees_by_two_thirds() -> None:
    assert agreement(labels(), labels(moved=1))[1] == pytest.approx(2 / 3)


def test_a_liver_that_breathing_moved_agrees_once_it_is_aligned() -> None:
    assert agreement(labels(), labels(moved=1), aligned=True)[1] == 1.0


def test_an_organ_that_one_phase_lacks_agrees_by_nothing() -> None:
    without = labels()
    without.array[without.array == 3] = 0
    for aligned in (False, True):
        assert agreement(labels(), without, aligned)[3] == 0.0


def test_a_phase_is_the_last_part_of_a_name() -> None:
    assert patient_of("HCC-011-portal") == "HCC-011"
    assert patient_of("HCC-011-after") is None
    assert patient_of("portal") is None


def test_what_only_one_phase_sees_does_not_count() -> None:
    """The second field begins in the liver's middle, at 20 mm; where both see, the liver is the same."""
    assert agreement(labels(), labels(z_mm=20.0))[1] == 1.0


def test_the_command_names_each_patient(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, moved in (("A-1-arterial", 0), ("A-1-portal", 1), ("B-2-portal", 0), ("B-2-after", 0)):
        write_labels(labels(moved=moved), tmp_path / f"{name}.nii.gz")
    assert main([str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "A-1" in shown
    assert "B-2" not in shown
    assert "0.667" in shown


def test_a_folder_without_two_phases_is_refused(tmp_path: Path) -> None:
    write_labels(labels(), tmp_path / "B-2-portal.nii.gz")
    with pytest.raises(EvaluationError, match="no patient with two phases"):
        phases_of(tmp_path)
