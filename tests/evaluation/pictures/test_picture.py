import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from attention_dmfnet.geometry import Volume
from PIL import Image

from evaluation.errors import EvaluationError
from evaluation.phantom.scan import reorient_like
from evaluation.pictures.picture import COLOURS, best_slice, draw
from tests.evaluation.grids import labels_of

LIVER, SPLEEN = 1, 3


def scene() -> tuple[Volume, Volume]:
    """Air, 40 slices of 5 mm and 100 x 100 pixels of 2 mm, with two cubes of 40 mm in one corner each.

    The liver is right, at the back and low; the spleen left, at the front and low.
    """
    array = np.zeros((40, 100, 100), np.uint8)
    array[4:12, 60:80, 10:30] = LIVER
    array[4:12, 10:30, 60:80] = SPLEEN
    labels = labels_of(array, (5, 2, 2))
    return Volume(np.full(array.shape, -1000, np.int16), labels.geometry), labels


def pixels(path: Path) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.open(path))


def extent(picture: npt.NDArray[np.uint8], label: int, panel: int) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of the pixels of an organ's filled colour over black, within a panel."""
    # panels of 460 pixels, 14 apart
    start = 14 + panel * (460 + 14)
    part = picture[54:514, start : start + 460].astype(int)
    near = np.abs(part - 0.38 * np.array(COLOURS[label - 1])).max(axis=-1) < 2
    rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
    return int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])


@pytest.fixture
def picture(tmp_path: Path) -> npt.NDArray[np.uint8]:
    draw(*scene(), tmp_path / "picture.png", "two cubes")
    return pixels(tmp_path / "picture.png")


def test_the_patients_right_is_on_the_left_and_the_front_at_the_top(picture: npt.NDArray[np.uint8]) -> None:
    liver, spleen = (extent(picture, label, panel=0) for label in (LIVER, SPLEEN))
    assert liver[3] < 230 < spleen[2]
    assert spleen[1] < 230 < liver[0]


@pytest.mark.parametrize("panel", [0, 1, 2])
def test_a_cube_is_a_square_in_every_plane(picture: npt.NDArray[np.uint8], panel: int) -> None:
    # the cut through the front shows the spleen or the liver, whichever it meets
    shown = LIVER if panel == 0 else next(label for label in (LIVER, SPLEEN) if is_shown(picture, label, panel))
    top, bottom, left, right = extent(picture, shown, panel)
    # 40 of 200 mm on 460 pixels, less the darker border
    assert bottom - top == pytest.approx(92, abs=3)
    assert right - left == pytest.approx(92, abs=3)


def is_shown(picture: npt.NDArray[np.uint8], label: int, panel: int) -> bool:
    try:
        extent(picture, label, panel)
    except IndexError:
        return False
    return True


def test_the_head_is_up_in_the_coronal_and_sagittal_planes(picture: npt.NDArray[np.uint8]) -> None:
    for panel in (1, 2):
        shown = next(label for label in (LIVER, SPLEEN) if is_shown(picture, label, panel))
        assert extent(picture, shown, panel)[0] > 230


def test_the_order_of_the_scans_axes_does_not_change_the_picture(tmp_path: Path) -> None:
    ct, labels = scene()
    turned = dataclasses.replace(ct.geometry, axes_lps=((-1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, -1.0, 0.0)))
    draw(ct, labels, tmp_path / "straight.png", "")
    draw(reorient_like(ct, turned), reorient_like(labels, turned), tmp_path / "turned.png", "")
    assert np.array_equal(pixels(tmp_path / "straight.png"), pixels(tmp_path / "turned.png"))


def test_the_window_runs_from_minus_160_to_240_hu(tmp_path: Path) -> None:
    ct, labels = scene()
    array = ct.array.copy()
    array[:, :, :50], array[:, :, 50:] = 40, 240
    draw(Volume(array, ct.geometry), labels_of(np.zeros_like(labels.array), (5, 2, 2)), tmp_path / "p.png", "")
    axial = pixels(tmp_path / "p.png")[54:514, 14:474]
    assert axial[40, 100].tolist() == pytest.approx([127] * 3, abs=1)
    assert axial[40, 400].tolist() == [255] * 3


def test_the_slice_is_the_one_that_shows_most_organs() -> None:
    labels = np.zeros((9, 8, 8), np.uint8)
    labels[1:4, 0:4, 0:4] = 1
    labels[3:6, 6, 6] = 2
    assert best_slice(labels, 0) == 3
    assert best_slice(np.zeros((9, 8, 8), np.uint8), 0) == 4


def test_labels_of_another_grid_are_refused(tmp_path: Path) -> None:
    ct, labels = scene()
    shifted = dataclasses.replace(labels.geometry, origin_lps=(1.0, 0.0, 0.0))
    with pytest.raises(EvaluationError, match="different grids"):
        draw(ct, Volume(labels.array, shifted), tmp_path / "p.png", "")


def test_labels_beyond_thirteen_are_refused(tmp_path: Path) -> None:
    ct, labels = scene()
    with pytest.raises(EvaluationError, match="outside 0 to 13"):
        draw(ct, Volume(labels.array + np.uint8(11), labels.geometry), tmp_path / "p.png", "")
