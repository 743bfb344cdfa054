"""Values that are no HU: each kind is recognised, an offset is corrected, and CT of every sort is left alone."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from attention_dmfnet.files.image_io import ImageError, read_scan, write_volume
from attention_dmfnet.files.value_checks import check_values, not_hu
from attention_dmfnet.geometry import CANONICAL_AXES_LPS, Geometry, Volume

Array = npt.NDArray[Any]


def body(contrast_hu: float = 0.0, lung: bool = False, field: int = 64, air_hu: float = -1000.0) -> Array:
    """A cylinder of fat and soft tissue with bone in it, in air, as int16 HU."""
    random = np.random.default_rng(0)
    y, x = np.indices((field, field)) - field / 2
    radius = np.hypot(y, x)
    hu = np.full((24, field, field), air_hu)
    hu[:, radius < 24] = -100
    hu[:, radius < 19] = 45
    hu[:, np.hypot(y + 6, x + 6) < 7] = 100 + contrast_hu
    hu[:, np.hypot(y - 12, x) < 4] = 450
    if lung:
        hu[12:, np.hypot(y, x - 8) < 9] = -850
    return np.rint(hu + random.normal(0, 12, hu.shape)).astype(np.int16)


SCANS: dict[str, Array] = {
    "plain": body(),
    "arterial": body(contrast_hu=150),
    "with lungs": body(lung=True),
    "in a wide field": body(field=100),
    "padded with -2000": body(air_hu=-2000),
    "padded with -3024": body(air_hu=-3024),
}
CT = pytest.mark.parametrize("hu", SCANS.values(), ids=SCANS.keys())


@CT
def test_a_ct_is_returned_as_it_is_without_a_note(hu: Array) -> None:
    array, notes = check_values(hu)
    assert array is hu
    assert notes == []


@CT
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("clipped", [True, False])
def test_an_offset_of_1024_is_corrected_and_said(hu: Array, dtype: type, clipped: bool) -> None:
    stored: Array = (np.maximum(hu + 1024, 0) if clipped else hu + 1024).astype(dtype)
    array, notes = check_values(stored)
    np.testing.assert_array_equal(array, np.maximum(hu, -1024))
    assert array.dtype == dtype
    assert [note.code for note in notes] == ["values-offset-1024"]


def _stretched(hu: Array, low: float, high: float) -> Array:
    shares = (np.clip(hu, -160, 240) + 160) / 400
    return (low + shares * (high - low)).astype(np.float32)


def _mr(seed: int, brightest: float) -> Array:
    """Smooth intensities from 0 on, without any two tissues where CT has them."""
    random = np.random.default_rng(seed)
    return (np.where(body() > -500, random.gamma(2, brightest / 8, body().shape), 5)).astype(np.int16)


NO_HU: dict[str, tuple[str, Array]] = {
    "0 to 1": ("values-scaled", _stretched(body(), 0, 1)),
    "-1 to 1": ("values-scaled", _stretched(body(), -1, 1)),
    "z-scores": ("values-scaled", ((body() - body().mean()) / body().std()).astype(np.float32)),
    "0 to 255": ("values-eight-bit", _stretched(body(), 0, 255).round()),
    "0 to 100": ("values-eight-bit", _stretched(body(), 0, 100)),
    "0 to 4095": ("values-no-hu", _stretched(body(), 0, 4095)),
    "0 to 65535": ("values-no-hu", _stretched(body(), 0, 65535)),
    "MR": ("values-no-hu", _mr(0, 800)),
    "bright MR": ("values-no-hu", _mr(1, 4000)),
    "PET in Bq/mL": ("values-no-hu", _mr(2, 20000)),
    "PET in SUV": ("values-scaled", np.random.default_rng(3).gamma(1, 2, (24, 64, 64)).astype(np.float32)),
    "all zero": ("values-constant", np.zeros((24, 64, 64), np.int16)),
    "all air": ("values-constant", np.full((24, 64, 64), -1024, np.int16)),
    "1024 subtracted twice": ("values-no-body", body() - np.int16(1600)),
    "noise of air": ("values-no-body", np.random.default_rng(4).normal(-1000, 20, (24, 64, 64)).astype(np.int16)),
}


@pytest.mark.parametrize(("code", "values"), NO_HU.values(), ids=NO_HU.keys())
def test_what_is_no_hu_is_labelled_with_a_note(code: str, values: Array) -> None:
    array, notes = check_values(values)
    assert array is values
    assert [note.code for note in notes] == [code]


@pytest.mark.parametrize(("code", "values"), NO_HU.values(), ids=NO_HU.keys())
def test_strict_refuses_what_is_no_hu_by_name(tmp_path: Any, code: str, values: Array) -> None:
    path = tmp_path / "scan.nii"
    write_volume(Volume(values, Geometry(values.shape, (5.0, 5.0, 5.0), (0.0, 0.0, 0.0), CANONICAL_AXES_LPS)), path)
    with pytest.raises(ImageError, match=r"scan\.nii: .*(no HU|is empty|no body).*--strict"):
        read_scan(path, [], strict=True)


def test_a_sliver_that_a_sample_misses_counts() -> None:
    # 1 voxel of fat in 500,000: no value is sampled there
    values = np.full((80, 80, 80), 300, np.int16)
    values[::2] = 400
    values[1, 1, 1] = -100
    assert check_values(values)[1] == []
    assert [note.code for note in check_values(np.maximum(values, 0))[1]] == ["values-no-hu"]


@pytest.mark.parametrize(("low", "high"), [(-1024, 3071), (-200, 250), (-2000, 30000), (-51, 400)])
def test_extremes_of_ct_are_hu(low: float, high: float) -> None:
    assert not_hu(low, high) is None


def test_air_that_is_not_at_minus_1000_is_told() -> None:
    """As where the header lost its slope, or values were cut to a wide window."""
    halved = np.rint(body() / 2).astype(np.int16)
    (note,) = check_values(halved)[1]
    assert note.code == "values-air"
    assert "at -5" in note
    assert "where air is -1000; was a slope lost" in note
    cut = np.maximum(body(), -600)
    assert [note.code for note in check_values(cut)[1]] == ["values-air"]


@pytest.mark.parametrize("low", [-1000, -250, -175])
def test_a_window_that_ends_at_fat_or_at_air_does_no_harm(low: int) -> None:
    assert check_values(np.clip(body(lung=True), low, 300).astype(np.int16))[1] == []


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 0, 1)])
def test_slices_of_air_between_others_are_told_however_the_scan_is_stored(order: tuple[int, int, int]) -> None:
    hu = body()
    hu[[5, 9]] = -1000
    # stored slice by slice; the array's own axes may be in any order
    (note,) = check_values(hu.transpose(order))[1]
    assert note.code == "values-gaps"
    assert note == "2 of 24 slices, between others that show a body, hold air alone: are images missing?"
    hu[9] = 40
    assert check_values(hu)[1] == [
        "1 of 24 slices, between others that show a body, hold air alone: are images missing?"
    ]


@pytest.mark.parametrize(
    ("empty", "count"), [([slice(0, 4), slice(-3, None)], 7), ([slice(-1, None)], 1), ([slice(0, 9)], 9)]
)
def test_air_right_above_or_below_a_body_that_does_not_end_there_is_told(empty: list[slice], count: int) -> None:
    hu = body()
    for slices in empty:
        hu[slices] = -1000
    (note,) = check_values(hu)[1]
    assert note.code == "values-padded"
    assert note == (f"{count} of 24 slices, at an end and right beside a body, hold air alone: organs are cut there")


def test_a_body_that_ends_by_itself_is_not_cut() -> None:
    hu = body()
    hu[:5] = -1000
    # the last of it, as the top of a head
    hu[4, 28:36, 28:36] = 40
    assert check_values(hu)[1] == []
    # what is dark and not air, as a phantom's surroundings
    dark = body()
    dark[:5] = -400
    assert check_values(dark)[1] == []


def test_gaps_are_told_of_a_scan_without_its_intercept_too() -> None:
    hu = body()
    hu[7] = -1024
    stored = np.clip(hu.astype(np.int32) + 1024, 0, None).astype(np.int16)
    assert [note.code for note in check_values(stored)[1]] == ["values-offset-1024", "values-gaps"]
