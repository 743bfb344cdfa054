"""What goes on beyond a label's end is painted as the labelled part is: no step in HU tells where the label ends."""

from dataclasses import replace

import numpy as np
import pytest

from training.painting import painter as painting
from training.painting.body_sites import BodySites
from training.painting.completion import Body
from training.painting.continued import carry_on
from training.painting.kernel import NODE_STEP
from training.painting.look import Look
from training.painting.painter import Canvas, Painter, _healthy_look
from training.painting.pathology import HEALTHY, afflict, draw_findings
from training.painting.scan_setup import PLAIN_SETUP
from training.painting.tissue import CONTINUES, NO_HU, PHASES, TISSUES, Tissue, label_of_tissue

SHAPE = (72, 60, 80)
COLUMNS = {
    # below slice 24, from there to slice 47, and above; rows and columns
    "aorta": ((Tissue.AORTA_BEYOND, Tissue.AORTA, Tissue.AORTA_BEYOND), slice(34, 44), slice(38, 48)),
    "vena cava": ((Tissue.CAVA_BEYOND, Tissue.VENA_CAVA, Tissue.RIGHT_ATRIUM), slice(34, 44), slice(24, 34)),
    "esophagus": ((Tissue.FAT, Tissue.ESOPHAGUS, Tissue.ESOPHAGUS_BEYOND), slice(22, 30), slice(38, 46)),
    "portal vein": ((Tissue.PORTAL_VEIN, Tissue.PORTAL_BRANCH, Tissue.PORTAL_BRANCH), slice(20, 28), slice(10, 18)),
}
ENDS = [(name, end) for name in COLUMNS for end in (24, 48)]
ENDS.remove(("esophagus", 24))


def columns() -> Body:
    """Four columns in fat, and a right kidney at the height of the cava's lower end."""
    tissues = np.full(SHAPE, Tissue.FAT, np.uint8)
    for parts, rows, sides in COLUMNS.values():
        for part, tissue in enumerate(parts):
            tissues[24 * part : 24 * (part + 1), rows, sides] = tissue
    tissues[18:28, 46:54, 6:16] = Tissue.RIGHT_KIDNEY
    tissues[40:60, 6:14, 6:40] = Tissue.LIVER
    return Body("columns", tissues, np.full(SHAPE, NO_HU, np.int16))


@pytest.fixture
def as_it_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    """A painter that neither deforms nor blurs, and adds no noise but the tissues' own texture."""
    axes = [np.arange(size // NODE_STEP + 2) * float(NODE_STEP) for size in SHAPE]
    nodes = np.stack(np.meshgrid(*axes, indexing="ij"), -1).astype(np.float32)
    monkeypatch.setattr(painting, "deformed_nodes", lambda *_: nodes.copy())
    monkeypatch.setattr(painting, "expose", lambda *_: None)


def painted(body: Body, phase: str, seed: int, real_probability: float = 0.0) -> np.ndarray:
    canvas = Canvas(SHAPE, (3.0, 2.0, 2.0), (0.0, 0.0, 0.0), 0.0)
    often = replace(HEALTHY, mixing=1.0)
    painter = Painter([body], canvas, real_probability, {phase: 1.0}, often, PLAIN_SETUP, hybrid_probability=1.0)
    return painter.sample(np.random.default_rng(seed))[0]


def step(image: np.ndarray, name: str, end: int) -> tuple[float, float]:
    """HU of the 6 mm below a column's end less those of the 6 mm above, and the noise on both sides."""
    _, rows, sides = COLUMNS[name]
    below, above = image[end - 2 : end, rows, sides], image[end : end + 2, rows, sides]
    return float(below.mean() - above.mean()), float(np.sqrt((below.var() + above.var()) / 2))


@pytest.mark.usefixtures("as_it_lies")
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize(("name", "end"), ENDS)
def test_at_a_labels_end_the_paint_differs_by_less_than_the_noise(phase: str, name: str, end: int) -> None:
    steps = np.array([step(painted(columns(), phase, seed), name, end) for seed in range(8)])
    assert abs(steps[:, 0].mean()) < steps[:, 1].mean()
    # of HU drawn apart most scans would have a step of tens of HU
    assert np.median(abs(steps[:, 0])) < 10


@pytest.mark.usefixtures("as_it_lies")
def test_where_the_background_keeps_a_scans_hu_what_continues_a_label_does_not() -> None:
    made = columns()
    body = Body("hybrid", made.tissues, np.full(SHAPE, 60, np.int16))
    for seed in range(4):
        image = painted(body, "arterial", seed)
        assert (image[made.tissues == Tissue.FAT] == 60).mean() > 0.99
        for end in (24, 48):
            assert abs(step(image, "aorta", end)[0]) < 10
        assert image[:20][made.tissues[:20] == Tissue.AORTA_BEYOND].mean() > 190


def look_of(phase: str, seed: int, mixing: float) -> Look:
    sites, rng = BodySites(columns()), np.random.default_rng(seed)
    look = _healthy_look(phase, 0, rng)
    often = replace(HEALTHY, mixing=mixing)
    look = afflict(look, sites, draw_findings(sites, often, rng), phase, often, rng)
    return carry_on(look, sites, phase, rng)


@pytest.mark.parametrize("mixing", [0.0, 1.0])
@pytest.mark.parametrize("phase", ["arterial", "portal"])
def test_with_contrast_renal_veins_are_brighter_than_the_cava_below_them_and_no_brighter_than_the_aorta(
    phase: str, mixing: float
) -> None:
    brighter = 0
    for seed in range(40):
        look = look_of(phase, seed, mixing)
        renal, above, aorta = (look.hu[each] for each in (Tissue.RENAL_VEIN, Tissue.VENA_CAVA, Tissue.AORTA))
        below = above + look.mixing[1]
        assert above - 0.01 <= renal <= max(aorta, above) + 0.01
        brighter += int(renal > below + 8)
        if mixing and renal < aorta - 1 and below < above:
            # what is above is a mixture of both: 40 to 65 % of it from the kidneys
            assert 0.39 < (above - below) / (renal - below) < 0.66
    # late in the portal phase all blood is alike
    assert brighter >= 30


def test_without_contrast_all_veins_are_alike() -> None:
    look = look_of("plain", 0, 1.0)
    assert look.hu[Tissue.RENAL_VEIN] == look.hu[Tissue.CAVA_BEYOND] == look.hu[Tissue.VENA_CAVA]


@pytest.mark.usefixtures("as_it_lies")
def test_iliac_veins_are_as_dark_as_the_cava_below_the_renal_veins_and_the_atrium_brightens_upwards() -> None:
    _, rows, sides = COLUMNS["vena cava"]
    for seed in range(6):
        levels = painted(columns(), "arterial", seed)[:, rows, sides].mean((1, 2))
        assert levels[:8].mean() < 80
        # the heart has 140 to 330 HU in this phase, and the atrium comes near it on its way of 45 mm and more
        assert levels[66:].mean() > levels[48:50].mean() + 20


def test_what_continues_an_organ_has_no_label_but_in_the_liver() -> None:
    table = label_of_tissue()
    assert max(CONTINUES) < TISSUES
    labelled = {tissue for tissue in CONTINUES if table[tissue]}
    assert labelled == {Tissue.PORTAL_BRANCH}
    assert table[Tissue.PORTAL_BRANCH] == Tissue.LIVER


@pytest.mark.usefixtures("as_it_lies")
def test_plaque_is_as_frequent_beyond_the_aortas_label_as_within() -> None:
    canvas = Canvas(SHAPE, (3.0, 2.0, 2.0), (0.0, 0.0, 0.0), 0.0)
    painter = Painter([columns()], canvas, 0.0, {"plain": 1.0}, replace(HEALTHY, plaque=1.0), PLAIN_SETUP)
    _, rows, sides = COLUMNS["aorta"]
    images = [painter.sample(np.random.default_rng(seed))[0][:, rows, sides] for seed in range(40)]
    calcified = np.sum([image > 130 for image in images], axis=0)
    within, beyond = calcified[24:48].sum(), (calcified[:24].sum() + calcified[48:].sum()) / 2
    assert within > 50
    assert 0.5 < beyond / within < 2
