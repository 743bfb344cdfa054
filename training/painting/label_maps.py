"""Label maps as files: whole numbers on a grid that stands upright, whatever type the file has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from attention_dmfnet.files.image_io import read_volume
from attention_dmfnet.geometry import CANONICAL_AXES_LPS, Volume, canonicalise

from training.errors import TrainingError

_ALMOST_WHOLE = 1e-3
_LARGEST = 2e9
MOST_ASKEW_DEGREES = 10.0
"""A map is taken as if it stood straight: of a few degrees nobody sees it, of more the patient would be turned."""


def map_name(path: Path) -> str:
    """The map's name, as its bodies carry it: the file's, without ``.nii.gz``."""
    return path.name.split(".")[0]


def read_label_map(path: Path) -> Volume:
    """The numbers of the map at ``path`` (integers) on canonical axes.

    A map may lie a few degrees askew. Raises ``TrainingError`` for one that is turned by more than 10 degrees and for
    numbers that are not whole within 0.001 or do not fit into 32 bits, ``ImageError`` for a file that cannot be read.
    """
    volume = canonicalise(read_volume(path))
    along = np.sum(np.array(volume.geometry.axes_lps) * np.array(CANONICAL_AXES_LPS), axis=1)
    askew = float(np.degrees(np.arccos(np.clip(along, -1, 1))).max())
    if askew > MOST_ASKEW_DEGREES:
        raise TrainingError(
            f"{path} is turned by {askew:.0f} degrees against the patient's axes, more than {MOST_ASKEW_DEGREES:g}; "
            "resample it to a straight grid, nearest neighbour"
        )
    if volume.array.dtype.kind != "f":
        return volume
    whole = np.rint(volume.array)
    apart = (abs(volume.array - whole) > _ALMOST_WHOLE) | (abs(whole) > _LARGEST)
    if apart.any():
        raise TrainingError(
            f"{path} holds {float(volume.array[apart][0]):g}, which is no label's number; "
            "resample label maps by nearest neighbour"
        )
    return Volume(whole.astype(np.int32), volume.geometry)


def read_byte_map(path: Path) -> Volume:
    """The same, numbers from 0 to 255. Raises ``TrainingError`` for others, too."""
    volume = read_label_map(path)
    low, high = int(volume.array.min()), int(volume.array.max())
    if low < 0 or high > 255:
        raise TrainingError(f"{path} holds the number {low if low < 0 else high}; its labels lie between 0 and 255")
    return Volume(volume.array.astype(np.uint8), volume.geometry)
