"""Aorta and vena cava are redrawn whole, as wide as vessels are, and never into organs or bone."""

import numpy as np
import pytest
from scipy import ndimage

from training.painting.anatomy import TissueMap
from training.painting.great_vessels import redraw_great_vessels
from training.painting.tissue import Tissue

SPACING = (3.0, 2.0, 2.0)
VOXEL_AREA = SPACING[1] * SPACING[2]


@pytest.fixture
def torn() -> TissueMap:
    """Spine and liver in fat; a thin aorta with a gap and a stray piece; two slices of a vena cava."""
    tissues = np.full((50, 60, 60), Tissue.FAT, np.uint8)
    tissues[:, 38:52, 22:38] = Tissue.CORTICAL_BONE
    tissues[10:40, 5:35, 2:18] = Tissue.LIVER
    tissues[5:45, 33:36, 31:34] = Tissue.AORTA
    tissues[20:24, 33:36, 31:34] = Tissue.FAT
    tissues[20:24, 5:7, 50:53] = Tissue.AORTA
    tissues[12:14, 33:36, 24:27] = Tissue.VENA_CAVA
    return tissues


def redrawn(tissues: TissueMap, seed: int = 1) -> TissueMap:
    """A copy with new vessels."""
    new = tissues.copy()
    redraw_great_vessels(new, SPACING, np.random.default_rng(seed))
    return new


@pytest.mark.parametrize("vessel", [Tissue.AORTA, Tissue.VENA_CAVA])
@pytest.mark.parametrize("seed", range(5))
def test_a_torn_vessel_becomes_one_tube_of_a_vessels_width(torn: TissueMap, vessel: Tissue, seed: int) -> None:
    tube = redrawn(torn, seed) == vessel
    assert ndimage.label(tube)[1] == 1
    areas = tube.sum((1, 2))[np.flatnonzero(tube.any((1, 2)))] * VOXEL_AREA
    assert len(areas) >= 38
    assert 150 < np.median(areas) < 700
    assert areas.min() > 0.4 * np.median(areas)


def test_vessels_take_nothing_from_organs_and_bone(torn: TissueMap) -> None:
    new = redrawn(torn)
    for tissue in (Tissue.LIVER, Tissue.CORTICAL_BONE):
        np.testing.assert_array_equal(new == tissue, torn == tissue)


def test_a_lost_vena_cava_runs_right_of_the_aorta(torn: TissueMap) -> None:
    new = redrawn(torn)
    middles = [ndimage.center_of_mass(new == vessel)[2] for vessel in (Tissue.VENA_CAVA, Tissue.AORTA)]
    assert middles[0] + 16 / SPACING[2] < middles[1]


def test_the_aorta_steps_out_of_the_spine(torn: TissueMap) -> None:
    torn[torn == Tissue.AORTA] = Tissue.FAT
    torn[5:45, 40:43, 29:32] = Tissue.AORTA
    new = redrawn(torn)
    assert ndimage.center_of_mass(new == Tissue.AORTA)[1] < 38


def test_the_same_generator_draws_the_same(torn: TissueMap) -> None:
    np.testing.assert_array_equal(redrawn(torn, 4), redrawn(torn, 4))
    assert (redrawn(torn, 4) != redrawn(torn, 5)).any()


def test_without_an_aorta_nothing_is_drawn(torn: TissueMap) -> None:
    torn[torn == Tissue.AORTA] = Tissue.FAT
    np.testing.assert_array_equal(redrawn(torn), torn)
