"""What the audit measures of a body, check by check: presence, volume, parts, heights, sides, neighbours, vessels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from evaluation.organs import ORGANS
from training.painting.audit_limits import (
    ADRENAL_ABOVE_KIDNEY_MM,
    ADRENALS_APART_MM,
    AORTA_TO_BONE_MM,
    BEFORE_THE_KIDNEYS_MM,
    CAVA_BESIDE_AORTA_MM,
    HEIGHTS_MM,
    KIDNEYS_APART_MM,
    LARGEST_PART,
    LARGEST_PART_OF_A_VESSEL,
    LEFT_OF_THE_MIDDLE_MM,
    NEIGHBOURS_MM,
    OPEN,
    VESSEL_STEP_MM,
    VESSEL_WIDTHS_MM,
    VOLUMES_ML,
    Range,
)
from training.painting.located import Located, Organ
from training.painting.tissue import Tissue

_KIDNEYS = (Tissue.RIGHT_KIDNEY, Tissue.LEFT_KIDNEY)
_TUBES = (Tissue.AORTA, Tissue.VENA_CAVA)
_CAP_SLICES = 3


@dataclass(frozen=True)
class Measurement:
    """What a check measured: about ``organs[0]``, against the others."""

    organs: tuple[Tissue, ...]
    what: str
    measured: float
    allowed: Range
    unit: str = "mm"


def measurements(body: Located, taught: frozenset[int]) -> Iterator[Measurement]:
    """All that can be measured of a body that teaches the labels ``taught``, within its limits or not."""
    yield from _presence(body, taught)
    yield from _volumes(body)
    yield from _parts(body)
    yield from _heights(body)
    yield from _sides(body)
    yield from _neighbours(body)
    yield from _vessels(body)


def _presence(body: Located, taught: frozenset[int]) -> Iterator[Measurement]:
    for label in sorted(taught):
        if Tissue(label) not in body.organs:
            yield Measurement((Tissue(label),), "volume", 0.0, VOLUMES_ML[Tissue(label)], "mL")


def _volumes(body: Located) -> Iterator[Measurement]:
    for tissue, organ in body.organs.items():
        yield Measurement((tissue,), "volume", organ.volume_ml, VOLUMES_ML[tissue], "mL")


def _parts(body: Located) -> Iterator[Measurement]:
    for tissue, organ in body.organs.items():
        least = LARGEST_PART_OF_A_VESSEL if tissue in _TUBES else LARGEST_PART
        yield Measurement((tissue,), "share of its largest part", organ.largest_part, (least, 1), "")


def _heights(body: Located) -> Iterator[Measurement]:
    """Both ends of the organs against the liver and the kidneys; an end at the end of the field may be cut."""
    kidneys = [body.organs[kidney] for kidney in _KIDNEYS if kidney in body.organs]
    levels: dict[str, tuple[float, tuple[Tissue, ...]]] = {}
    if (liver := body.organs.get(Tissue.LIVER)) is not None:
        levels["the liver's top"] = liver.top, (Tissue.LIVER,)
        levels["the liver's bottom"] = liver.bottom, (Tissue.LIVER,)
    if kidneys:
        present = tuple(kidney for kidney in _KIDNEYS if kidney in body.organs)
        levels["the kidneys' lower poles"] = min(kidney.bottom for kidney in kidneys), present
    near_end = 2 * body.spacing_zyx[0]
    for tissue, end, level, (low, high) in HEIGHTS_MM:
        if tissue not in body.organs or level not in levels:
            continue
        organ, (at, beside) = body.organs[tissue], levels[level]
        if end == "top" and organ.top >= body.field[1] - near_end:
            low = -OPEN
        if end == "bottom" and organ.bottom <= body.field[0] + near_end:
            high = OPEN
        measured = (organ.top if end == "top" else organ.bottom) - at
        yield Measurement((tissue, *beside), f"{end} above {level}", measured, (low, high))


def _sides(body: Located) -> Iterator[Measurement]:
    kidneys = body.these(*_KIDNEYS)
    if kidneys is not None:
        between = float(kidneys[1].middle[2] - kidneys[0].middle[2])
        yield Measurement(_KIDNEYS, "distance to the right of the left kidney", between, KIDNEYS_APART_MM)
        middle = (kidneys[0].middle + kidneys[1].middle) / 2
        for tissue, allowed in LEFT_OF_THE_MIDDLE_MM.items():
            if tissue in body.organs:
                x = float(body.organs[tissue].middle[2] - middle[2])
                yield Measurement((tissue, *_KIDNEYS), "distance to the left of the kidneys' middle", x, allowed)
        for tissue, allowed in BEFORE_THE_KIDNEYS_MM.items():
            if tissue in body.organs:
                y = float(middle[1] - body.organs[tissue].middle[1])
                yield Measurement((tissue, *_KIDNEYS), "distance in front of the kidneys", y, allowed)
    adrenals = body.these(Tissue.RIGHT_ADRENAL, Tissue.LEFT_ADRENAL)
    if adrenals is not None:
        between = float(adrenals[1].middle[2] - adrenals[0].middle[2])
        organs = (Tissue.RIGHT_ADRENAL, Tissue.LEFT_ADRENAL)
        yield Measurement(organs, "distance to the right of the left adrenal gland", between, ADRENALS_APART_MM)
    vessels = body.these(Tissue.VENA_CAVA, Tissue.AORTA)
    if vessels is not None and kidneys is not None:
        cava, aorta = vessels
        apart = _cava_beside_aorta(cava, aorta, min(k.bottom for k in kidneys), max(k.top for k in kidneys))
        if apart is not None:
            what = "least distance to the right of the aorta beside the kidneys"
            yield Measurement((Tissue.VENA_CAVA, Tissue.AORTA), what, apart, CAVA_BESIDE_AORTA_MM)


def _cava_beside_aorta(cava: Organ, aorta: Organ, low: float, high: float) -> float | None:
    """The least distance between the middles in one slice from ``low`` to ``high``; ``None`` without such a slice."""
    both, here, there = np.intersect1d(np.rint(cava.slices[:, 0]), np.rint(aorta.slices[:, 0]), return_indices=True)
    beside = (both >= low) & (both <= high)
    if not beside.any():
        return None
    return float((aorta.slices[there, 2] - cava.slices[here, 2])[beside].min())


def _neighbours(body: Located) -> Iterator[Measurement]:
    for tissue, other, part, furthest in NEIGHBOURS_MM:
        pair = body.these(tissue, other)
        if pair is None:
            continue
        points = pair[1].surface
        if part == "head":  # the pancreas's right third
            points = points[points[:, 2] <= np.quantile(points[:, 2], 1 / 3)]
        elif part == "upper third":
            points = points[points[:, 0] >= np.quantile(points[:, 0], 2 / 3)]
        gap = float(cKDTree(points).query(pair[0].surface)[0].min())
        whole = f"the {ORGANS[other - 1]}"
        what = f"distance from {whole}" if not part else f"distance from {whole}'s {part}"
        yield Measurement((tissue, other), what, gap, (0, furthest))
    for tissue, kidney in zip((Tissue.RIGHT_ADRENAL, Tissue.LEFT_ADRENAL), _KIDNEYS, strict=True):
        pair = body.these(tissue, kidney)
        if pair is not None:
            above = float(pair[0].middle[0] - pair[1].middle[0])
            yield Measurement((tissue, kidney), "distance above its kidney's middle", above, ADRENAL_ABOVE_KIDNEY_MM)
    if body.aorta_to_bone_mm is not None:
        yield Measurement((Tissue.AORTA,), "median distance from bone", body.aorta_to_bone_mm, AORTA_TO_BONE_MM)


def _vessels(body: Located) -> Iterator[Measurement]:
    for tissue in _TUBES:
        organ = body.organs.get(tissue)
        # the first and last slices are caps of the tube, or the forks
        if organ is None or len(organ.slices) <= 2 * _CAP_SLICES:
            continue
        inner = organ.slices[_CAP_SLICES:-_CAP_SLICES]
        width = 2 * np.sqrt(inner[:, 3] / np.pi)
        low, high = VESSEL_WIDTHS_MM[tissue]
        yield Measurement((tissue,), "narrowest slice's width", float(width.min()), (low, OPEN))
        yield Measurement((tissue,), "widest slice's width", float(width.max()), (0, high))
        steps = np.hypot(*np.diff(organ.slices[:, 1:3], axis=0).T)
        yield Measurement((tissue,), "largest step of the middle between slices", float(steps.max()), VESSEL_STEP_MM)
        empty = organ.mask.shape[0] - len(organ.slices)
        yield Measurement((tissue,), "gap in its course", empty * body.spacing_zyx[0], (0, 0))
