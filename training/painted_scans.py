"""Whole painted scans of anatomy that no network was trained on, as files with their labels: for validation."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from engine.geometry import CANONICAL_AXES_LPS, Geometry, Volume
from engine.image_io import write_labels, write_volume
from training.bodies import load
from training.painter import Canvas, Painter

_log = logging.getLogger(__name__)

WHOLE_SCAN = Canvas((120, 136, 176), (3.0, 2.5, 2.5), (30.0, 10.0, 10.0), 0.0)
"""The abdomen with the base of the chest and the upper pelvis, at the voxels the fine network works on."""

_LOWEST_HU, _HIGHEST_HU = -1024, 3071


def write_painted_scans(bodies: Path, to: Path, seed: int) -> list[str]:
    """One scan of every held-out body: ``to``/images/NAME_0000.nii.gz (int16) and ``to``/labels/NAME.nii.gz.

    Returns the names. Raises ``FileNotFoundError`` if ``bodies`` holds no held-out body.
    """
    names = []
    for number, body in enumerate(load(bodies, held_out=True)):
        image, labels = Painter([body], WHOLE_SCAN).sample(np.random.default_rng((seed, number)))
        geometry = Geometry(WHOLE_SCAN.shape_zyx, WHOLE_SCAN.spacing_zyx, (0.0, 0.0, 0.0), CANONICAL_AXES_LPS)
        hu = np.clip(np.rint(image), _LOWEST_HU, _HIGHEST_HU).astype(np.int16)
        for folder in ("images", "labels"):
            (to / folder).mkdir(parents=True, exist_ok=True)
        write_volume(Volume(hu, geometry), to / "images" / f"{body.name}_0000.nii.gz")
        write_labels(Volume(labels, geometry), to / "labels" / f"{body.name}.nii.gz")
        _log.info("painted %s", body.name)
        names.append(body.name)
    return names
