"""A scan of a tilted gantry is read where it is: every organ at its place in the patient."""

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from attention_dmfnet.dicom.listing import only_case
from attention_dmfnet.dicom.tilt import moved
from attention_dmfnet.geometry import Volume
from attention_dmfnet.notes import Note, doubts

from tests.engine.dicom.made import write_tilted

Points = npt.NDArray[np.float64]


def _ramp(points: Points) -> Points:
    """Different at every place, and kept by linear interpolation."""
    values: Points = -200 + 3 * points[..., 0] + 2 * points[..., 1] + 0.5 * points[..., 2]
    return values


def _ball(points: Points) -> Points:
    distance = np.linalg.norm(points - np.array([3.0, -6.0, 132.0]), axis=-1)
    return np.where(distance < 15, 200.0, -100.0)


def _read(folder: Path) -> tuple[Volume, list[Note]]:
    notes: list[Note] = []
    return only_case(folder).read(notes), notes


def _points(volume: Volume) -> Points:
    g = volume.geometry
    index = np.stack(np.meshgrid(*map(np.arange, g.shape_zyx), indexing="ij"), axis=-1) * np.array(g.spacing_zyx)
    points: Points = index @ np.array(g.axes_lps) + np.array(g.origin_lps)
    return points


@pytest.mark.parametrize("degrees", [-20.0, 1.0, 12.5, 30.0])
def test_every_voxel_has_the_value_of_its_place_in_the_patient(degrees: float, tmp_path: Path) -> None:
    write_tilted(_ramp, tmp_path, degrees)
    volume, notes = _read(tmp_path)
    truth, scanned = _ramp(_points(volume)), volume.array != -1024
    # rounded once when stored and once when moved; at the edge half a pixel is held
    off = np.abs(volume.array - truth)[scanned]
    assert np.quantile(off, 0.9) <= 1.01
    assert off.max() <= 1.01 + 2 * 1.0 + 0.5
    assert scanned.sum() == pytest.approx(24 * 40 * 36, rel=0.02)
    assert [note.code for note in notes] == ["dicom-series", "dicom-tilt"]
    assert f"{abs(degrees):.1f} degrees" in notes[1]
    assert doubts(notes) == []


@pytest.mark.parametrize("degrees", [-15.0, 25.0])
def test_a_ball_is_round_and_where_it_was(degrees: float, tmp_path: Path) -> None:
    write_tilted(_ball, tmp_path, degrees)
    volume, _ = _read(tmp_path)
    inside = _points(volume)[volume.array > 50]
    np.testing.assert_allclose(inside.mean(axis=0), [3.0, -6.0, 132.0], atol=0.5)
    # standard deviation of a ball of 15 mm along each axis: 15 / sqrt(5); and no two axes lean on each other
    np.testing.assert_allclose(np.cov(inside.T), np.eye(3) * 15**2 / 5, atol=3.0)
    assert len(inside) * volume.geometry.voxel_volume_mm3 == pytest.approx(4 / 3 * math.pi * 15**3, rel=0.05)


def test_planes_stay_planes(tmp_path: Path) -> None:
    write_tilted(_ramp, tmp_path, 20.0)
    case = only_case(tmp_path)
    normal, column, _ = case.grid().axes_lps
    assert case.grid().shape_zyx[0] == len(case.stack.frames) == 24
    assert case.grid().spacing_zyx[0] == pytest.approx(3.0 * math.cos(math.radians(20.0)))
    for k, frame in enumerate(case.stack.frames):
        plane = case.grid().point_lps((k, 0, 0))
        assert np.dot(np.subtract(plane, frame.position_lps), normal) == pytest.approx(0, abs=1e-4)
    assert column == pytest.approx((0.0, math.cos(math.radians(20.0)), -math.sin(math.radians(20.0))))


def test_what_is_not_tilted_is_not_resampled(tmp_path: Path) -> None:
    write_tilted(_ramp, tmp_path, 0.0)
    volume, notes = _read(tmp_path)
    np.testing.assert_array_equal(volume.array, np.rint(_ramp(_points(volume))))
    assert [note.code for note in notes] == ["dicom-series"]


def test_half_a_pixel_is_the_mean_of_two_and_beyond_the_plane_is_air() -> None:
    plane = np.array([[0, 10], [20, 30], [40, 50]], np.int16)
    np.testing.assert_array_equal(
        moved(plane, np.array([1.5, 0.0]), (6, 2), -1024),
        [[-1024, -1024], [0, 10], [10, 20], [30, 40], [40, 50], [-1024, -1024]],
    )
    np.testing.assert_array_equal(moved(plane, np.array([0.0, 1.0]), (3, 3), -1024)[1], [-1024, 20, 30])
