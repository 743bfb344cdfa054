import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from attention_dmfnet.files.cases import InputError
from attention_dmfnet.geometry import Geometry, Volume

from evaluation.accuracy.flare22 import OrganScore
from evaluation.accuracy.score import CaseScore, score_folders
from evaluation.errors import ArgumentsError, EvaluationError
from evaluation.phantom.scan import reorient_like
from tests.evaluation.grids import labels_of, write

LIVER, SPLEEN, AORTA, LEFT_KIDNEY = 1, 3, 5, 13


def three_organs() -> Volume:
    """A liver and a spleen, each 2 x 2 x 2 voxels, and an aorta through slices 1 to 4."""
    array = np.zeros((6, 12, 12), np.uint8)
    array[2:4, 2:4, 2:4] = LIVER
    array[2:4, 8:10, 8:10] = SPLEEN
    array[1:5, 5:7, 5:7] = AORTA
    return labels_of(array, (2, 1, 1))


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Predictions without a spleen and with a longer aorta, and their references, of the cases A and B."""
    reference = three_organs()
    array = reference.array.copy()
    array[array == SPLEEN] = 0
    array[:, 5:7, 5:7] = AORTA
    for case in ("A", "B"):
        write(reference, tmp_path / "references" / f"{case}.nii.gz")
        write(Volume(array, reference.geometry), tmp_path / "predictions" / f"{case}.nii.gz")
    return tmp_path / "predictions", tmp_path / "references"


def dsc(scores: list[CaseScore], label: int) -> list[float]:
    return [case.organs[label].dsc for case in scores]


def test_every_reference_is_scored_by_its_own_prediction(folders: tuple[Path, Path]) -> None:
    write(three_organs(), folders[0] / "B.nii.gz")
    scores = score_folders(*folders)
    assert [case.name for case in scores] == ["A.nii.gz", "B.nii.gz"]
    assert dsc(scores, LIVER) == [1, 1]
    assert dsc(scores, SPLEEN) == [0, 1]
    # neither has one
    assert dsc(scores, LEFT_KIDNEY) == [1, 1]


def test_flare22s_rules_are_the_default_and_plain_ones_can_be_asked_for(folders: tuple[Path, Path]) -> None:
    assert dsc(score_folders(*folders), AORTA) == [1, 1]
    # six slices against four
    assert dsc(score_folders(*folders, rules="plain"), AORTA) == [pytest.approx(0.8), pytest.approx(0.8)]


def test_names_may_end_in_the_channel_number_on_either_side(folders: tuple[Path, Path]) -> None:
    (folders[0] / "A.nii.gz").rename(folders[0] / "A_0000.nii.gz")
    assert dsc(score_folders(*folders), LIVER) == [1, 1]


def test_two_single_files_are_compared_whatever_their_names(tmp_path: Path) -> None:
    first = write(three_organs(), tmp_path / "mine.nii.gz")
    second = write(three_organs(), tmp_path / "theirs.nrrd")
    assert dsc(score_folders(first, second), LIVER) == [1]


def test_a_missing_prediction_is_an_error_that_names_it(folders: tuple[Path, Path]) -> None:
    (folders[0] / "B.nii.gz").unlink()
    with pytest.raises(EvaluationError, match=r"1 of 2 references: B\.nii\.gz"):
        score_folders(*folders)


def test_a_missing_prediction_can_score_zero_for_every_organ(folders: tuple[Path, Path]) -> None:
    (folders[0] / "B.nii.gz").unlink()
    missing = score_folders(*folders, missing="zero")[1]
    # also for organs that the reference does not have: nothing was delivered
    assert missing.organs == dict.fromkeys(range(1, 14), OrganScore(0, 0))


def test_an_empty_folder_is_a_run_in_which_all_failed(folders: tuple[Path, Path]) -> None:
    for path in folders[0].iterdir():
        path.unlink()
    assert dsc(score_folders(*folders, missing="zero"), LIVER) == [0, 0]
    with pytest.raises(InputError):
        score_folders(*folders)


def test_a_folder_that_is_not_there_is_never_scored(folders: tuple[Path, Path]) -> None:
    with pytest.raises(InputError):
        score_folders(folders[0] / "nowhere", folders[1], missing="zero")


def test_a_prediction_without_a_reference_is_told_and_left_out(folders: tuple[Path, Path]) -> None:
    write(three_organs(), folders[0] / "C.nii.gz")
    notes: list[str] = []
    assert len(score_folders(*folders, note=notes.append)) == 2
    assert notes == ["C.nii.gz: no reference, not scored"]


GRID = three_organs().geometry


@pytest.mark.parametrize(
    "geometry",
    [
        dataclasses.replace(GRID, spacing_zyx=(2.0, 1.0, 1.1)),
        dataclasses.replace(GRID, origin_lps=(0.0, 0.0, 1.0)),
        dataclasses.replace(GRID, axes_lps=((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (-1.0, 0.0, 0.0))),
    ],
    ids=["spacing", "origin", "direction"],
)
def test_a_prediction_on_another_grid_is_refused_with_both_names(
    folders: tuple[Path, Path], geometry: Geometry
) -> None:
    write(Volume(three_organs().array, geometry), folders[0] / "A.nii.gz")
    with pytest.raises(EvaluationError, match=r"predictions/A\.nii\.gz and .*references/A\.nii\.gz lie on different"):
        score_folders(*folders)


def test_the_same_voxels_in_another_order_are_another_grid(folders: tuple[Path, Path]) -> None:
    volume = three_organs()
    flipped = dataclasses.replace(volume.geometry, axes_lps=((0, 0, -1), (0, 1, 0), (1, 0, 0)))
    write(reorient_like(volume, flipped), folders[0] / "A.nii.gz")
    with pytest.raises(EvaluationError, match="different grids"):
        score_folders(*folders)


def test_a_header_rounded_to_32_bits_is_the_same_grid(folders: tuple[Path, Path]) -> None:
    volume = three_organs()
    rounded = dataclasses.replace(volume.geometry, origin_lps=(0.0, 0.0, 3e-5))
    write(Volume(volume.array, rounded), folders[0] / "A.nii.gz")
    assert dsc(score_folders(*folders), LIVER) == [1, 1]


def test_probabilities_are_not_taken_for_labels(folders: tuple[Path, Path]) -> None:
    volume = three_organs()
    write(Volume(volume.array * np.float32(0.5), volume.geometry), folders[0] / "A.nii.gz")
    with pytest.raises(EvaluationError, match=r"A\.nii\.gz is no label map"):
        score_folders(*folders)


@pytest.mark.parametrize("text", ["liver,left kidney", "Liver, LK", "1,13", "LIVER,13"])
def test_organs_are_chosen_by_name_code_or_label(folders: tuple[Path, Path], text: str) -> None:
    assert [sorted(case.organs) for case in score_folders(*folders, organs=text)] == [[1, 13], [1, 13]]


@pytest.mark.parametrize("text", ["liver,heart", "14", "0", "", ","])
def test_an_unknown_organ_is_refused(folders: tuple[Path, Path], text: str) -> None:
    with pytest.raises(ArgumentsError, match="--organs"):
        score_folders(*folders, organs=text)


def test_a_sidecar_names_the_organs_that_a_reference_has(folders: tuple[Path, Path]) -> None:
    (folders[1] / "A.json").write_text(json.dumps({"annotated": ["liver", "RK", 5]}))
    scores = score_folders(*folders)
    assert [sorted(case.organs) for case in scores] == [[1, 2, 5], list(range(1, 14))]
    assert [sorted(case.organs) for case in score_folders(*folders, organs="liver,spleen")] == [[1], [1, 3]]


def test_a_sidecar_may_hold_for_the_folder_and_a_cases_own_goes_first(folders: tuple[Path, Path]) -> None:
    (folders[1] / "annotated.json").write_text('{"annotated": ["spleen"]}')
    (folders[1] / "B.json").write_text('{"annotated": ["liver"]}')
    assert [sorted(case.organs) for case in score_folders(*folders)] == [[3], [1]]


@pytest.mark.parametrize(
    "content", ["[1, 2]", "{}", '{"annotated": "liver"}', '{"annotated": ["heart"]}', '{"annotated": [1], "x": 2}', "{"]
)
def test_a_sidecar_that_cannot_be_understood_is_refused_by_name(folders: tuple[Path, Path], content: str) -> None:
    (folders[1] / "A.json").write_text(content)
    with pytest.raises(EvaluationError, match=r"A\.json"):
        score_folders(*folders)


def test_organs_that_a_reference_draws_as_one_are_scored_as_one(tmp_path: Path) -> None:
    stomach, duodenum = 11, 12
    drawn_as_one = three_organs().array.copy()
    drawn_as_one[drawn_as_one == SPLEEN] = stomach
    told_apart = drawn_as_one.copy()
    told_apart[3][told_apart[3] == stomach] = duodenum
    write(labels_of(drawn_as_one, (2, 1, 1)), tmp_path / "references" / "A.nii.gz")
    write(labels_of(told_apart, (2, 1, 1)), tmp_path / "predictions" / "A.nii.gz")
    folders = tmp_path / "predictions", tmp_path / "references"
    # half of the stomach is missing: 2 * 4 / (4 + 8)
    assert dsc(score_folders(*folders), stomach) == [pytest.approx(2 / 3)]
    merged = score_folders(*folders, merge=["duodenum=stomach"])
    assert dsc(merged, stomach) == [1]
    assert duodenum not in merged[0].organs


@pytest.mark.parametrize(
    "merge",
    [["duodenum"], ["duodenum=duodenum"], ["heart=liver"], ["12=11", "12=1"], ["12=11", "11=1"], ["1=2=3"]],
)
def test_a_merge_that_means_nothing_is_refused(folders: tuple[Path, Path], merge: list[str]) -> None:
    with pytest.raises(ArgumentsError, match="--merge"):
        score_folders(*folders, merge=merge)
