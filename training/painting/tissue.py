"""The tissues that a complete body is made of, their labels, and the HU that CT gives them in each contrast phase.

HU ranges are those of published tables of abdominal CT (e.g. Lamba et al., AJR 2014, for multiphase solid organs),
widened: a network that has seen too much variety finds organs, one that has seen too little does not.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt


class Tissue(IntEnum):
    """Values of a body's tissue map. 1-13 are the organs' own labels (evaluation.organs)."""

    AIR = 0
    LIVER = 1
    RIGHT_KIDNEY = 2
    SPLEEN = 3
    PANCREAS = 4
    AORTA = 5
    VENA_CAVA = 6
    RIGHT_ADRENAL = 7
    LEFT_ADRENAL = 8
    GALLBLADDER = 9
    ESOPHAGUS = 10
    STOMACH = 11
    DUODENUM = 12
    LEFT_KIDNEY = 13
    COLON = 14
    SMALL_BOWEL = 15
    RECTUM = 16
    BLADDER = 17
    SPONGIOSA = 18
    CORTICAL_BONE = 19
    MUSCLE = 20
    FAT = 21
    SKIN = 22
    LUNG = 23
    HEART = 24
    VESSEL = 25
    SOFT = 26
    CARTILAGE = 27
    AIRWAY = 28
    UNKNOWN = 29
    """Perhaps an organ, perhaps not: completion replaces it, and where it is painted it teaches nothing."""
    RIGHT_MEDULLA = 30
    LEFT_MEDULLA = 31
    STOMACH_CONTENT = 32
    DUODENUM_CONTENT = 33
    COLON_CONTENT = 34
    BOWEL_CONTENT = 35
    PORTAL_VEIN = 36
    """With the splenic and the superior mesenteric vein, outside of the liver."""
    HEPATIC_VEIN = 37
    """Inside the liver, and a part of it."""
    AORTA_BEYOND = 38
    """What of the aorta has no label: thoracic aorta and iliac arteries."""
    CAVA_BEYOND = 39
    """What of the vena cava has no label: iliac veins, and in a template what leads to the heart."""
    RENAL_VEIN = 40
    RIGHT_ATRIUM = 41
    """As bright as the vena cava where that enters it, and further up as the heart."""
    ESOPHAGUS_BEYOND = 42
    """What of the esophagus lies above its label's end."""
    PORTAL_BRANCH = 43
    """The portal vein inside the liver, and a part of it."""
    HEPATIC_STEM = 44
    """A hepatic vein between liver and vena cava."""


TISSUES = 48
"""Size of a look-up table indexed by tissue."""

NO_HU = -32768
"""In a body's ``hu``: no real scan reaches this voxel, or what it shows there is something else. No scan has this
value; 0 HU is water.
"""

UNKNOWN_LABEL = 255
"""Of voxels that teach nothing (``training.learning.losses.IGNORE``)."""

_INNER = {
    Tissue.RIGHT_MEDULLA: Tissue.RIGHT_KIDNEY,
    Tissue.LEFT_MEDULLA: Tissue.LEFT_KIDNEY,
    Tissue.STOMACH_CONTENT: Tissue.STOMACH,
    Tissue.DUODENUM_CONTENT: Tissue.DUODENUM,
    Tissue.HEPATIC_VEIN: Tissue.LIVER,
    Tissue.PORTAL_BRANCH: Tissue.LIVER,
}

CONTINUES = {
    Tissue.AORTA_BEYOND: Tissue.AORTA,
    Tissue.CAVA_BEYOND: Tissue.VENA_CAVA,
    Tissue.RENAL_VEIN: Tissue.VENA_CAVA,
    Tissue.RIGHT_ATRIUM: Tissue.VENA_CAVA,
    Tissue.ESOPHAGUS_BEYOND: Tissue.ESOPHAGUS,
    Tissue.PORTAL_BRANCH: Tissue.PORTAL_VEIN,
    Tissue.HEPATIC_STEM: Tissue.HEPATIC_VEIN,
}
"""What goes on beyond a label's end, and what it continues: no real scan shows where a label ends."""


def label_of_tissue() -> npt.NDArray[np.uint8]:
    """(TISSUES,) the organ label 0-13 of each tissue; of ``Tissue.UNKNOWN`` it is ``UNKNOWN_LABEL``."""
    table = np.zeros(TISSUES, np.uint8)
    table[Tissue.UNKNOWN] = UNKNOWN_LABEL
    table[1:14] = np.arange(1, 14)
    for inner, organ in _INNER.items():
        table[inner] = organ
    return table


PHASES = {"plain": 0.22, "arterial": 0.20, "portal": 0.43, "random": 0.15}
"""How often each phase is painted."""

_SAME = {
    Tissue.AIR: (-1010, -990),
    Tissue.GALLBLADDER: (-5, 25),
    Tissue.BLADDER: (-5, 25),
    Tissue.SPONGIOSA: (120, 330),
    Tissue.CORTICAL_BONE: (350, 900),
    Tissue.FAT: (-120, -80),
    Tissue.SKIN: (-20, 50),
    Tissue.LUNG: (-880, -700),
    Tissue.CARTILAGE: (50, 120),
    Tissue.AIRWAY: (-1000, -900),
}

_BY_PHASE: dict[Tissue, tuple[tuple[int, int], tuple[int, int], tuple[int, int]]] = {
    # tissue: plain, arterial, portal
    Tissue.LIVER: ((30, 68), (50, 85), (80, 135)),
    Tissue.RIGHT_KIDNEY: ((22, 42), (110, 220), (130, 220)),
    Tissue.RIGHT_MEDULLA: ((20, 40), (40, 110), (110, 210)),
    Tissue.SPLEEN: ((38, 60), (80, 150), (95, 145)),
    Tissue.PANCREAS: ((25, 50), (75, 130), (65, 115)),
    Tissue.AORTA: ((32, 52), (200, 380), (120, 200)),
    Tissue.VENA_CAVA: ((30, 50), (40, 130), (90, 180)),
    Tissue.RIGHT_ADRENAL: ((5, 40), (45, 95), (40, 95)),
    Tissue.ESOPHAGUS: ((20, 50), (30, 75), (35, 85)),
    Tissue.STOMACH: ((25, 50), (40, 95), (50, 100)),
    Tissue.DUODENUM: ((20, 50), (40, 100), (45, 100)),
    Tissue.COLON: ((20, 50), (35, 85), (40, 90)),
    Tissue.SMALL_BOWEL: ((20, 50), (50, 120), (50, 115)),
    Tissue.RECTUM: ((15, 45), (25, 60), (30, 65)),
    Tissue.MUSCLE: ((38, 65), (40, 72), (45, 78)),
    Tissue.HEART: ((30, 55), (140, 330), (90, 180)),
    Tissue.VESSEL: ((30, 52), (100, 300), (110, 190)),
    Tissue.SOFT: ((-30, 55), (-20, 70), (-20, 80)),
    Tissue.PORTAL_VEIN: ((30, 52), (55, 180), (120, 205)),
    Tissue.HEPATIC_VEIN: ((28, 52), (45, 100), (100, 185)),
}

_MOST_FAT_HU = 50
_DENSEST_BILE_HU = 90
_BRIGHTEST_KIDNEY_HU = 350
_BRIGHTER_AT_80_KV = 1.4
_MOST_AMISS_HU = 15.0
"""Of an organ's median: voxels of 3 mm hold some of the fat beside it."""

_LIKE = {
    Tissue.LEFT_KIDNEY: Tissue.RIGHT_KIDNEY,
    Tissue.LEFT_MEDULLA: Tissue.RIGHT_MEDULLA,
    Tissue.LEFT_ADRENAL: Tissue.RIGHT_ADRENAL,
}


def has_plausible_hu(organ: int, median_hu: float) -> bool:
    """Whether an organ of this median HU can be what it is called, in any phase; the gut's contents may be anything.

    A label whose median lies outside covers much that is not the organ: TS-example's pancreas of -9 HU is fat for
    the greater part.
    """
    tissue = _LIKE.get(Tissue(organ), Tissue(organ))
    if tissue in (Tissue.STOMACH, Tissue.DUODENUM, Tissue.ESOPHAGUS):
        return True
    if tissue == Tissue.GALLBLADDER:
        low, high = float(_SAME[tissue][0]), float(_DENSEST_BILE_HU)
    else:
        ranges = _BY_PHASE[tissue]
        low, high = float(min(r[0] for r in ranges)), _BRIGHTER_AT_80_KV * max(r[1] for r in ranges)
    if tissue == Tissue.LIVER:
        low -= _MOST_FAT_HU
    if tissue in (Tissue.RIGHT_KIDNEY, Tissue.RIGHT_MEDULLA):
        high = _BRIGHTEST_KIDNEY_HU
    return low - _MOST_AMISS_HU <= median_hu <= high + _MOST_AMISS_HU


def paint_hu(phase: str, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """(TISSUES,) mean HU of each tissue for one scan. Contents of the gut are drawn apart (``gut_contents``)."""
    table = np.zeros(TISSUES, np.float32)
    for tissue, (low, high) in _SAME.items():
        table[tissue] = rng.uniform(low, high)
    # one draw moves all enhancing tissues of a scan together, as the delay after the injection does
    together = rng.uniform()
    for tissue, ranges in _BY_PHASE.items():
        if phase == "random":
            low, high = min(r[0] for r in ranges), max(r[1] for r in ranges)
            share = rng.uniform()
        else:
            low, high = ranges[("plain", "arterial", "portal").index(phase)]
            share = float(np.clip(0.6 * together + 0.4 * rng.uniform() + rng.normal(0, 0.08), 0, 1))
        table[tissue] = low + share * (high - low)
    table[Tissue.UNKNOWN] = table[Tissue.SOFT]
    if phase != "plain" and rng.uniform() < 0.15:  # a fast injection, or 80 kV; later the medulla is as bright
        cortex, medulla = rng.uniform(200, _BRIGHTEST_KIDNEY_HU), rng.uniform(0.3, 1.0)
        for tissue, hu in ((Tissue.RIGHT_KIDNEY, cortex), (Tissue.RIGHT_MEDULLA, cortex * medulla)):
            table[tissue] = hu
    for tissue, twin in _LIKE.items():
        table[tissue] = table[twin] + rng.normal(0, 3)
    for tissue, organ in CONTINUES.items():
        table[tissue] = table[organ]
    if rng.uniform() < 0.12:  # fatty liver
        table[Tissue.LIVER] -= rng.uniform(20, _MOST_FAT_HU)
    if rng.uniform() < 0.15:  # bile with stones, sludge or excreted contrast
        table[Tissue.GALLBLADDER] = rng.uniform(20, _DENSEST_BILE_HU)
    return table
