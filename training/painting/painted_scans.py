"""Whole painted scans as files with their labels.

Of anatomy that no network was trained on, to validate; or of the rest, to choose settings by, and to serve as
unlabelled scans whose truth is known.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from attention_dmfnet.files.image_io import write_labels, write_volume
from attention_dmfnet.geometry import CANONICAL_AXES_LPS, Geometry, Volume

from training.painting.bodies import load
from training.painting.body_sites import BodySites
from training.painting.completion import BODY_SPACING_ZYX, Body
from training.painting.painter import Canvas, Painter
from training.painting.tissue import Tissue, label_of_tissue

_log = logging.getLogger(__name__)

WHOLE_SCAN = Canvas((120, 136, 176), (3.0, 2.5, 2.5), (30.0, 10.0, 10.0), 0.0)
"""The abdomen with the base of the chest and the upper pelvis, at the voxels the fine network works on."""

Field = Literal["abdomen", "chest", "pelvis"]
FIELDS: tuple[Field, ...] = get_args(Field)

Anatomy = Literal["held-out", "training"]
ANATOMIES: tuple[Anatomy, ...] = get_args(Anatomy)

_CHEST = replace(WHOLE_SCAN, shape_zyx=(36, 136, 176))
_PELVIS = replace(WHOLE_SCAN, shape_zyx=(44, 136, 176))
_CLEAR_MM = 10.0
_ORGANS_OF_THE_ABDOMEN = [organ for organ in range(1, 14) if organ not in (5, 6, 10)]

_LOWEST_HU, _HIGHEST_HU = -1024, 3071


def write_painted_scans(
    bodies: Path,
    to: Path,
    seed: int,
    field: Field = "abdomen",
    anatomy: Anatomy = "held-out",
    at_most: int | None = None,
) -> list[str]:
    """One scan of every body of an ``anatomy``: ``to``/images/NAME_0000.nii.gz (int16) and ``to``/labels/NAME.nii.gz.

    Of more than ``at_most`` bodies these are as far apart in the list as can be: neighbours in it are one patient's. A
    scan of the chest or the pelvis shows of the organs at most their ends; labelled is what is in view. Returns the
    names. Raises ``FileNotFoundError`` if ``bodies`` holds no such body.
    """
    names = []
    # of a real scan some labels are unknown
    chosen = [body for body in load(bodies, held_out=anatomy == "held-out") if not body.is_real]
    if at_most is not None and at_most < len(chosen):
        chosen = [chosen[number * len(chosen) // at_most] for number in range(at_most)]
    for number, body in enumerate(chosen):
        canvas = canvas_of_field(body, field)
        image, labels = Painter([body], canvas).sample(np.random.default_rng((seed, number)))
        geometry = Geometry(canvas.shape_zyx, canvas.spacing_zyx, (0.0, 0.0, 0.0), CANONICAL_AXES_LPS)
        hu = np.clip(np.rint(image), _LOWEST_HU, _HIGHEST_HU).astype(np.int16)
        name = body.name if field == "abdomen" else f"{body.name}_{field}"
        for folder in ("images", "labels"):
            (to / folder).mkdir(parents=True, exist_ok=True)
        write_volume(Volume(hu, geometry), to / "images" / f"{name}_0000.nii.gz")
        write_labels(Volume(labels, geometry), to / "labels" / f"{name}.nii.gz")
        _log.info("painted %s", name)
        names.append(name)
    return names


def canvas_of_field(body: Body, field: Field) -> Canvas:
    """The whole abdomen, or a canvas that begins above the liver's dome, or one that ends below the lowest organ.

    Deformation may still bring a tip of an organ into view.
    """
    if field == "abdomen":
        return WHOLE_SCAN
    centre = BodySites(body).centre[0]
    if field == "chest":
        canvas = _CHEST
        edge = np.flatnonzero((body.tissues == Tissue.LIVER).any((1, 2)))[-1]
    else:
        canvas = _PELVIS
        organs = np.isin(label_of_tissue()[body.tissues], _ORGANS_OF_THE_ABDOMEN)
        edge = np.flatnonzero(organs.any((1, 2)))[0]
    half_mm = canvas.shape_zyx[0] * canvas.spacing_zyx[0] / 2 + canvas.jitter_mm_zyx[0] + _CLEAR_MM
    offset = float(edge - centre) * BODY_SPACING_ZYX[0] + (half_mm if field == "chest" else -half_mm)
    return replace(canvas, offset_mm_zyx=(offset, 0.0, 0.0))
