"""Label maps that others have published for scans that nobody drew, such as two FLARE22 entries' for its 2000 scans."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from attention_dmfnet.files.cases import EXTENSIONS, case_name
from attention_dmfnet.files.image_io import read_volume
from attention_dmfnet.geometry import Volume

from evaluation.organs import ORGANS
from training.data.pseudo_folder import PseudoError

_SAME_PLACE_MM = 0.1
"""As for drawn labels: headers are rounded, and what an organ's border could notice is more."""


def find_maps(folder: Path) -> dict[str, Path]:
    """The label maps in ``folder`` by the case names of their scans. Raises ``PseudoError`` if there are none."""
    if not folder.is_dir():
        raise PseudoError(f"there is no folder {folder}; name a folder of label maps")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not path.name.lower().endswith(EXTENSIONS):
            continue
        first = found.setdefault(case_name(path), path)
        if first != path:
            raise PseudoError(f"{path} is of the same case as {first.name}; remove one of the two")
    if not found:
        raise PseudoError(f"{folder} holds no label map; name the folder that the files themselves lie in")
    return found


def read_map(path: Path, scan: Volume) -> Volume:
    """A label map in FLARE22's numbers as uint8, on the grid of its ``scan``.

    Raises ``PseudoError`` for another grid or other numbers, ``ImageError`` for a file that cannot be read.
    """
    labels = read_volume(path)
    if not scan.geometry.matches(labels.geometry, _SAME_PLACE_MM):
        raise PseudoError(f"{path} does not lie voxel on voxel on its scan")
    values = np.unique(labels.array)
    if values[0] < 0 or values[-1] > len(ORGANS) or (values != np.rint(values)).any():
        raise PseudoError(f"{path} holds {values[0]:g} to {values[-1]:g}, allowed are whole numbers to {len(ORGANS)}")
    return Volume(labels.array.astype(np.uint8), scan.geometry)
