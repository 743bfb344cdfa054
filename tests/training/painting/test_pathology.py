"""Claims about painted illness and scan set-up: each forced alone, seen in the paint and in the labels."""

from dataclasses import fields, replace

import numpy as np
import pytest
from scipy import ndimage

from tests.training.bodies import SHAPE, body, real_body
from training.painting.body_sites import BodySites
from training.painting.completion import Body
from training.painting.painter import PADDING_HU, Canvas, Painter
from training.painting.pathology import HEALTHY, Pathology
from training.painting.scan_setup import PLAIN_SETUP, ScanSetup
from training.painting.tissue import NO_HU, Tissue

CANVAS = Canvas((40, 48, 64), (3.0, 2.5, 2.5), (0.0, 0.0, 0.0), 0.0)
PLAIN_PHASE = {"plain": 1.0}
SEEDS = range(5)


def patient() -> Body:
    """Organs of the belly in fat, inside a wall of muscle, inside a layer of fat; lungs above, a spine at the back."""
    tissues = np.full(SHAPE, Tissue.AIR, np.uint8)
    tissues[:, 4:56, 4:76] = Tissue.FAT
    tissues[:, 9:51, 9:71] = Tissue.MUSCLE
    tissues[:, 12:48, 12:68] = Tissue.FAT
    tissues[28:, 14:47, 14:34] = Tissue.LUNG
    tissues[28:, 14:47, 46:66] = Tissue.LUNG
    tissues[:, 44:50, 36:44] = Tissue.SPONGIOSA
    tissues[:, 38:43, 37:43] = Tissue.AORTA
    tissues[:, 38:43, 30:35] = Tissue.VENA_CAVA
    tissues[12:26, 14:34, 14:28] = Tissue.LIVER
    tissues[12:26, 22:38, 56:66] = Tissue.SPLEEN
    tissues[14:22, 15:24, 30:36] = Tissue.GALLBLADDER
    tissues[12:24, 14:26, 40:54] = Tissue.STOMACH
    tissues[14:22, 16:24, 42:52] = Tissue.STOMACH_CONTENT
    tissues[8:20, 28:36, 24:34] = Tissue.SMALL_BOWEL
    tissues[10:18, 30:34, 26:32] = Tissue.BOWEL_CONTENT
    for cortex, medulla, left in (
        (Tissue.RIGHT_KIDNEY, Tissue.RIGHT_MEDULLA, 16),
        (Tissue.LEFT_KIDNEY, Tissue.LEFT_MEDULLA, 50),
    ):
        tissues[4:12, 32:44, left : left + 12] = cortex
        tissues[6:10, 35:41, left + 3 : left + 9] = medulla
    return Body("patient", tissues, np.full(SHAPE, NO_HU, np.int16))


def forced(finding: str) -> Painter:
    return Painter([patient()], CANVAS, 0.0, PLAIN_PHASE, replace(HEALTHY, **{finding: 1.0}), PLAIN_SETUP)


def sample(painter: Painter, seed: int) -> tuple[np.ndarray, np.ndarray]:
    return painter.sample(np.random.default_rng(seed))


def healthy(seed: int) -> tuple[np.ndarray, np.ndarray]:
    return sample(Painter([patient()], CANVAS, 0.0, PLAIN_PHASE, HEALTHY, PLAIN_SETUP), seed)


@pytest.mark.parametrize("finding", [field.name for field in fields(Pathology)])
def test_every_finding_changes_the_scan_and_leaves_it_within_hu(finding: str) -> None:
    painter = forced(finding)
    phases = {"portal": 1.0} if finding == "mixing" else PLAIN_PHASE
    painter.phases = phases
    well = Painter([patient()], CANVAS, 0.0, phases, HEALTHY, PLAIN_SETUP)
    changed = 0
    for seed in SEEDS:
        image, labels = sample(painter, seed)
        assert np.isfinite(image).all()
        assert image.min() > -1400
        assert image.max() < 3400
        assert labels.max() <= 13
        changed += int((np.abs(image - sample(well, seed)[0]) > 15).sum() > 15)
    assert changed >= 3


@pytest.mark.parametrize(("finding", "organs"), [("no_spleen", {3}), ("no_gallbladder", {9}), ("no_kidney", {2, 13})])
def test_a_removed_organ_has_no_label_and_no_paint(finding: str, organs: set[int]) -> None:
    missing = set()
    fat = []
    for seed in SEEDS:
        image, labels = sample(forced(finding), seed)
        _, before = healthy(seed)
        gone = set(np.unique(before)) - set(np.unique(labels))
        assert len(gone) == 1
        assert gone <= organs
        missing |= gone
        place = ndimage.binary_erosion(np.isin(before, list(gone)), iterations=1)
        fat.append((ndimage.gaussian_filter(image, 0.7)[place] < -50).mean())
    assert missing == organs
    # fat lies there, and in some scans bowel
    assert np.mean(fat) > 0.25


def test_nothing_is_removed_from_a_real_scan() -> None:
    everything = Pathology(*(1.0,) * len(fields(Pathology)))
    painter = Painter([real_body()], CANVAS, 1.0, PLAIN_PHASE, everything, PLAIN_SETUP)
    _, labels = sample(painter, 0)
    assert set(np.unique(labels)) == {0, 1, 3, 4, 5}


def test_ascites_replaces_fat_and_no_organ() -> None:
    wet = 0
    for seed in SEEDS:
        image, labels = sample(forced("ascites"), seed)
        before, labels_before = healthy(seed)
        np.testing.assert_array_equal(labels, labels_before)
        smooth, smooth_before = ndimage.gaussian_filter(image, 0.8), ndimage.gaussian_filter(before, 0.8)
        turned = (smooth > -40) & (smooth_before < -70) & (labels == 0)
        wet += int(turned.sum() > 200)
    assert wet >= 3


def test_ascites_stays_inside_the_wall_and_before_the_kidneys() -> None:
    made = patient()
    belly = BodySites(made).belly_mm
    coarse = made.tissues[1::2, 1::3, 1::3]
    assert (belly[coarse == Tissue.AIR] == 255).all()
    rows = np.arange(coarse.shape[1])[None, :, None] * 3 + 1
    columns = np.arange(coarse.shape[2])[None, None, :] * 3 + 1
    under_the_skin = np.broadcast_to((rows < 9) | (rows > 50) | (columns < 9) | (columns > 70), coarse.shape)
    assert (belly[under_the_skin] == 255).all()
    behind = np.broadcast_to(rows > 42, coarse.shape) & (coarse == Tissue.FAT)
    assert (belly[:4][behind[:4]] == 255).all()
    between_liver_and_stomach = belly[10, 7, 12]
    assert between_liver_and_stomach < 20


def test_an_empty_stomach_is_wall_throughout_and_a_dilated_one_larger() -> None:
    for seed in SEEDS:
        small, usual, large = (
            (labels == 11).sum()
            for _, labels in (
                sample(forced("empty_stomach"), seed),
                healthy(seed),
                sample(forced("dilated_stomach"), seed),
            )
        )
        assert small < usual < large


def test_fluid_in_the_chest_lies_at_the_back() -> None:
    seen = 0
    for seed in SEEDS:
        image, labels = sample(forced("effusion"), seed)
        before, labels_before = healthy(seed)
        np.testing.assert_array_equal(labels, labels_before)
        lung = (ndimage.gaussian_filter(before, 0.8) < -500) & (labels == 0)
        fluid = lung & (ndimage.gaussian_filter(image, 0.8) > -30)
        if fluid.sum() > 50:
            seen += 1
            # the air beside the body is darker than lung
            aerated = lung & (np.abs(ndimage.gaussian_filter(image, 0.8) + 780) < 140)
            assert np.argwhere(fluid)[:, 1].mean() > np.argwhere(aerated)[:, 1].mean()
    assert seen >= 3


def test_the_body_map_is_not_changed_by_painting_it() -> None:
    made = patient()
    before = made.tissues.copy()
    painter = Painter([made], CANVAS, pathology=Pathology(*(1.0,) * len(fields(Pathology))))
    for seed in SEEDS:
        sample(painter, seed)
    np.testing.assert_array_equal(made.tissues, before)


@pytest.mark.parametrize("way", ["table", "arms", "metal", "thick_slices", "low_dose", "round_field"])
def test_every_way_of_scanning_changes_the_image(way: str) -> None:
    setup = replace(PLAIN_SETUP, **{way: 1.0})
    # wide enough to show what lies beside the body and below it
    canvas = replace(CANVAS, shape_zyx=(32, 80, 112))
    changed = 0
    for seed in SEEDS:
        image, labels = sample(Painter([body()], canvas, 0.0, PLAIN_PHASE, HEALTHY, setup), seed)
        plain, plain_labels = sample(Painter([body()], canvas, 0.0, PLAIN_PHASE, HEALTHY, PLAIN_SETUP), seed)
        changed += int((np.abs(image - plain) > 12).sum() > 100)
        assert not labels[image == PADDING_HU].any()
        inside = labels > 0
        np.testing.assert_array_equal(labels[inside], plain_labels[inside])
    assert changed >= 3


def test_every_probability_is_one() -> None:
    for table in (Pathology(), ScanSetup()):
        for field in fields(table):
            assert 0 < getattr(table, field.name) < 1
