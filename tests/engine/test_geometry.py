import itertools
import math

import numpy as np
import pytest
from attention_dmfnet.geometry import (
    CANONICAL_AXES_LPS,
    Axes,
    Box,
    Geometry,
    GeometryError,
    Index,
    Triple,
    Volume,
    canonicalise,
    with_axes,
)
from hypothesis import given
from hypothesis import strategies as st

UPRIGHT = Geometry((4, 5, 6), (3.0, 1.5, 1.0), (10.0, 20.0, 30.0), CANONICAL_AXES_LPS)


def _axes(order: tuple[int, ...], signs: tuple[int, ...]) -> Axes:
    z, y, x = (
        (float(sign * (axis == 0)), float(sign * (axis == 1)), float(sign * (axis == 2)))
        for axis, sign in zip(order, signs, strict=True)
    )
    return (z, y, x)


ORIENTATIONS = [
    _axes(order, signs)
    for order, signs in itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3))
]


def _turned(axes_lps: Axes, degrees: float, about: int) -> Axes:
    """The axes after a turn of the whole patient about one of the LPS axes."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = np.eye(3)
    first, second = [axis for axis in range(3) if axis != about]
    turn[first, first] = turn[second, second] = cos
    turn[first, second], turn[second, first] = -sin, sin
    z, y, x = ((float(a), float(b), float(c)) for a, b, c in (turn @ np.array(axes_lps).T).T)
    return (z, y, x)


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    shape = draw(st.tuples(*[st.integers(1, 9)] * 3))
    spacing = draw(st.tuples(*[st.floats(0.3, 6.0)] * 3))
    origin = draw(st.tuples(*[st.floats(-500.0, 500.0)] * 3))
    axes = draw(st.sampled_from(ORIENTATIONS))
    return Geometry(shape, spacing, origin, _turned(axes, draw(st.floats(-20.0, 20.0)), draw(st.integers(0, 2))))


def test_the_first_voxel_is_at_the_origin() -> None:
    assert UPRIGHT.point_lps((0, 0, 0)) == (10.0, 20.0, 30.0)


def test_each_array_axis_moves_along_its_own_direction_by_its_own_spacing() -> None:
    assert UPRIGHT.point_lps((1, 0, 0)) == (10.0, 20.0, 33.0)
    assert UPRIGHT.point_lps((0, 1, 0)) == (10.0, 21.5, 30.0)
    assert UPRIGHT.point_lps((0, 0, 1)) == (11.0, 20.0, 30.0)


def test_volume_and_extent_follow_from_the_spacing() -> None:
    assert UPRIGHT.voxel_volume_mm3 == 4.5
    assert UPRIGHT.extent_mm_zyx == (12.0, 7.5, 6.0)


@given(geometries(), st.tuples(*[st.floats(-5.0, 15.0)] * 3))
def test_a_points_index_is_where_the_point_came_from(geometry: Geometry, index: Triple) -> None:
    assert geometry.index_zyx(geometry.point_lps(index)) == pytest.approx(index, abs=1e-6)


@given(geometries(), st.data())
def test_a_cropped_voxel_stays_at_the_same_point_in_the_patient(geometry: Geometry, data: st.DataObject) -> None:
    start = data.draw(st.tuples(*[st.integers(0, size - 1) for size in geometry.shape_zyx]))
    stop = data.draw(
        st.tuples(*[st.integers(low + 1, size) for low, size in zip(start, geometry.shape_zyx, strict=True)])
    )
    crop = geometry.crop(Box(start, stop))
    assert crop.point_lps((0, 0, 0)) == pytest.approx(geometry.point_lps(start))
    z, y, x = crop.shape_zyx
    last_z, last_y, last_x = stop
    assert crop.point_lps((z - 1, y - 1, x - 1)) == pytest.approx(
        geometry.point_lps((last_z - 1, last_y - 1, last_x - 1))
    )


def test_a_crop_beyond_the_grid_is_refused() -> None:
    with pytest.raises(GeometryError, match="reaches outside"):
        UPRIGHT.crop(Box((0, 0, 0), (4, 5, 7)))


@pytest.mark.parametrize(("start", "stop"), [((0, 0, 0), (0, 1, 1)), ((-1, 0, 0), (1, 1, 1)), ((2, 0, 0), (1, 1, 1))])
def test_a_box_without_voxels_or_below_zero_is_refused(start: Index, stop: Index) -> None:
    with pytest.raises(GeometryError):
        Box(start, stop)


def test_a_new_spacing_is_exact_and_keeps_the_centre() -> None:
    fine = UPRIGHT.with_spacing((2.0, 2.0, 2.0))
    assert fine.spacing_zyx == (2.0, 2.0, 2.0)
    assert fine.shape_zyx == (6, 4, 3)
    assert fine.point_lps((2.5, 1.5, 1.0)) == pytest.approx(UPRIGHT.point_lps((1.5, 2.0, 2.5)))


@given(geometries(), st.tuples(*[st.floats(0.5, 20.0)] * 3))
def test_a_new_spacing_changes_the_extent_by_at_most_half_a_voxel(geometry: Geometry, spacing: Triple) -> None:
    new = geometry.with_spacing(spacing)
    for before, after, size, mm in zip(geometry.extent_mm_zyx, new.extent_mm_zyx, new.shape_zyx, spacing, strict=True):
        assert abs(before - after) <= mm / 2 + 1e-9 or size == 1


@pytest.mark.parametrize("axes", ORIENTATIONS)
def test_every_orientation_becomes_the_canonical_one(axes: Axes) -> None:
    geometry = Geometry((4, 5, 6), (3.0, 1.5, 1.0), (10.0, 20.0, 30.0), axes)
    assert geometry.canonical().axes_lps == CANONICAL_AXES_LPS


@given(geometries())
def test_a_canonical_voxel_is_the_same_tissue_at_the_same_point(geometry: Geometry) -> None:
    volume = Volume(np.arange(math.prod(geometry.shape_zyx)).reshape(geometry.shape_zyx), geometry)
    canonical = canonicalise(volume)
    z_axis, y_axis, x_axis = (range(size) for size in geometry.shape_zyx)
    for index in itertools.product(z_axis, y_axis, x_axis):
        z, y, x = (round(i) for i in canonical.geometry.index_zyx(geometry.point_lps(index)))
        assert canonical.array[z, y, x] == volume.array[index]


@given(geometries())
def test_canonical_axes_run_towards_head_back_and_left(geometry: Geometry) -> None:
    axes = np.array(geometry.canonical().axes_lps)
    assert (np.diag(axes @ np.array(CANONICAL_AXES_LPS).T) > 0.9).all()


@given(geometries())
def test_back_from_canonical_axes_is_exactly_the_same_volume(geometry: Geometry) -> None:
    volume = Volume(np.arange(math.prod(geometry.shape_zyx)).reshape(geometry.shape_zyx), geometry)
    back = with_axes(canonicalise(volume), geometry.axes_lps)
    assert back.geometry.matches(geometry, tolerance_mm=1e-9)
    np.testing.assert_array_equal(back.array, volume.array)


@given(geometries())
def test_canonicalising_copies_nothing(geometry: Geometry) -> None:
    volume = Volume(np.zeros(geometry.shape_zyx, dtype=np.int16), geometry)
    canonicalise(volume).array[0, 0, 0] = 7
    assert volume.array.max() == 7


def test_a_crop_of_the_canonical_volume_returns_to_the_scans_axes() -> None:
    geometry = Geometry((4, 5, 6), (3.0, 1.5, 1.0), (10.0, 20.0, 30.0), _axes((0, 2, 1), (-1, 1, -1)))
    volume = Volume(np.arange(120).reshape(4, 5, 6), geometry)
    crop = canonicalise(volume).crop(Box((1, 2, 1), (4, 4, 3)))
    back = with_axes(crop, geometry.axes_lps)
    assert back.geometry.axes_lps == geometry.axes_lps
    z, y, x = (round(i) for i in geometry.index_zyx(back.geometry.origin_lps))
    there = volume.crop(Box((z, y, x), (z + 2, y + 3, x + 2)))
    assert back.geometry.matches(there.geometry)
    np.testing.assert_array_equal(back.array, there.array)


@pytest.mark.parametrize(
    ("shape", "spacing", "origin", "axes", "complaint"),
    [
        ((0, 5, 6), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), CANONICAL_AXES_LPS, "empty"),
        ((4, 5, 6), (1.0, math.nan, 1.0), (0.0, 0.0, 0.0), CANONICAL_AXES_LPS, "spacing"),
        ((4, 5, 6), (1.0, 0.0, 1.0), (0.0, 0.0, 0.0), CANONICAL_AXES_LPS, "spacing"),
        ((4, 5, 6), (1.0, -1.0, 1.0), (0.0, 0.0, 0.0), CANONICAL_AXES_LPS, "spacing"),
        ((4, 5, 6), (1.0, 1.0, 1.0), (0.0, math.inf, 0.0), CANONICAL_AXES_LPS, "origin"),
        ((4, 5, 6), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), ((0, 0, 1), (0, 1, 0), (0, 1, 0)), "right angles"),
        ((4, 5, 6), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), ((0, 0, 2), (0, 1, 0), (1, 0, 0)), "right angles"),
        ((4, 5, 6), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), ((0, 0, 1e200), (0, 1, 0), (1, 0, 0)), "right angles"),
    ],
)
def test_a_grid_that_cannot_exist_is_refused(
    shape: Index, spacing: Triple, origin: Triple, axes: Axes, complaint: str
) -> None:
    with pytest.raises(GeometryError, match=complaint):
        Geometry(shape, spacing, origin, axes)


def test_an_array_must_have_the_shape_of_its_grid() -> None:
    with pytest.raises(GeometryError, match="does not fit"):
        Volume(np.zeros((4, 5, 7)), UPRIGHT)


def test_grids_match_only_within_the_tolerance() -> None:
    moved = Geometry(UPRIGHT.shape_zyx, UPRIGHT.spacing_zyx, (10.0, 20.0, 30.002), UPRIGHT.axes_lps)
    assert UPRIGHT.matches(UPRIGHT)
    assert not UPRIGHT.matches(moved)
    assert UPRIGHT.matches(moved, tolerance_mm=0.01)
    stretched = Geometry(UPRIGHT.shape_zyx, (3.1, 1.5, 1.0), UPRIGHT.origin_lps, UPRIGHT.axes_lps)
    assert not UPRIGHT.matches(stretched, tolerance_mm=0.01)
