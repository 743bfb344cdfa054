"""How FLARE22 scores one organ of one case, quirks included.

Source: the organisers' ``FLARE22_DSC_NSD_Eval.py``, and their rule that an organ with DSC below 0.2 has NSD 0.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from attention_dmfnet.geometry import Triple

from evaluation.accuracy.dice import Mask, dice
from evaluation.accuracy.surface import surface_dice
from evaluation.organs import ORGANS

ORGAN_CODES: tuple[str, ...] = (
    "Liver",
    "RK",
    "Spleen",
    "Pancreas",
    "Aorta",
    "IVC",
    "RAG",
    "LAG",
    "Gallbladder",
    "Esophagus",
    "Stomach",
    "Duodenum",
    "LK",
)
"""What the organisers' tables call organ ``ORGANS[i]``."""

TOLERANCES_MM: tuple[float, ...] = (5, 3, 3, 5, 2, 2, 2, 2, 2, 3, 5, 7, 3)
"""How far apart two surfaces of organ ``ORGANS[i]`` may lie and still agree (mm)."""

LABELLED_SLICES_ONLY = frozenset(ORGANS.index(organ) + 1 for organ in ("aorta", "inferior vena cava", "esophagus"))
"""Labels that are scored only between the reference's first and last slice: scans cut these organs anywhere."""

LABELS = tuple(range(1, len(ORGANS) + 1))


@dataclass(frozen=True, slots=True)
class Rules:
    """Which of the organisers' quirks apply: the z-range of vessels and esophagus, and the DSC that NSD needs."""

    within_labelled_slices: bool
    least_dsc_for_nsd: float


FLARE22 = Rules(within_labelled_slices=True, least_dsc_for_nsd=0.2)
PLAIN = Rules(within_labelled_slices=False, least_dsc_for_nsd=0.0)


@dataclass(frozen=True, slots=True)
class OrganScore:
    """DSC and NSD of one organ in one case, both from 0 to 1."""

    dsc: float
    nsd: float


def score_organ(
    prediction: npt.NDArray[Any], reference: npt.NDArray[Any], label: int, spacing_zyx: Triple, rules: Rules = FLARE22
) -> OrganScore:
    """Score ``label`` between two label maps (z, y, x) of the same grid, z being the third axis of the file.

    Both empty: 1 and 1. Exactly one empty: 0 and 0.
    """
    predicted, labelled = prediction == label, reference == label
    if not predicted.any() or not labelled.any():
        agreed = float(predicted.any() == labelled.any())
        return OrganScore(agreed, agreed)
    if rules.within_labelled_slices and label in LABELLED_SLICES_ONLY:
        z_range = _labelled_slices(labelled)
        predicted, labelled = predicted[z_range], labelled[z_range]
    dsc = dice(predicted, labelled)
    if dsc < rules.least_dsc_for_nsd:
        return OrganScore(dsc, 0.0)
    return OrganScore(dsc, surface_dice(predicted, labelled, spacing_zyx, TOLERANCES_MM[label - 1]))


def _labelled_slices(labelled: Mask) -> slice:
    z = np.flatnonzero(labelled.any(axis=(1, 2)))
    first, last = int(z[0]), int(z[-1])
    # The organisers' slice is [first:last], without the last one. Where there is only one, that leaves nothing and
    # their script stops with an error; here it is kept.
    return slice(first, max(last, first + 1))
