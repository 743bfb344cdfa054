"""What a stage sees of a labelled scan: the arrays that are cached, made with the engine's own code.

The coarse stage sees the whole scan, the fine stage the organs' box and a margin: the grids are those on which the
engine will look at the same scan (``attention_dmfnet.segmenter``).
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
from attention_dmfnet.geometry import Box, Geometry, Volume
from attention_dmfnet.steps.resample import resample_linear
from attention_dmfnet.steps.roi import box_with_margin, working_grid

from training.arrays import UNKNOWN
from training.data.cache import CacheError, replacing_folder, write_array
from training.data.dataset import (
    CASE_NAME,
    IMAGE_NAME,
    LABELS_NAME,
    PLACES_NAME,
    CachedGeometry,
    StageGrid,
)
from training.data.resample_labels import share_out
from training.recipe import Stage

_PLACES_PER_LABEL = 4000


def arrays_for(
    stage: Stage, scan: Volume, labels: Volume, grid: StageGrid, search_everywhere: bool
) -> tuple[Volume, Volume]:
    """The image (int16 HU) and the labels (uint8) of a canonical scan on the grid of ``stage``.

    ``search_everywhere``: organs that nobody drew may lie anywhere, so the fine stage gets the whole scan.
    """
    if stage == "coarse":
        geometry = scan.geometry.with_spacing(grid.spacing_zyx)
        return _image(scan, geometry, grid), Volume(share_out(labels, geometry).foreground(), geometry)
    box = Box((0, 0, 0), scan.geometry.shape_zyx) if search_everywhere else _organs_box(labels, grid)
    geometry = working_grid(box, scan.geometry, grid.spacing_zyx, grid.tile_zyx)
    return _image(scan, geometry, grid), Volume(share_out(labels, geometry).labels(), geometry)


def write_case(folder: Path, key: str, image: Volume, labels: Volume) -> None:
    """Write one case of the cache, the whole of it or nothing. Raises ``CacheError``."""
    geometry = image.geometry
    about = CachedGeometry(key, geometry.shape_zyx, geometry.spacing_zyx, geometry.origin_lps, geometry.axes_lps)
    try:
        with replacing_folder(folder) as partial:
            write_array(image.array, partial / IMAGE_NAME)
            write_array(labels.array, partial / LABELS_NAME)
            np.save(partial / PLACES_NAME, _places(labels.array, folder.name))
            (partial / CASE_NAME).write_bytes(msgspec.json.encode(about))
    except OSError as error:
        raise CacheError(f"cannot write {folder}: {error.strerror}") from error


def _image(scan: Volume, geometry: Geometry, grid: StageGrid) -> Volume:
    # whole HU: the half that rounding may take is a tenth of a good scan's noise, and they compress to a third
    array = resample_linear(scan, geometry, grid.window_hu).array
    return Volume(np.rint(array, out=array).astype(np.int16), geometry)


def _organs_box(labels: Volume, grid: StageGrid) -> Box:
    drawn = (labels.array > 0) & (labels.array != UNKNOWN)
    start, stop = [], []
    for axis in range(3):
        inside = np.flatnonzero(drawn.any(axis=tuple(other for other in range(3) if other != axis)))
        start.append(int(inside[0]))
        stop.append(int(inside[-1]) + 1)
    box = Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
    return box_with_margin(box, labels.geometry, labels.geometry, grid.roi_margin_mm)


def _places(labels: npt.NDArray[np.uint8], name: str) -> npt.NDArray[np.int16]:
    """(n, 4) label, z, y, x of up to a few thousand voxels of every label, at random but always the same."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    rng = np.random.default_rng(seed)
    rows = [np.empty((0, 4), np.int16)]
    for label in np.unique(labels[(labels > 0) & (labels != UNKNOWN)]):
        places = np.argwhere(labels == label)
        if len(places) > _PLACES_PER_LABEL:
            places = places[np.sort(rng.choice(len(places), _PLACES_PER_LABEL, replace=False))]
        rows.append(np.insert(places, 0, int(label), axis=1).astype(np.int16))
    return np.concatenate(rows)
