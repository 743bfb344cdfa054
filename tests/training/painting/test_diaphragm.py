"""Claims about the diaphragm's dome in painted bodies."""

import numpy as np
import pytest

from training.painting.diaphragm import draw_diaphragm
from training.painting.tissue import Tissue

SPACING_ZYX = (3.0, 2.0, 2.0)


def _liver_below_lung() -> np.ndarray:
    tissues = np.full((30, 24, 24), Tissue.FAT, np.uint8)
    tissues[3:15, 4:20, 4:20] = Tissue.LIVER
    tissues[15:, 2:22, 2:22] = Tissue.LUNG
    return tissues


@pytest.mark.parametrize("seed", range(5))
def test_muscle_lies_between_lung_and_liver_and_both_keep_the_rest(seed: int) -> None:
    before = _liver_below_lung()
    after = before.copy()
    draw_diaphragm(after, SPACING_ZYX, np.random.default_rng(seed))
    changed = after != before
    assert set(np.unique(before[changed])) == {Tissue.LUNG}
    assert set(np.unique(after[changed])) == {Tissue.MUSCLE}
    # over the liver's middle: of the first slices of lung, from about 1.5 to 4.5 mm and uneven, never above 12 mm
    over = changed[15:, 6:18, 6:18]
    assert over[0].any()
    assert not over[4:].any()


def test_its_thickness_differs_between_bodies() -> None:
    volumes = []
    for seed in range(8):
        tissues = _liver_below_lung()
        draw_diaphragm(tissues, SPACING_ZYX, np.random.default_rng(seed))
        volumes.append(int((tissues == Tissue.MUSCLE).sum()))
    assert max(volumes) > 1.5 * min(volumes)


def test_without_lung_nothing_is_drawn() -> None:
    tissues = _liver_below_lung()
    tissues[tissues == Tissue.LUNG] = Tissue.FAT
    before = tissues.copy()
    draw_diaphragm(tissues, SPACING_ZYX, np.random.default_rng(0))
    assert np.array_equal(tissues, before)


def test_lung_that_touches_fat_only_stays_lung() -> None:
    tissues = _liver_below_lung()
    tissues[tissues == Tissue.LIVER] = Tissue.FAT
    draw_diaphragm(tissues, SPACING_ZYX, np.random.default_rng(0))
    assert not (tissues == Tissue.MUSCLE).any()
