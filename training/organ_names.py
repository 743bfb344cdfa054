"""The many names under which data sets know the thirteen organs."""

from __future__ import annotations

import re

from evaluation.accuracy.flare22 import ORGAN_CODES
from evaluation.organs import ORGANS

_ALIASES = {
    "postcava": "inferior vena cava",
    "post cava": "inferior vena cava",
    "vena cava inferior": "inferior vena cava",
    "gall bladder": "gallbladder",
    "oesophagus": "esophagus",
    "kidney right": "right kidney",
    "kidney left": "left kidney",
    "right adrenal": "right adrenal gland",
    "left adrenal": "left adrenal gland",
    "adrenal gland right": "right adrenal gland",
    "adrenal gland left": "left adrenal gland",
    "adrenal right": "right adrenal gland",
    "adrenal left": "left adrenal gland",
}


def label_of_name(name: str) -> int | None:
    """FLARE22's label (1 to 13) of the organ called ``name``, in upper or lower case, with spaces or _ or -.

    None if it is none of the thirteen.
    """
    words = " ".join(re.split(r"[\s_-]+", name.strip().lower()))
    words = _ALIASES.get(words, words)
    for names in (ORGANS, ORGAN_CODES):
        known = [each.lower() for each in names]
        if words in known:
            return known.index(words) + 1
    return None
