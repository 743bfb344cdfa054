"""What the numbers of a map mean that has a JSON file of names beside it: ``MAP.json`` for ``MAP.nii.gz``.

It holds an object of number to name, or to an object with a ``name``. An organ is known by its own name alone, in the
spellings of :mod:`training.organ_names`; of other structures a word is enough. What no word tells is left open, as if
it had not been drawn: completion fills it.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from training.errors import TrainingError
from training.organ_names import label_of_name
from training.painting.label_maps import map_name
from training.painting.tissue import Tissue

_BY_WORD = {
    "colon": Tissue.COLON,
    "bowel": Tissue.SMALL_BOWEL,
    "intestine": Tissue.SMALL_BOWEL,
    "rectum": Tissue.RECTUM,
    "bladder": Tissue.BLADDER,
    "heart": Tissue.HEART,
    "lung": Tissue.LUNG,
    "disc": Tissue.CARTILAGE,
    "intervertebraldisc": Tissue.CARTILAGE,
    "cartilage": Tissue.CARTILAGE,
    "cartilages": Tissue.CARTILAGE,
    "muscle": Tissue.MUSCLE,
    "autochthon": Tissue.MUSCLE,
    "iliopsoas": Tissue.MUSCLE,
    "gluteus": Tissue.MUSCLE,
    "rib": Tissue.CORTICAL_BONE,
    "ribs": Tissue.CORTICAL_BONE,
    **dict.fromkeys(
        ("vertebra", "vertebrae", "thoracic", "lumbar", "sacrum", "hip", "pelvis", "femur", "sternum"), Tissue.SPONGIOSA
    ),
    "iliac": Tissue.VESSEL,
}
"""The first of a name's words that is here says what it is; a muscle or a disc is not the bone that it lies at."""

_PARTICULAR = ("muscle", "disc", "intervertebraldisc", "cartilage")
_NO_TISSUE = ("tumor", "tumour", "cyst", "lesion", "and", "renal")


class _Structure(msgspec.Struct):
    name: str


def names_beside(path: Path) -> dict[int, str] | None:
    """The names of the map at ``path`` by number, or None if no file of names lies beside it.

    Raises ``TrainingError`` for a file that says something else.
    """
    names = path.parent / f"{map_name(path)}.json"
    return names_in(names, path) if names.is_file() else None


def names_in(names: Path, path: Path) -> dict[int, str]:
    """The names of the map at ``path`` by number, in the file ``names``. Raises ``TrainingError``."""
    try:
        entries = msgspec.json.decode(names.read_bytes(), type=dict[int, str | _Structure])
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise TrainingError(
            f"{names} does not name the numbers of {path.name}: {error}; "
            'write an object of number to name, such as {"1": "liver"}'
        ) from error
    return {number: entry if isinstance(entry, str) else entry.name for number, entry in entries.items()}


def tissue_of_name(name: str) -> Tissue:
    """The tissue of the structure called ``name``; ``AIR``, that is nothing, where its words do not say."""
    label = label_of_name(name)
    if label is not None:
        return Tissue(label)
    words = [word.rstrip("0123456789") for word in re.split(r"[\s_-]+", name.strip().lower())]
    if "portal" in words or {"splenic", "vein"} <= set(words):
        return Tissue.PORTAL_VEIN
    if any(word in _NO_TISSUE for word in words):
        return Tissue.AIR
    if "iliac" in words and not {"artery", "vein", "vena"}.isdisjoint(words):
        return Tissue.AORTA_BEYOND if "artery" in words else Tissue.CAVA_BEYOND
    known = [word for word in (*_PARTICULAR, *words) if word in words and word in _BY_WORD]
    return _BY_WORD[known[0]] if known else Tissue.AIR
