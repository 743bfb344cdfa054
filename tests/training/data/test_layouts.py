import json
import shutil
from pathlib import Path

import pytest

from evaluation.organs import ORGANS
from tests.training.small_patients import write_flare22, write_nnunet
from training.data.layouts import LABELS, merge, read_layout
from training.organ_names import label_of_name


def test_flare22_cases_are_paired_by_the_organisers_names(tmp_path: Path) -> None:
    raw = read_layout(write_flare22(tmp_path, labelled=2, unlabelled=2))
    assert (raw.layout, raw.problems) == ("FLARE22", ())
    assert [case.name for case in raw.cases] == ["FLARE22_Tr_0001", "FLARE22_Tr_0002", "Case_00001", "Case_00002"]
    first, unlabelled = raw.cases[0], raw.cases[-1]
    assert first.image.name == "FLARE22_Tr_0001_0000.nii.gz"
    assert first.labels is not None
    assert first.labels.name == "FLARE22_Tr_0001.nii.gz"
    assert first.annotated == frozenset(LABELS)
    assert unlabelled.labels is None


def test_images_and_labels_may_lie_in_the_folder_itself(tmp_path: Path) -> None:
    write_flare22(tmp_path / "raw", labelled=1)
    raw = read_layout(tmp_path / "raw" / "FLARE22_LabeledCase50")
    assert [case.name for case in raw.cases] == ["FLARE22_Tr_0001"]


def test_unlabelled_scans_may_lie_in_an_images_folder(tmp_path: Path) -> None:
    folder = write_flare22(tmp_path, labelled=1, unlabelled=1) / "FLARE22_UnlabeledCase1-1000"
    (folder / "images").mkdir()
    shutil.move(folder / "Case_00001_0000.nii.gz", folder / "images")
    raw = read_layout(tmp_path)
    assert raw.problems == ()
    assert [case.name for case in raw.cases if case.labels is None] == ["Case_00001"]


def test_a_folder_of_unlabelled_scans_may_be_named_itself(tmp_path: Path) -> None:
    write_flare22(tmp_path, labelled=0, unlabelled=2)
    raw = read_layout(tmp_path / "FLARE22_UnlabeledCase1-1000")
    assert raw.problems == ()
    assert [case.labels for case in raw.cases] == [None, None]


def test_nnunet_labels_become_flare22s_by_their_names(tmp_path: Path) -> None:
    raw = read_layout(write_nnunet(tmp_path, {"spleen": 1, "Right_Kidney": 2, "postcava": 7}))
    assert (raw.layout, raw.problems) == ("nnU-Net", ())
    case = raw.cases[0]
    assert (case.name, case.label_of_value) == ("abdomen_001", {1: 3, 2: 2, 7: 6})
    assert case.annotated == {2, 3, 6}


def test_the_first_version_of_dataset_json_maps_numbers_to_names(tmp_path: Path) -> None:
    write_nnunet(tmp_path, {"liver": 1})
    about = {"modality": {"0": "CT"}, "labels": {"0": "background", "1": "liver"}, "numTraining": 2}
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    raw = read_layout(tmp_path)
    assert raw.problems == ()
    assert raw.cases[0].label_of_value == {1: 1}


def test_structures_that_are_no_organ_of_ours_become_background_and_are_told(tmp_path: Path) -> None:
    raw = read_layout(write_nnunet(tmp_path, {"liver": 1, "colon": 2}))
    assert raw.cases[0].label_of_value == {1: 1, 2: 0}
    assert raw.cases[0].annotated == {1}
    assert any("'colon' (label 2) is none of the thirteen organs" in note for note in raw.notes)


def test_a_sidecar_says_which_organs_were_drawn(tmp_path: Path) -> None:
    write_flare22(tmp_path, labelled=1)
    labels = tmp_path / "FLARE22_LabeledCase50" / "labels"
    (labels / "FLARE22_Tr_0001.json").write_text('{"annotated": ["liver", 13]}')
    assert read_layout(tmp_path).cases[0].annotated == {1, 13}


def test_every_case_is_its_own_patient_unless_patients_csv_says_otherwise(tmp_path: Path) -> None:
    write_flare22(tmp_path, labelled=3)
    assert [case.patient for case in read_layout(tmp_path).cases] == [case.name for case in read_layout(tmp_path).cases]
    # the file's name is as good as the case's
    (tmp_path / "patients.csv").write_text("case,patient\nFLARE22_Tr_0001_0000.nii.gz,anna\nFLARE22_Tr_0003,anna\n")
    raw = read_layout(tmp_path)
    assert raw.problems == ()
    assert [case.patient for case in raw.cases] == ["anna", "FLARE22_Tr_0002", "anna"]


def test_a_case_in_two_folders_is_a_problem(tmp_path: Path) -> None:
    folders = [read_layout(write_flare22(tmp_path / name, labelled=1)) for name in ("one", "two")]
    merged = merge(folders)
    assert [problem.file for problem in merged.problems] == [folders[1].cases[0].image]


@pytest.mark.parametrize(
    ("name", "organ"),
    [
        ("Liver", "liver"),
        ("RK", "right kidney"),
        ("kidney_left", "left kidney"),
        ("IVC", "inferior vena cava"),
        ("adrenal-gland-right", "right adrenal gland"),
        ("Oesophagus", "esophagus"),
        ("gall bladder", "gallbladder"),
    ],
)
def test_organs_are_known_by_many_names(name: str, organ: str) -> None:
    assert label_of_name(name) == ORGANS.index(organ) + 1


def test_what_is_no_organ_has_no_label() -> None:
    assert label_of_name("liver tumor") is None
