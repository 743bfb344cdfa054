"""A gallbladder as full as a fasting patient's, where the organ map has a small one.

The maps' gallbladders are mostly of a few millilitres and squeezed between liver and bowel. A patient who has fasted
for the scan has one of some 20 to 50 mL: a smooth bag that hangs from the liver into fat.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from training.painting.body_sites import BodySites
from training.painting.completion import BODY_SPACING_ZYX
from training.painting.look import Bag, Look
from training.painting.tissue import Tissue

_SHORT_MM = (9.0, 17.0)
_TIMES_AS_LONG = (1.2, 2.2)
_FAT_BEYOND = (1.0, 1.5)


def fill_gallbladder(look: Look, sites: BodySites, rng: np.random.Generator) -> Look:
    """``look`` with an ellipsoid of bile about a place in the gallbladder; unchanged if the body has none.

    Bowel and fat give way to it, organs do not. Its half axes are 9 to 17 mm, the longest up to 2.2 times that.
    """
    places = sites.places.get(int(Tissue.GALLBLADDER))
    if places is None:
        return look
    middle = places[int(rng.integers(len(places)))] + rng.normal(0, 5, 3) / BODY_SPACING_ZYX
    short = rng.uniform(*_SHORT_MM)
    half_axes_mm = short * np.array([1.0, rng.uniform(0.9, 1.2), rng.uniform(*_TIMES_AS_LONG)])
    turn = Rotation.random(random_state=rng).as_matrix()
    to_half_axes = (turn / half_axes_mm[:, None]) * np.asarray(BODY_SPACING_ZYX)
    return look._replace(bag=Bag(np.vstack([middle, to_half_axes]), rng.uniform(*_FAT_BEYOND)))
