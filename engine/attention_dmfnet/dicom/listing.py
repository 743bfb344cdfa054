"""The series in a folder, an archive or a file: which are cases, and what becomes of the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from attention_dmfnet.dicom.case import DicomCase, name_of
from attention_dmfnet.dicom.choice import Chosen, Left, choose, unfit
from attention_dmfnet.dicom.headers import DicomHeaderError, Frame, read_frames
from attention_dmfnet.dicom.series import Series, group
from attention_dmfnet.dicom.sources import Reader, Unreadable, find_sources
from attention_dmfnet.dicom.volumes import volumes_of
from attention_dmfnet.files.cases import InputError, is_scan_name
from attention_dmfnet.files.image_io import ImageError
from attention_dmfnet.files.passed_over import PassedOver, as_sentence

_MOST_NAMED: Final = 5
_MOST_LISTED: Final = 10


@dataclass(frozen=True, slots=True, eq=False)
class Listing:
    """``cases`` to label, by name; the other ``series``; and files that are ``damaged``: why each of them is not."""

    cases: list[DicomCase]
    series: list[PassedOver]
    damaged: list[PassedOver]


def list_dicom(
    inputs: Path, outputs: Path | None = None, series_uids: Sequence[str] = (), patient: bool = False
) -> Listing:
    """The series in ``inputs`` that are labelled: of each study one, or those of ``series_uids`` (UID, or UID:volume).

    Headers alone are read. With ``patient``, the patient's ID is part of the cases' names. Raises ``InputError`` for a
    UID that is not there.
    """
    found, unreadable = read_series(inputs, outputs)
    chosen, left = _asked(found, series_uids, inputs) if series_uids else choose(found)
    cases = [DicomCase(name_of(one.series, patient), one.series, one.notes) for one in chosen]
    others = [PassedOver(other.series.path, f"DICOM {other.series}: {other.reason}") for other in left]
    damaged = [PassedOver(item.source.path, f"{item.source.member or 'DICOM'}: {item.reason}") for item in unreadable]
    return Listing(sorted(cases, key=lambda case: case.name), others, damaged)


def read_series(inputs: Path, outputs: Path | None = None) -> tuple[list[Series], list[Unreadable]]:
    """Every series in ``inputs``, of one that holds several volumes each of them, and the files that cannot be read.

    Raises ``InputError``.
    """
    frames: list[Frame] = []
    damaged: list[Unreadable] = []
    with Reader() as reader:
        for item in find_sources(inputs, outputs, reader):
            if isinstance(item, Unreadable):
                damaged.append(item)
                continue
            try:
                frames += read_frames(item, reader)
            except DicomHeaderError as error:
                damaged.append(Unreadable(item, str(error)))
    return [volume for series in group(frames) for volume in volumes_of(series)], damaged


def only_case(inputs: Path) -> DicomCase:
    """The one case that ``inputs`` holds. Raises ``ImageError`` if there is none, or more than one."""
    try:
        listing = list_dicom(inputs)
    except InputError as error:
        raise ImageError(str(error)) from error
    if len(listing.cases) == 1:
        return listing.cases[0]
    if listing.cases:
        studies = "; ".join(f"{case.series} in {case.path}" for case in listing.cases[:_MOST_NAMED])
        raise ImageError(f"{inputs} holds {len(listing.cases)} studies; give one of them ({studies})")
    files = sorted(path for path in inputs.iterdir() if is_scan_name(path)) if inputs.is_dir() else []
    if files:
        raise ImageError(f"{inputs} is a folder with scans that are files; give one of them, {files[0]} for example")
    raise ImageError(nothing_to_label(inputs, listing.series, listing.damaged))


def nothing_to_label(inputs: Path, series: Sequence[PassedOver], others: Sequence[PassedOver]) -> str:
    """Why nothing in ``inputs`` is a case, in a sentence."""
    reasons = [item.kind for item in series[:_MOST_NAMED]]
    if others:
        reasons.append(as_sentence(others))
    return f"no CT series to label in {inputs}" + (f" ({'; '.join(reasons)})" if reasons else "")


def _asked(found: Sequence[Series], uids: Sequence[str], inputs: Path) -> tuple[list[Chosen], list[Left]]:
    """The series of ``uids``; of one that holds several volumes all, or the one whose number stands behind a colon."""
    known = {series.uid for series in found} | {series.key for series in found}
    for uid in uids:
        if uid not in known:
            there = ", ".join(list(dict.fromkeys(series.key for series in found))[:_MOST_LISTED]) or "none"
            raise InputError(f"there is no series {uid} in {inputs}; there are: {there}")
    chosen: list[Chosen] = []
    left: list[Left] = []
    for series in (one for one in found if one.key in uids or one.uid in uids):
        # a few planes that were taken again are no volume that anybody asks for by the series' UID
        reason = unfit(series) if series.part is not None and series.key not in uids else None
        if reason is None:
            chosen.append(Chosen(series))
        else:
            left.append(Left(series, reason))
    return chosen, left
