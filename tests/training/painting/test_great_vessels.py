"""Aorta and vena cava are drawn whole, from their bifurcations to the chest and the heart, and never into organs."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from tests.training.painting.test_vessel_courses import patient
from training.painting import great_vessels
from training.painting.anatomy import TissueMap
from training.painting.great_vessels import VesselSite, draw_great_vessels, site_of
from training.painting.tissue import Tissue
from training.painting.vessel_courses import frame_of, make_atlas
from training.painting.vessel_neighbours import Tube, draw_crura, draw_iliacs, draw_renal_veins, inside

SPACING = (4.0, 4.0, 4.0)
FINE = np.array([3.0, 2.0, 2.0])
ATLAS = make_atlas([patient("a", -4), patient("b"), patient("c", 4)])
ORIGIN = np.array([-120.0, -100.0, -140.0])
LIVER_TOP = 47


def site() -> VesselSite:
    frame = frame_of(patient("d", vessels=False))
    assert frame is not None
    return site_of(frame, ATLAS, ORIGIN)


def body() -> TissueMap:
    """The patient's organs in fat, with a spine behind and lungs above the liver."""
    tissues = patient("d", vessels=False).tissues.copy()
    # fifteen more slices above, so that the heart has a place
    tissues = np.concatenate([tissues, np.zeros((15, *tissues.shape[1:]), np.uint8)])
    empty = tissues == 0
    tissues[empty] = Tissue.FAT
    tissues[:, 38:48, 32:44] = Tissue.CORTICAL_BONE
    above = np.arange(len(tissues))[:, None, None] > LIVER_TOP
    tissues[above & empty & (tissues == Tissue.FAT)] = Tissue.LUNG
    return tissues


def drawn(tissues: TissueMap, seed: int = 1, ends_mm: tuple[float, float] = (float("nan"), float("nan"))) -> TissueMap:
    new = tissues.copy()
    draw_great_vessels(new, SPACING, replace(site(), ends_mm=ends_mm), ATLAS, np.random.default_rng(seed))
    return new


def slices_of(tissues: TissueMap, vessel: Tissue) -> npt.NDArray[np.int64]:
    return np.flatnonzero((tissues == vessel).any((1, 2)))


@pytest.mark.parametrize("seed", range(6))
def test_each_vessel_is_one_tube(seed: int) -> None:
    new = drawn(body(), seed)
    for vessel in (Tissue.AORTA, Tissue.VENA_CAVA):
        parts, count = ndimage.label(new == vessel, np.ones((3, 3, 3)))
        assert np.bincount(parts.ravel())[1:].max() >= 0.97 * np.count_nonzero(parts), count


@pytest.mark.parametrize("seed", range(6))
def test_the_aorta_passes_the_livers_top_and_the_cava_ends_at_the_heart(seed: int) -> None:
    new = drawn(body(), seed)
    assert slices_of(new, Tissue.AORTA)[-1] * 4 >= LIVER_TOP * 4 + 40
    end = slices_of(new, Tissue.VENA_CAVA)[-1]
    assert -8 <= (end - LIVER_TOP) * 4 <= 24
    above = new[end + 1 : end + 4]
    middle = np.argwhere(new[end] == Tissue.VENA_CAVA).mean(0).round().astype(int)
    assert (above[:, middle[0] - 1, middle[1]] == Tissue.RIGHT_ATRIUM).any()
    # all of it opens there, but for what lies in the way
    assert np.mean(above[0][new[end] == Tissue.VENA_CAVA] == Tissue.RIGHT_ATRIUM) > 0.8


def test_both_begin_below_the_kidneys_and_go_on_as_iliac_vessels() -> None:
    new = drawn(body(), ends_mm=(56.0, 44.0))
    for vessel, iliac in ((Tissue.AORTA, Tissue.AORTA_BEYOND), (Tissue.VENA_CAVA, Tissue.CAVA_BEYOND)):
        lowest = slices_of(new, vessel)[0]
        assert lowest < 16
        below = np.argwhere(new[lowest - 2] == iliac)
        assert len(below)
        # one on either side of where the vessel ends
        x = np.argwhere(new[lowest] == vessel)[:, 1].mean()
        assert below[:, 1].min() < x < below[:, 1].max()
    assert not (new == Tissue.VESSEL).any()


@pytest.mark.parametrize("seed", range(4))
def test_vessels_take_nothing_from_organs_and_bone(seed: int) -> None:
    old, new = body(), drawn(body(), seed)
    for tissue in (Tissue.PANCREAS, Tissue.RIGHT_KIDNEY, Tissue.LEFT_KIDNEY, Tissue.SPLEEN, Tissue.CORTICAL_BONE):
        np.testing.assert_array_equal(new == tissue, old == tissue)


def test_the_cava_may_run_through_the_upper_liver_only() -> None:
    old = body()
    old[28:48, 10:38, 8:44] = np.where(old[28:48, 10:38, 8:44] == Tissue.FAT, Tissue.LIVER, old[28:48, 10:38, 8:44])
    new = drawn(old)
    taken = (old == Tissue.LIVER) & (new == Tissue.VENA_CAVA)
    levels = np.flatnonzero(taken.any((1, 2)))
    assert len(levels)
    assert levels[0] > 28 + 0.45 * 19
    assert not ((old == Tissue.LIVER) & (new == Tissue.AORTA)).any()


def test_an_aorta_that_the_map_shows_stays_and_is_continued() -> None:
    shown = body()
    shown[20:40, 32:36, 36:40] = Tissue.AORTA
    new = drawn(shown)
    np.testing.assert_array_equal(new[20:40] == Tissue.AORTA, shown[20:40] == Tissue.AORTA)
    slices = slices_of(new, Tissue.AORTA)
    assert slices[0] < 20
    assert slices[-1] > LIVER_TOP
    np.testing.assert_allclose(
        ndimage.center_of_mass(new[41] == Tissue.AORTA), ndimage.center_of_mass(new[39] == Tissue.AORTA), atol=1.5
    )


@pytest.mark.parametrize("seed", range(4))
def test_a_vessel_that_the_map_shows_to_end_is_not_continued_below(seed: int) -> None:
    """The aorta was continued to where a rule of thumb has forks, up to 47 mm below an expert's end."""
    shown = body()
    shown[20:40, 32:36, 36:40] = Tissue.AORTA
    new = drawn(shown, seed, (80.0, float("nan")))
    assert slices_of(new, Tissue.AORTA)[0] == 20
    assert slices_of(new, Tissue.VENA_CAVA)[0] < 20  # it forks below the aorta


@pytest.mark.parametrize("seed", range(8))
def test_aortas_fork_32_to_121_mm_below_the_kidneys_middle_and_cavae_below_them(seed: int) -> None:
    new = drawn(body(), seed)
    aorta, cava = (int(slices_of(new, vessel)[0]) for vessel in (Tissue.AORTA, Tissue.VENA_CAVA))
    below_mm = float(site().origin_mm[0]) - aorta * 4
    assert 30 <= below_mm <= 123 or aorta == 0  # to the nearest slice of 4 mm; or cut by the end of the body
    assert cava <= aorta


def test_the_cava_lies_right_of_the_aorta() -> None:
    new = drawn(body())
    cava, aorta = (ndimage.center_of_mass(new[20:44] == vessel)[2] for vessel in (Tissue.VENA_CAVA, Tissue.AORTA))
    assert cava * 4 + 12 < aorta * 4


def test_muscle_lies_beside_the_aorta_between_the_kidneys_and_the_hiatus() -> None:
    old = body()
    new = drawn(old)
    crura = (new == Tissue.MUSCLE) & (old != Tissue.MUSCLE)
    levels = np.flatnonzero(crura.any((1, 2)))
    assert levels[0] >= 22
    assert levels[-1] <= LIVER_TOP
    near = ndimage.distance_transform_edt(new != Tissue.AORTA, SPACING)
    assert near[crura].max() < 20


def fine_body() -> tuple[TissueMap, Tube]:
    """A block of fat of 3 x 2 x 2 mm, and a straight aorta of 20 mm from height -0.5 to 1.5 of a frame of 150 mm."""
    tissues = np.full((100, 80, 80), Tissue.FAT, np.uint8)
    aorta = Tube(0, np.full((100, 2), 40.0), np.full((100, 2), 10.0))
    for slice_ in tissues:
        slice_[inside(tissues.shape, aorta.middles[0], aorta.half_mm[0], FINE)] = Tissue.AORTA
    return tissues, aorta


@pytest.mark.parametrize("seed", range(12))
def test_crura_lie_beside_the_aorta_below_and_before_it_above_and_the_right_one_is_thicker(seed: int) -> None:
    tissues, aorta = fine_body()
    draw_crura(tissues, aorta, 75.0, 150.0, FINE, np.random.default_rng(seed))
    crura = tissues == Tissue.MUSCLE
    levels = (np.arange(100) * 3.0 - 75.0) / 150.0
    # x grows to the patient's left; the aorta's middle is at column 40, its sides are at 35 and 45
    right, left = crura[:, :, :40], crura[:, :, 41:]
    # in the row of the aorta's middle, where both are cut across
    across = [side[(levels > 0.6) & (levels < 0.9), 40].sum(1).mean() for side in (right, left)]
    assert across[0] >= across[1] > 0  # whole voxels
    assert right.sum() > left.sum()
    # below the coeliac artery nothing lies before the aorta, above it both meet there
    before = crura[:, :35, 38:43]
    assert not before[levels < 0.4].any()
    assert before[(levels > 0.87) & (levels < 0.94)].any(1).all()
    # in front the right one reaches further than the left
    fronts = [np.argwhere(side[levels < 0.94])[:, 1].min() for side in (right, left)]
    assert fronts[0] <= fronts[1]
    assert not crura[levels > 0.96].any()
    assert np.flatnonzero(right.any((1, 2)))[0] <= np.flatnonzero(left.any((1, 2)))[0]


def kidneys_and_vessels() -> tuple[TissueMap, Tube]:
    """In fat a kidney on each side, the aorta in the middle before the spine, and a vena cava to its right."""
    tissues, _ = fine_body()
    tissues[20:50, 38:56, 4:18] = Tissue.RIGHT_KIDNEY
    tissues[20:50, 38:56, 64:78] = Tissue.LEFT_KIDNEY
    tissues[:, 48:60, 34:50] = Tissue.SPONGIOSA
    cava = Tube(0, np.tile([38.0, 29.0], (100, 1)), np.tile([7.0, 10.0], (100, 1)))
    for slice_ in tissues:
        slice_[inside(tissues.shape, cava.middles[0], cava.half_mm[0], FINE)] = Tissue.VENA_CAVA
    return tissues, cava


@pytest.mark.parametrize("seed", range(8))
def test_renal_veins_join_each_kidney_to_the_cava_and_the_left_one_passes_before_the_aorta(seed: int) -> None:
    before, cava = kidneys_and_vessels()
    after = before.copy()
    draw_renal_veins(after, cava, FINE, np.random.default_rng(seed))
    veins = after == Tissue.RENAL_VEIN
    # they take the place of fat alone, between the kidneys' poles
    assert set(np.unique(before[veins])) == {Tissue.FAT}
    levels = np.flatnonzero(veins.any((1, 2)))
    assert 20 <= levels[0] <= levels[-1] < 50
    parts, count = ndimage.label(veins, np.ones((3, 3, 3)))
    touched = {}
    for part in range(1, count + 1):
        near = ndimage.binary_dilation(parts == part, np.ones((3, 3, 3)))
        touched[part] = {int(tissue) for tissue in np.unique(after[near])}
    for kidney in (Tissue.RIGHT_KIDNEY, Tissue.LEFT_KIDNEY):
        assert any({int(kidney), int(Tissue.VENA_CAVA)} <= tissues for tissues in touched.values()), kidney
    # over the aorta's columns it lies before its front, row 35, and never behind
    crossing = np.argwhere(veins[:, :, 36:45])
    assert len(crossing)
    assert crossing[:, 1].max() < 40
    # 6 to 11 mm wide: cut across where it runs from left to right
    tall = veins[:, :, 52].any(1).sum() * 3.0
    assert 3 <= tall <= 18


@pytest.mark.parametrize("seed", range(6))
def test_at_its_fork_a_vessel_goes_over_into_both_iliac_ones_with_all_of_its_width(seed: int) -> None:
    tissues = np.full((40, 80, 80), Tissue.FAT, np.uint8)
    aorta = Tube(30, np.full((10, 2), 40.0), np.full((10, 2), 10.0))
    for slice_ in tissues[30:]:
        slice_[inside(tissues.shape, aorta.middles[0], aorta.half_mm[0], FINE)] = Tissue.AORTA
    draw_iliacs(tissues, aorta, Tissue.AORTA_BEYOND, FINE, np.random.default_rng(seed))
    below = tissues[29][tissues[30] == Tissue.AORTA] == Tissue.AORTA_BEYOND
    assert below.mean() > 0.85
    # 45 mm further down there are two
    assert ndimage.label(tissues[15] == Tissue.AORTA_BEYOND)[1] == 2


def test_cavae_are_from_slits_to_35_mm() -> None:
    level = np.linspace(-0.6, 1.05, 60)
    rngs = [np.random.default_rng(seed) for seed in range(300)]
    axes = 2 * np.array([great_vessels._half_axes(Tissue.VENA_CAVA, level, ATLAS, rng) for rng in rngs])
    depth, width = axes[..., 0], axes[..., 1]
    # a slit: less than 6 mm from front to back at the kidneys' height, and at least twice as wide
    slits = depth[:, 20:30].mean(1) < 6
    assert 0.02 < slits.mean() < 0.25
    assert (width[:, 20:30].mean(1) > 2 * depth[:, 20:30].mean(1))[slits].all()
    assert 33 < width.max() <= 35
    assert 25 < depth.max() <= 35


def test_the_drawn_cava_is_as_deep_as_its_half_axes_say() -> None:
    for half in ((2.0, 8.0), (9.0, 10.0), (16.0, 17.5)):
        tissues = np.full((10, 60, 60), Tissue.FAT, np.uint8)
        tube = Tube(0, np.full((10, 2), 30.0), np.tile(half, (10, 1)))
        great_vessels._draw(tissues, tube, Tissue.VENA_CAVA, np.ones(tissues.shape, np.bool_), FINE)
        cava = tissues[5] == Tissue.VENA_CAVA
        assert abs(2 * cava.any(1).sum() - 2 * half[0]) <= 2
        assert abs(2 * cava.any(0).sum() - 2 * half[1]) <= 2


def test_the_width_of_the_cava_comes_and_goes() -> None:
    depths = []
    for seed in range(12):
        cava = drawn(body(), seed)[16:26] == Tissue.VENA_CAVA
        depths.append(float(cava.any(2).sum(1).mean() * 4))
    assert min(depths) <= 9
    assert max(depths) >= 16


def test_the_same_generator_draws_the_same() -> None:
    np.testing.assert_array_equal(drawn(body(), 4), drawn(body(), 4))
    assert (drawn(body(), 4) != drawn(body(), 5)).any()


@pytest.mark.parametrize("seed", range(6))
def test_a_kinked_aorta_bows_to_one_side_comes_back_and_stays_one_tube(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    bow = great_vessels._kink_mm(np.linspace(-1, 2, 301), 100.0, np.random.default_rng(seed))
    most = int(abs(bow[:, 1]).argmax())
    assert 6 <= abs(bow[most, 1]) <= 18
    # to the front is less y
    assert -10 <= bow[most, 0] <= 0
    assert abs(bow[[0, -1]]).max() < 1
    monkeypatch.setattr(great_vessels, "_KINKED", 1.0)
    parts, _ = ndimage.label(drawn(body(), seed) == Tissue.AORTA, np.ones((3, 3, 3)))
    assert np.bincount(parts.ravel())[1:].max() >= 0.97 * np.count_nonzero(parts)


def test_some_aortas_are_kinked(monkeypatch: pytest.MonkeyPatch) -> None:
    bows = []

    def straight(level: npt.NDArray[np.float64], height_mm: float, rng: np.random.Generator) -> Any:
        bows.append(height_mm)
        return np.zeros((len(level), 2))

    monkeypatch.setattr(great_vessels, "_kink_mm", straight)
    for seed in range(60):
        drawn(body(), seed)
    # 9 of 60 are expected
    assert 2 <= len(bows) <= 20


@pytest.mark.parametrize("seed", [0, 3, 4, 5])
def test_an_organ_that_would_tear_the_cava_is_gone_round(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """40 mm of pancreas lie where the cava ran, further than it is pushed aside at first."""
    tissues = body()
    y, x = (round(at) for at in np.argwhere(drawn(tissues, seed)[24] == Tissue.VENA_CAVA).mean(0))
    box = tissues[23:26, y - 5 : y + 6, x - 5 : x + 6]
    box[box == Tissue.FAT] = Tissue.PANCREAS

    def largest_share() -> float:
        parts, _ = ndimage.label(drawn(tissues, seed) == Tissue.VENA_CAVA, np.ones((3, 3, 3)))
        sizes = np.bincount(parts.ravel())[1:]
        return float(sizes.max() / sizes.sum())

    assert largest_share() >= 0.97
    monkeypatch.setattr(great_vessels, "_TORN", 2.0)
    assert largest_share() < 0.9
