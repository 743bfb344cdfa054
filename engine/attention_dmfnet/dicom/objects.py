"""What all DICOM objects of ours say: who made them, of which patient and study, and what an organ is called."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from highdicom.sr import CodedConcept
from pydicom import Dataset

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


class Algorithm(NamedTuple):
    """The program's ``version``, and ``model_hash``, the SHA-256 of the manifest, which holds those of the networks."""

    version: str
    model_hash: str


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
    """``source``, with what must be there and is not added blank."""
    missing = [keyword for keyword in _MAY_BE_BLANK if keyword not in source]
    if not missing:
        return source
    filled = Dataset(source)
    for keyword in missing:
        setattr(filled, keyword, "")
    return filled


def series_number(source: Dataset, offset: int) -> int:
    """The number of a series that belongs to that of ``source``."""
    return offset + int(source.get("SeriesNumber") or 0) % 1_000_000


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without highdicom's doubts about a patient's name: it is copied as it stands."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*unlikely to represent the intended person name")
        yield


def save(made: Dataset, path: Path) -> None:
    """Write ``made``: the whole file or none. Raises ``ImageError`` if the place cannot be written."""
    try:
        with replacing(path, ".dcm") as partial:
            made.save_as(partial, enforce_file_format=True)
    except OSError as error:
        raise ImageError(f"cannot write {path}: {error.strerror}") from error
