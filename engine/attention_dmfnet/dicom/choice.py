"""Which series of each study is labelled, and why each of the others is not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from attention_dmfnet.dicom.headers import CT_CLASSES, Frame
from attention_dmfnet.dicom.series import Series
from attention_dmfnet.dicom.volumes import LEAST_SLICES
from attention_dmfnet.notes import Note

AXIAL: Final = 0.8
"""The normal of an axial series points at least so far to head or feet: gantries tilt by 30 degrees, of cosine 0.87."""

SAME_COVERAGE_MM: Final = 5.0
"""Series whose coverage differs by less were reconstructed from the same scan."""

_PROJECTIONS: Final = frozenset(
    {"PROJECTION IMAGE", "MIP", "MAXIP", "MAX_IP", "MINIP", "MIN_IP", "MIP_SLAB", "VRT", "VOLUME RENDERED", "3D"}
)
_REFORMATTED: Final = frozenset({"MPR", "REFORMATTED", "CSA MPR", "CPR", "CURVED", "MPR_THICK"})

_SHARP: Final = re.compile(r"\b(LUNG|BONE|EDGE|SHARP)|^[BIHUQ][A-Z]?[67]\d")
"""Kernels for lung and bone, which are noisy: the words of GE and others, Siemens's numbers from 60 to 79."""


@dataclass(frozen=True, eq=False)
class Chosen:
    """A series that is labelled; a note if it is not what one would wish for."""

    series: Series
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, eq=False)
class Left:
    """A series that is not labelled, and why, as a clause."""

    series: Series
    reason: str


def choose(all_series: Sequence[Series]) -> tuple[list[Chosen], list[Left]]:
    """Of each study the axial CT with most coverage, and all others with the reason. A volume counts as a series.

    Of those that cover as much, one of a soft kernel, then the one of most slices, then of the lowest number, then the
    first volume. Where no study's original axial CT is there, one that was derived or lies in another direction is
    taken, with a note.
    """
    by_study: dict[str, list[Series]] = {}
    for series in all_series:
        by_study.setdefault(series.study_uid, []).append(series)
    chosen: list[Chosen] = []
    left: list[Left] = []
    for study in by_study.values():
        _choose_one(study, chosen, left)
    return chosen, left


def _choose_one(study: Sequence[Series], chosen: list[Chosen], left: list[Left]) -> None:
    usable: list[Series] = []
    for series in study:
        reason = unfit(series)
        if reason is None:
            usable.append(series)
        else:
            left.append(Left(series, reason))
    if not usable:
        return
    wished = [series for series in usable if _unwished(series) is None]
    ranks = wished or usable
    most_mm = max(map(coverage_mm, ranks))
    alike = [series for series in ranks if coverage_mm(series) > most_mm - SAME_COVERAGE_MM]
    best = min(alike, key=_preference)
    notes = () if wished else (_unwished_note(best),)
    chosen.append(Chosen(best, notes))
    for series in usable:
        if series is not best:
            left.append(Left(series, _why_not(series, best, bool(wished), most_mm)))


def _preference(series: Series) -> tuple[bool, int, int, str, int]:
    header = series.frames[0].header
    return (
        _is_sharp(series),
        -len(series.frames),
        1 << 30 if header.number is None else header.number,
        header.series_uid,
        0 if series.part is None else series.part.number,
    )


def _why_not(series: Series, best: Series, wished: bool, most_mm: float) -> str:
    unwished = _unwished(series)
    if wished and unwished is not None:
        return unwished
    if coverage_mm(series) <= most_mm - SAME_COVERAGE_MM:
        return f"it covers {coverage_mm(series):.0f} mm, series {best.key} {coverage_mm(best):.0f} mm"
    if _is_sharp(series) and not _is_sharp(best):
        return f"its kernel is for lung or bone; series {best.key} covers as much"
    return f"series {best.key} covers as much"


def unfit(series: Series) -> str | None:
    """Why a series is never chosen, or None."""
    header, types = series.frames[0].header, [set(frame.image_type) for frame in series.frames]
    if header.sop_class_uid not in CT_CLASSES:
        if header.modality == "CT":
            return "secondary capture, pictures without HU"
        return f"not CT but {header.modality or 'of unknown modality'}"
    if all("LOCALIZER" in words for words in types):
        return "localizer"
    if any(words & _PROJECTIONS for words in types):
        return "projection (such as MIP), not slices"
    count = sum("LOCALIZER" not in words for words in types)
    if count < LEAST_SLICES:
        return f"too few slices ({count})"
    faults = [frame.fault for frame in series.frames if frame.fault is not None]
    if faults and coverage_mm(series) == 0:
        return f"no place in the patient ({faults[0]})"
    return None


def _unwished(series: Series) -> str | None:
    """Why a series is chosen only where there is no better one, or None."""
    words = set(series.frames[len(series.frames) // 2].image_type)
    if words & _REFORMATTED:
        return "reformatted (MPR)"
    if "DERIVED" in words:
        return "derived"
    if "SECONDARY" in words:
        return "secondary"
    return None if _is_axial(series) else "not axial"


def _unwished_note(series: Series) -> Note:
    reason = _unwished(series)
    if reason == "not axial":
        return Note("dicom-not-axial", "the study has no axial CT; this series lies in another direction")
    return Note("dicom-derived", f"the study has no original axial CT; this series is {reason}")


def _is_axial(series: Series) -> bool:
    return abs(float(_normal(series)[2])) >= AXIAL


def _is_sharp(series: Series) -> bool:
    header = series.frames[0].header
    return bool(_SHARP.search(header.kernel.upper()) or _SHARP.search(header.description.upper()))


def _placed(series: Series) -> list[Frame]:
    """The planes that have a place and are no localizers."""
    return [frame for frame in series.frames if frame.fault is None and "LOCALIZER" not in frame.image_type]


def _normal(series: Series) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    placed = (_placed(series) or series.frames)[0]
    normal: np.ndarray[tuple[int], np.dtype[np.float64]] = np.cross(placed.row_lps, placed.column_lps)
    return normal


def coverage_mm(series: Series) -> float:
    """How far it is from the first plane to the last, along the normal."""
    normal = _normal(series)
    along = [float(normal @ frame.position_lps) for frame in _placed(series)]
    return max(along) - min(along) if along else 0.0
