"""Claims about painted CT: labels and paint agree, tissues have their HU, and a seed decides everything."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from tests.training.bodies import BOXES, body, real_body
from training.painting.bodies import HELD_OUT, load, save_body, without_doubtful
from training.painting.completion import Body
from training.painting.painter import PADDING_HU, Canvas, Painter, coarsen
from training.painting.pathology import HEALTHY
from training.painting.scan_setup import PLAIN_SETUP
from training.painting.tissue import NO_HU, PHASES, TISSUES, UNKNOWN_LABEL, Tissue, label_of_tissue, paint_hu

CANVAS = Canvas((40, 48, 64), (3.0, 2.5, 2.5), (0.0, 0.0, 0.0), 0.0)

HU_OF_ORGAN = {1: (-20, 135), 3: (38, 150), 4: (25, 130), 5: (32, 380)}
"""The widest published ranges over all phases; a fatty liver is darker."""


@pytest.fixture(scope="module")
def painter() -> Painter:
    return Painter([body()], CANVAS, pathology=HEALTHY, setup=PLAIN_SETUP)


def sample(painter: Painter, seed: int) -> tuple[np.ndarray, np.ndarray]:
    return painter.sample(np.random.default_rng(seed))


def test_a_seed_decides_every_voxel(painter: Painter) -> None:
    (image, labels), (again, labels_again) = sample(painter, 1), sample(painter, 1)
    np.testing.assert_array_equal(image, again)
    np.testing.assert_array_equal(labels, labels_again)
    assert (sample(painter, 2)[0] != image).mean() > 0.9


def test_what_is_painted_brighter_than_fat_is_what_is_labelled(painter: Painter) -> None:
    for seed in range(6):
        image, labels = sample(painter, seed)
        # without noise, the body is fat (below -80) and organs (above 0); lesions and vessels in the fat are small
        organ = ndimage.gaussian_filter(image, 1.0) > -40
        agreed = 2 * (organ & (labels > 0)).sum() / (organ.sum() + (labels > 0).sum())
        assert agreed > 0.8, seed


def test_each_organ_has_hu_of_its_published_range(painter: Painter) -> None:
    seen = set()
    for seed in range(12):
        image, labels = sample(painter, seed)
        for label, (low, high) in HU_OF_ORGAN.items():
            inside = ndimage.binary_erosion(labels == label, iterations=2)
            if inside.sum() > 50:
                seen.add(label)
                assert low - 10 < np.median(image[inside]) < high + 10, (seed, label)
    assert seen == set(HU_OF_ORGAN)


def test_no_organ_lies_outside_the_body(painter: Painter) -> None:
    for seed in range(6):
        image, labels = sample(painter, seed)
        air = ndimage.gaussian_filter(image, 1.0) < -700
        assert air.any()
        assert not (labels[air] > 0).any()


def test_all_organs_of_the_body_are_labelled_and_no_others(painter: Painter) -> None:
    _, labels = sample(painter, 3)
    assert set(np.unique(labels)) == {0} | {int(organ) for organ in BOXES}


def test_organs_keep_their_sides(painter: Painter) -> None:
    # x grows to the patient's left: the liver is on the right, at small x
    for seed in range(6):
        _, labels = sample(painter, seed)
        assert np.argwhere(labels == 1)[:, 2].mean() + 10 < np.argwhere(labels == 3)[:, 2].mean()


def test_above_and_below_the_end_of_the_scan_there_is_padding_and_no_label() -> None:
    cut = Painter([body()], Canvas(CANVAS.shape_zyx, CANVAS.spacing_zyx, (0.0, 0.0, 0.0), 1.0), setup=PLAIN_SETUP)
    image, labels = sample(cut, 0)
    padding = (image == PADDING_HU).all((1, 2))
    assert padding[0] or padding[-1]
    assert 0 < padding.sum() < len(padding)
    assert not labels[padding].any()


def test_a_far_patch_lies_about_a_place_above_or_below_what_the_jitter_reaches() -> None:
    canvas = Canvas(CANVAS.shape_zyx, CANVAS.spacing_zyx, (75.0, 30.0, 40.0), 0.0, far_probability=1.0, far_mm=270.0)
    rng = np.random.default_rng(0)
    z, y, x = np.array([canvas.offset_mm(rng) for _ in range(400)]).T
    assert not y.any()
    assert not x.any()
    assert (np.abs(z) >= 75).all()
    assert (np.abs(z) <= 270).all()
    assert 150 < (z > 0).sum() < 250
    # evenly between the two, so some are near either end
    assert np.abs(z).min() < 80
    assert np.abs(z).max() > 265


def test_patches_are_as_often_far_as_asked() -> None:
    canvas = replace(CANVAS, far_probability=0.3, far_mm=9000.0)
    rng = np.random.default_rng(1)
    assert np.mean([bool(canvas.offset_mm(rng).any()) for _ in range(400)]) == pytest.approx(0.3, abs=0.07)


def test_what_is_painted_far_from_the_organs_has_no_label() -> None:
    # organs reach 48 mm from their centre and a patch 60 mm: of places up to 9000 mm away one in eighty sees any
    far = Painter([body()], replace(CANVAS, far_probability=1.0, far_mm=9000.0), setup=PLAIN_SETUP)
    near = Painter([body()], CANVAS, setup=PLAIN_SETUP)
    assert sum(bool(sample(far, seed)[1].any()) for seed in range(6)) <= 1
    assert all(sample(near, seed)[1].any() for seed in range(6))


def test_without_far_patches_the_same_samples_are_drawn_as_before_there_were_any() -> None:
    never = replace(CANVAS, far_probability=0.0, far_mm=270.0)
    rng = np.random.default_rng(3)
    before = rng.bit_generator.state
    assert never.offset_mm(rng).tolist() == [0.0, 0.0, 0.0]
    assert rng.bit_generator.state == before  # nothing was drawn
    for one, other in zip(sample(Painter([body()], never), 4), sample(Painter([body()], CANVAS), 4), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_real_scan_keeps_its_own_hu() -> None:
    painter = Painter([real_body()], CANVAS, real_probability=1.0, setup=PLAIN_SETUP)
    image, labels = sample(painter, 0)
    liver = ndimage.binary_erosion(labels == 1, iterations=2)
    spleen = ndimage.binary_erosion(labels == 3, iterations=2)
    assert np.median(image[liver][: liver[:18].sum()]) == pytest.approx(7, abs=10)
    assert np.median(image[spleen][: spleen[:18].sum()]) == pytest.approx(100, abs=10)


def test_zero_hu_is_water_and_not_a_missing_scan() -> None:
    made = real_body()
    hu = np.where(made.hu == 7, 0, made.hu).astype(np.int16)
    painter = Painter([Body(made.name, made.tissues, hu)], CANVAS, 1.0, {"portal": 1.0}, setup=PLAIN_SETUP)
    image, labels = sample(painter, 0)
    liver = ndimage.binary_erosion(labels == 1, iterations=2)
    # a painted liver is of 80 to 135 HU in this phase
    assert np.median(image[liver][: liver[:18].sum()]) == pytest.approx(0, abs=10)


def test_of_a_real_scan_an_organ_of_impossible_hu_is_unknown_with_what_is_soft_round_it() -> None:
    made = real_body()
    hu, tissues = made.hu.copy(), made.tissues.copy()
    hu[(tissues == Tissue.PANCREAS) & (hu != NO_HU)] = -9
    tissues[tissues == Tissue.FAT] = Tissue.SOFT
    doubtful = Painter([without_doubtful(Body(made.name, tissues, hu))], CANVAS, 1.0, setup=PLAIN_SETUP)
    _, labels = sample(doubtful, 0)
    _, believed = sample(Painter([Body(made.name, tissues, made.hu)], CANVAS, 1.0, setup=PLAIN_SETUP), 0)
    pancreas = believed == 4
    assert pancreas.sum() > 100
    assert (labels[pancreas] == UNKNOWN_LABEL).all()
    rim = (labels == UNKNOWN_LABEL) & ~pancreas
    assert (believed[rim] == 0).all()
    assert 0 < rim.sum() < 8 * pancreas.sum()
    for organ in (1, 3, 5):
        np.testing.assert_array_equal(labels == organ, believed == organ)


def test_the_background_keeps_a_real_scans_hu_as_often_as_asked() -> None:
    made = real_body()
    body = Body("map", made.tissues, np.where(made.hu == 100, np.int16(30), made.hu))
    for often, kept in ((0.0, False), (1.0, True)):
        painter = Painter([body], CANVAS, 0.0, pathology=HEALTHY, setup=PLAIN_SETUP, hybrid_probability=often)
        image, labels = sample(painter, 2)
        background = ndimage.binary_erosion((labels == 0) & (image > -500), iterations=2)
        background[18:] = False
        assert bool(abs(np.median(image[background]) - 30) < 5) is kept
        # organs are painted either way: 7 HU is no liver
        liver = ndimage.binary_erosion(labels == 1, iterations=2)
        assert abs(np.median(image[liver]) - 7) > 3


def test_beyond_a_real_scan_the_body_is_painted() -> None:
    painter = Painter([real_body()], CANVAS, real_probability=1.0, setup=PLAIN_SETUP)
    image, labels = sample(painter, 0)
    beside = ndimage.gaussian_filter(image, 1.0)[:, :2].mean((1, 2))
    assert beside.max() < -900
    # fat above the real scan's end is as bright as in it
    above = image[-6:][(labels[-6:] == 0) & (image[-6:] > -500)]
    assert np.median(above) == pytest.approx(100, abs=30)


def test_averaging_blocks_by_hand() -> None:
    image = np.zeros((2, 2, 4), np.float32)
    image[..., :2] = np.arange(8).reshape(2, 2, 2)
    labels = np.zeros((2, 2, 4), np.uint8)
    labels[0, :, :2] = 5  # four of eight voxels: organ
    labels[0, 0, 2:] = 5  # two of eight: not
    small, organs = coarsen(image, labels)
    assert small.tolist() == [[[3.5, 0.0]]]
    assert organs.tolist() == [[[1, 0]]]


def test_a_block_is_unknown_where_unknown_voxels_decide() -> None:
    labels = np.zeros((2, 2, 6), np.uint8)
    labels[0, :, :2] = UNKNOWN_LABEL  # four of eight
    labels[0, :, 2:4], labels[1, :, 2:4] = 5, UNKNOWN_LABEL  # half is organ for sure
    labels[0, 0, 4:] = UNKNOWN_LABEL  # two of eight
    assert coarsen(np.zeros(labels.shape, np.float32), labels)[1].tolist() == [[[UNKNOWN_LABEL, 1, 0]]]


def test_contents_and_marrow_carry_the_label_of_their_organ() -> None:
    table = label_of_tissue()
    assert table[:14].tolist() == list(range(14))
    assert table[Tissue.UNKNOWN] == UNKNOWN_LABEL
    assert table[Tissue.RIGHT_MEDULLA] == 2
    assert table[Tissue.LEFT_MEDULLA] == 13
    assert table[Tissue.STOMACH_CONTENT] == 11
    assert table[Tissue.DUODENUM_CONTENT] == 12
    assert not table[[Tissue.COLON_CONTENT, Tissue.BOWEL_CONTENT, Tissue.FAT, Tissue.LUNG]].any()


def test_phases_are_all_painted_and_their_shares_add_up() -> None:
    assert sum(PHASES.values()) == pytest.approx(1)


@pytest.mark.parametrize("phase", PHASES)
def test_tissues_are_ordered_as_in_every_ct(phase: str) -> None:
    for seed in range(20):
        hu = paint_hu(phase, np.random.default_rng(seed))
        assert hu.shape == (TISSUES,)
        order = [Tissue.AIR, Tissue.LUNG, Tissue.FAT, Tissue.MUSCLE, Tissue.SPONGIOSA, Tissue.CORTICAL_BONE]
        assert (np.diff(hu[order]) > 0).all()


def test_contrast_comes_first_to_the_aorta_and_later_to_the_liver() -> None:
    def mean(phase: str, tissue: Tissue) -> float:
        return float(np.mean([paint_hu(phase, np.random.default_rng(seed))[tissue] for seed in range(40)]))

    assert mean("arterial", Tissue.AORTA) > mean("portal", Tissue.AORTA) > mean("plain", Tissue.AORTA)
    assert mean("portal", Tissue.LIVER) > mean("arterial", Tissue.LIVER) > mean("plain", Tissue.LIVER)


def test_bodies_that_are_held_out_are_not_painted_for_training(tmp_path: Path) -> None:
    for name in (f"{HELD_OUT[0]}_1", "word_0014_0"):
        save_body(body(), tmp_path / f"{name}.npz")
    assert [each.name for each in load(tmp_path)] == ["word_0014_0"]
    assert [each.name for each in load(tmp_path, held_out=True)] == [f"{HELD_OUT[0]}_1"]


def test_vessels_far_above_the_liver_lose_their_label(tmp_path: Path) -> None:
    tall = body()
    tissues = np.concatenate([tall.tissues, np.repeat(tall.tissues[35:36], 20, 0)])
    tissues[30:, 34:38, 38:42] = Tissue.ESOPHAGUS
    save_body(Body("tall", tissues, np.zeros(tissues.shape, np.int16)), tmp_path / "tall.npz")
    painted = load(tmp_path)[0].tissues
    for organ, beyond in ((Tissue.AORTA, Tissue.AORTA_BEYOND), (Tissue.ESOPHAGUS, Tissue.ESOPHAGUS_BEYOND)):
        # the liver's last slice is 29; 45 mm are 15 slices of 3 mm
        assert np.flatnonzero((painted == organ).any((1, 2)))[-1] == 29 + 15 - 1
        np.testing.assert_array_equal((painted == beyond)[44:], (tissues == organ)[44:])
