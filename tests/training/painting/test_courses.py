"""Claims about drawn vessels against expert ones: tubes of 10 x 10 voxels, some of them a few voxels aside."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from attention_dmfnet.files.image_io import write_volume
from attention_dmfnet.geometry import CANONICAL_AXES_LPS, Axes, Geometry, Volume

from tests.training.painting.test_vessel_courses import patient
from training.__main__ import main
from training.errors import TrainingError
from training.painting import audit_command
from training.painting.anatomy import TissueMap, read_organ_map
from training.painting.body_building import complete_hidden
from training.painting.completion import Body
from training.painting.courses import PlacedBody, compare_courses, courses_of_map, read_expert
from training.painting.tissue import NO_HU, Tissue
from training.painting.vessel_courses import course_in, frame_of, make_atlas

AMOS = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "anatomy" / "amos_0013.nii.gz"
SPL = AMOS.parent / "spl_atlas.nii.gz"

SPACING = (3.0, 2.0, 2.0)
SHAPE = (40, 50, 60)
ORIGIN = (-50.0, 20.0, 300.0)


def tube(tissue: Tissue, slices: slice = slice(5, 25), y: int = 30, x: int = 20) -> TissueMap:
    """One vessel in fat."""
    tissues = np.full(SHAPE, Tissue.FAT, np.uint8)
    tissues[slices, y : y + 10, x : x + 10] = tissue
    return tissues


def test_a_tube_three_voxels_aside_is_6_mm_off_and_shares_7_of_10_columns() -> None:
    (course,) = compare_courses(tube(Tissue.AORTA, x=23), tube(Tissue.AORTA), SPACING)
    assert (course.vessel, course.slices, course.missing) == ("aorta", 20, 0)
    assert course.dsc == pytest.approx(0.7)
    assert (course.median_mm, course.largest_mm) == (6, 6)


def test_the_largest_distance_is_that_of_the_worst_slice() -> None:
    drawn = tube(Tissue.VENA_CAVA)
    drawn[24] = np.roll(drawn[24], 5, 0)
    (course,) = compare_courses(drawn, tube(Tissue.VENA_CAVA), SPACING)
    assert (course.vessel, course.median_mm, course.largest_mm) == ("inferior vena cava", 0, 10)


def test_slices_without_a_drawn_vessel_count_as_missed() -> None:
    (course,) = compare_courses(tube(Tissue.AORTA, slice(5, 15)), tube(Tissue.AORTA), SPACING)
    assert (course.slices, course.missing, course.median_mm) == (20, 10, 0)
    assert course.dsc == pytest.approx(2 * 10 / 30)
    assert course.failed


def test_what_is_drawn_beyond_the_experts_slices_costs_nothing() -> None:
    (course,) = compare_courses(tube(Tissue.AORTA, slice(0, 40), x=21), tube(Tissue.AORTA), SPACING)
    assert course.dsc == pytest.approx(0.9)
    assert not course.failed


def test_a_vessel_that_was_not_drawn_at_all_has_no_distance() -> None:
    (course,) = compare_courses(np.zeros(SHAPE, np.uint8), tube(Tissue.AORTA), SPACING)
    assert (course.dsc, course.missing) == (0, 20)
    assert np.isnan(course.median_mm)


def test_a_copied_vessel_fails() -> None:
    (course,) = compare_courses(tube(Tissue.AORTA), tube(Tissue.AORTA), SPACING)
    assert course.dsc == 1
    assert course.failed


def test_the_aorta_is_compared_up_to_45_mm_above_the_liver_and_without_its_root() -> None:
    drawn, expert = tube(Tissue.AORTA, slice(0, 40), x=21), tube(Tissue.AORTA, slice(0, 40))
    drawn[0:10, 0:5, 0:5] = Tissue.LIVER  # its last slice is the tenth: 15 more are compared
    expert[15:40, 2:12, 20:30] = Tissue.AORTA  # the root, 56 mm in front
    (course,) = compare_courses(drawn, expert, SPACING)
    assert (course.slices, course.median_mm) == (25, 2)
    assert course.dsc == pytest.approx(0.9)


def write_expert(path: Path, labels: npt.NDArray[Any], axes: Axes = CANONICAL_AXES_LPS) -> None:
    write_volume(Volume(labels.astype(np.int16), Geometry(SHAPE, SPACING, ORIGIN, axes)), path)


def test_a_map_is_brought_on_to_the_bodys_grid(tmp_path: Path) -> None:
    write_expert(tmp_path / "amos_0013.nii.gz", tube(Tissue.AORTA))
    # the body's grid begins 6 mm above, 4 mm behind and 8 mm to the left of the map's first voxel
    body = PlacedBody("amos_0013_0", tube(Tissue.AORTA, x=21)[2:, 2:, 4:], (-42.0, 24.0, 306.0))
    (course,) = courses_of_map(tmp_path / "amos_0013.nii.gz", lambda path: [body])["amos_0013_0"]
    assert (course.slices, course.median_mm) == (20, 2)
    assert course.dsc == pytest.approx(0.9)


def test_a_map_askew_is_set_straight_as_completion_takes_it(tmp_path: Path) -> None:
    sine, cosine = float(np.sin(0.06)), float(np.cos(0.06))
    write_expert(tmp_path / "askew.nii.gz", tube(Tissue.AORTA), ((0, 0, 1), (sine, cosine, 0), (cosine, -sine, 0)))
    expert = read_expert(tmp_path / "askew.nii.gz")
    assert expert.geometry.axes_lps == CANONICAL_AXES_LPS
    np.testing.assert_allclose(expert.geometry.origin_lps, ORIGIN, atol=1e-3)


def test_names_beside_a_map_say_which_numbers_are_vessels(tmp_path: Path) -> None:
    labels = np.where(tube(Tissue.AORTA) == Tissue.AORTA, 299, 5).astype(np.int16)
    write_expert(tmp_path / "atlas.nii.gz", labels)
    (tmp_path / "atlas.json").write_text(json.dumps({"299": "inferior_vena_cava", "5": {"name": "colon"}}))
    assert np.unique(read_expert(tmp_path / "atlas.nii.gz").array).tolist() == [0, Tissue.VENA_CAVA]


def test_a_map_without_vessels_is_refused(tmp_path: Path) -> None:
    write_expert(tmp_path / "word.nii.gz", tube(Tissue.LIVER))
    with pytest.raises(TrainingError, match="neither aorta"):
        read_expert(tmp_path / "word.nii.gz")


def test_the_command_compares_drawn_vessels_with_an_experts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The completion with hidden vessels is replaced by a body whose aorta lies 10 mm beside the expert's."""
    write_expert(tmp_path / "amos_0013.nii.gz", tube(Tissue.AORTA))
    drawn = Body("amos_0013", tube(Tissue.AORTA, x=25), np.zeros(0, np.int16), origin_lps=ORIGIN)
    monkeypatch.setattr(audit_command, "complete_hidden", lambda path, atlas: drawn)
    monkeypatch.setattr(audit_command, "read_atlas", lambda folder: None)
    np.savez_compressed(
        tmp_path / "amos_0013_1.npz",
        tissues=tube(Tissue.AORTA),
        hu=np.full_like(tube(Tissue.AORTA), NO_HU, dtype=np.int16),
    )
    against = ["--against", str(tmp_path / "amos_0013.nii.gz")]
    assert main(["audit", str(tmp_path), *against]) == 1
    line = "amos_0013  fail  aorta: DSC 0.50, middles 10.0 mm apart in the median and 10.0 at most, absent in 0 of 20"
    assert f"{line} slices\n" in capsys.readouterr().out
    assert main(["audit", str(tmp_path), "--json", *against]) == 1
    (course,) = json.loads(capsys.readouterr().out)["courses"]["amos_0013"]
    assert (course["dsc"], course["failed"]) == (0.5, True)


def test_bodies_without_courses_beside_them_cannot_be_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_expert(tmp_path / "amos_0013.nii.gz", tube(Tissue.AORTA))
    np.savez_compressed(
        tmp_path / "amos_0013_1.npz",
        tissues=tube(Tissue.AORTA),
        hu=np.full_like(tube(Tissue.AORTA), NO_HU, dtype=np.int16),
    )
    assert main(["audit", str(tmp_path), "--against", str(tmp_path / "amos_0013.nii.gz")]) == 1
    assert "no vessel courses in" in capsys.readouterr().err


def test_a_map_outside_a_data_folder_cannot_be_completed(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="does not lie below a folder anatomy/"):
        complete_hidden(tmp_path / "amos_0013.nii.gz", make_atlas([patient("a"), patient("b")]))


@pytest.mark.skipif(not SPL.exists(), reason=f"{SPL} is not there")
def test_a_map_with_names_has_the_organs_that_say_where_vessels_run() -> None:
    """94 structures with numbers to 692; cut to a byte, its liver was a spleen and its kidneys were bone."""
    anatomy = read_organ_map(SPL)
    assert frame_of(anatomy) is not None
    for vessel in (Tissue.AORTA, Tissue.VENA_CAVA):
        course = course_in(anatomy, vessel)
        assert course is not None
        assert np.ptp(course.z_mm) > 200
    assert Tissue.STOMACH not in anatomy.known  # drawn as one with the duodenum


@pytest.mark.skipif(not AMOS.exists(), reason=f"{AMOS} is not there")
def test_vessels_drawn_anew_lie_near_the_experts() -> None:
    """Not the bar of 0.7: what is reached (decision 9), so that it gets no worse."""
    maps = [AMOS.parent / f"{name}.nii.gz" for name in ("amos_0013", "totalseg_s0327", "totalseg_s0328")]
    maps += sorted((AMOS.parent / "btcv").glob("btcv_000[1-6].nii.gz"))
    body = complete_hidden(AMOS, make_atlas([read_organ_map(path) for path in maps]))
    placed = PlacedBody(body.name, body.tissues, body.origin_lps)
    (courses,) = courses_of_map(AMOS, lambda _: [placed]).values()
    for course in courses:
        assert course.median_mm < 15
        assert course.dsc > 0.2
        assert course.missing <= 2
