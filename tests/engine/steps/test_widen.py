"""The ROI is widened where labels end in a plane at its side, and nowhere else."""

import numpy as np
import pytest
from attention_dmfnet.geometry import CANONICAL_AXES_LPS, Box, Geometry
from attention_dmfnet.model.network import Scores
from attention_dmfnet.notes import Note
from attention_dmfnet.steps.roi import SIDES, Roi
from attention_dmfnet.steps.widen import WIDEN_MM, widened
from hypothesis import given
from hypothesis import strategies as st

SCAN = Geometry((100, 180, 200), (3.0, 2.0, 2.0), (-50.0, 20.0, 300.0), CANONICAL_AXES_LPS)
ROI = Roi(Box((30, 50, 60), (70, 130, 140)), (Note("roi-at-edge", "said before"),))
GRID = Geometry((22, 42, 42), (6.0, 4.0, 4.0), SCAN.point_lps((29.5, 47.5, 57.5)), CANONICAL_AXES_LPS)
"""Of the scores: they begin one score before the ROI in every direction and end one or more behind it."""

LABELS = {"liver": 1, "aorta": 2, "stomach": 3}


def _scores(box: Box, number: int = 1) -> Scores:
    """Scores whose best class is ``number`` in a box of the scan's voxels, and 0 elsewhere."""
    scores = np.zeros((4, *GRID.shape_zyx), np.float32)
    scores[0] = 0.5
    inside = np.ones(GRID.shape_zyx, np.bool_)
    for axis in range(3):
        along = np.arange(GRID.shape_zyx[axis])
        shape = [-1 if other == axis else 1 for other in range(3)]
        first = SCAN.index_zyx(GRID.origin_lps)[axis]
        at = first + along * GRID.spacing_zyx[axis] / SCAN.spacing_zyx[axis]
        inside &= ((at >= box.start_zyx[axis]) & (at < box.stop_zyx[axis])).reshape(shape)
    scores[number, inside] = 1.0
    return scores


def _box(axis: int, end: int, other: tuple[int, int] = (80, 110)) -> Box:
    """A block well inside the ROI that goes on beyond one of its sides."""
    start, stop = [45, other[0], other[0]], [55, other[1], other[1]]
    if end:
        stop[axis] = ROI.box.stop_zyx[axis] + 4
    else:
        start[axis] = ROI.box.start_zyx[axis] - 4
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("end", range(2))
def test_an_organ_that_is_cut_moves_that_side_alone(axis: int, end: int) -> None:
    wider = widened(ROI, _scores(_box(axis, end)), GRID, SCAN, LABELS)
    assert wider is not None
    start, stop = list(ROI.box.start_zyx), list(ROI.box.stop_zyx)
    voxels = round(WIDEN_MM / SCAN.spacing_zyx[axis])
    if end:
        stop[axis] += voxels
    else:
        start[axis] -= voxels
    assert (list(wider.box.start_zyx), list(wider.box.stop_zyx)) == (start, stop)
    assert wider.notes[0] == "said before"
    assert wider.notes[1].code == "roi-widened"
    assert wider.notes[1] == (
        f"liver goes on beyond the region that the coarse stage found ({SIDES[axis][end]}); it was widened"
    )


def test_several_organs_and_sides_are_one_note() -> None:
    scores = np.maximum(_scores(_box(0, 1)), _scores(_box(2, 0), number=3))
    wider = widened(ROI, scores, GRID, SCAN, LABELS)
    assert wider is not None
    assert wider.notes[-1] == (
        "liver and stomach go on beyond the region that the coarse stage found (superior and right); it was widened"
    )


def test_an_organ_that_ends_inside_or_covers_less_than_two_square_centimetres_of_a_side_changes_nothing() -> None:
    assert widened(ROI, _scores(Box((32, 52, 62), (68, 128, 138))), GRID, SCAN, LABELS) is None
    # 3 x 3 scores of 4 x 4 mm in the upper side are 1.4 square centimetres
    assert widened(ROI, _scores(_box(0, 1, other=(80, 86))), GRID, SCAN, LABELS) is None


def test_vessels_run_out_of_the_roi_above_and_below_but_not_sideways() -> None:
    assert widened(ROI, _scores(_box(0, 0), number=2), GRID, SCAN, LABELS) is None
    assert widened(ROI, _scores(_box(0, 1), number=2), GRID, SCAN, LABELS) is None
    assert widened(ROI, _scores(_box(1, 0), number=2), GRID, SCAN, LABELS) is not None


def test_where_the_roi_ends_with_the_scan_there_is_nothing_to_widen() -> None:
    whole = SCAN.crop(ROI.box)
    roi = Roi(Box((0, 0, 0), whole.shape_zyx), ())
    assert widened(roi, _scores(Box((0, 0, 0), SCAN.shape_zyx)), GRID, whole, LABELS) is None


def test_no_side_is_moved_beyond_the_scan() -> None:
    near = SCAN.crop(Box((27, 45, 50), (75, 140, 150)))
    roi = Roi(Box((3, 5, 10), (43, 85, 90)), ())
    wider = widened(roi, _scores(Box((0, 0, 0), SCAN.shape_zyx)), GRID, near, LABELS)
    assert wider is not None
    assert wider.box == Box((0, 0, 0), near.shape_zyx)


@given(
    start=st.tuples(st.integers(30, 60), st.integers(50, 110), st.integers(60, 120)),
    size=st.tuples(st.integers(8, 40), st.integers(12, 80), st.integers(12, 80)),
)
def test_a_widened_roi_holds_the_one_before_and_lies_in_the_scan(
    start: tuple[int, int, int], size: tuple[int, int, int]
) -> None:
    z, y, x = (begin + length for begin, length in zip(start, size, strict=True))
    wider = widened(ROI, _scores(Box(start, (z, y, x))), GRID, SCAN, LABELS)
    beyond = any(stop > end for stop, end in zip((z, y, x), ROI.box.stop_zyx, strict=True))
    if not beyond and all(stop < end - 4 for stop, end in zip((z, y, x), ROI.box.stop_zyx, strict=True)):
        touches_low = any(begin < low + 4 for begin, low in zip(start, ROI.box.start_zyx, strict=True))
        assert touches_low or wider is None
    if wider is not None:
        assert all(new <= old for new, old in zip(wider.box.start_zyx, ROI.box.start_zyx, strict=True))
        assert all(new >= old for new, old in zip(wider.box.stop_zyx, ROI.box.stop_zyx, strict=True))
        assert wider.box != ROI.box
        SCAN.crop(wider.box)
