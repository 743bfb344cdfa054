import dataclasses
import itertools
from pathlib import Path

import cc3d
import numpy as np
import numpy.typing as npt
import pytest
from attention_dmfnet.files.image_io import read_volume
from attention_dmfnet.geometry import Axes, Box, Geometry, Triple, Volume

from evaluation.organs import ORGANS
from evaluation.phantom import make_phantom, phantom_geometry, write_phantom
from evaluation.phantom.scan import reorient_like

SMALL = phantom_geometry((66, 112, 128), (5, 3.2, 3.2))

# mL: what atlases and the CT data sets call ordinary, with room for small and large patients
VOLUMES_ML = {
    "liver": (900, 2000),
    "right kidney": (90, 240),
    "spleen": (90, 350),
    "pancreas": (35, 120),
    "aorta": (45, 160),
    "inferior vena cava": (35, 130),
    "right adrenal gland": (1.0, 8),
    "left adrenal gland": (1.0, 8),
    "gallbladder": (6, 60),
    "esophagus": (8, 35),
    "stomach": (120, 900),
    "duodenum": (30, 110),
    "left kidney": (80, 240),
}


@pytest.fixture(scope="module", params=[1, 2, 3])
def phantom(request: pytest.FixtureRequest) -> tuple[Volume, Volume]:
    return make_phantom(SMALL, request.param)


def centre_lps(labels: Volume, organ: str) -> Triple:
    z, y, x = np.argwhere(labels.array == ORGANS.index(organ) + 1).mean(axis=0)
    return labels.geometry.point_lps((float(z), float(y), float(x)))


@pytest.mark.parametrize(("label", "organ"), list(enumerate(ORGANS, start=1)))
def test_every_organ_has_an_ordinary_size(phantom: tuple[Volume, Volume], label: int, organ: str) -> None:
    low, high = VOLUMES_ML[organ]
    voxels = np.count_nonzero(phantom[1].array == label)
    assert low < voxels * SMALL.voxel_volume_mm3 / 1000 < high


# without the adrenal glands, which are thinner than this grid's voxels
@pytest.mark.parametrize("label", [label for label, organ in enumerate(ORGANS, start=1) if "adrenal" not in organ])
def test_every_organ_is_one_piece(phantom: tuple[Volume, Volume], label: int) -> None:
    parts = np.bincount(cc3d.connected_components(phantom[1].array == label).ravel())[1:]
    assert parts.max() > 0.97 * parts.sum()


def test_organs_lie_on_their_own_side(phantom: tuple[Volume, Volume]) -> None:
    x = {organ: centre_lps(phantom[1], organ)[0] for organ in ORGANS}
    # LPS: x grows to the patient's left
    assert max(x["liver"], x["gallbladder"], x["right kidney"]) < -40
    assert min(x["spleen"], x["left kidney"]) > 40
    assert x["inferior vena cava"] < 0 < x["aorta"]
    assert x["right adrenal gland"] < x["inferior vena cava"] < x["aorta"] < x["left adrenal gland"]


def test_organs_lie_in_their_order_from_head_to_feet(phantom: tuple[Volume, Volume]) -> None:
    z = {organ: centre_lps(phantom[1], organ)[2] for organ in ORGANS}
    assert z["esophagus"] > z["stomach"] > z["duodenum"]
    assert z["right adrenal gland"] > z["right kidney"]
    assert z["left adrenal gland"] > z["left kidney"]
    assert z["liver"] > z["right kidney"]


def test_the_tissues_have_the_hu_of_a_portal_venous_scan(phantom: tuple[Volume, Volume]) -> None:
    ct, labels = phantom

    def median(organ: str) -> float:
        return float(np.median(ct.array[labels.array == ORGANS.index(organ) + 1]))

    assert 80 < median("liver") < 140
    assert 95 < median("spleen") < 150
    assert 65 < median("pancreas") < 120
    assert 120 < median("aorta") < 210
    assert -10 < median("gallbladder") < 40
    assert median("right kidney") > max(median("spleen"), median("liver"))


def test_there_is_air_lung_fat_and_bone_around_the_organs(phantom: tuple[Volume, Volume]) -> None:
    background = phantom[0].array[phantom[1].array == 0]
    shares = [float(np.mean((background > low) & (background < high))) for low, high in TISSUES_HU]
    assert min(shares) > 0.01, dict(zip(TISSUES_HU, shares, strict=True))


TISSUES_HU = ((-1100, -940), (-920, -700), (-150, -60), (30, 90), (150, 1200))


def test_a_seed_is_one_patient_and_another_seed_another() -> None:
    grid = phantom_geometry((30, 50, 60), (10, 7, 7))
    first, again, other = make_phantom(grid, 7), make_phantom(grid, 7), make_phantom(grid, 8)
    assert np.array_equal(first[0].array, again[0].array)
    assert np.array_equal(first[1].array, again[1].array)
    assert not np.array_equal(first[1].array, other[1].array)


def orientations() -> list[Axes]:
    """One of every axis order, with changing flips."""
    ups: list[Triple] = [(0, 0, 1), (0, 1, 0), (1, 0, 0)]
    turned = []
    for order, signs in zip(itertools.permutations(ups), itertools.product((1, -1), repeat=3), strict=False):
        rows = [tuple(sign * part for part in axis) for axis, sign in zip(order, signs, strict=True)]
        turned.append((triple(rows[0]), triple(rows[1]), triple(rows[2])))
    return turned


def triple(values: tuple[float, ...]) -> Triple:
    x, y, z = values
    return (x, y, z)


@pytest.mark.parametrize("axes_lps", orientations())
def test_the_order_of_the_axes_does_not_change_the_patient(axes_lps: Axes) -> None:
    straight = phantom_geometry((24, 40, 44), (12, 9, 9))
    ct, labels = make_phantom(straight, 4)
    wanted = dataclasses.replace(straight, axes_lps=axes_lps)
    same_voxels = reorient_like(ct, wanted).geometry
    turned_ct, turned_labels = make_phantom(same_voxels, 4)
    assert turned_ct.geometry == same_voxels
    assert np.array_equal(turned_ct.array, reorient_like(ct, wanted).array)
    assert np.array_equal(turned_labels.array, reorient_like(labels, wanted).array)


def test_a_crop_shows_the_same_patient() -> None:
    whole = phantom_geometry((40, 80, 90), (8, 4.5, 4.5))
    box = Box((8, 12, 20), (30, 70, 75))
    labels, part = make_phantom(whole, 5)[1], make_phantom(whole.crop(box), 5)[1]
    assert agreement(labels.array[box.slices], part.array) > 0.999


def test_a_finer_grid_shows_the_same_patient() -> None:
    coarse = phantom_geometry((31, 61, 71), (10, 6, 6))
    fine = Geometry((61, 121, 141), (5, 3, 3), coarse.origin_lps, coarse.axes_lps)
    # every second voxel of the finer grid lies on one of the coarser
    assert agreement(make_phantom(coarse, 5)[1].array, make_phantom(fine, 5)[1].array[::2, ::2, ::2]) > 0.999


def test_a_tilted_grid_shows_the_same_patient() -> None:
    cos, sin = float(np.cos(0.2)), float(np.sin(0.2))
    straight = phantom_geometry((50, 90, 100), (6, 4, 4))
    tilted = phantom_geometry((50, 90, 100), (6, 4, 4), ((0, -sin, cos), (0, cos, sin), (1, 0, 0)))
    expected, found = make_phantom(straight, 6)[1], make_phantom(tilted, 6)[1]
    # organs that lie within both grids
    for organ in ("liver", "spleen", "left kidney", "stomach"):
        assert centre_lps(found, organ) == pytest.approx(centre_lps(expected, organ), abs=1)


def agreement(first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]) -> float:
    return float(np.mean(first == second))


def test_a_grid_beside_the_patient_shows_air() -> None:
    ct, labels = make_phantom(Geometry((8, 8, 8), (5, 5, 5), (900.0, 900.0, 0.0), SMALL.axes_lps), 1)
    assert not labels.array.any()
    assert ct.array.max() < -850


def test_the_case_is_written_as_flare22_names_it(tmp_path: Path) -> None:
    grid = phantom_geometry((20, 40, 44), (15, 9, 9))
    image_path, labels_path = write_phantom(tmp_path, 3, grid)
    assert image_path == tmp_path / "images" / "Phantom_0001_0000.nii.gz"
    assert labels_path == tmp_path / "labels" / "Phantom_0001.nii.gz"
    ct, labels = make_phantom(grid, 3)
    assert np.array_equal(read_volume(image_path).array, ct.array)
    assert np.array_equal(read_volume(labels_path).array, labels.array)
    assert read_volume(image_path).geometry.matches(grid)


def test_the_default_grid_is_that_of_an_abdominal_scan() -> None:
    grid = phantom_geometry()
    assert grid.shape_zyx == (110, 256, 256)
    assert grid.spacing_zyx == (3.0, 1.5, 1.5)
