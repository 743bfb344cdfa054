import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from attention_dmfnet.geometry import CANONICAL_AXES_LPS, Geometry, Volume
from msgspec.structs import replace

from tests.training.spheres import recipe
from training.data.cache import CacheError
from training.data.dataset import (
    Case,
    CaseEntry,
    DatasetError,
    DatasetIndex,
    StageGrid,
    cache_key,
    open_dataset,
)
from training.data.splits import Splits, write_splits
from training.data.stage_arrays import write_case
from training.learning.source import open_datasets

GRID = StageGrid((3.0, 2.0, 2.0), (16, 16, 16), (-200.0, 300.0), (30.0, 20.0, 20.0))
SHAPE = (6, 8, 10)


def write_dataset(folder: Path, *cases: tuple[str, str, bool], folds: dict[str, int] | None = None) -> Path:
    """A data set with a fine stage: (name, patient, is_pseudo) each; patients are in the folds given."""
    folder.mkdir()
    geometry = Geometry(SHAPE, GRID.spacing_zyx, (5.0, -7.0, 30.0), CANONICAL_AXES_LPS)
    image = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE) - 200
    labels = np.zeros(SHAPE, np.uint8)
    labels[1, 2, 3] = 5
    labels[4, 5, 6:8] = 11
    entries = []
    for name, patient, is_pseudo in cases:
        entry = CaseEntry(name, patient, "ct", "labels", (5, 11), is_pseudo, 0.5 if is_pseudo else 1.0, ("fine",), "h")
        write_case(
            folder / "fine" / name, cache_key(entry, "fine", GRID), Volume(image, geometry), Volume(labels, geometry)
        )
        entries.append(entry)
    entries.append(CaseEntry("plain", "plain", "ct", None, (), False, 1.0, (), "h"))
    write_splits(Splits(1, 1 + max((folds or {"": 0}).values()), 0, folds or {}), folder / "splits.json")
    index = DatasetIndex(1, {"fine": GRID}, tuple(entries))
    (folder / "dataset.json").write_bytes(msgspec.json.encode(index))
    return folder


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return open_dataset(write_dataset(tmp_path / "data", ("a", "p", False)), "fine").cases[0]


def test_a_patch_is_the_part_of_the_case_that_was_asked_for(case: Case) -> None:
    image, labels = case.read_patch((1, 2, 3), (2, 1, 2))
    assert image.dtype == np.float32
    assert labels.dtype == np.uint8
    # voxel (z, y, x) holds 80 z + 10 y + x - 200
    assert image.tolist() == [[[-97.0, -96.0]], [[-17.0, -16.0]]]
    assert labels.tolist() == [[[5, 0]], [[0, 0]]]


def test_around_a_case_are_air_and_no_organs(case: Case) -> None:
    image, labels = case.read_patch((-1, 0, 9), (2, 1, 2))
    assert image.tolist() == [[[-200.0, -200.0]], [[-191.0, -200.0]]]
    assert not labels.any()


def test_a_whole_case_lies_where_it_lay_in_the_patient(case: Case) -> None:
    image, labels = case.read_whole()
    assert case.geometry.point_lps((0, 0, 0)) == (5.0, -7.0, 30.0)
    assert image.shape == labels.shape == case.shape_zyx == SHAPE
    # voxel (z, y, x) holds 80 z + 10 y + x - 200
    assert image[1, 2, 3] == 80 + 20 + 3 - 200
    assert labels[1, 2, 3] == 5


def test_class_locations_are_where_the_labels_are(case: Case) -> None:
    places = case.class_locations
    assert {label: voxels.tolist() for label, voxels in places.items()} == {5: [[1, 2, 3]], 11: [[4, 5, 6], [4, 5, 7]]}


def test_a_large_organ_has_a_few_thousand_locations_that_are_its_own(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "data", ("a", "p", False))
    labels = np.ones((20, 20, 20), np.uint8)
    geometry = Geometry((20, 20, 20), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), CANONICAL_AXES_LPS)
    entry = open_dataset(folder, "fine").cases[0]
    key = json.loads((entry.folder / "case.json").read_text())["key"]
    for _ in range(2):
        write_case(entry.folder, key, Volume(labels.astype(np.int16), geometry), Volume(labels, geometry))
    places = open_dataset(folder, "fine").cases[0].class_locations[1]
    assert len(places) == len(np.unique(places, axis=0)) == 4000
    assert (places.min(0) == 0).all()
    assert (places.max(0) == 19).all()


def test_nothing_of_a_held_out_patient_is_trained_on(tmp_path: Path) -> None:
    cases = (("a1", "anna", False), ("a2", "anna", True), ("b", "ben", False), ("c", "cleo", True))
    dataset = open_dataset(write_dataset(tmp_path / "data", *cases, folds={"anna": 0, "ben": 1}), "fine")
    training, validation = dataset.split(0)
    assert [case.name for case in training] == ["b", "c"]
    # pseudo labels are not validated on, whosever they are
    assert [case.name for case in validation] == ["a1"]
    training, validation = dataset.split(1)
    assert [case.name for case in training] == ["a1", "a2", "c"]
    assert [case.name for case in validation] == ["b"]


def test_without_a_fold_all_cases_are_trained_on(tmp_path: Path) -> None:
    dataset = open_dataset(
        write_dataset(tmp_path / "data", ("a", "p", False), ("b", "q", False), folds={"p": 0, "q": 1}), "fine"
    )
    assert [len(cases) for cases in dataset.split(None)] == [2, 0]


def test_a_single_patient_is_trained_on_and_nobody_held_out(tmp_path: Path) -> None:
    dataset = open_dataset(write_dataset(tmp_path / "data", ("a", "p", False), folds={"p": 0}), "fine")
    assert [len(cases) for cases in dataset.split(0)] == [1, 0]


def test_what_is_unlabelled_is_listed_apart(tmp_path: Path) -> None:
    dataset = open_dataset(write_dataset(tmp_path / "data", ("a", "p", False)), "fine")
    assert [entry.name for entry in dataset.unlabelled] == ["plain"]


def test_the_fingerprint_changes_with_the_cases(tmp_path: Path) -> None:
    one = open_dataset(write_dataset(tmp_path / "one", ("a", "p", False)), "fine")
    same = open_dataset(write_dataset(tmp_path / "same", ("a", "p", False)), "fine")
    other = open_dataset(write_dataset(tmp_path / "other", ("a", "p", True)), "fine")
    assert one.fingerprint == same.fingerprint != other.fingerprint


def test_refuses_a_folder_that_was_not_prepared(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"there is no .*dataset.json; make the data set with `python -m training"):
        open_dataset(tmp_path, "fine")


def test_refuses_a_stage_that_was_not_prepared(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"was not prepared for the coarse stage"):
        open_dataset(write_dataset(tmp_path / "data", ("a", "p", False)), "coarse")


def test_refuses_a_fold_that_is_not_there(tmp_path: Path) -> None:
    dataset = open_dataset(write_dataset(tmp_path / "data", ("a", "p", False), folds={"p": 0}), "fine")
    with pytest.raises(DatasetError, match=r"splits.json: there is no fold 3"):
        dataset.split(3)


def test_refuses_cases_of_another_state_of_the_data(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "data", ("a", "p", False))
    index = json.loads((folder / "dataset.json").read_text())
    index["cases"][0]["content"] = "another"
    (folder / "dataset.json").write_text(json.dumps(index))
    with pytest.raises(DatasetError, match=r"fine/a is missing or belongs to another state of the data"):
        open_dataset(folder, "fine")


def test_names_a_cached_case_on_a_grid_that_cannot_be(tmp_path: Path) -> None:
    """Found by fuzzing: axes that are not at right angles ended in a traceback."""
    folder = write_dataset(tmp_path / "data", ("a", "p", False))
    about = json.loads((folder / "fine" / "a" / "case.json").read_text())
    about["axes_lps"][2][2] = -0.5
    (folder / "fine" / "a" / "case.json").write_text(json.dumps(about))
    with pytest.raises(DatasetError, match=r"a/case.json is damaged: the axes .* prepare the data set again"):
        open_dataset(folder, "fine")


def test_names_a_damaged_index_and_damaged_places(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "data", ("a", "p", False))
    case = open_dataset(folder, "fine").cases[0]
    (case.folder / "places.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(CacheError, match=r"places.npy is missing or damaged"):
        _ = case.class_locations
    (folder / "dataset.json").write_text('{"format": 1}')
    with pytest.raises(DatasetError, match=r"dataset.json is not valid: .*grids"):
        open_dataset(folder, "fine")


def test_the_fold_all_trains_on_every_labelled_case(tmp_path: Path) -> None:
    two = (("a", "p", False), ("b", "q", False))
    folder = write_dataset(tmp_path / "data", *two, folds={"p": 0, "q": 1})
    for fold, trained_on, held_out in ((0, ["b"], ["a"]), (1, ["a"], ["b"]), ("all", ["a", "b"], [])):
        how = recipe(fold=fold)
        source, validation = open_datasets([folder], replace(how, grid=replace(how.grid, spacing_zyx=GRID.spacing_zyx)))
        assert [case.name for case in source.cases] == trained_on
        assert [case.name for case in validation] == held_out
