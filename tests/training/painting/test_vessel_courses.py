"""The course of a hidden vessel is told from where the organs lie and how it runs in other patients."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from attention_dmfnet.geometry import Geometry, Volume

from training.painting.anatomy import Anatomy
from training.painting.tissue import Tissue
from training.painting.vessel_courses import LEVELS, VESSELS, CourseAtlas, course_in, frame_of, make_atlas

AXES = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))


def patient(name: str, shift_mm: float = 0.0, scale: float = 1.0, vessels: bool = True) -> Anatomy:
    """Boxes of organs 4 mm a voxel; the vessels run straight up at ``shift_mm`` further to the left."""
    tissues = np.zeros((60, 50, 70), np.uint8)

    def box(organ: Tissue, z: tuple[int, int], y: tuple[int, int], x: tuple[int, int]) -> None:
        low, high = (round(30 + (v - 30) * scale) for v in z)
        tissues[low:high, y[0] : y[1], x[0] : x[1]] = organ

    box(Tissue.LIVER, (28, 48), (10, 30), (8, 30))
    box(Tissue.SPLEEN, (32, 44), (25, 36), (50, 62))
    box(Tissue.PANCREAS, (26, 32), (16, 22), (28, 46))
    box(Tissue.RIGHT_KIDNEY, (16, 32), (30, 40), (16, 26))
    box(Tissue.LEFT_KIDNEY, (18, 34), (30, 40), (44, 54))
    if vessels:
        step = round(shift_mm / 4)
        tissues[4:56, 32:36, 36 + step : 40 + step] = Tissue.AORTA
        tissues[4:56, 31:34, 30 + step : 33 + step] = Tissue.VENA_CAVA
    geometry = Geometry((60, 50, 70), (4.0, 4.0, 4.0), (-140.0, -100.0, -120.0), AXES)
    known = frozenset(int(v) for v in np.unique(tissues)) - {0}
    return Anatomy(name, Volume(tissues, geometry), known)


def test_the_frame_begins_between_the_kidneys_and_ends_at_the_livers_top() -> None:
    frame = frame_of(patient("a"))
    assert frame is not None
    # kidneys' middles at slices 23.5 and 25.5, rows 34.5, columns 20.5 and 48.5
    np.testing.assert_allclose(frame.origin_mm, [24.5 * 4 - 120, 34.5 * 4 - 100, 34.5 * 4 - 140])
    assert frame.height_mm == pytest.approx((47 - 24.5) * 4)


def test_without_a_kidney_there_is_no_frame() -> None:
    one = patient("a")
    tissues = np.where(one.tissues == Tissue.LEFT_KIDNEY, 0, one.tissues)
    assert frame_of(Anatomy("b", Volume(tissues, one.volume.geometry), one.known)) is None


def test_a_straight_vessels_course_is_its_middle() -> None:
    course = course_in(patient("a"), Tissue.AORTA)
    assert course is not None
    assert len(course.z_mm) == 52
    np.testing.assert_allclose(course.middle_mm, np.tile([33.5 * 4 - 100, 37.5 * 4 - 140], (52, 1)))
    # four voxels of 4 mm across: a standard deviation of 4.5 mm, half axes of twice that
    np.testing.assert_allclose(course.half_mm, 2 * 4 * np.std([0, 1, 2, 3]))


def test_a_hidden_course_is_expected_where_others_have_theirs() -> None:
    atlas = make_atlas([patient("a", -4), patient("b"), patient("c", 4)])
    hidden = patient("d", vessels=False)
    frame = frame_of(hidden)
    assert frame is not None
    for vessel, column in ((Tissue.AORTA, 37.5), (Tissue.VENA_CAVA, 31.0)):
        expected = atlas.expected(frame, vessel) + frame.origin_mm[1:]
        np.testing.assert_allclose(expected[:, 1], column * 4 - 140, atol=1.0)


def test_a_taller_patients_course_is_stretched_with_him() -> None:
    atlas = make_atlas([patient("a"), patient("b"), patient("c", scale=1.2)])
    curves = atlas.curves[Tissue.AORTA]
    np.testing.assert_allclose(curves[0, 20:30], curves[2, 20:30], atol=2.5)


def test_a_maps_own_course_can_be_left_out() -> None:
    atlas = make_atlas([patient("a"), patient("b", 24)])
    alone = atlas.without(["b"])
    assert alone.names == ("a",)
    frame = frame_of(patient("b", 24))
    assert frame is not None
    ours = alone.expected(frame, Tissue.AORTA) + frame.origin_mm[1:]
    assert abs(ours[len(LEVELS) // 2, 1] - (37.5 * 4 - 140)) < 2


def test_the_atlas_comes_back_from_its_file(tmp_path: Path) -> None:
    atlas = make_atlas([patient("a"), patient("b", 8)])
    atlas.save(tmp_path / "courses.npz")
    again = CourseAtlas.read(tmp_path / "courses.npz")
    assert again.names == atlas.names
    for vessel in VESSELS:
        np.testing.assert_array_equal(again.curves[vessel], atlas.curves[vessel])
    frame = frame_of(patient("c"))
    assert frame is not None
    np.testing.assert_array_equal(again.expected(frame, Tissue.AORTA), atlas.expected(frame, Tissue.AORTA))


def test_a_map_without_vessels_teaches_nothing() -> None:
    assert make_atlas([patient("a"), patient("b", vessels=False)]).names == ("a",)


def test_a_vena_cava_that_no_map_shows_runs_right_of_the_aorta() -> None:
    maps = [patient("a"), patient("b", 4)]
    bare = [replace(m, volume=Volume(m.tissues * (m.tissues != Tissue.VENA_CAVA), m.volume.geometry)) for m in maps]
    atlas, frame = make_atlas(bare), frame_of(patient("c"))
    assert frame is not None
    apart = atlas.expected(frame, Tissue.VENA_CAVA) - atlas.expected(frame, Tissue.AORTA)
    np.testing.assert_allclose(apart, np.tile([-4.0, -32.0], (len(LEVELS), 1)))
