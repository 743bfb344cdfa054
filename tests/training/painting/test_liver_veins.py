"""Portal, splenic and hepatic veins: in liver and fat alone, joined, and gone before organs are moved."""

import numpy as np
import pytest
from scipy import ndimage

from training.painting import kernel
from training.painting.anatomy import TissueMap
from training.painting.completion import Body
from training.painting.liver_veins import draw_liver_veins, without_liver_veins
from training.painting.painter import Canvas, Painter
from training.painting.pathology import HEALTHY
from training.painting.tissue import NO_HU, Tissue, label_of_tissue, paint_hu

SPACING_ZYX = (3.0, 2.0, 2.0)
VEINS = (Tissue.PORTAL_VEIN, Tissue.HEPATIC_VEIN, Tissue.PORTAL_BRANCH)


def abdomen() -> TissueMap:
    """210 mm of fat: the liver on the right above, the spleen on the left, a pancreas from right to left between."""
    tissues = np.full((70, 110, 150), Tissue.FAT, np.uint8)
    tissues[32:66, 15:95, 10:75] = Tissue.LIVER
    tissues[30:56, 60:95, 120:140] = Tissue.SPLEEN
    tissues[24:32, 48:58, 50:112] = Tissue.PANCREAS
    tissues[:, 70:80, 80:90] = Tissue.AORTA
    tissues[:, 68:78, 60:72] = Tissue.VENA_CAVA
    tissues[:, 85:105, 65:85] = Tissue.SPONGIOSA
    return tissues


def drawn(tissues: TissueMap, seed: int = 0) -> TissueMap:
    new = tissues.copy()
    draw_liver_veins(new, SPACING_ZYX, np.random.default_rng(seed))
    return new


@pytest.mark.parametrize("seed", range(6))
def test_hepatic_veins_lie_in_the_liver_and_portal_ones_in_fat_and_no_label_changes(seed: int) -> None:
    before = abdomen()
    after = drawn(before, seed)
    for inside in (Tissue.HEPATIC_VEIN, Tissue.PORTAL_BRANCH):
        assert set(np.unique(before[after == inside])) == {Tissue.LIVER}
    assert set(np.unique(before[after == Tissue.PORTAL_VEIN])) == {Tissue.FAT}
    changed = after != before
    # where the liver touches the cava no vein leaves it
    assert set(np.unique(after[changed])) - {int(Tissue.HEPATIC_STEM)} == set(VEINS)
    labels = label_of_tissue()
    np.testing.assert_array_equal(labels[after], labels[before])
    mm3 = np.prod(SPACING_ZYX)
    # both are some millilitres: a portal system of 30 cm is 6 mm to 15 mm wide
    assert 3e3 < mm3 * (after == Tissue.PORTAL_VEIN).sum() < 6e4
    assert 1e3 < mm3 * (after == Tissue.HEPATIC_VEIN).sum() < 1e5


@pytest.mark.parametrize("seed", range(6))
def test_the_portal_system_is_one_tree_from_spleen_and_gut_into_the_liver(seed: int) -> None:
    after = drawn(abdomen(), seed)
    portal = np.isin(after, (Tissue.PORTAL_VEIN, Tissue.PORTAL_BRANCH))
    parts, _ = ndimage.label(portal, np.ones((3, 3, 3)))
    assert np.bincount(parts.ravel())[1:].max() > 0.95 * portal.sum()
    assert (after == Tissue.PORTAL_BRANCH).any()
    for organ in (Tissue.SPLEEN, Tissue.LIVER):
        assert (ndimage.binary_dilation(portal, iterations=2) & (after == organ)).any(), organ
    where = np.argwhere(portal)
    # the mesenteric vein: at least 40 mm below the pancreas's middle
    assert where[:, 0].min() * 3 < 28 * 3 - 40
    # the splenic vein lies behind the pancreas's tail, not before it
    tail = where[(where[:, 2] > 95) & (where[:, 2] < 110)]
    assert len(tail)
    assert tail[:, 1].min() > 52


@pytest.mark.parametrize("seed", range(6))
def test_hepatic_veins_enter_the_vena_cava_near_the_livers_top(seed: int) -> None:
    after = drawn(abdomen(), seed)
    near_cava = ndimage.binary_dilation(after == Tissue.VENA_CAVA, iterations=2)
    mouths = np.argwhere(near_cava & (after == Tissue.HEPATIC_VEIN))
    assert len(mouths)
    # the liver ends at slice 65
    assert (65 - mouths[:, 0].max()) * 3 < 40


def apart(gap_mm: float, tissue: Tissue = Tissue.FAT) -> TissueMap:
    """The liver ends ``gap_mm`` to the right of the vena cava, and nowhere comes closer."""
    tissues = abdomen()
    tissues[tissues == Tissue.LIVER] = tissue
    tissues[32:66, 15:95, 10 : 60 - round(gap_mm / 2)] = Tissue.LIVER
    tissues[tissues == Tissue.SPONGIOSA] = Tissue.FAT
    return tissues


@pytest.mark.parametrize("tissue", [Tissue.FAT, Tissue.SOFT, Tissue.MUSCLE])
@pytest.mark.parametrize("seed", range(4))
def test_hepatic_veins_reach_a_cava_that_lies_6_mm_from_the_liver(seed: int, tissue: Tissue) -> None:
    before = apart(6.0, tissue)
    after = drawn(before, seed)
    stem = after == Tissue.HEPATIC_STEM
    assert (ndimage.binary_dilation(stem) & (after == Tissue.VENA_CAVA)).sum() >= 4
    assert (ndimage.binary_dilation(stem) & (after == Tissue.HEPATIC_VEIN)).any()
    # no part of any label, and no further than the gap and a vein's radius from the cava
    assert not label_of_tissue()[after[stem]].any()
    np.testing.assert_array_equal(after == Tissue.VENA_CAVA, before == Tissue.VENA_CAVA)
    assert ndimage.distance_transform_edt(before != Tissue.VENA_CAVA, SPACING_ZYX)[stem].max() <= 6 + 2 * 6


def test_a_cava_far_from_the_liver_gets_no_stem_of_a_vein() -> None:
    assert not (drawn(apart(30.0)) == Tissue.HEPATIC_STEM).any()


@pytest.mark.parametrize("missing", [Tissue.LIVER, Tissue.VENA_CAVA])
def test_nothing_is_drawn_without_liver_or_vena_cava(missing: Tissue) -> None:
    tissues = abdomen()
    tissues[tissues == missing] = Tissue.FAT
    np.testing.assert_array_equal(drawn(tissues), tissues)


def test_a_portal_vein_that_the_map_shows_stays_as_it_is() -> None:
    tissues = abdomen()
    tissues[26:34, 59:63, 60:64] = Tissue.PORTAL_VEIN
    after = drawn(tissues)
    np.testing.assert_array_equal(after == Tissue.PORTAL_VEIN, tissues == Tissue.PORTAL_VEIN)
    assert (after == Tissue.HEPATIC_VEIN).any()


def test_a_body_without_its_veins_is_what_it_was() -> None:
    before = abdomen()
    np.testing.assert_array_equal(without_liver_veins(drawn(before)), before)
    before = apart(6.0)
    np.testing.assert_array_equal(without_liver_veins(drawn(before)), before)


def test_veins_are_no_bowel_which_a_full_gallbladder_pushes_aside_and_fluid_floats() -> None:
    assert kernel._is_bowel.py_func(int(Tissue.BOWEL_CONTENT))
    assert not any(kernel._is_bowel.py_func(int(vein)) for vein in VEINS)


def test_in_the_portal_phase_veins_are_bright_and_those_in_the_liver_have_its_label() -> None:
    for seed in range(20):
        hu = paint_hu("portal", np.random.default_rng(seed))
        assert hu[Tissue.PORTAL_VEIN] > hu[Tissue.LIVER]
    tissues = np.full((40, 60, 60), Tissue.FAT, np.uint8)
    tissues[10:30, 10:50, 10:50] = Tissue.LIVER
    tissues[15:25, 20:40, 20:40] = Tissue.HEPATIC_VEIN
    body = Body("one", tissues, np.full(tissues.shape, NO_HU, np.int16))
    canvas = Canvas((40, 60, 60), SPACING_ZYX, (0.0, 0.0, 0.0), 0.0)
    for seed in range(8):
        painter = Painter([body], canvas, 0.0, {"portal": 1.0}, HEALTHY)
        image, labels = painter.sample(np.random.default_rng(seed))
        inside = image[18:22, 26:34, 26:34]
        assert set(np.unique(labels[18:22, 26:34, 26:34])) == {int(Tissue.LIVER)}
        assert np.median(inside) > 60
        assert inside.min() > -200
