"""What goes on beyond a label's end: painted as the labelled part is, so that no step in HU tells where labels end."""

from __future__ import annotations

import numpy as np

from training.painting.body_sites import BodySites
from training.painting.look import Inlet, Look
from training.painting.tissue import CONTINUES, Tissue

_RENAL_SHARE = (0.4, 0.65)
"""Of the blood above the renal veins, what comes from them: each kidney gets about a tenth of the heart's output."""
_RENAL_ABOVE_CAVA_HU = (10.0, 40.0)
"""Once the blood of the legs is bright, too."""
_INLET_SLICES = (10.0, 20.0)


def carry_on(look: Look, sites: BodySites, phase: str, rng: np.random.Generator) -> Look:
    """``look`` with HU and texture of all tissues that ``CONTINUES`` lists; its tables are changed in place.

    To be called once the labelled organs and the mixing of blood have been drawn. Renal veins are brighter than the
    vena cava where there is contrast, so bright that they make it what it is above them, but no brighter than the
    aorta.
    """
    for tissue, organ in CONTINUES.items():
        for table in (look.hu, look.rough, look.patchy):
            table[tissue] = table[organ]
    cava = float(look.hu[Tissue.VENA_CAVA])
    if phase != "plain":
        mixed, added = -float(look.mixing[1]), rng.uniform(*_RENAL_ABOVE_CAVA_HU)
        share = rng.uniform(*_RENAL_SHARE)
        if mixed > 0:
            added = mixed * (1 - share) / share
        look.hu[Tissue.RENAL_VEIN] = min(cava + added, max(cava, float(look.hu[Tissue.AORTA])))
    ends = sites.box.get(int(Tissue.VENA_CAVA))
    if ends is None:
        return look
    to_heart = float(look.hu[Tissue.HEART]) - cava
    return look._replace(inlet=Inlet(float(ends[1][0]), to_heart, rng.uniform(*_INLET_SLICES)))
