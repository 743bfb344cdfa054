import base64
import io

import numpy as np
import numpy.typing as npt
import pytest
from attention_dmfnet.geometry import CANONICAL_AXES_LPS, Geometry, Volume
from attention_dmfnet.organs import colour_of
from attention_dmfnet.report.pictures import Section, organ_sections, overview
from attention_dmfnet.report.statistics import organ_boxes
from PIL import Image

NAMES = {1: "liver", 3: "spleen"}


def _pixels(section: Section) -> npt.NDArray[np.int64]:
    kind, _, packed = section.url.partition(",")
    assert kind == "data:image/webp;base64"
    picture = Image.open(io.BytesIO(base64.b64decode(packed)))
    assert picture.size == (section.width, section.height)
    return np.asarray(picture.convert("RGB")).astype(np.int64)


def _near(pixels: npt.NDArray[np.int64], rgb: tuple[int, int, int]) -> npt.NDArray[np.bool_]:
    """Where a picture shows ``rgb``, as far as WebP keeps it."""
    distance: npt.NDArray[np.int64] = np.abs(pixels - np.array(rgb)).sum(axis=-1)
    return distance < 90


@pytest.fixture
def scan() -> tuple[Volume, Volume]:
    """A liver on the right that is widest at z = 12, beside a spleen on the left; 3 mm voxels."""
    grid = Geometry((40, 60, 80), (3.0, 3.0, 3.0), (-100.0, -90.0, 500.0), CANONICAL_AXES_LPS)
    labels = np.zeros(grid.shape_zyx, np.uint8)
    labels[10:30, 20:40, 10:30] = 1
    labels[12, 15:45, 5:35] = 1
    labels[15:25, 25:45, 55:70] = 3
    ct = np.where(labels > 0, 60, -80).astype(np.int16)
    return Volume(ct, grid), Volume(labels, grid)


def test_each_organ_has_its_largest_section_in_each_plane(scan: tuple[Volume, Volume]) -> None:
    ct, labels = scan
    sections = organ_sections(ct, labels, organ_boxes(labels.array), NAMES)
    assert set(sections) == {1, 3}
    axial, coronal, sagittal = sections[1]
    # z of slice 12 is 500 + 12 * 3 mm, and 900 voxels of 9 mm^2 lie in it
    assert axial.text == "liver, axial section at z = 536 mm, 81.0 cm²"
    assert coronal.text.startswith("liver, coronal section at y = ")
    assert sagittal.text.startswith("liver, sagittal section at x = ")


def test_a_picture_has_the_patients_right_on_its_left_and_the_contour_in_the_organs_colour(
    scan: tuple[Volume, Volume],
) -> None:
    ct, labels = scan
    sections = organ_sections(ct, labels, organ_boxes(labels.array), NAMES)
    middle = {}
    for label, organ in NAMES.items():
        axial = _pixels(sections[label][0])
        where = np.argwhere(_near(axial, colour_of(organ)))
        assert len(where) > 50
        middle[organ] = np.median(where[:, 1]) / axial.shape[1]
    assert middle["liver"] < 0.45 < 0.55 < middle["spleen"]


def test_a_coronal_picture_has_the_head_at_its_top(scan: tuple[Volume, Volume]) -> None:
    ct, labels = scan
    ct.array[30:] = 3000
    coronal = _pixels(organ_sections(ct, labels, organ_boxes(labels.array), NAMES)[1][1])
    rows = coronal.mean(axis=(1, 2))
    assert rows[: len(rows) // 5].mean() > 200 > rows[-len(rows) // 5 :].mean()


def test_the_overview_of_a_slab_is_seen_from_below_and_of_a_body_from_the_front(scan: tuple[Volume, Volume]) -> None:
    ct, labels = scan
    boxes = organ_boxes(labels.array)
    assert "coronal" in overview(ct, labels, boxes, NAMES).text
    grid = Geometry((6, 60, 80), (3.0, 3.0, 3.0), ct.geometry.origin_lps, CANONICAL_AXES_LPS)
    slab = Volume(labels.array[16:22], grid)
    assert "axial" in overview(Volume(ct.array[16:22], grid), slab, organ_boxes(slab.array), NAMES).text


def test_a_scan_without_any_organ_has_an_overview_and_no_sections(scan: tuple[Volume, Volume]) -> None:
    ct, labels = scan
    nothing = Volume(np.zeros_like(labels.array), labels.geometry)
    assert organ_sections(ct, nothing, {}, NAMES) == {}
    assert _pixels(overview(ct, nothing, {}, NAMES)).shape[0] > 10
