import numpy as np
import numpy.typing as npt
import pytest
from attention_dmfnet.geometry import Box
from attention_dmfnet.model.manifest import ComponentRule, KeepAll, KeepHighest, KeepLargest, KeepParts
from attention_dmfnet.steps import components
from attention_dmfnet.steps.components import Kept, dropped_note, keep_components


def _parts(*sizes: int, label: int = 1) -> npt.NDArray[np.uint8]:
    """Rods of the given lengths in voxels, apart from each other, in one map."""
    labels = np.zeros((3, 2 * len(sizes) + 1, max(sizes) + 2), dtype=np.uint8)
    for row, size in enumerate(sizes):
        labels[1, 2 * row + 1, 1 : 1 + size] = label
    return labels


def _sizes(labels: npt.NDArray[np.uint8]) -> list[int]:
    return [int(n) for n in (labels[1] > 0).sum(axis=1) if n]


def test_only_the_largest_part_stays() -> None:
    labels = _parts(3, 10, 9)
    assert keep_components(labels, {1: KeepLargest()}, voxel_volume_mm3=1000) == {1: 10}
    assert _sizes(labels) == [10]


def test_of_two_largest_parts_one_stays() -> None:
    labels = _parts(5, 5)
    keep_components(labels, {1: KeepLargest()}, voxel_volume_mm3=1)
    assert _sizes(labels) == [5]


def _stacked(*sizes: int) -> npt.NDArray[np.uint8]:
    """Rods of the given lengths, the first one nearest to the feet."""
    labels = np.zeros((2 * len(sizes) + 1, 3, max(sizes) + 2), dtype=np.uint8)
    for level, size in enumerate(sizes):
        labels[2 * level + 1, 1, 1 : 1 + size] = 1
    return labels


def _kept(labels: npt.NDArray[np.uint8]) -> list[int]:
    return [int(n) for n in labels.sum((1, 2))[1::2]]


def test_of_parts_that_are_large_enough_the_one_nearest_to_the_head_stays() -> None:
    labels = _stacked(20, 12, 4)
    assert keep_components(labels, {1: KeepHighest(0.25)}, voxel_volume_mm3=1000) == {1: 12}
    assert _kept(labels) == [0, 12, 0]


def test_a_part_that_has_just_the_fraction_counts_as_large_enough() -> None:
    labels = _stacked(20, 12, 5)
    keep_components(labels, {1: KeepHighest(0.25)}, voxel_volume_mm3=1)
    assert _kept(labels) == [0, 0, 5]


def _two_lobes(gap: int) -> npt.NDArray[np.uint8]:
    """A right lobe of 74 voxels and a higher left one of 26, ``gap`` voxels of something else between them."""
    labels = np.zeros((40, 1, 6), dtype=np.uint8)
    labels[0:37, 0, 0:2] = 1
    labels[36 - 11 : 38, 0, 2 + gap : 4 + gap] = 1
    return labels


def test_two_lobes_of_a_liver_side_by_side_both_stay_and_the_left_one_is_the_higher() -> None:
    labels = _two_lobes(gap=1)
    before, dropped_ml = labels.copy(), dict[int, float]()
    assert keep_components(labels, {1: KeepHighest(0.25)}, 1000, dropped_ml=dropped_ml) == {1: 74 + 26}
    np.testing.assert_array_equal(labels, before)
    assert dropped_ml == {}


def test_beside_the_highest_part_a_small_one_goes_and_so_does_a_large_one_wholly_below() -> None:
    labels = np.zeros((30, 1, 9), dtype=np.uint8)
    labels[20:30, 0, 0:4] = 1  # 40 voxels, the highest
    labels[20:29, 0, 5] = 1  # 9 of them beside it: less than a quarter
    labels[0:19, 0, 0:4] = 1  # 76 voxels that end one voxel below it
    assert keep_components(labels, {1: KeepHighest(0.2)}, voxel_volume_mm3=1000) == {1: 40}
    assert not labels[:20].any()
    assert not labels[:, 0, 5].any()


@pytest.mark.parametrize(("top", "kept"), [(24, 20), (25, 20 + 22)])
def test_beside_the_highest_is_a_part_that_shares_half_of_the_shorter_range_with_it(top: int, kept: int) -> None:
    labels = np.zeros((30, 1, 9), dtype=np.uint8)
    labels[20:30, 0, 0:2] = 1  # ten levels
    labels[top - 11 : top, 0, 4:6] = 1  # eleven levels, of which four or five are the other's too
    assert keep_components(labels, {1: KeepHighest(0.2)}, voxel_volume_mm3=1000) == {1: kept}


@pytest.mark.parametrize(
    ("rule", "kept", "dropped"),
    [(KeepAll(), 16, 0), (KeepLargest(), 10, 6), (KeepParts(0.5), 15, 1), (KeepLargest(11.0), 0, 16)],
)
def test_what_a_rule_takes_away_is_told_in_ml(rule: ComponentRule, kept: int, dropped: int) -> None:
    dropped_ml: dict[int, float] = {}
    assert keep_components(_parts(10, 5, 1), {1: rule}, 1000, dropped_ml=dropped_ml) == {1: kept}
    assert dropped_ml == ({1: dropped} if dropped else {})


def test_more_than_a_tenth_of_an_organ_is_not_dropped_without_a_word() -> None:
    assert dropped_note("liver", 90, 10) is None
    assert dropped_note("liver", 0, 0) is None
    note = dropped_note("liver", 89, 11)
    assert note == "liver: 11.0 of 100.0 mL (11%) lay apart or were too little and were dropped"
    assert note.code == "organ-dropped"
    assert "(100%)" in str(dropped_note("gallbladder", 0, 0.4))


def test_the_highest_part_is_dropped_too_if_little_is_left_of_the_organ() -> None:
    labels = _stacked(20, 8)
    assert keep_components(labels, {1: KeepHighest(0.25, min_volume_ml=9)}, voxel_volume_mm3=1000) == {1: 0}
    assert not labels.any()


def test_parts_below_a_tenth_of_the_largest_go_and_a_tenth_itself_stays() -> None:
    labels = _parts(20, 2, 1)
    assert keep_components(labels, {1: KeepParts(0.1)}, voxel_volume_mm3=1000) == {1: 22}
    assert _sizes(labels) == [20, 2]


def test_an_organ_that_may_be_in_pieces_stays_whole() -> None:
    labels = _parts(20, 2, 1)
    assert keep_components(labels, {1: KeepAll()}, voxel_volume_mm3=1000) == {1: 23}
    assert _sizes(labels) == [20, 2, 1]


def test_an_organ_smaller_than_its_minimum_goes_entirely() -> None:
    for rule in (KeepAll(2.0), KeepLargest(2.0), KeepParts(0.1, 2.0)):
        labels = _parts(19)
        # 19 voxels of 0.1 mL are 1.9 mL
        assert keep_components(labels, {1: rule}, voxel_volume_mm3=100) == {1: 0}
        assert not labels.any()


def test_an_organ_of_its_minimum_stays() -> None:
    labels = _parts(20)
    assert keep_components(labels, {1: KeepAll(2.0)}, voxel_volume_mm3=100) == {1: 2.0}
    assert _sizes(labels) == [20]


def test_the_minimum_counts_what_is_left() -> None:
    labels = _parts(10, 9, 9)
    assert keep_components(labels, {1: KeepLargest(11.0)}, voxel_volume_mm3=1000) == {1: 0}


def test_voxels_that_touch_at_a_corner_are_one_part() -> None:
    labels = np.zeros((3, 3, 3), dtype=np.uint8)
    labels[0, 0, 0] = labels[1, 1, 1] = labels[2, 2, 2] = 7
    assert keep_components(labels, {7: KeepLargest()}, voxel_volume_mm3=1000) == {7: 3}


def test_each_organ_follows_its_own_rule_and_touches_no_other() -> None:
    labels = np.concatenate([_parts(4, 2, label=1), _parts(4, 2, label=2), _parts(4, 2, label=3)])
    volumes = keep_components(labels, {1: KeepLargest(), 2: KeepAll()}, voxel_volume_mm3=1000)
    assert volumes == {1: 4, 2: 6}
    assert [(labels == label).sum() for label in (1, 2, 3)] == [4, 6, 6]


def test_a_small_part_inside_another_organs_box_goes_without_a_trace_in_that_organ() -> None:
    labels = np.full((5, 5, 5), 2, dtype=np.uint8)
    labels[0, 0, 0:2] = 1
    labels[4, 4, 4] = 1
    keep_components(labels, {1: KeepLargest(), 2: KeepLargest()}, voxel_volume_mm3=1)
    assert labels[4, 4, 4] == 0
    assert (labels == 2).sum() == 125 - 3


def test_an_organ_that_was_not_found_has_no_volume() -> None:
    assert keep_components(_parts(3), {1: KeepAll(), 13: KeepLargest()}, 1000) == {1: 3, 13: 0}
    assert keep_components(np.zeros((2, 2, 2), np.uint8), {1: KeepParts(0.5)}, 1000) == {1: 0}


def test_a_view_into_a_larger_map_is_changed_in_place() -> None:
    whole = np.zeros((5, 9, 30), dtype=np.uint8)
    part = _parts(8, 2)
    view = whole[1:4, 2:7, 5:15]
    view[:] = part
    keep_components(view, {1: KeepLargest()}, voxel_volume_mm3=1)
    assert whole.sum() == 8


@pytest.mark.parametrize("rule", [KeepLargest(), KeepParts(0.5), KeepHighest(0.5), KeepAll()])
def test_what_is_counted_is_what_is_left(rule: ComponentRule) -> None:
    labels = np.zeros((12, 14, 16), np.uint8)
    labels[2:4, 3:6, 4:8] = 3
    labels[9:11, 9:12, 10:14] = 3
    labels[6, 7, 9] = 3
    counted: dict[int, Kept] = {}
    keep_components(labels, {3: rule, 5: KeepAll()}, 1000, counted)
    left = np.argwhere(labels == 3)
    assert list(counted) == [3]
    assert counted[3].voxels == len(left)
    assert counted[3].centre_zyx == pytest.approx(left.mean(axis=0))
    assert counted[3].box.start_zyx == tuple(left.min(axis=0))
    assert counted[3].box.stop_zyx == tuple(left.max(axis=0) + 1)
    # the two blocks, one of which a rule may have dropped; a rule that keeps all does not look
    assert counted[3].large_parts == (1 if isinstance(rule, KeepAll) else 2)


def test_what_falls_below_its_least_volume_is_not_counted() -> None:
    labels = np.zeros((4, 4, 4), np.uint8)
    labels[1, 1, 1] = 1
    counted: dict[int, Kept] = {}
    keep_components(labels, {1: KeepAll(2.0)}, 1000, counted)
    assert counted == {}


@pytest.mark.parametrize("voxels_at_once", [1, 60, 1 << 21])
def test_voxels_centres_and_boxes_are_those_of_the_voxels_one_by_one(
    voxels_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(components, "_VOXELS_AT_ONCE", voxels_at_once)
    labels = np.zeros((9, 9, 9), np.uint8)
    # noise, so that parts begin and end at every edge, and the last voxel of a row is followed by its like in the next
    labels[2:7, 1:8, 3:9] = np.random.default_rng(4).integers(0, 4, (5, 7, 6))
    counted: dict[int, Kept] = {}
    keep_components(labels, {label: KeepLargest() for label in (1, 2, 3)}, 1, counted)
    assert set(counted) == {1, 2, 3}
    for label, kept in counted.items():
        where = np.argwhere(labels == label)
        assert kept.voxels == len(where)
        np.testing.assert_allclose(kept.centre_zyx, where.mean(axis=0))
        assert kept.box == Box(tuple(where.min(axis=0)), tuple(where.max(axis=0) + 1))
