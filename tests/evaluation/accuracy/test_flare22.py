import numpy as np
import numpy.typing as npt
import pytest

from evaluation.accuracy.flare22 import (
    LABELLED_SLICES_ONLY,
    ORGAN_CODES,
    PLAIN,
    TOLERANCES_MM,
    OrganScore,
    score_organ,
)

MM = (1.0, 1.0, 1.0)
LIVER, AORTA, IVC, GALLBLADDER, ESOPHAGUS = 1, 5, 6, 9, 10

Labels = npt.NDArray[np.uint8]


def empty() -> Labels:
    return np.zeros((12, 16, 16), np.uint8)


def column(label: int, first_z: int, last_z: int) -> Labels:
    """A vessel of 3 x 3 voxels that runs through the slices from ``first_z`` to ``last_z``, both included."""
    labels = empty()
    labels[first_z : last_z + 1, 6:9, 6:9] = label
    return labels


def test_the_organs_and_tolerances_are_the_organisers() -> None:
    assert dict(zip(ORGAN_CODES, TOLERANCES_MM, strict=True)) == {
        "Liver": 5,
        "RK": 3,
        "Spleen": 3,
        "Pancreas": 5,
        "Aorta": 2,
        "IVC": 2,
        "RAG": 2,
        "LAG": 2,
        "Gallbladder": 2,
        "Esophagus": 3,
        "Stomach": 5,
        "Duodenum": 7,
        "LK": 3,
    }


@pytest.mark.parametrize("label", range(1, 14))
def test_an_organ_that_neither_has_scores_one(label: int) -> None:
    assert score_organ(empty(), empty(), label, MM) == OrganScore(1, 1)


@pytest.mark.parametrize("label", range(1, 14))
def test_an_organ_that_only_one_has_scores_zero(label: int) -> None:
    assert score_organ(column(label, 2, 8), empty(), label, MM) == OrganScore(0, 0)
    assert score_organ(empty(), column(label, 2, 8), label, MM) == OrganScore(0, 0)


def test_aorta_vena_cava_and_esophagus_are_the_ones_scored_in_labelled_slices() -> None:
    assert sorted(LABELLED_SLICES_ONLY) == [5, 6, 10]


@pytest.mark.parametrize("label", [AORTA, IVC, ESOPHAGUS])
def test_a_vessel_that_runs_on_beyond_the_references_slices_loses_nothing(label: int) -> None:
    assert score_organ(column(label, 0, 11), column(label, 4, 8), label, MM) == OrganScore(1, 1)


@pytest.mark.parametrize("label", [AORTA, IVC, ESOPHAGUS])
def test_the_references_last_slice_is_not_scored(label: int) -> None:
    assert score_organ(column(label, 4, 7), column(label, 4, 8), label, MM) == OrganScore(1, 1)


@pytest.mark.parametrize("label", [AORTA, IVC, ESOPHAGUS])
def test_the_references_first_slice_is_scored(label: int) -> None:
    # slices 5 to 7 against 4 to 7: 2 x 3 / (3 + 4)
    assert score_organ(column(label, 5, 8), column(label, 4, 8), label, MM).dsc == pytest.approx(6 / 7)


@pytest.mark.parametrize("label", [AORTA, IVC, ESOPHAGUS])
def test_a_vessel_in_one_slice_only_is_scored_there(label: int) -> None:
    prediction = column(label, 3, 9)
    assert score_organ(prediction, column(label, 6, 6), label, MM) == OrganScore(1, 1)
    prediction[6, 7:9] = 0
    # three of the nine voxels are left
    assert score_organ(prediction, column(label, 6, 6), label, MM).dsc == pytest.approx(2 * 3 / (3 + 9))


@pytest.mark.parametrize("label", [AORTA, IVC, ESOPHAGUS])
def test_a_vessel_found_outside_the_references_slices_only_scores_zero(label: int) -> None:
    assert score_organ(column(label, 9, 11), column(label, 2, 6), label, MM) == OrganScore(0, 0)


@pytest.mark.parametrize("label", sorted(set(range(1, 14)) - {AORTA, IVC, ESOPHAGUS}))
def test_other_organs_are_scored_in_every_slice(label: int) -> None:
    # 12 slices against 5: 2 x 5 / (12 + 5)
    assert score_organ(column(label, 0, 11), column(label, 4, 8), label, MM).dsc == pytest.approx(10 / 17)


def few_of_many(count: int) -> tuple[Labels, Labels]:
    """One voxel of liver that is right, among ``count`` predicted ones that are all near it."""
    prediction, reference = empty(), empty()
    reference[6, 6, 6] = LIVER
    near = [(6, y, x) for y in (5, 6, 7) for x in (5, 6, 7, 8)]
    near.sort(key=lambda voxel: voxel != (6, 6, 6))
    for voxel in near[:count]:
        prediction[voxel] = LIVER
    return prediction, reference


def test_below_a_dsc_of_one_fifth_nsd_is_zero() -> None:
    # 2 x 1 / (10 + 1) = 0.18, although every surface lies within 5 mm
    assert score_organ(*few_of_many(10), LIVER, MM) == OrganScore(2 / 11, 0)


def test_at_a_dsc_of_one_fifth_nsd_counts() -> None:
    # 2 x 1 / (9 + 1) = 0.2
    assert score_organ(*few_of_many(9), LIVER, MM) == OrganScore(0.2, 1)


def test_nsd_is_the_share_of_both_surfaces_areas() -> None:
    prediction, reference = empty(), empty()
    reference[2, 2, 2] = prediction[2, 2, 2] = prediction[9, 12, 12] = GALLBLADDER
    assert score_organ(prediction, reference, GALLBLADDER, MM).nsd == pytest.approx(2 / 3)


@pytest.mark.parametrize(("label", "tolerance_mm"), [(LIVER, 5), (AORTA, 2), (12, 7), (2, 3)])
def test_each_organ_has_its_own_tolerance(label: int, tolerance_mm: int) -> None:
    # one end of a long bar differs, by as much as the tolerance and then by 1 mm more
    reference = np.zeros((3, 3, 80), np.uint8)
    reference[:2, 1, 10:60] = label
    within, beyond = reference.copy(), reference.copy()
    within[:2, 1, 60 : 60 + tolerance_mm] = label
    beyond[:2, 1, 60 : 60 + tolerance_mm + 1] = label
    assert score_organ(within, reference, label, MM).nsd == 1
    assert score_organ(beyond, reference, label, MM).nsd < 1


def test_plain_rules_score_vessels_in_every_slice() -> None:
    assert score_organ(column(AORTA, 0, 11), column(AORTA, 4, 8), AORTA, MM, PLAIN).dsc == pytest.approx(10 / 17)


def test_plain_rules_let_nsd_stand_whatever_the_dsc() -> None:
    assert score_organ(*few_of_many(10), LIVER, MM, PLAIN) == OrganScore(2 / 11, 1)
