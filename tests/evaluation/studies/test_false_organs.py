"""False organs are counted where the truth shows nothing of them, in mL, by organ."""

from pathlib import Path

import pytest

from evaluation.errors import EvaluationError
from evaluation.organs import ORGANS
from evaluation.studies.false_organs import Most, main, most_of_each
from tests.evaluation.grids import write_columns


def _write(path: Path, columns: dict[int, slice]) -> None:
    """Each label in its columns of 10 x 10 x 40 voxels of 10 mm: a column holds 100 mL."""
    write_columns(path, (10, 10, 40), (10.0, 10.0, 10.0), columns)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    true, made = tmp_path / "true", tmp_path / "made"
    _write(true / "a.nii.gz", {1: slice(0, 4)})
    _write(made / "a.nii.gz", {1: slice(0, 6), 11: slice(8, 9)})
    _write(true / "b.nii.gz", {4: slice(0, 4)})
    _write(made / "b.nii.gz", {11: slice(1, 4)})
    return true, made


def test_the_most_of_each_organ_that_is_not_there(folders: tuple[Path, Path]) -> None:
    most = dict(zip(ORGANS, most_of_each(*folders), strict=True))
    # a: two columns of liver beyond the liver; b: three columns of pancreas called stomach
    assert most["liver"] == Most(200.0, "a")
    assert most["stomach"] == Most(300.0, "b")
    assert {organ for organ, one in most.items() if one.ml} == {"liver", "stomach"}


def test_the_command_shows_each_release(capsys: pytest.CaptureFixture[str], folders: tuple[Path, Path]) -> None:
    true, made = folders
    assert main([str(true), str(made), str(true)]) == 0
    shown = capsys.readouterr().out
    assert "| stomach | 300 mL b | 0 mL |" in shown
    assert "| spleen | 0 mL | 0 mL |" in shown


def test_scans_without_labels_and_empty_folders_are_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    true, made = folders
    (made / "b.nii.gz").unlink()
    with pytest.raises(EvaluationError, match=r"b\.nii\.gz is missing"):
        most_of_each(true, made)
    with pytest.raises(EvaluationError, match="holds no label maps"):
        most_of_each(tmp_path, made)
