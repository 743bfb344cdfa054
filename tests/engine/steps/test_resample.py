import numpy as np
import numpy.typing as npt
import pytest
from attention_dmfnet.geometry import (
    CANONICAL_AXES_LPS,
    Box,
    Geometry,
    GeometryError,
    Index,
    Triple,
    Volume,
    canonicalise,
)
from attention_dmfnet.steps.resample import linear_weights, resample_linear
from hypothesis import given
from hypothesis import strategies as st


def _grid(shape: Index, spacing: Triple = (1.0, 1.0, 1.0), origin: Triple = (0.0, 0.0, 0.0)) -> Geometry:
    return Geometry(shape, spacing, origin, CANONICAL_AXES_LPS)


def _noise(shape: Index = (5, 6, 7)) -> Volume:
    return Volume(np.random.default_rng(0).integers(-1000, 1000, shape).astype(np.int16), _grid(shape))


def test_halving_the_spacing_puts_the_mean_between_two_voxels() -> None:
    # with the same centre, fine voxels lie a quarter to either side of the coarse ones
    weights = linear_weights(target=4, source=2, offset=-0.25, ratio=0.5)
    assert weights.tolist() == [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]]


def test_doubling_the_spacing_averages_with_a_triangle_of_two_voxels_to_either_side() -> None:
    weights = linear_weights(target=3, source=6, offset=0.5, ratio=2.0)
    # distances 0.5 and 1.5 of a half width of 2: shares 3/4 and 1/4, doubled on both sides
    np.testing.assert_allclose(weights[1], [0, 1 / 8, 3 / 8, 3 / 8, 1 / 8, 0])
    # beyond the edge the first voxel goes on
    np.testing.assert_allclose(weights[0], [4 / 8, 3 / 8, 1 / 8, 0, 0, 0])


@given(st.integers(1, 30), st.integers(1, 30), st.floats(-50, 50), st.floats(0.05, 12))
def test_weights_are_shares_of_one(target: int, source: int, offset: float, ratio: float) -> None:
    weights = linear_weights(target, source, offset, ratio)
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)


def test_the_same_grid_changes_nothing() -> None:
    volume = _noise()
    np.testing.assert_array_equal(resample_linear(volume, volume.geometry).array, volume.array)


@given(st.tuples(*[st.floats(0.4, 3.0)] * 3))
def test_a_constant_scan_stays_constant(spacing: Triple) -> None:
    volume = Volume(np.full((4, 5, 6), -77, np.int16), _grid((4, 5, 6)))
    np.testing.assert_allclose(resample_linear(volume, volume.geometry.with_spacing(spacing)).array, -77, rtol=1e-6)


@given(st.tuples(*[st.floats(0.3, 1.0)] * 3))
def test_a_slope_in_the_patient_is_the_same_slope_on_a_finer_grid(spacing: Triple) -> None:
    def hu_at(geometry: Geometry) -> npt.NDArray[np.float32]:
        z, y, x = (
            geometry.origin_lps[2 - axis] + geometry.spacing_zyx[axis] * np.arange(geometry.shape_zyx[axis])
            for axis in range(3)
        )
        hu: npt.NDArray[np.float32] = (10 * z[:, None, None] - 7 * y[:, None] + 3 * x).astype(np.float32)
        return hu

    coarse = _grid((9, 9, 9), origin=(5.0, -3.0, 40.0))
    # kept inside, because the edge goes on flat
    fine = coarse.crop(Box((1, 1, 1), (8, 8, 8))).with_spacing(spacing)
    values = resample_linear(Volume(hu_at(coarse), coarse), fine).array
    np.testing.assert_allclose(values, hu_at(fine), atol=1e-3)


@pytest.mark.parametrize("layout", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_the_order_in_memory_does_not_matter(layout: Index) -> None:
    volume = _noise()
    stored = np.ascontiguousarray(volume.array.transpose(layout)).transpose(np.argsort(layout))
    target = volume.geometry.with_spacing((1.7, 0.8, 2.3))
    np.testing.assert_allclose(
        resample_linear(Volume(stored, volume.geometry), target).array, resample_linear(volume, target).array, atol=1e-3
    )


def test_a_part_is_the_same_as_the_part_of_the_whole() -> None:
    volume = _noise((8, 9, 10))
    whole = volume.geometry.with_spacing((1.5, 0.7, 1.0))
    box = Box((1, 3, 2), (3, 8, 6))
    np.testing.assert_allclose(
        resample_linear(volume, whole.crop(box)).array, resample_linear(volume, whole).array[box.slices], atol=1e-3
    )


def test_metal_is_clipped_before_it_is_averaged() -> None:
    hu = np.zeros((1, 1, 4), np.int16)
    hu[0, 0, 1] = 30_000
    volume = Volume(hu, _grid((1, 1, 4)))
    target = volume.geometry.with_spacing((1.0, 1.0, 2.0))
    # the triangle gives the bright voxel 3/8 of the first target voxel's weight
    np.testing.assert_allclose(resample_linear(volume, target, clip_hu=(-200, 300)).array[0, 0, 0], 300 * 3 / 8)
    assert hu.max() == 30_000


def test_grids_with_other_axes_are_refused() -> None:
    volume = _noise()
    turned = Geometry((5, 6, 7), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), ((0, 0, 1), (1, 0, 0), (0, 1, 0)))
    with pytest.raises(GeometryError, match="axes"):
        resample_linear(volume, turned)


def test_a_canonical_view_of_a_flipped_scan_is_resampled_like_any_other() -> None:
    shape = (5, 6, 7)
    flipped = Geometry(shape, (1.0, 1.0, 1.0), (0.0, 0.0, 4.0), ((0, 0, -1), (0, 1, 0), (1, 0, 0)))
    volume = _noise(shape)
    other = canonicalise(Volume(np.ascontiguousarray(volume.array[::-1]), flipped))
    target = volume.geometry.with_spacing((1.5, 1.5, 1.5))
    np.testing.assert_allclose(resample_linear(other, target).array, resample_linear(volume, target).array, atol=1e-3)
