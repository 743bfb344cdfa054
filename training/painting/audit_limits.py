"""What is known of any adult's organs: volumes, widths, heights, sides, neighbours. Limits of the audit, and sources.

Limits are wide, as the sources show illness; what they were measured on is beside each table. mm on canonical axes: z
towards the head, y to the back, x to the patient's left.
"""

from __future__ import annotations

import math
from typing import Literal

from attention_dmfnet.adult_volumes import ADULT_VOLUMES

from evaluation.organs import ORGANS
from training.painting.tissue import Tissue

Range = tuple[float, float]
"""Least and most, both allowed; infinite where one side is open."""

OPEN = math.inf

VOLUMES_ML: dict[Tissue, Range] = {
    Tissue(label): ADULT_VOLUMES[organ].possible_ml for label, organ in enumerate(ORGANS, start=1)
}
"""The engine's ranges, with their sources there; ``VESSEL_WIDTHS_MM`` has those of the tubes."""

VESSEL_WIDTHS_MM: dict[Tissue, Range] = {Tissue.AORTA: (7, 36), Tissue.VENA_CAVA: (2.3, 38)}
"""Diameter of a circle of a slice's area. The abdominal aorta is 17 to 27 mm wide, an aneurysm from 30 on (Erbel &
Eggebrecht, Heart 92, 2006). A filled vena cava is 13 to 36 mm across (Prince et al., Radiology 149, 1983), an empty one
a slit.
"""


LARGEST_PART, LARGEST_PART_OF_A_VESSEL = 0.9, 0.98
"""Share of an organ's voxels in its largest part, voxels that touch by a corner being one part."""

HEIGHTS_MM: tuple[tuple[Tissue, Literal["top", "bottom"], str, Range], ...] = (
    (Tissue.AORTA, "top", "the liver's top", (40, OPEN)),
    (Tissue.AORTA, "bottom", "the kidneys' lower poles", (-90, 55)),
    (Tissue.VENA_CAVA, "top", "the liver's top", (-6, 60)),
    (Tissue.VENA_CAVA, "bottom", "the kidneys' lower poles", (-110, 0)),
    (Tissue.ESOPHAGUS, "top", "the liver's top", (0, OPEN)),
    (Tissue.ESOPHAGUS, "bottom", "the liver's top", (-85, 30)),
    (Tissue.STOMACH, "top", "the liver's top", (-80, 50)),
    (Tissue.STOMACH, "bottom", "the kidneys' lower poles", (-80, 150)),
    (Tissue.SPLEEN, "top", "the liver's top", (-130, 40)),
    (Tissue.SPLEEN, "bottom", "the kidneys' lower poles", (-60, 160)),
    (Tissue.GALLBLADDER, "top", "the liver's top", (-180, -15)),
    (Tissue.GALLBLADDER, "bottom", "the liver's bottom", (-60, 140)),
    (Tissue.PANCREAS, "top", "the liver's top", (-180, -10)),
    (Tissue.PANCREAS, "bottom", "the kidneys' lower poles", (-60, 120)),
    (Tissue.DUODENUM, "top", "the liver's top", (-180, -20)),
    (Tissue.DUODENUM, "bottom", "the kidneys' lower poles", (-70, 90)),
    (Tissue.RIGHT_KIDNEY, "top", "the liver's top", (-180, -15)),
    (Tissue.RIGHT_KIDNEY, "top", "the liver's bottom", (0, 210)),
    (Tissue.RIGHT_KIDNEY, "bottom", "the liver's top", (-300, -100)),
    (Tissue.LEFT_KIDNEY, "top", "the liver's top", (-200, -10)),
    (Tissue.LEFT_KIDNEY, "bottom", "the liver's top", (-330, -95)),
    (Tissue.RIGHT_ADRENAL, "top", "the liver's top", (-150, -5)),
    (Tissue.RIGHT_ADRENAL, "bottom", "the kidneys' lower poles", (35, 160)),
    (Tissue.LEFT_ADRENAL, "top", "the liver's top", (-150, 0)),
    (Tissue.LEFT_ADRENAL, "bottom", "the kidneys' lower poles", (25, 160)),
)
"""Where an organ ends. The vessels' limits are anatomy: the cava enters the right atrium just above the diaphragm, the
aorta runs through the field, which is labelled to 45 mm above the liver, and forks at the fourth lumbar vertebra, on 38
expert maps 57 mm below to 48 mm above the lower poles. The other limits are those of 69 to 71 expert maps and atlases
(of adrenals 36), widened by 15 to 60 mm on either side, and by 75 where a large spleen or a full stomach hangs down.
All 121 bodies that release 0.10.0 is painted from are within them, too (by a script that is not kept).
"""

KIDNEYS_APART_MM: Range = (60, 260)
ADRENALS_APART_MM: Range = (20, 160)
CAVA_BESIDE_AORTA_MM: Range = (5, 90)
"""Distances along x between middles. On 8 expert cavae the least is 16 mm; adrenals are 40 to 95 mm apart."""

LEFT_OF_THE_MIDDLE_MM: dict[Tissue, Range] = {
    Tissue.LIVER: (-150, -10),
    Tissue.SPLEEN: (30, 180),
    Tissue.GALLBLADDER: (-170, 0),
    Tissue.STOMACH: (-30, 150),
    Tissue.PANCREAS: (-45, 80),
    Tissue.DUODENUM: (-85, 20),
    Tissue.AORTA: (-25, 50),
    Tissue.VENA_CAVA: (-65, 0),
    Tissue.RIGHT_ADRENAL: (-85, -5),
    Tissue.LEFT_ADRENAL: (5, 90),
}
"""x of the middle, from the midpoint between the kidneys: 71 expert maps and atlases, widened by about 30 to 50 mm."""

BEFORE_THE_KIDNEYS_MM: dict[Tissue, Range] = {
    Tissue.LIVER: (0, 140),
    Tissue.PANCREAS: (5, 130),
    Tissue.STOMACH: (5, 150),
    Tissue.GALLBLADDER: (5, 180),
    Tissue.VENA_CAVA: (0, 90),
}
"""How far an organ's middle lies in front of the kidneys': on the same maps 20 to 125 mm."""

NEIGHBOURS_MM: tuple[tuple[Tissue, Tissue, str, float], ...] = (
    (Tissue.DUODENUM, Tissue.PANCREAS, "head", 6),
    (Tissue.DUODENUM, Tissue.STOMACH, "", 12),
    (Tissue.ESOPHAGUS, Tissue.STOMACH, "", 12),
    (Tissue.GALLBLADDER, Tissue.LIVER, "", 5),
    (Tissue.RIGHT_ADRENAL, Tissue.RIGHT_KIDNEY, "upper third", 25),
    (Tissue.LEFT_ADRENAL, Tissue.LEFT_KIDNEY, "upper third", 25),
    (Tissue.RIGHT_KIDNEY, Tissue.LIVER, "", 30),
    (Tissue.LEFT_KIDNEY, Tissue.SPLEEN, "", 45),
    (Tissue.SPLEEN, Tissue.STOMACH, "", 45),
)
"""Furthest distance between the closest voxels' centres; touching ones are 2 or 3 mm apart. On 71 expert maps and
atlases: duodenum at most 3 mm from the pancreas's head and 7 from the stomach, esophagus 8 from the stomach,
gallbladder 2 from the liver, adrenals 13 from the kidney's upper third, right kidney 8 from the liver, spleen 19 from
the kidney.
"""

ADRENAL_ABOVE_KIDNEY_MM: Range = (8, 95)
"""Middle above middle; on 38 expert maps 18 to 64 mm."""

AORTA_TO_BONE_MM: Range = (0, 30)
"""The aorta lies on the vertebrae; a warped spine is not where the patient's own was, and fat fills what is between."""

VESSEL_STEP_MM: Range = (0, 14)
"""In-plane step of a vessel's middle from one 3 mm slice to the next."""
