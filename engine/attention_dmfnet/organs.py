"""The one table of organs: number, name, SNOMED CT code and colour, from which every file and picture takes them.

Codes are of DICOM PS3.16's CID 7151 with the sides of CID 244, as pydicom's dictionary and 3D Slicer's terminology have
them. Colours are at least ``LEAST_COLOUR_DISTANCE`` apart for any eyes.

Imports nothing, so that whoever asks for a name pays for nothing else.
"""

from __future__ import annotations

from typing import Final, NamedTuple

Rgb = tuple[int, int, int]
"""Red, green and blue of sRGB, 0 to 255."""


class Code(NamedTuple):
    """A SNOMED CT concept: its number, and the meaning that DICOM gives it. The coding scheme is ``SCT``."""

    value: str
    meaning: str


class Organ(NamedTuple):
    """One row. ``side`` is None for an organ of which there is one."""

    number: int
    name: str
    type: Code
    side: Code | None
    colour: Rgb


SCHEME: Final = "SCT"
"""DICOM's name of SNOMED CT as a coding scheme (PS3.16, section 8)."""

CATEGORY: Final = Code("91723000", "Anatomical Structure")
"""What all of them are, by DICOM's CID 7150."""

ORGAN: Final = Code("91772007", "Organ")
"""The type of one that this table has not, by CID 7151."""

SLICER_CATEGORY: Final = Code("123037004", "Anatomical Structure")
"""The same as 3D Slicer, dcmqi and TotalSegmentator code it: Slicer's lists know no other."""

LEAST_COLOUR_DISTANCE: Final = 24.0
"""Between any two colours, in CIELAB, with normal eyes and with full protanopia, deuteranopia and tritanopia."""

_RIGHT: Final = Code("24028007", "Right")
_LEFT: Final = Code("7771000", "Left")
_KIDNEY: Final = Code("64033007", "Kidney")
_ADRENAL_GLAND: Final = Code("23451007", "Adrenal gland")

ORGANS: Final[tuple[Organ, ...]] = (
    Organ(1, "liver", Code("10200004", "Liver"), None, (225, 160, 106)),
    Organ(2, "right kidney", _KIDNEY, _RIGHT, (252, 217, 104)),
    Organ(3, "spleen", Code("78961009", "Spleen"), None, (121, 55, 186)),
    Organ(4, "pancreas", Code("15776009", "Pancreas"), None, (132, 62, 0)),
    Organ(5, "aorta", Code("15825003", "Aorta"), None, (213, 50, 89)),
    Organ(6, "inferior vena cava", Code("64131007", "Inferior vena cava"), None, (153, 159, 252)),
    Organ(7, "right adrenal gland", _ADRENAL_GLAND, _RIGHT, (64, 173, 150)),
    Organ(8, "left adrenal gland", _ADRENAL_GLAND, _LEFT, (165, 88, 162)),
    Organ(9, "gallbladder", Code("28231008", "Gallbladder"), None, (174, 249, 186)),
    Organ(10, "esophagus", Code("32849002", "Esophagus"), None, (207, 111, 22)),
    Organ(11, "stomach", Code("69695003", "Stomach"), None, (56, 253, 234)),
    Organ(12, "duodenum", Code("38848004", "Duodenum"), None, (214, 248, 10)),
    Organ(13, "left kidney", _KIDNEY, _LEFT, (15, 60, 251)),
)
"""FLARE22's thirteen, in the order of their numbers; 0 is everything else."""

UNKNOWN_COLOUR: Final[Rgb] = (190, 190, 190)
"""Of an organ that a model of one's own has and this table has not."""

_BY_NAME: Final = {organ.name: organ for organ in ORGANS}


def find_organ(name: str) -> Organ | None:
    """The organ called ``name``, or None if the table has none."""
    return _BY_NAME.get(name)


def colour_of(name: str) -> Rgb:
    """The colour of the organ called ``name``; grey for one that the table has not."""
    organ = find_organ(name)
    return UNKNOWN_COLOUR if organ is None else organ.colour
