"""Tiny bodies for tests of the painter and of completion: boxes and balls of tissue."""

import numpy as np
from attention_dmfnet.geometry import Geometry, Volume

from training.painting.anatomy import Anatomy
from training.painting.completion import Body
from training.painting.tissue import NO_HU, Tissue

SHAPE = (40, 60, 80)
"""Voxels of 3 x 2 x 2 mm: 120 x 120 x 160 mm."""

BOXES = {
    Tissue.LIVER: (slice(10, 30), slice(20, 40), slice(12, 30)),
    Tissue.SPLEEN: (slice(10, 30), slice(20, 40), slice(50, 68)),
    Tissue.PANCREAS: (slice(15, 25), slice(20, 28), slice(33, 47)),
    Tissue.AORTA: (slice(4, 36), slice(40, 48), slice(36, 44)),
}
"""Where the organs of ``body`` are."""


def body(surroundings: Tissue = Tissue.FAT) -> Body:
    """Four organs in a block of one tissue, with air around it."""
    tissues = np.full(SHAPE, Tissue.AIR, np.uint8)
    tissues[:, 6:54, 6:74] = surroundings
    for organ, where in BOXES.items():
        tissues[where] = organ
    return Body("boxes", tissues, np.full(SHAPE, NO_HU, np.int16))


def real_body() -> Body:
    """The same with a real scan's HU, 7 in the liver and 100 elsewhere in the body, up to slice 24; none beyond it."""
    made = body()
    hu = np.where(made.tissues == Tissue.LIVER, 7, 100).astype(np.int16)
    hu[made.tissues == Tissue.AIR] = NO_HU
    hu[24:] = NO_HU
    return Body("ts_example_0", made.tissues, hu)


_BALLS = {
    # organ: centre and radius in mm, z up, y to the back, x to the left
    Tissue.LIVER: ((30, 0, -60), 40),
    Tissue.SPLEEN: ((30, 30, 75), 22),
    Tissue.PANCREAS: ((-5, 0, 15), 16),
    Tissue.RIGHT_KIDNEY: ((-30, 40, -50), 24),
    Tissue.LEFT_KIDNEY: ((-25, 40, 55), 24),
    Tissue.GALLBLADDER: ((-20, -40, -55), 14),
    Tissue.STOMACH: ((20, -40, 50), 24),
}


def anatomy(name: str, whole: bool, vessels: bool, scale: float = 1.0) -> Anatomy:
    """Balls for organs on 6 mm voxels; in a ``whole`` one also fat, skin and a spine; an aorta with ``vessels``."""
    shape = (60, 50, 70)
    spacing = 6.0
    mm = np.stack(np.meshgrid(*((np.arange(n) - n / 2) * spacing for n in shape), indexing="ij"))
    tissues = np.zeros(shape, np.uint8)
    if whole:
        across = (mm[1] / 110) ** 2 + (mm[2] / 150) ** 2
        tissues[across < 1] = Tissue.SKIN
        tissues[across < 0.95] = Tissue.FAT
        tissues[(mm[1] - 70) ** 2 + mm[2] ** 2 < 15**2] = Tissue.SPONGIOSA
    if vessels:
        tissues[(mm[1] - 45) ** 2 + (mm[2] - 8) ** 2 < 11**2] = Tissue.AORTA
    for organ, (centre, radius) in _BALLS.items():
        away = mm - scale * np.array(centre)[:, None, None, None]
        tissues[(away**2).sum(0) < (scale * radius) ** 2] = organ
    origin = tuple(float(-n / 2 * spacing) for n in reversed(shape))
    axes = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
    geometry = Geometry(shape, (spacing, spacing, spacing), (origin[0], origin[1], origin[2]), axes)
    known = frozenset(int(value) for value in np.unique(tissues)) - {0}
    return Anatomy(name, Volume(tissues, geometry), known)
