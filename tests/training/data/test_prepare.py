"""``python -m training prepare`` as a person types it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from attention_dmfnet.files.image_io import read_volume, write_labels, write_volume
from attention_dmfnet.geometry import Volume

from evaluation.organs import ORGANS
from tests.training.small_patients import (
    add_labelled,
    make_patient,
    organ_hu,
    write_flare22,
    write_nnunet,
    write_recipe_for_patients,
)
from training.__main__ import main
from training.arrays import UNKNOWN
from training.data.dataset import open_dataset
from training.data.fingerprint import read_fingerprint
from training.data.splits import read_splits


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return write_recipe_for_patients(tmp_path / "recipe.toml")


def prepare(*arguments: object) -> int:
    return main(["prepare", "--workers", "1", *map(str, arguments)])


def times_of(dataset: Path) -> dict[str, int]:
    return {str(path.relative_to(dataset)): path.stat().st_mtime_ns for path in dataset.rglob("case.json")}


def test_raw_folders_become_a_data_set_for_both_stages(tmp_path: Path, recipe: Path) -> None:
    raw = write_flare22(tmp_path / "raw", labelled=3, unlabelled=1)
    assert prepare(raw, "--to", tmp_path / "data", "--recipe", recipe) == 0
    coarse, fine = (open_dataset(tmp_path / "data", stage) for stage in ("coarse", "fine"))
    assert [case.name for case in coarse.cases] == [case.name for case in fine.cases]
    assert coarse.grid.spacing_zyx == (12.0, 10.0, 10.0)
    assert fine.grid.window_hu == (-200.0, 500.0)
    assert [entry.name for entry in fine.unlabelled] == ["Case_00001"]
    training, validation = fine.split(0)
    assert (len(training), len(validation)) == (2, 1)


def test_scans_in_any_orientation_become_the_same_case(tmp_path: Path, recipe: Path) -> None:
    orientations = (
        ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)),
        ((1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, -1.0)),
    )
    cases = []
    for number, axes in enumerate(orientations):
        add_labelled(tmp_path / f"raw{number}", "a", *make_patient(5, axes_lps=axes))
        assert prepare(tmp_path / f"raw{number}", "--to", tmp_path / f"{number}", "--recipe", recipe) == 0
        cases.append(open_dataset(tmp_path / f"{number}", "fine").cases[0])
    assert cases[0].geometry.matches(cases[1].geometry)
    (image, labels), (other_image, other_labels) = (case.read_whole() for case in cases)
    np.testing.assert_allclose(image, other_image, rtol=0, atol=1)
    np.testing.assert_allclose(labels, other_labels, rtol=0, atol=1)


def test_the_fingerprint_tells_what_is_in_the_data(
    tmp_path: Path, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = write_flare22(tmp_path / "raw", labelled=2, unlabelled=1)
    assert prepare(raw, "--to", tmp_path / "data", "--recipe", recipe) == 0
    fingerprint = read_fingerprint(tmp_path / "data")
    assert (fingerprint.scans, fingerprint.labelled) == (3, 2)
    assert fingerprint.spacing_zyx[0].median == 6.0
    assert fingerprint.extent_mm_zyx[2].most == 260.0
    liver = fingerprint.organs["liver"]
    assert liver.cases == 2
    assert liver.volume_ml.median == pytest.approx(268.8)
    # to the upper edge of a bin of 5 HU
    assert organ_hu(1) <= liver.hu[1] <= organ_hu(1) + 10
    told = capsys.readouterr().out
    assert "3 scans, 2 of them labelled" in told
    assert "[fine.grid]" in told


def test_a_second_run_prepares_nothing_again(tmp_path: Path, recipe: Path) -> None:
    raw = write_flare22(tmp_path / "raw", labelled=2)
    arguments = (raw, "--to", tmp_path / "data", "--recipe", recipe)
    assert prepare(*arguments) == 0
    first, index = times_of(tmp_path / "data"), (tmp_path / "data" / "dataset.json").read_bytes()
    assert prepare(*arguments) == 0
    assert times_of(tmp_path / "data") == first
    assert (tmp_path / "data" / "dataset.json").read_bytes() == index


def test_only_what_has_changed_is_prepared_again(tmp_path: Path, recipe: Path) -> None:
    raw = write_flare22(tmp_path / "raw", labelled=2)
    arguments = (raw, "--to", tmp_path / "data", "--recipe", recipe)
    assert prepare(*arguments) == 0
    first = times_of(tmp_path / "data")
    path = raw / "FLARE22_LabeledCase50" / "labels" / "FLARE22_Tr_0002.nii.gz"
    labels = read_volume(path)
    write_labels(Volume(np.where(labels.array == 9, 0, labels.array), labels.geometry), path)
    assert prepare(*arguments) == 0
    second = times_of(tmp_path / "data")
    assert {name for name in first if first[name] != second[name]} == {
        f"{stage}/FLARE22_Tr_0002/case.json" for stage in ("coarse", "fine")
    }
    assert 9 not in open_dataset(tmp_path / "data", "fine").cases[1].class_locations


def test_another_grid_is_prepared_anew_for_its_stage_alone(tmp_path: Path, recipe: Path) -> None:
    raw = write_flare22(tmp_path / "raw", labelled=1)
    assert prepare(raw, "--to", tmp_path / "data", "--recipe", recipe) == 0
    first = times_of(tmp_path / "data")
    recipe.write_text(recipe.read_text().replace("spacing_zyx = [12.0, ", "spacing_zyx = [9.0, "))
    assert prepare(raw, "--to", tmp_path / "data", "--recipe", recipe) == 0
    second = times_of(tmp_path / "data")
    assert {name for name in first if first[name] != second[name]} == {"coarse/FLARE22_Tr_0001/case.json"}


def test_a_case_that_is_gone_leaves_the_data_set(tmp_path: Path, recipe: Path) -> None:
    raw = write_flare22(tmp_path / "raw", labelled=2)
    assert prepare(raw, "--to", tmp_path / "data", "--recipe", recipe) == 0
    assert prepare(raw, "--to", tmp_path / "data", "--recipe", recipe, "--leave-out", "FLARE22_Tr_0001") == 0
    assert [case.name for case in open_dataset(tmp_path / "data", "fine").cases] == ["FLARE22_Tr_0002"]
    assert [path.name for path in (tmp_path / "data" / "fine").iterdir()] == ["FLARE22_Tr_0002"]


def write_two_bad_cases(raw: Path) -> Path:
    """Three labelled cases, of which the first is no image and the second has no label map."""
    folder = write_flare22(raw, labelled=3) / "FLARE22_LabeledCase50"
    (folder / "images" / "FLARE22_Tr_0001_0000.nii.gz").write_bytes(b"")
    (folder / "labels" / "FLARE22_Tr_0002.nii.gz").unlink()
    return raw


def test_bad_cases_are_left_out_told_all_at_once_and_the_others_prepared(
    tmp_path: Path, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw, data = write_two_bad_cases(tmp_path / "raw"), tmp_path / "data"
    names = [f"FLARE22_Tr_000{number}" for number in (1, 2, 3)]
    (raw / "patients.csv").write_text("case,patient\n" + "".join(f"{name},{name}\n" for name in names))
    assert prepare(raw, "--to", data, "--recipe", recipe) == 1
    told = capsys.readouterr().err
    assert "2 problems in 2 files; left out 2 cases, 0 of them with pseudo labels; 1 cases are left" in told
    assert [case.name for case in open_dataset(data, "fine").cases] == [names[2]]
    first, second = (data / "left-out.txt").read_text().splitlines()
    assert "images/FLARE22_Tr_0001_0000.nii.gz: " in first
    assert "images/FLARE22_Tr_0002_0000.nii.gz: has no label map" in second
    assert first in told
    assert second in told


def test_strictly_one_bad_case_refuses_all(tmp_path: Path, recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = write_two_bad_cases(tmp_path / "raw")
    assert prepare(raw, "--to", tmp_path / "data", "--recipe", recipe, "--strict") == 1
    told = capsys.readouterr().err
    assert "images/FLARE22_Tr_0001_0000.nii.gz: " in told
    assert "2 problems in 2 files; nothing was prepared" in told
    assert not (tmp_path / "data" / "dataset.json").exists()
    assert not (tmp_path / "data" / "fine").exists()


def test_a_problem_of_all_cases_refuses_all(tmp_path: Path, recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = write_flare22(tmp_path / "raw", labelled=1)
    (raw / "patients.csv").write_text("name,who\nFLARE22_Tr_0001,1\n")
    assert prepare(raw, "--to", tmp_path / "data", "--recipe", recipe) == 1
    assert "1 problems in 1 files; nothing was prepared" in capsys.readouterr().err
    assert not (tmp_path / "data" / "dataset.json").exists()


def test_a_wrong_line_of_the_patients_costs_the_case_that_it_is_about(
    tmp_path: Path, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw, data = write_flare22(tmp_path / "raw", labelled=3), tmp_path / "data"
    (raw / "patients.csv").write_text("case,patient\nNobody,1\nFLARE22_Tr_0001,2\nFLARE22_Tr_0002,3\n")
    assert prepare(raw, "--to", data, "--recipe", recipe) == 1
    told = capsys.readouterr().err
    (line,) = (data / "left-out.txt").read_text().splitlines()
    assert "patients.csv: line 2 names a case 'Nobody' that is not there" in line
    assert line in told
    assert "left out 0 cases" in told
    assert len(open_dataset(data, "fine").cases) == 3
    # whose patient is not known cannot be held out with the patient's other cases
    (raw / "patients.csv").write_text("case,patient\nFLARE22_Tr_0001,2\nFLARE22_Tr_0001,3\nFLARE22_Tr_0002\n")
    assert prepare(raw, "--to", data, "--recipe", recipe) == 1
    assert "2 problems in 1 files; left out 2 cases" in capsys.readouterr().err
    assert [case.name for case in open_dataset(data, "fine").cases] == ["FLARE22_Tr_0003"]
    assert prepare(raw, "--to", tmp_path / "strict", "--recipe", recipe, "--strict") == 1
    assert "nothing was prepared" in capsys.readouterr().err
    out = ("--leave-out", "FLARE22_Tr_0001", "FLARE22_Tr_0002")
    assert prepare(raw, "--to", data, "--recipe", recipe, *out) == 0


def test_one_missing_label_map_of_nnunets_layout_costs_one_case(
    tmp_path: Path, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    numbering = {organ: label for label, organ in enumerate(ORGANS, start=1)}
    raw, data = write_nnunet(tmp_path / "raw", numbering, labelled=3), tmp_path / "data"
    (raw / "labelsTr" / "abdomen_002.nii.gz").unlink()
    assert prepare(raw, "--to", data, "--recipe", recipe) == 1
    assert "1 problems in 1 files; left out 1 cases" in capsys.readouterr().err
    assert "abdomen_002_0000.nii.gz: has no label map" in (data / "left-out.txt").read_text()
    assert [case.name for case in open_dataset(data, "fine").cases] == ["abdomen_001", "abdomen_003"]
    assert prepare(raw, "--to", tmp_path / "strict", "--recipe", recipe, "--strict") == 1
    assert not (tmp_path / "strict" / "dataset.json").exists()
    assert prepare(raw, "--to", data, "--recipe", recipe, "--leave-out", "abdomen_002") == 0
    # a number that nothing explains is told, and costs nobody
    (raw / "dataset.json").write_text(
        (raw / "dataset.json").read_text().replace('"numTraining": 3', '"numTraining": 9')
    )
    assert prepare(raw, "--to", data, "--recipe", recipe) == 1
    assert "says numTraining 9, but 2 scans have labels" in (data / "left-out.txt").read_text()
    assert len(open_dataset(data, "fine").cases) == 2


def test_an_empty_folder_costs_the_others_nothing(tmp_path: Path, recipe: Path) -> None:
    raw, data = write_flare22(tmp_path / "raw", labelled=1), tmp_path / "data"
    (raw / "FLARE22_UnlabeledCase1001-2000").mkdir()
    assert prepare(raw, "--to", data, "--recipe", recipe) == 1
    assert "FLARE22_UnlabeledCase1001-2000: holds no scan" in (data / "left-out.txt").read_text()
    assert len(open_dataset(data, "fine").cases) == 1


def test_a_refused_case_that_was_mended_is_prepared_the_next_time(tmp_path: Path, recipe: Path) -> None:
    raw, data = write_flare22(tmp_path / "raw", labelled=2), tmp_path / "data"
    scan = raw / "FLARE22_LabeledCase50" / "images" / "FLARE22_Tr_0001_0000.nii.gz"
    whole = scan.read_bytes()
    scan.write_bytes(b"")
    assert prepare(raw, "--to", data, "--recipe", recipe) == 1
    scan.write_bytes(whole)
    assert prepare(raw, "--to", data, "--recipe", recipe) == 0
    assert len(open_dataset(data, "fine").cases) == 2
    assert not (data / "left-out.txt").exists()


def test_a_refused_pseudo_label_is_counted_and_is_no_failure(
    tmp_path: Path, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = write_flare22(tmp_path / "raw", labelled=2, unlabelled=2)
    pseudo = write_pseudo(tmp_path / "pseudo", {"annotated": [1, 3]}, {"annotated": [1, 3]})
    (pseudo / "labels" / "Case_00001.nii.gz").write_bytes(b"")
    assert prepare(raw, "--to", tmp_path / "data", "--recipe", recipe, "--pseudo", pseudo) == 0
    assert "left out 1 cases, 1 of them with pseudo labels" in capsys.readouterr().err
    taught = [case.name for case in open_dataset(tmp_path / "data", "fine").cases if case.is_pseudo]
    assert taught == ["Case_00002"]


def test_bad_cases_can_be_left_out(tmp_path: Path, recipe: Path) -> None:
    raw = write_two_bad_cases(tmp_path / "raw")
    out = ("--leave-out", "FLARE22_Tr_0001", "FLARE22_Tr_0002")
    assert prepare(raw, "--to", tmp_path / "data", "--recipe", recipe, *out) == 0
    assert [case.name for case in open_dataset(tmp_path / "data", "fine").cases] == ["FLARE22_Tr_0003"]


def test_a_case_to_leave_out_must_exist(tmp_path: Path, recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = write_flare22(tmp_path / "raw", labelled=1)
    assert prepare(raw, "--to", tmp_path / "data", "--recipe", recipe, "--leave-out", "FLARE22_Tr_0009") == 1
    assert "--leave-out names FLARE22_Tr_0009, but there is no such case" in capsys.readouterr().err


def test_check_only_caches_nothing(tmp_path: Path, recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = write_flare22(tmp_path / "raw", labelled=1)
    assert prepare(raw, "--to", tmp_path / "data", "--recipe", recipe, "--check-only") == 0
    assert "1 scans, 1 of them labelled" in capsys.readouterr().out
    assert not (tmp_path / "data" / "dataset.json").exists()


def test_without_a_single_label_there_is_no_data_set(
    tmp_path: Path, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = write_flare22(tmp_path / "raw", labelled=0, unlabelled=2)
    assert prepare(raw, "--to", tmp_path / "data", "--recipe", recipe) == 1
    assert "none of the scans is labelled" in capsys.readouterr().err


def test_a_case_without_all_large_organs_trains_the_fine_stage_only(tmp_path: Path, recipe: Path) -> None:
    raw = write_nnunet(tmp_path / "raw", {"liver": 1, "spleen": 2, "left kidney": 3})
    whole = write_flare22(tmp_path / "whole", labelled=0)
    add_labelled(whole, "all", *make_patient(7))
    assert prepare(raw, whole, "--to", tmp_path / "data", "--recipe", recipe) == 0
    assert [case.name for case in open_dataset(tmp_path / "data", "coarse").cases] == ["all"]
    partial = open_dataset(tmp_path / "data", "fine").cases[0]
    assert partial.annotated == {1, 3, 13}
    assert set(partial.class_locations) == {1, 3, 13}
    # what was not drawn may be anywhere
    assert partial.geometry.extent_mm_zyx == pytest.approx((180.0, 210.0, 260.0), abs=6.0)


def test_the_students_data_set_holds_out_whom_the_teachers_did(tmp_path: Path, recipe: Path) -> None:
    raw = write_flare22(tmp_path / "raw", labelled=4)
    assert prepare(raw, "--to", tmp_path / "first", "--recipe", recipe, "--seed", 3) == 0
    shutil.move(tmp_path / "first" / "splits.json", tmp_path / "splits.json")
    assert prepare(raw, "--to", tmp_path / "second", "--recipe", recipe, "--splits", tmp_path / "splits.json") == 0
    assert read_splits(tmp_path / "second" / "splits.json") == read_splits(tmp_path / "splits.json")


def test_two_cases_of_one_patient_are_held_out_together(tmp_path: Path, recipe: Path) -> None:
    raw = write_flare22(tmp_path / "raw", labelled=4)
    (raw / "patients.csv").write_text("case,patient\nFLARE22_Tr_0001,anna\nFLARE22_Tr_0004,anna\n")
    assert prepare(raw, "--to", tmp_path / "data", "--recipe", recipe) == 0
    dataset = open_dataset(tmp_path / "data", "fine")
    held_out = [{case.name for case in dataset.split(fold)[1]} for fold in range(dataset.splits.folds)]
    assert {"FLARE22_Tr_0001", "FLARE22_Tr_0004"} in held_out


def write_pseudo(folder: Path, *decisions: dict[str, object]) -> Path:
    """Pseudo labels as a teacher leaves them, of the unlabelled patients."""
    (folder / "labels").mkdir(parents=True)
    rows = []
    for number, decision in enumerate(decisions, start=1):
        name = f"Case_{number:05d}"
        write_labels(make_patient(100 + number)[1], folder / "labels" / f"{name}.nii.gz")
        rows.append({"name": name, "kept": True, "weight": 0.9, "dropped": {}, "why": ""} | decision)
    (folder / "pseudo.json").write_text(json.dumps({"format": 1, "teachers": ["t"], "cases": rows}))
    return folder


def test_selected_pseudo_labels_join_the_training(tmp_path: Path, recipe: Path) -> None:
    raw = write_flare22(tmp_path / "raw", labelled=2, unlabelled=3)
    everything = list(range(1, 14))
    pseudo = write_pseudo(
        tmp_path / "pseudo",
        {"annotated": everything},
        {"annotated": [1, 3], "weight": 0.7},
        {"annotated": [], "kept": False},
    )
    assert prepare(raw, "--to", tmp_path / "data", "--recipe", recipe, "--pseudo", pseudo) == 0
    fine, coarse = (open_dataset(tmp_path / "data", stage) for stage in ("fine", "coarse"))
    taught = {case.name: case for case in fine.cases if case.is_pseudo}
    assert {name: case.weight for name, case in taught.items()} == {"Case_00001": 0.9, "Case_00002": 0.7}
    # organs that the teacher was not sure of are not in the labels
    assert set(taught["Case_00002"].class_locations) == taught["Case_00002"].annotated == {1, 3}
    assert [case.name for case in coarse.cases if case.is_pseudo] == ["Case_00001"]
    assert [entry.name for entry in fine.unlabelled] == ["Case_00003"]
    for fold in range(fine.splits.folds):
        training, validation = fine.split(fold)
        assert not any(case.is_pseudo for case in validation)
        assert set(taught) <= {case.name for case in training}


def test_pseudo_labels_do_not_change_the_fingerprint_of_the_organs(tmp_path: Path, recipe: Path) -> None:
    raw = write_flare22(tmp_path / "raw", labelled=2, unlabelled=1)
    pseudo = write_pseudo(tmp_path / "pseudo", {"annotated": [1, 2]})
    assert prepare(raw, "--to", tmp_path / "data", "--recipe", recipe, "--pseudo", pseudo) == 0
    assert read_fingerprint(tmp_path / "data").organs["liver"].cases == 2


def test_pseudo_labels_without_their_scan_are_a_problem(
    tmp_path: Path, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = write_flare22(tmp_path / "raw", labelled=2, unlabelled=1)
    pseudo = write_pseudo(tmp_path / "pseudo", {"annotated": [1]}, {"annotated": [1]})
    assert prepare(raw, "--to", tmp_path / "data", "--recipe", recipe, "--pseudo", pseudo) == 1
    assert "labels/Case_00002.nii.gz: belongs to none of the unlabelled scans" in capsys.readouterr().err


def test_a_student_without_a_single_selected_case_is_refused(
    tmp_path: Path, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = write_flare22(tmp_path / "raw", labelled=2, unlabelled=1)
    pseudo = write_pseudo(tmp_path / "pseudo", {"annotated": [], "kept": False})
    assert prepare(raw, "--to", tmp_path / "data", "--recipe", recipe, "--pseudo", pseudo) == 1
    assert "no case in" in capsys.readouterr().err


def test_a_scan_that_cannot_be_told_from_a_labelled_one_is_not_pseudo_labelled(tmp_path: Path, recipe: Path) -> None:
    raw = write_flare22(tmp_path / "raw", labelled=2, unlabelled=1)
    scan = raw / "FLARE22_UnlabeledCase1-1000" / "Case_00001_0000.nii.gz"
    write_volume(make_patient(1)[0], scan)
    assert prepare(raw, "--to", tmp_path / "data", "--recipe", recipe) == 1
    assert not open_dataset(tmp_path / "data", "fine").unlabelled


def test_more_processes_make_the_same_data_set(tmp_path: Path, recipe: Path) -> None:
    raw = write_flare22(tmp_path / "raw", labelled=2)
    assert prepare(raw, "--to", tmp_path / "one", "--recipe", recipe) == 0
    assert prepare(raw, "--to", tmp_path / "two", "--recipe", recipe, "--workers", 2) == 0
    one, two = (open_dataset(tmp_path / name, "fine") for name in ("one", "two"))
    assert one.fingerprint == two.fingerprint
    for first, second in zip(one.cases, two.cases, strict=True):
        np.testing.assert_array_equal(first.read_whole()[0], second.read_whole()[0])
        np.testing.assert_array_equal(first.read_whole()[1], second.read_whole()[1])


def test_nnunets_ignore_label_is_unknown_and_neither_background_nor_an_organ(tmp_path: Path, recipe: Path) -> None:
    raw = write_nnunet(tmp_path / "raw", {organ: label for label, organ in enumerate(ORGANS, start=1)})
    about = json.loads((raw / "dataset.json").read_text())
    about["labels"]["ignore"] = 14
    (raw / "dataset.json").write_text(json.dumps(about))
    path = raw / "labelsTr" / "abdomen_001.nii.gz"
    labels = read_volume(path)
    # nobody has judged the lower half of the scan
    half = labels.array.astype(np.uint8)
    half[:14] = 14
    write_labels(Volume(half, labels.geometry), path)
    assert prepare(raw, "--to", tmp_path / "data", "--recipe", recipe) == 0
    fine, other = open_dataset(tmp_path / "data", "fine").cases
    seen = fine.read_whole()[1]
    assert UNKNOWN in seen
    assert UNKNOWN not in fine.class_locations
    assert UNKNOWN not in fine.annotated
    assert UNKNOWN not in other.read_whole()[1]
    coarse = open_dataset(tmp_path / "data", "coarse").cases[0].read_whole()[1]
    assert set(np.unique(coarse)) == {0, 1, UNKNOWN}
    volumes = read_fingerprint(tmp_path / "data").organs
    assert volumes["liver"].volume_ml.median == pytest.approx(268.8, rel=0.01)  # above the half
