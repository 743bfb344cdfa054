"""What all DICOM objects of ours say: who made them, of which patient and study, and what an organ is called."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

from highdicom.sr import CodedConcept
from pydicom import Dataset
from pydicom.valuerep import DA, DS, TM

from attention_dmfnet.dicom.quiet import quiet
from attention_dmfnet.files.image_io import ImageError
from attention_dmfnet.files.whole_file import replacing
from attention_dmfnet.organs import CATEGORY, ORGAN, SCHEME, Code, find_organ

MANUFACTURER = "attention-dmfnet"
MODEL_NAME = "Attention-DMFNet"
CREATOR = "Attention-DMFNet^"
WHAT = "abdominal organs, labelled by a neural network, for research"

# type 2: they must be there and may be blank, and archives drop them
_MAY_BE_BLANK = (
    "AccessionNumber",
    "PatientBirthDate",
    "PatientID",
    "PatientName",
    "PatientSex",
    "ReferringPhysicianName",
    "StudyDate",
    "StudyID",
    "StudyTime",
)


_UTF_8 = "ISO_IR 192"
_WRITTEN_AS_THEY_ARE = (None, "", "ISO_IR 100", _UTF_8)


class Term(NamedTuple):
    """What an organ is, in DICOM's words: category and type, and the side of one of a pair."""

    category: CodedConcept
    type: CodedConcept
    side: CodedConcept | None


def term_of(name: str) -> Term:
    """The codes of the organ called ``name``; one that the table has not is an organ and no more."""
    organ = find_organ(name)
    return Term(
        _concept(CATEGORY),
        _concept(ORGAN if organ is None else organ.type),
        None if organ is None or organ.side is None else _concept(organ.side),
    )


def _concept(code: Code) -> CodedConcept:
    return CodedConcept(code.value, SCHEME, code.meaning)


def with_blanks(source: Dataset) -> Dataset:
    """``source``, with blanks for what must be there and is not, or is there in a way that no object may repeat.

    Its texts are in UTF-8, where several character sets or a rare one would be written otherwise.
    """
    blank = [keyword for keyword in _MAY_BE_BLANK if not _may_be_copied(source, keyword)]
    turned = source.get("SpecificCharacterSet") not in _WRITTEN_AS_THEY_ARE
    if not blank and not turned:
        return source
    filled = _copied(source)
    for keyword in blank:
        setattr(filled, keyword, "")
    if turned:
        filled.decode()
        filled.SpecificCharacterSet = _UTF_8
    return filled


def _copied(source: Dataset) -> Dataset:
    with quiet:
        return deepcopy(source)


def _may_be_copied(source: Dataset, keyword: str) -> bool:
    value = source.get(keyword)
    if value is None:
        return False
    try:
        if keyword.endswith("Date"):
            DA(value)
        elif keyword.endswith("Time"):
            TM(value)
    except (TypeError, ValueError):
        return False
    return keyword != "PatientSex" or value in ("", "M", "F", "O")


def with_thickness(source: Dataset, thickness_mm: float) -> Dataset:
    """``source``, with ``thickness_mm`` as its slices' thickness where it states none: highdicom asks for it."""
    if "SharedFunctionalGroupsSequence" not in source:
        if source.get("SliceThickness") is not None:
            return source
        filled = _copied(source)
        filled.SliceThickness = DS(thickness_mm, auto_format=True)
        return filled
    shared = source.SharedFunctionalGroupsSequence[0]
    if any(measures.get("SliceThickness") is None for measures in shared.get("PixelMeasuresSequence", [])):
        source = _copied(source)
        measures = source.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        measures.SliceThickness = DS(thickness_mm, auto_format=True)
    return source


def series_number(source: Dataset, offset: int) -> int:
    """The number of a series that belongs to that of ``source``."""
    return offset + int(source.get("SeriesNumber") or 0) % 1_000_000


def save(made: Dataset, path: Path) -> None:
    """Write ``made``: the whole file or none. Raises ``ImageError`` if the place cannot be written."""
    try:
        with replacing(path, ".dcm") as partial:
            made.save_as(partial, enforce_file_format=True)
    except OSError as error:
        raise ImageError(f"cannot write {path}: {error.strerror}") from error
