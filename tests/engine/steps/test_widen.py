"""The ROI is widened where labels end in a plane at its side, and nowhere else."""

import numpy as np
import pytest
from attention_dmfnet.geometry import CANONICAL_AXES_LPS, Box, Geometry
from attention_dmfnet.model.network import Scores
from attention_dmfnet.steps.roi import SIDES
from attention_dmfnet.steps.widen import WIDEN_MM, Reached, Widened, reached_sides, widened, widening_notes
from hypothesis import given
from hypothesis import strategies as st

SCAN = Geometry((100, 180, 200), (3.0, 2.0, 2.0), (-50.0, 20.0, 300.0), CANONICAL_AXES_LPS)
ROI = Box((30, 50, 60), (70, 130, 140))
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
        stop[axis] = ROI.stop_zyx[axis] + 4
    else:
        start[axis] = ROI.start_zyx[axis] - 4
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def _reached(scores: Scores, box: Box = ROI, scan: Geometry = SCAN) -> list[Reached]:
    return reached_sides(box, scores, GRID, scan, LABELS)


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("end", range(2))
def test_an_organ_that_is_cut_moves_that_side_alone(axis: int, end: int) -> None:
    reached = _reached(_scores(_box(axis, end)))
    assert reached == [Reached("liver", axis, end)]
    start, stop = list(ROI.start_zyx), list(ROI.stop_zyx)
    voxels = round(WIDEN_MM / SCAN.spacing_zyx[axis])
    if end:
        stop[axis] += voxels
    else:
        start[axis] -= voxels
    wider = widened(ROI, reached, SCAN)
    assert (list(wider.start_zyx), list(wider.stop_zyx)) == (start, stop)
    (note,) = widening_notes(Widened(tuple(reached), ()), LABELS)
    assert note.code == "roi-widened"
    side = SIDES[axis][end]
    assert note == f"beyond the region that the coarse stage found ({side}) lies more of liver; it was widened"


def test_several_organs_sides_and_rounds_are_one_note_and_what_is_left_is_another() -> None:
    reached = _reached(np.maximum(_scores(_box(2, 0), number=3), _scores(_box(0, 1))))
    assert reached == [Reached("liver", 0, 1), Reached("stomach", 2, 0)]
    found = Widened((*reached, *reached), (Reached("liver", 0, 1),))
    widened_note, left_note = widening_notes(found, LABELS)
    assert widened_note == (
        "beyond the region that the coarse stage found (superior and right) lies more of liver and stomach; "
        "it was widened"
    )
    assert left_note.code == "organ-beyond-roi"
    assert left_note == "the region that was searched cuts liver (superior): what was measured is a part"


def test_notes_are_of_the_organs_that_were_asked_for_alone() -> None:
    found = Widened((Reached("liver", 0, 1), Reached("stomach", 2, 0)), (Reached("liver", 0, 1),), "no such file")
    (note,) = widening_notes(found, {"stomach"})
    assert note == "beyond the region that the coarse stage found (right) lies more of stomach; it was widened"
    assert widening_notes(found, {"spleen"}) == ()
    assert widening_notes(found, LABELS)[1].endswith("what was measured is a part (no such file)")


def test_an_organ_that_ends_inside_or_covers_less_than_two_square_centimetres_of_a_side_changes_nothing() -> None:
    assert _reached(_scores(Box((32, 52, 62), (68, 128, 138)))) == []
    # 3 x 3 scores of 4 x 4 mm in the upper side are 1.4 square centimetres
    assert _reached(_scores(_box(0, 1, other=(80, 86)))) == []


def test_what_lies_apart_from_the_organ_at_a_side_changes_nothing() -> None:
    """A network that is not sure of itself finds organs wherever a scan is cut."""
    organ, apart = _scores(Box((40, 60, 70), (60, 100, 110))), _scores(_box(2, 1, other=(106, 126)))
    assert _reached(apart) == [Reached("liver", 2, 1)]
    assert _reached(np.maximum(organ, apart)) == []


def test_vessels_run_out_of_the_roi_above_and_below_but_not_sideways() -> None:
    assert _reached(_scores(_box(0, 0), number=2)) == []
    assert _reached(_scores(_box(0, 1), number=2)) == []
    assert _reached(_scores(_box(1, 0), number=2)) == [Reached("aorta", 1, 0)]


def test_where_the_roi_ends_with_the_scan_there_is_nothing_to_widen() -> None:
    whole = SCAN.crop(ROI)
    assert _reached(_scores(Box((0, 0, 0), SCAN.shape_zyx)), Box((0, 0, 0), whole.shape_zyx), whole) == []


def test_no_side_is_moved_beyond_the_scan() -> None:
    near = SCAN.crop(Box((27, 45, 50), (75, 140, 150)))
    box = Box((3, 5, 10), (43, 85, 90))
    reached = _reached(_scores(Box((0, 0, 0), SCAN.shape_zyx)), box, near)
    assert widened(box, reached, near) == Box((0, 0, 0), near.shape_zyx)


def test_slices_thicker_than_what_a_side_is_moved_by_are_taken_one_at_a_time() -> None:
    thick = Geometry((5, 180, 200), (150.0, 2.0, 2.0), (0.0, 0.0, 0.0), CANONICAL_AXES_LPS)
    assert widened(Box((2, 0, 0), (3, 9, 9)), [Reached("liver", 0, 1)], thick) == Box((2, 0, 0), (4, 9, 9))


@given(
    middle=st.tuples(st.integers(44, 56), st.integers(80, 100), st.integers(90, 110)),
    beyond=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1)), unique=True),
)
def test_exactly_the_sides_that_are_covered_are_reached(
    middle: tuple[int, int, int], beyond: list[tuple[int, int]]
) -> None:
    """A block of 48 mm and more that ends well within the ROI, or goes on beyond some of its sides."""
    start, stop = [at - 8 for at in middle], [at + 8 for at in middle]
    start[1:], stop[1:] = [at - 12 for at in middle[1:]], [at + 12 for at in middle[1:]]
    for axis, end in beyond:
        if end:
            stop[axis] = ROI.stop_zyx[axis] + 4
        else:
            start[axis] = ROI.start_zyx[axis] - 4
    scores = _scores(Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2])))
    reached = _reached(scores)
    assert {(side.axis, side.end) for side in reached} == set(beyond)
    wider = widened(ROI, reached, SCAN)
    for axis, (old, new) in enumerate(zip(ROI.start_zyx, wider.start_zyx, strict=True)):
        assert (new < old) == ((axis, 0) in beyond)
    for axis, (old, new) in enumerate(zip(ROI.stop_zyx, wider.stop_zyx, strict=True)):
        assert (new > old) == ((axis, 1) in beyond)
    SCAN.crop(wider)
