"""Claims about tumours, lipiodol, contrast in the gut, moved kidneys and the cava."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tests.training.painting.test_pathology import CANVAS, PLAIN_PHASE, SEEDS, forced, healthy, patient, sample
from training.painting import pathology
from training.painting.body_sites import BodySites
from training.painting.completion import BODY_SPACING_ZYX
from training.painting.deformation import move
from training.painting.gut_contents import Drink, fill_gut
from training.painting.look import Look
from training.painting.painter import Painter, _healthy_look
from training.painting.pathology import HEALTHY, afflict, draw_findings
from training.painting.scan_setup import PLAIN_SETUP
from training.painting.spots import draw_spots
from training.painting.tissue import Tissue, paint_hu

MANY = 300


def test_a_tumour_changes_paint_inside_one_organ_and_no_label(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pathology, "_TUMOUR_RADIUS_MM", (8.0, 11.0))  # large ones also bulge
    seen = 0
    for seed in range(8):
        image, labels = sample(forced("tumour"), seed)
        before, labels_before = healthy(seed)
        np.testing.assert_array_equal(labels, labels_before)
        changed = abs(image - before) > 15
        organs, counts = np.unique(labels[changed & (labels > 0)], return_counts=True)
        assert (counts > 5).sum() <= 1 or set(organs[counts > 5]) <= {1, 2, 3, 13}
        seen += int(counts.sum() > 20)
    assert seen >= 5


def test_tumours_are_of_10_to_150_mm() -> None:
    sites, often = BodySites(patient()), replace(HEALTHY, tumour=1.0, lipiodol=0.3)
    diameters = []
    for seed in range(MANY):
        rng = np.random.default_rng(seed)
        look, findings = _healthy_look("portal", 0, rng), draw_findings(sites, often, rng)
        spots = draw_spots(look, sites, findings, often, False, rng).rows
        axes_mm = 2 * spots[:, 3:6] * BODY_SPACING_ZYX
        # of a tumour's spots the first is the tumour, what lies in it is smaller
        for tumour in findings.tumours:
            own = axes_mm[(spots[:, :3] == tumour.centre).all(1)]
            diameters.append(own[0])
            assert (own <= own[0] + 1e-6).all()
    assert 10 <= np.min(diameters) < 11
    assert 130 < np.max(diameters) <= 150 + 1e-6


def test_a_large_tumour_makes_the_liver_bulge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pathology, "_TUMOUR_RADIUS_MM", (20.0, 21.0))
    monkeypatch.setattr(pathology, "_TUMOURS", {Tissue.LIVER: pathology._TUMOURS[Tissue.LIVER]})
    for seed in SEEDS:
        assert (sample(forced("tumour"), seed)[1] == 1).sum() > (healthy(seed)[1] == 1).sum()


def test_lipiodol_is_brighter_than_bone_and_only_in_the_liver() -> None:
    bright = 0
    for seed in range(8):
        image, labels = sample(forced("lipiodol"), seed)
        before, _ = healthy(seed)
        assert before[labels == 1].max() < 200
        assert image[(labels > 1) & (labels != 9)].max() < 700
        bright += int((image[labels == 1] > 250).sum() > 10)
    assert bright >= 4


def contents(drink: Drink, seed: int) -> Look:
    rng = np.random.default_rng(seed)
    look = _healthy_look("portal", 0, rng)
    fill_gut(look, BodySites(patient()), "usual", False, rng, drink)
    return look


def test_oral_contrast_is_where_the_drink_has_got_to() -> None:
    upper, lower = (Tissue.STOMACH_CONTENT, Tissue.DUODENUM_CONTENT), (Tissue.BOWEL_CONTENT, Tissue.COLON_CONTENT)
    levels = 0
    for seed in range(60):
        none, both, bowel = (contents(drink, seed) for drink in ("none", "both", "bowel"))
        assert (both.hu[[*upper, *lower]] >= 60).all()
        assert both.hu.max() <= max(500, none.hu.max())
        assert (bowel.hu[[*lower]] >= 60).all()
        np.testing.assert_array_equal(bowel.hu[[*upper]], none.hu[[*upper]])
        levels += int(both.level[Tissue.STOMACH_CONTENT] > 0)
    assert 20 < levels < 60


def test_a_stomach_is_now_and_then_full_of_gas() -> None:
    low, high = (end[1] for end in BodySites(patient()).box[Tissue.STOMACH_CONTENT])
    filled = [(contents("none", seed).level[Tissue.STOMACH_CONTENT] - low) / (high - low) for seed in range(MANY)]
    assert 0.01 < np.mean(np.array(filled) > 0.85) < 0.2


def test_folds_of_the_wall_reach_into_the_contents() -> None:
    class Folded(Painter):
        width = 0.0

        def _draw_look(self, *arguments):  # type: ignore[no-untyped-def]
            look = super()._draw_look(*arguments)
            look.hu[Tissue.STOMACH_CONTENT], look.hu[Tissue.STOMACH] = 400, 40
            look.rough[Tissue.STOMACH_CONTENT] = look.patchy[Tissue.STOMACH_CONTENT] = 0
            look.gas[:], look.level[:] = 99, -1e9
            look.fold[Tissue.STOMACH_CONTENT] = self.width
            return look

    painter = Folded([patient()], CANVAS, 0.0, PLAIN_PHASE, HEALTHY, PLAIN_SETUP)
    shares = []
    for seed in range(8):  # the noise is as coarse as this small stomach
        painter.width = 0.0
        image, labels = sample(painter, seed)
        inside = (labels == 11) & (image > 350)
        assert inside.sum() > 50
        painter.width = 0.25
        shares.append((sample(painter, seed)[0][inside] < 220).mean())
    assert 0.02 < np.mean(shares) < 0.4


def test_a_mass_as_bright_as_the_liver_lies_clear_of_it_and_is_background() -> None:
    sites, often = BodySites(patient()), replace(HEALTHY, liver_like_mass=1.0)
    liver, drawn = sites.places[Tissue.LIVER], 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        look = _healthy_look("portal", 0, rng)
        spots, into = draw_spots(look, sites, draw_findings(sites, often, rng), often, False, rng)
        for row, bits in zip(spots, into, strict=True):
            drawn += 1
            assert abs(row[6] - look.hu[Tissue.LIVER]) < 35
            away = np.linalg.norm((liver - row[:3]) / row[3:6], axis=1).min()
            assert away > 1
            assert not int(bits) & ((1 << 14) - 1)  # none of the organs takes it
    assert drawn > 20


def test_fluid_by_the_stomach_changes_no_label() -> None:
    wet = 0
    for seed in SEEDS:
        image, labels = sample(forced("fluid_by_stomach"), seed)
        before, labels_before = healthy(seed)
        np.testing.assert_array_equal(labels, labels_before)
        wet += int(((image > -30) & (before < -60) & (labels == 0)).sum() > 100)
    assert wet >= 3


def grid(step_mm: float = 4.0) -> np.ndarray:
    """Nodes of a body of 240 mm about (0, 0, 0), as indices of its voxels."""
    axis = np.arange(-160, 161, step_mm)
    mm = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1)
    return (mm / BODY_SPACING_ZYX).astype(np.float32)


@pytest.mark.parametrize("shift", [(-60.0, 12.0, -8.0), (0.0, 0.0, 0.0), (-15.0, -12.0, 8.0)])
def test_moving_folds_nothing_over_and_brings_the_place_to_where_it_should_lie(shift: tuple[float, ...]) -> None:
    nodes, centre = grid(), np.zeros(3)
    turn = Rotation.from_rotvec(np.deg2rad(70) * np.array([1.0, 2.0, -1.0]) / np.sqrt(6))
    move(nodes, centre, np.array(shift), turn)
    mm = nodes * BODY_SPACING_ZYX
    jacobian = np.stack([np.stack(list(np.gradient(mm[..., axis], 4.0)), -1) for axis in range(3)], -2)
    assert np.linalg.det(jacobian).min() > 0
    # the voxel that lies at the shift shows the centre
    at = np.rint((np.array(shift) + 160) / 4).astype(int)
    assert np.linalg.norm(mm[tuple(at)]) <= 0.2 * np.linalg.norm(shift) + 2
    # far away nothing has moved
    np.testing.assert_allclose(mm[0, 0, 0], [-160, -160, -160], atol=1e-3)


def test_a_moved_kidney_lies_lower_or_turned_and_keeps_its_volume() -> None:
    lower = 0
    for seed in range(10):
        _, labels = sample(forced("moved_kidney"), seed)
        _, before = healthy(seed)
        for kidney in (2, 13):
            now, then = np.argwhere(labels == kidney), np.argwhere(before == kidney)
            # some leave the patch below
            assert len(now) < 1.6 * len(then)
            lower += int(len(now) > 0 and now[:, 0].mean() < then[:, 0].mean() - 2)
    assert lower >= 3


def test_kidneys_are_painted_from_30_to_350_hu() -> None:
    hu = [
        paint_hu(phase, np.random.default_rng(seed))[tissue]
        for phase in ("plain", "arterial", "portal")
        for seed in range(100)
        for tissue in (Tissue.RIGHT_KIDNEY, Tissue.LEFT_KIDNEY)
    ]
    assert min(hu) < 32
    assert 310 < max(hu) < 360


def test_below_the_kidneys_the_cava_is_unenhanced_and_most_often_so_in_the_arterial_phase() -> None:
    sites, mixed = BodySites(patient()), {}
    for phase in ("arterial", "portal"):
        found = []
        for seed in range(100):
            rng = np.random.default_rng(seed)
            look = _healthy_look(phase, 0, rng)
            findings = draw_findings(sites, HEALTHY, rng)
            look = afflict(look, sites, findings, phase, replace(HEALTHY, mixing=0.35), rng)
            if look.mixing[1] < 0:
                found.append(look.hu[Tissue.VENA_CAVA] + look.mixing[1])
        mixed[phase] = len(found)
        assert all(34 < hu < 71 for hu in found)
    assert mixed["arterial"] > 1.4 * mixed["portal"] > 0
