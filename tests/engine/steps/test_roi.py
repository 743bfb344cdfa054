import numpy as np
import pytest
from attention_dmfnet.geometry import CANONICAL_AXES_LPS, Box, Geometry, Index, Triple
from attention_dmfnet.steps.roi import box_with_margin, find_roi, largest_component_box, working_grid
from hypothesis import given
from hypothesis import strategies as st


def _grid(shape: Index, spacing: Triple) -> Geometry:
    return Geometry(shape, spacing, (-50.0, 20.0, 300.0), CANONICAL_AXES_LPS)


SCAN = _grid((40, 60, 60), (3.0, 1.0, 1.0))
COARSE = SCAN.with_spacing((6.0, 6.0, 6.0))  # 20 x 10 x 10 voxels over the same extent


def _foreground(*boxes: Box) -> "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]":
    mask = np.zeros(COARSE.shape_zyx, dtype=np.bool_)
    for box in boxes:
        mask[box.slices] = True
    return mask


def test_the_roi_is_the_same_place_on_the_scan_with_margins_in_mm() -> None:
    found = _foreground(Box((5, 3, 4), (10, 6, 7)))
    # z: 30 to 60 mm is slices 10 to 20, and 6 mm are 2 slices; y: 18 to 36 mm; x: 24 to 42 mm
    roi = find_roi(found, COARSE, SCAN, margin_mm=(6.0, 5.0, 0.0))
    assert roi.box == Box((8, 13, 24), (22, 41, 42))
    assert roi.notes == ()


def test_a_margin_of_part_of_a_voxel_takes_in_the_whole_voxel() -> None:
    box = box_with_margin(Box((5, 3, 4), (10, 6, 7)), COARSE, SCAN, margin_mm=(0.1, 0.1, 0.0))
    assert box == Box((9, 17, 24), (21, 37, 42))


def test_only_the_largest_component_counts() -> None:
    stray = Box((17, 8, 8), (19, 9, 9))
    roi = find_roi(_foreground(Box((5, 3, 4), (10, 6, 7)), stray), COARSE, SCAN, margin_mm=(0.0, 0.0, 0.0))
    assert roi.box == Box((10, 18, 24), (20, 36, 42))


def test_margins_end_at_the_scans_edge_without_a_note_when_the_organs_do_not_reach_it() -> None:
    roi = find_roi(_foreground(Box((1, 1, 1), (19, 9, 9))), COARSE, SCAN, margin_mm=(100.0, 100.0, 100.0))
    assert roi.box == Box((0, 0, 0), (40, 60, 60))
    assert roi.notes == ()


@pytest.mark.parametrize(
    ("box", "side"),
    [
        (Box((0, 3, 3), (9, 6, 6)), "inferior"),
        (Box((5, 3, 3), (20, 6, 6)), "superior"),
        (Box((5, 0, 3), (9, 6, 6)), "anterior"),
        (Box((5, 3, 3), (9, 10, 6)), "posterior"),
        (Box((5, 3, 0), (9, 6, 6)), "right"),
        (Box((5, 3, 3), (9, 6, 10)), "left"),
    ],
)
def test_organs_that_reach_the_edge_are_told_by_the_patients_side(box: Box, side: str) -> None:
    notes = find_roi(_foreground(box), COARSE, SCAN, margin_mm=(1.0, 1.0, 1.0)).notes
    assert notes == (f"the organs reach the scan's {side} edge and may be cut off",)


def test_with_nothing_found_the_whole_scan_is_searched_and_a_note_says_so() -> None:
    roi = find_roi(_foreground(), COARSE, SCAN, margin_mm=(6.0, 6.0, 6.0))
    assert roi.box == Box((0, 0, 0), (40, 60, 60))
    assert "found no organs" in roi.notes[0]


def test_voxels_that_touch_at_a_corner_are_one_component() -> None:
    mask = np.zeros((4, 4, 4), dtype=np.bool_)
    mask[0, 0, 0] = mask[1, 1, 1] = mask[3, 3, 3] = True
    assert largest_component_box(mask) == Box((0, 0, 0), (2, 2, 2))


@given(
    st.tuples(*[st.integers(1, 60)] * 3),
    st.tuples(*[st.floats(0.4, 7.0)] * 3),
    st.tuples(*[st.floats(0.0, 30.0)] * 3),
    st.data(),
)
def test_the_roi_holds_every_scan_voxel_of_the_component(
    shape: Index, spacing: Triple, margin: Triple, data: st.DataObject
) -> None:
    scan = _grid(shape, spacing)
    coarse = scan.with_spacing((6.0, 6.0, 6.0))
    start = data.draw(st.tuples(*[st.integers(0, size - 1) for size in coarse.shape_zyx]))
    stop = data.draw(st.tuples(*[st.integers(s + 1, size) for s, size in zip(start, coarse.shape_zyx, strict=True)]))
    box = box_with_margin(Box(start, stop), coarse, scan, margin)
    scan.crop(box)  # lies within the scan
    for axis in range(3):
        centres = np.arange(shape[axis]) * spacing[axis]
        offset = coarse.index_zyx(scan.origin_lps)[axis] * 6.0
        inside = (centres + offset > (start[axis] - 0.5) * 6.0) & (centres + offset < (stop[axis] - 0.5) * 6.0)
        for index in np.flatnonzero(inside):
            assert box.start_zyx[axis] <= index < box.stop_zyx[axis]


def test_a_working_grid_for_a_large_box_has_its_extent_and_centre() -> None:
    box = Box((4, 10, 10), (34, 50, 50))  # 90 x 40 x 40 mm
    grid = working_grid(box, SCAN, (3.0, 2.0, 2.0), tile_zyx=(8, 8, 8))
    assert grid.shape_zyx == (30, 20, 20)
    assert grid.spacing_zyx == (3.0, 2.0, 2.0)
    crop = SCAN.crop(box)
    assert grid.point_lps((14.5, 9.5, 9.5)) == pytest.approx(crop.point_lps((14.5, 19.5, 19.5)))


def test_on_the_scans_own_spacing_the_working_grid_is_the_crop_itself() -> None:
    box = Box((4, 10, 11), (34, 50, 50))
    assert working_grid(box, SCAN, SCAN.spacing_zyx, (8, 8, 8)).matches(SCAN.crop(box), tolerance_mm=1e-6)


def test_a_box_smaller_than_a_tile_takes_in_the_scan_around_it() -> None:
    grid = working_grid(Box((18, 28, 0), (22, 32, 4)), SCAN, (3.0, 1.0, 1.0), tile_zyx=(10, 20, 20))
    assert grid.shape_zyx == (10, 20, 20)
    # in the middle of z and y; at the scan's own edge in x, where the scan has no more
    assert grid.matches(SCAN.crop(Box((15, 20, 0), (25, 40, 20))), tolerance_mm=1e-6)


@given(
    st.tuples(*[st.integers(1, 80)] * 3),
    st.tuples(*[st.floats(0.4, 7.0)] * 3),
    st.tuples(*[st.floats(0.7, 6.0)] * 3),
    st.tuples(*[st.integers(4, 64)] * 3),
    st.data(),
)
def test_a_working_grid_covers_the_box_and_stays_in_the_scan_but_for_half_a_voxel(
    shape: Index, spacing: Triple, working: Triple, tile: Index, data: st.DataObject
) -> None:
    scan = _grid(shape, spacing)
    start = data.draw(st.tuples(*[st.integers(0, size - 1) for size in shape]))
    stop = data.draw(st.tuples(*[st.integers(s + 1, size) for s, size in zip(start, shape, strict=True)]))
    grid = working_grid(Box(start, stop), scan, working, tile)
    first = scan.index_zyx(grid.origin_lps)
    for axis in range(3):
        mm, step, size = spacing[axis], working[axis], grid.shape_zyx[axis]
        low = (first[axis] + 0.5) * mm - step / 2
        high = low + size * step
        slack = step / 2 + 1e-6
        assert low <= start[axis] * mm + slack
        assert high >= stop[axis] * mm - slack
        # a box of less than half a working voxel still gets a whole one
        slack = max(slack, step - mm)
        assert low >= -slack
        assert high <= shape[axis] * mm + slack
        # never a second tile for a box that fits into one
        assert size <= max(tile[axis], round((stop[axis] - start[axis]) * mm / step), 1)
