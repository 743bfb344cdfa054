"""Small grids and label maps for the tests of this folder."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from attention_dmfnet.files.image_io import write_volume
from attention_dmfnet.geometry import CANONICAL_AXES_LPS, Geometry, Triple, Volume


def labels_of(array: npt.ArrayLike, spacing_zyx: Triple = (1, 1, 1)) -> Volume:
    """``array`` as labels on a canonical grid at the origin."""
    labels = np.asarray(array, np.uint8)
    z, y, x = labels.shape
    return Volume(labels, Geometry((z, y, x), spacing_zyx, (0, 0, 0), CANONICAL_AXES_LPS))


def write(volume: Volume, path: Path) -> Path:
    """``volume`` as a file, in a folder made for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(volume, path)
    return path


def write_columns(path: Path, shape_zyx: tuple[int, int, int], spacing_zyx: Triple, columns: dict[int, slice]) -> Path:
    """A label map with each label in its columns along x."""
    array = np.zeros(shape_zyx, np.uint8)
    for label, where in columns.items():
        array[:, :, where] = label
    return write(labels_of(array, spacing_zyx), path)
