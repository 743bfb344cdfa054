import os
import zipfile
from pathlib import Path

import pytest
from attention_dmfnet.files.passed_over import PassedOver, as_sentence, find_passed_over


def _names(found: list[PassedOver]) -> list[str]:
    return [item.path.name for item in found]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.mhd", "MetaImage in two files"),
        ("A.NHDR", "NRRD in two files"),
        ("a.hdr", "Analyze or NIfTI in two files"),
        ("a.img.gz", "Analyze or NIfTI in two files"),
        ("1.dcm", "DICOM"),
        ("1.IMA", "DICOM"),
        ("a.nii.xz", "NIfTI, packed in another way than gzip"),
        ("a.mgz", "FreeSurfer"),
        ("a.mnc", "MINC"),
        ("a.seg.nrrd", "3D Slicer's segmentation"),
    ],
)
def test_other_kinds_of_images_are_found_by_name(tmp_path: Path, name: str, kind: str) -> None:
    (tmp_path / name).touch()
    assert find_passed_over(tmp_path, tmp_path / "out") == [PassedOver(tmp_path / name, kind)]


@pytest.mark.parametrize("name", ["IM000001", "1.2.840.113619.2.5", "slice"])
def test_dicom_is_found_by_what_it_holds(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(bytes(128) + b"DICM" + bytes(100))
    assert find_passed_over(tmp_path, tmp_path / "out") == [PassedOver(tmp_path / name, "DICOM")]


def test_scans_notes_and_hidden_files_are_not_passed_over(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "b.MHA", "notes.txt", "patients.csv", "empty", "._c.dcm", ".DS_Store"):
        (tmp_path / name).touch()
    (tmp_path / "link.nii.gz").symlink_to("nowhere")
    (tmp_path / "link").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "texts" / "below").mkdir(parents=True)
    (tmp_path / "texts" / "below" / "notes.txt").touch()
    assert find_passed_over(tmp_path, tmp_path / "out") == []
    assert find_passed_over(tmp_path / "a.nii.gz", tmp_path / "out") == []
    assert find_passed_over(tmp_path / "nowhere", tmp_path / "out") == []


@pytest.mark.parametrize("below", ["a.nii.gz", "deep/er/a.mha", "deep/a.mhd"])
def test_a_folder_with_scans_is_named_once(tmp_path: Path, below: str) -> None:
    (tmp_path / "patient" / below).parent.mkdir(parents=True)
    (tmp_path / "patient" / below).touch()
    (tmp_path / "patient" / "z.nii.gz").touch()
    assert find_passed_over(tmp_path, tmp_path / "out") == [PassedOver(tmp_path / "patient", "folder with scans")]


def test_a_folder_with_dicom_is_told_from_one_with_scans(tmp_path: Path) -> None:
    (tmp_path / "patient" / "deep" / "er").mkdir(parents=True)
    (tmp_path / "patient" / "deep" / "er" / "1.dcm").touch()
    dicom = PassedOver(tmp_path / "patient", "folder with DICOM")
    assert find_passed_over(tmp_path, tmp_path / "out") == [dicom]
    (tmp_path / "patient" / "a.nii.gz").touch()
    assert find_passed_over(tmp_path, tmp_path / "out") == [
        dicom,
        PassedOver(tmp_path / "patient", "folder with scans"),
    ]


def test_an_archive_is_dicom_by_what_it_holds(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "texts.zip", "w") as archive:
        archive.writestr("notes.txt", "text")
    assert find_passed_over(tmp_path, tmp_path / "out") == []
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        archive.writestr("notes.txt", "text")
        archive.writestr("deep/IM0001", bytes(128) + b"DICM")
    (tmp_path / "torn.zip").write_bytes(b"PK")
    with zipfile.ZipFile(tmp_path / "nifti.zip", "w") as archive:
        archive.writestr("a.nii.gz", "")
    assert find_passed_over(tmp_path, tmp_path / "out") == [
        PassedOver(tmp_path / "nifti.zip", "archive with scans"),
        PassedOver(tmp_path / "study.zip", "DICOM"),
        PassedOver(tmp_path / "torn.zip", "damaged archive"),
    ]


def test_the_folder_for_outputs_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "runs" / "out").mkdir(parents=True)
    (tmp_path / "runs" / "out" / "a.nii.gz").touch()
    assert find_passed_over(tmp_path, tmp_path / "runs" / "out") == []
    assert find_passed_over(tmp_path / "runs", tmp_path / "runs" / "." / "out") == []
    assert _names(find_passed_over(tmp_path, tmp_path / "elsewhere")) == ["runs"]


def test_a_circle_of_links_ends_and_a_deep_folder_is_not_searched_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "circle").mkdir()
    (tmp_path / "circle" / "round").symlink_to(tmp_path / "circle")
    deep = tmp_path / "deep" / "/".join("d" * 20)
    deep.mkdir(parents=True)
    (deep / "a.nii.gz").touch()
    assert find_passed_over(tmp_path, tmp_path / "out") == []


def test_a_series_is_one_line(tmp_path: Path) -> None:
    series = [PassedOver(Path(f"{number:03}.dcm"), "DICOM") for number in range(300)]
    line = as_sentence([*series, PassedOver(Path("a\nb.mhd"), "MetaImage in two files")])
    assert line == (
        "not read: 000.dcm, 001.dcm, 002.dcm, 003.dcm, 004.dcm and 295 more (DICOM); "
        r"a\nb.mhd (MetaImage in two files). Give a folder by its own name, convert other files to *.nii.gz"
    )
