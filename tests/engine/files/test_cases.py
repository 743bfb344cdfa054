from pathlib import Path

import pytest
from attention_dmfnet.files.cases import InputError, case_name, list_cases, output_path


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("FLARE22_Tr_0001_0000.nii.gz", "FLARE22_Tr_0001"),
        ("FLARETs_0000_0000.nii.gz", "FLARETs_0000"),
        ("Case_00001.nii.gz", "Case_00001"),
        ("a_0000_b.nrrd", "a_0000_b"),
        ("a.b_0000.mha", "a.b"),
        ("A_0000.NII.GZ", "A"),
        ("_0000.nii", "_0000"),
    ],
)
def test_a_case_is_named_after_its_file_less_one_trailing_0000(file: str, name: str) -> None:
    assert case_name(Path("somewhere") / file) == name


def test_every_output_is_a_compressed_nifti() -> None:
    assert output_path(Path("in/a_0000.mha"), Path("out")) == Path("out/a.nii.gz")


def test_a_folders_scans_come_by_name_and_nothing_else_does(tmp_path: Path) -> None:
    for name in ("b.nii.gz", "a.mha", "c.nrrd", "d.nii", "notes.txt", ".hidden.nii.gz"):
        (tmp_path / name).touch()
    (tmp_path / "folder.nii").mkdir()
    assert [path.name for path in list_cases(tmp_path)] == ["a.mha", "b.nii.gz", "c.nrrd", "d.nii"]


def test_one_scan_may_be_named_itself(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").touch()
    (tmp_path / "b.nii.gz").touch()
    assert list_cases(tmp_path / "a.nii.gz") == [tmp_path / "a.nii.gz"]


def test_inputs_that_are_missing_empty_or_no_scan_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match="no such file or folder"):
        list_cases(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no scan in .*nii\.gz"):
        list_cases(tmp_path)
    with pytest.raises(InputError, match="not a scan"):
        list_cases(tmp_path / "notes.txt")


@pytest.mark.parametrize(("one", "other"), [("a.nii.gz", "a.mha"), ("a.nii", "a_0000.nii")])
def test_two_scans_for_one_output_are_refused_by_name(tmp_path: Path, one: str, other: str) -> None:
    (tmp_path / one).touch()
    (tmp_path / other).touch()
    with pytest.raises(InputError) as refusal:
        list_cases(tmp_path)
    assert one in str(refusal.value)
    assert other in str(refusal.value)
    assert "a.nii.gz" in str(refusal.value)
