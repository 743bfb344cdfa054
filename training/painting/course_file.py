"""The file of vessel courses beside the bodies: made of the maps that show vessels, and anew when these are others."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from attention_dmfnet.files.image_io import ImageError

from training.errors import TrainingError
from training.painting.anatomy import Anatomy, read_organ_map
from training.painting.bodies import COURSES, is_held_out, read_atlas
from training.painting.label_maps import map_name
from training.painting.tissue import Tissue
from training.painting.vessel_courses import CourseAtlas, make_atlas

_log = logging.getLogger(__name__)

BAD_MAP = (TrainingError, ImageError, OSError, ValueError)
"""What is wrong with one map and costs no other."""

_FEWEST_AORTAS = 2


def prepare_courses(sources: Sequence[Path], folder: Path, workers: int) -> None:
    """Write ``COURSES`` into ``folder`` unless what is there was made of these very maps.

    WORD's maps show no vessel, and held-out ones are not used. A map that cannot be read counts as one that shows none.
    Raises ``TrainingError`` if fewer than two show an aorta: a map's own course does not help to complete it.
    """
    maps = [path for path in sources if not is_held_out(map_name(path)) and not map_name(path).startswith("word")]
    stamp = _stamp(maps)
    if (folder / COURSES).exists():
        try:
            made_of = read_atlas(folder).made_of
        except TrainingError:  # damaged
            made_of = ""
        if made_of == stamp:
            return
        _log.info("%s: made of other maps, or by an earlier release; the courses are learned anew", folder / COURSES)
    with ProcessPoolExecutor(workers) as pool:
        found = [anatomy for anatomy in pool.map(_read, maps) if anatomy is not None]
    atlas = make_atlas(found, stamp)
    aortas = _with_aorta(atlas)
    if len(aortas) < _FEWEST_AORTAS:
        shown = ", ".join(aortas) or "none"
        raise TrainingError(
            f"of the organ maps {shown} shows an aorta, and each is completed along those of others; add maps with one "
            "to anatomy/ (WORD's and held-out ones do not count)"
        )
    atlas.save(folder / COURSES)


def _with_aorta(atlas: CourseAtlas) -> list[str]:
    curves = zip(atlas.names, atlas.curves[Tissue.AORTA], strict=True)
    return [name for name, curve in curves if not np.isnan(curve).all()]


def _read(path: Path) -> Anatomy | None:
    try:
        return read_organ_map(path)
    except BAD_MAP:  # told when its bodies are completed
        return None


def _stamp(maps: Sequence[Path]) -> str:
    """A hash of the maps' names and files, and of the names beside them."""
    digest = hashlib.sha256()
    for path in maps:
        digest.update(map_name(path).encode())
        for file in (path, path.parent / f"{map_name(path)}.json"):
            digest.update(hashlib.sha256(file.read_bytes()).digest() if file.is_file() else b"none")
    return digest.hexdigest()
