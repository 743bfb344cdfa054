"""A hand-made patient with all that a frame and a transplant look for: boxes of tissue on voxels of 3 x 2 x 2 mm."""

import numpy as np

from training.painting.completion import BODY_SPACING_ZYX, Body, inner_layers
from training.painting.tissue import Tissue

SHAPE = (60, 90, 120)
Box = tuple[slice, slice, slice]


def box(*ends: int) -> Box:
    """From six ends: z, z, y, y, x, x."""
    return slice(*ends[:2]), slice(*ends[2:4]), slice(*ends[4:6])


BOXES = {
    Tissue.SPONGIOSA: box(0, 60, 62, 76, 54, 66),
    Tissue.AORTA: box(0, 60, 54, 60, 61, 67),
    Tissue.LIVER: box(28, 50, 25, 55, 16, 48),
    Tissue.SPLEEN: box(32, 48, 45, 65, 92, 106),
    Tissue.RIGHT_KIDNEY: box(14, 30, 55, 68, 30, 44),
    Tissue.LEFT_KIDNEY: box(14, 30, 55, 68, 76, 90),
    Tissue.STOMACH: box(32, 46, 24, 40, 62, 84),
    Tissue.PANCREAS: box(26, 30, 42, 50, 54, 78),
    Tissue.DUODENUM: box(18, 26, 40, 52, 44, 52),
    Tissue.GALLBLADDER: box(21, 26, 25, 33, 30, 38),
    Tissue.COLON: box(10, 16, 20, 50, 18, 102),
    Tissue.SMALL_BOWEL: box(3, 9, 24, 44, 36, 84),
}
"""Where the organs of ``patient`` are; of the colon the transverse part."""
ASCENDING, DESCENDING = box(10, 28, 30, 50, 18, 26), box(10, 32, 30, 50, 98, 106)
"""The colon's other parts: they reach furthest to the sides."""


def patient(name: str = "word_0001_0", changes: dict[Tissue, Box] | None = None) -> Body:
    """Fat in air, with the organs of ``BOXES`` or where ``changes`` puts them."""
    tissues = np.full(SHAPE, Tissue.AIR, np.uint8)
    tissues[:, 8:82, 8:112] = Tissue.FAT
    tissues[ASCENDING] = tissues[DESCENDING] = Tissue.COLON
    for organ, where in (BOXES | (changes or {})).items():
        tissues[where] = organ
    return Body(name, inner_layers(tissues, BODY_SPACING_ZYX), np.zeros(SHAPE, np.int16))


def shifted(body: Body, by_zyx: tuple[int, int, int]) -> Body:
    """The same patient elsewhere on the grid."""
    return Body(body.name, np.roll(body.tissues, by_zyx, (0, 1, 2)), np.roll(body.hu, by_zyx, (0, 1, 2)))
