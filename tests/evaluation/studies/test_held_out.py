"""Painted scans of held-out patients are scored by patient, where an author drew."""

from pathlib import Path

import pytest

from evaluation.errors import EvaluationError
from evaluation.studies.held_out import gut_by_patient, main, score
from tests.evaluation.grids import write_columns


def _write(path: Path, columns: dict[int, slice]) -> None:
    """Each label in its columns of a 4 x 4 x 40 map."""
    write_columns(path, (4, 4, 40), (3.0, 2.0, 2.0), columns)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two scans of one patient, both half right; one of BTCV, whose authors drew no duodenum."""
    true, made = tmp_path / "true", tmp_path / "made"
    for name in ("word_0034_0", "word_0043_0"):
        _write(true / f"{name}.nii.gz", {4: slice(0, 8), 5: slice(20, 24)})
    _write(made / "word_0034_0.nii.gz", {4: slice(0, 8)})
    _write(made / "word_0043_0.nii.gz", {4: slice(4, 12)})
    _write(true / "btcv_0010_1.nii.gz", {1: slice(0, 4), 12: slice(8, 12)})
    _write(made / "btcv_0010_1.nii.gz", {1: slice(0, 8)})
    return true, made


def test_a_patients_figure_is_the_mean_of_its_scans_over_organs_that_were_drawn(folders: tuple[Path, Path]) -> None:
    by_patient, ratios = score(*folders)
    # pancreas: 1 and 8 common columns of 16, that is 0.5; WORD's aorta and BTCV's duodenum are not their authors'
    assert by_patient == {
        "word_0034+0043": {4: pytest.approx(0.75)},
        "btcv_0010": {1: pytest.approx(2 * 4 / 12)},
    }
    assert ratios == {1: pytest.approx(2.0), 4: pytest.approx(1.0)}
    assert gut_by_patient(by_patient) == {"word_0034+0043": pytest.approx(0.75)}


def test_a_scan_without_labels_and_a_name_that_says_no_collection_are_refused(folders: tuple[Path, Path]) -> None:
    true, made = folders
    (made / "btcv_0010_1.nii.gz").unlink()
    with pytest.raises(EvaluationError, match=r"btcv_0010_1\.nii\.gz is missing"):
        score(true, made)
    (true / "btcv_0010_1.nii.gz").rename(true / "mine_1.nii.gz")
    with pytest.raises(EvaluationError, match="which organs its author drew is not known"):
        score(true, made)


def test_the_command_prints_each_release(capsys: pytest.CaptureFixture[str], folders: tuple[Path, Path]) -> None:
    true, made = folders
    for organ in range(1, 14):  # every organ once, so that the table has no gap
        _write(true / f"amos_{organ}_0.nii.gz", {organ: slice(0, 4)})
        _write(made / f"amos_{organ}_0.nii.gz", {organ: slice(0, 4)})
    assert main([str(true), str(made), str(true)]) == 0
    shown = capsys.readouterr().out
    assert "| word_0034+0043 | 0.750 | 1.000 |" in shown
    assert "| pancreas | 0.875 | 1.000 |" in shown
