"""An esophagus is in one piece, reaches the stomach and goes on into the chest."""

import numpy as np
from scipy import ndimage

from training.painting.anatomy import TissueMap
from training.painting.esophagus import draw_through
from training.painting.tissue import Tissue

SPACING = (3.0, 2.0, 2.0)


def torn() -> TissueMap:
    """Two parts 12 mm apart in height and 20 mm in the plane, a speck, a stomach below, and a liver up to slice 29."""
    tissues = np.full((60, 50, 60), Tissue.FAT, np.uint8)
    tissues[5:30, 5:40, 2:20] = Tissue.LIVER
    tissues[8:18, 10:30, 38:55] = Tissue.STOMACH
    tissues[22:26, 26:31, 32:37] = Tissue.ESOPHAGUS
    tissues[30:40, 30:35, 22:27] = Tissue.ESOPHAGUS
    tissues[45, 5, 5] = Tissue.ESOPHAGUS
    return tissues


def drawn(tissues: TissueMap) -> TissueMap:
    new = tissues.copy()
    draw_through(new, SPACING)
    return new


def test_it_is_one_piece_from_the_stomach_to_60_mm_above_the_liver() -> None:
    new = drawn(torn())
    esophagus = new == Tissue.ESOPHAGUS
    assert ndimage.label(esophagus, np.ones((3, 3, 3)))[1] == 1
    levels = np.flatnonzero(esophagus.any((1, 2)))
    assert levels[-1] == 29 + 20
    beside = ndimage.binary_dilation(esophagus, iterations=1)
    assert (beside & (new == Tissue.STOMACH)).any()


def test_the_largest_part_stays_the_other_guides_and_specks_go() -> None:
    old, new = torn(), drawn(torn())
    assert (new[30:40][old[30:40] == Tissue.ESOPHAGUS] == Tissue.ESOPHAGUS).all()
    # the lower part's middle: row 28, column 34
    assert new[22, 28, 34] == Tissue.ESOPHAGUS
    assert new[45, 5, 5] == Tissue.SOFT


def test_organs_do_not_give_way() -> None:
    old, new = torn(), drawn(torn())
    for organ in (Tissue.LIVER, Tissue.STOMACH):
        np.testing.assert_array_equal(new == organ, old == organ)


def test_where_there_is_none_none_is_drawn() -> None:
    bare = torn()
    bare[bare == Tissue.ESOPHAGUS] = Tissue.FAT
    np.testing.assert_array_equal(drawn(bare), bare)
