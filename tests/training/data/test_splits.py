from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.splits import Splits, SplitsError, make_splits, read_splits, write_splits

PATIENTS = st.dictionaries(st.text("abcdefgh", min_size=1, max_size=4), st.integers(1, 4), min_size=1, max_size=30)


@given(PATIENTS, st.integers(1, 6), st.integers(0, 3))
def test_every_patient_is_held_out_in_exactly_one_fold(patients: dict[str, int], folds: int, seed: int) -> None:
    splits = make_splits(patients, folds, seed)
    held_out = [patient for fold in range(splits.folds) for patient in splits.held_out(fold)]
    assert sorted(held_out) == sorted(patients)


@given(PATIENTS, st.integers(1, 6))
def test_no_fold_is_empty_and_none_holds_a_patient_more_than_it_must(patients: dict[str, int], folds: int) -> None:
    splits = make_splits(patients, folds, seed=0)
    sizes = [sum(patients[patient] for patient in splits.held_out(fold)) for fold in range(splits.folds)]
    assert min(sizes) > 0
    assert max(sizes) - min(sizes) <= max(patients.values())


def test_there_are_never_more_folds_than_patients() -> None:
    assert make_splits({"a": 9, "b": 1}, folds=5, seed=0).folds == 2


def test_the_same_patients_are_split_the_same_way_every_time() -> None:
    patients = {f"p{number}": 1 for number in range(20)}
    assert make_splits(patients, 5, 0) == make_splits(dict(reversed(patients.items())), 5, 0)
    assert make_splits(patients, 5, 0) != make_splits(patients, 5, 1)


def test_who_was_held_out_once_stays_where_he_was() -> None:
    before = make_splits({f"p{number}": 1 for number in range(6)}, folds=3, seed=0)
    after = make_splits({f"p{number}": 1 for number in range(9)}, folds=5, seed=4, kept=before)
    assert after.folds == 3
    assert {patient: after.fold_of_patient[patient] for patient in before.fold_of_patient} == before.fold_of_patient
    assert sorted(len(after.held_out(fold)) for fold in range(3)) == [3, 3, 3]


def test_splits_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    splits = make_splits({"a": 1, "b": 2}, 2, 7)
    write_splits(splits, tmp_path / "splits.json")
    assert read_splits(tmp_path / "splits.json") == splits


def test_refuses_a_fold_that_is_not_there() -> None:
    with pytest.raises(SplitsError, match="no fold 2; this data set has the folds 0 to 1"):
        make_splits({"a": 1, "b": 1}, 2, 0).held_out(2)


def test_refuses_a_file_whose_folds_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "splits.json"
    path.write_text('{"format": 1, "folds": 2, "seed": 0, "fold_of_patient": {"a": 2}}')
    with pytest.raises(SplitsError, match=r"splits.json is not valid: a is in fold 2, but there are 2"):
        read_splits(path)
    with pytest.raises(SplitsError, match=r"cannot read .*nowhere.json: No such file"):
        read_splits(tmp_path / "nowhere.json")


def test_a_single_patient_has_a_single_fold() -> None:
    assert make_splits({"a": 3}, 5, 0) == Splits(1, 1, 0, {"a": 0})
