"""Claims about gallbladders as full as a fasting patient's, and about what must not look like one."""

from dataclasses import replace

import numpy as np

from tests.training.painting.test_pathology import CANVAS, PLAIN_PHASE, SEEDS, forced, healthy, patient, sample
from training.painting.body_sites import BodySites
from training.painting.completion import BODY_SPACING_ZYX, Body
from training.painting.gallbladder import fill_gallbladder
from training.painting.gut_contents import fill_gut
from training.painting.painter import Painter, _healthy_look
from training.painting.pathology import HEALTHY, draw_findings
from training.painting.scan_setup import PLAIN_SETUP
from training.painting.spots import draw_spots
from training.painting.tissue import Tissue

GALLBLADDER = int(Tissue.GALLBLADDER)


def test_it_takes_room_from_bowel_and_fat_and_from_no_organ() -> None:
    grown = 0
    for seed in SEEDS:
        _, labels = sample(forced("full_gallbladder"), seed)
        _, before = healthy(seed)
        changed = labels != before
        assert (before[changed] == 0).all()
        assert (labels[changed] == GALLBLADDER).all()
        grown += int(changed.sum() > 50)
    assert grown >= 3


def test_what_it_has_grown_by_is_painted_as_bile() -> None:
    seen = 0
    for seed in SEEDS:
        image, labels = sample(forced("full_gallbladder"), seed)
        before, labels_before = healthy(seed)
        new = (labels == GALLBLADDER) & (labels_before == 0)
        if new.sum() > 100:
            # bile, thickened at most; fat lay there
            assert -20 < np.median(image[new]) < 95
            assert np.median(before[new]) < -60
            seen += 1
    assert seen >= 2


def test_bowel_at_its_side_gives_way_to_fat_in_some() -> None:
    body = patient()
    round_it = np.zeros(body.tissues.shape, bool)
    round_it[10:26, 13:30, 28:40] = True
    body.tissues[round_it & (body.tissues == Tissue.FAT)] = Tissue.SMALL_BOWEL
    well, full = (
        Painter([body], CANVAS, 0.0, PLAIN_PHASE, replace(HEALTHY, full_gallbladder=often), PLAIN_SETUP)
        for often in (0.0, 1.0)
    )
    freed = 0
    for seed in range(8):
        (image, labels), (before, labels_before) = sample(full, seed), sample(well, seed)
        freed += int(((labels == 0) & (labels_before == 0) & (image < -60) & (before > -20)).sum() > 20)
    assert freed >= 2


def test_its_volume_is_that_of_a_gallbladder() -> None:
    look, sites, volumes = _healthy_look("plain", 0, np.random.default_rng(0)), BodySites(patient()), []
    for seed in range(200):
        full = fill_gallbladder(look, sites, np.random.default_rng(seed))
        # the matrix takes voxels to half axes, so its determinant is a voxel's share of the box of half axes
        voxels = 4 / 3 * np.pi / abs(np.linalg.det(full.bag.axes[1:]))
        volumes.append(voxels * np.prod(BODY_SPACING_ZYX) / 1000)
    assert min(volumes) > 4
    assert max(volumes) < 60
    assert 10 < np.median(volumes) < 30


def test_a_body_without_a_gallbladder_gets_none() -> None:
    body = patient()
    tissues = np.where(body.tissues == GALLBLADDER, np.uint8(Tissue.FAT), body.tissues)
    painter = Painter(
        [Body("without", tissues, body.hu)], CANVAS, 0.0, PLAIN_PHASE, replace(HEALTHY, full_gallbladder=1.0),
        PLAIN_SETUP,
    )  # fmt: skip
    assert GALLBLADDER not in sample(painter, 0)[1]


def test_a_removed_gallbladder_is_not_filled() -> None:
    both = replace(HEALTHY, full_gallbladder=1.0, no_gallbladder=1.0)
    painter = Painter([patient()], CANVAS, 0.0, PLAIN_PHASE, both, PLAIN_SETUP)
    assert all(GALLBLADDER not in sample(painter, seed)[1] for seed in SEEDS)


def test_no_mass_beside_the_gallbladder_is_as_fluid_as_bile() -> None:
    sites, often = BodySites(patient()), replace(HEALTHY, mass=1.0)
    place = sites.places[GALLBLADDER].mean(0)
    near, far = [], []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        look = _healthy_look("plain", 0, rng)
        spots, _ = draw_spots(look, sites, draw_findings(sites, often, rng), often, False, rng)
        mm = np.linalg.norm((spots[:, :3] - place) * BODY_SPACING_ZYX, axis=1)
        near += list(spots[mm < 80, 6])
        far += list(spots[mm >= 80, 6])
    assert min(near) >= 35
    assert min(far) < 20


def test_stool_is_never_as_even_as_fluid() -> None:
    sites = BodySites(patient())
    for seed in range(40):
        rng = np.random.default_rng(seed)
        look = _healthy_look("portal", 0, rng)
        fill_gut(look, sites, "usual", False, rng)
        if look.hu[Tissue.COLON_CONTENT] < 100:  # no contrast medium
            assert look.rough[Tissue.COLON_CONTENT] >= 25
