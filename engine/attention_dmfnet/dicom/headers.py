"""What DICOM headers say of images, plane by plane; no pixel is read. Imports pydicom."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import IO, Any, Final

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    MediaStorageDirectoryStorage,
)

from attention_dmfnet.dicom.moment import MOMENT_TAGS, NO_MOMENT, Moment, moment_of
from attention_dmfnet.dicom.quiet import quiet
from attention_dmfnet.dicom.sources import READ_ERRORS, Reader, Source
from attention_dmfnet.geometry import Triple

CT_CLASSES: Final = frozenset({CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage})

MOST_HEADER_BYTES: Final = 256 << 20
"""A header beyond this is none: those of 4000 frames in one file have some 20 MiB."""

_LONGEST_REASON: Final = 160

_MOMENT_GROUPS: Final = ("FrameContentSequence", "CardiacSynchronizationSequence", "TemporalPositionSequence")

DEFLATED: Final = "1.2.840.10008.1.2.1.99"

PARSE_ERRORS: Final = (
    *READ_ERRORS,
    InvalidDicomError,
    BytesLengthException,
    struct.error,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    AssertionError,
)
"""What pydicom raises on damaged files: it has no class of its own for that."""

_TAGS: Final = [
    "SOPClassUID", "SOPInstanceUID", "Modality", "ImageType", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber",
    "SeriesDescription", "ConvolutionKernel", "PatientID", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel",
    "BitsStored", "HighBit", "PixelRepresentation", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient",
    "RescaleSlope", "RescaleIntercept", "RescaleType", "ModalityLUTSequence", "PixelPaddingValue",
    "PixelPaddingRangeLimit", "LossyImageCompression", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence", *MOMENT_TAGS,
]  # fmt: skip


class DicomHeaderError(Exception):
    """What is wrong with a header, as a clause."""


@dataclass(frozen=True, slots=True)
class Header:
    """What one file says of all of its planes. UIDs and texts are empty where they are missing."""

    source: Source
    sop_class_uid: str
    sop_instance_uid: str
    study_uid: str
    series_uid: str
    modality: str
    number: int | None
    description: str
    kernel: str
    patient_id: str
    transfer_syntax: str
    rows: int
    columns: int
    samples: int
    signed: bool
    padding: tuple[int, int] | None
    """Stored values from the first to the second stand for nothing."""
    lossy: bool
    fault: str | None
    """Why its values cannot be read as HU."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One plane: the ``index`` of a multi-frame file, counted from 0, or the whole of another one (None).

    ``position_lps`` is the centre of the first pixel in mm, ``row_lps`` the direction in which columns count up,
    ``column_lps`` that in which rows do; ``spacing_yx`` in mm. ``fault`` says why the plane has no place, ``moment``
    to which volume of its series it may belong.
    """

    header: Header
    index: int | None
    image_type: tuple[str, ...]
    position_lps: Triple = (0.0, 0.0, 0.0)
    row_lps: Triple = (1.0, 0.0, 0.0)
    column_lps: Triple = (0.0, 1.0, 0.0)
    spacing_yx: tuple[float, float] = (1.0, 1.0)
    slope: float | None = None
    intercept: float | None = None
    rescale_type: str = ""
    fault: str | None = None
    moment: Moment = NO_MOMENT


def read_dataset(file: IO[bytes], tags: list[str] | None = None) -> Dataset:
    """The dataset without its pixels, of ``tags`` alone if they are given. Raises one of ``PARSE_ERRORS``."""
    with quiet:
        wanted: Any = tags
        return pydicom.dcmread(_Bounded(file), stop_before_pixels=True, force=True, specific_tags=wanted)


def read_frames(source: Source, reader: Reader) -> list[Frame]:
    """The planes of a file, none if it is an index of others. Raises ``DicomHeaderError``."""
    try:
        with reader.open(source) as file, quiet:
            dataset = read_dataset(file, _TAGS)
            sop_class = _text(dataset, "SOPClassUID")
            if MediaStorageDirectoryStorage in (sop_class, dataset.file_meta.get("MediaStorageSOPClassUID")):
                return []
            if not sop_class or not _text(dataset, "SeriesInstanceUID"):
                raise DicomHeaderError("it is no DICOM image: its header names no class or no series; is it complete?")
            return _frames(source, dataset)
    except PARSE_ERRORS as error:
        raise DicomHeaderError(f"its header cannot be read ({one_line(error)}); copy it again") from error


def one_line(error: BaseException) -> str:
    """What an exception says, on one line and of bearable length: some quote the file's bytes."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}..."


class _Bounded:
    """A file that ends after ``MOST_HEADER_BYTES``."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.name = getattr(file, "name", "")
        self.seek, self.tell, self.close = file.seek, file.tell, file.close

    def read(self, size: int = -1) -> bytes:
        left = max(0, MOST_HEADER_BYTES - self._file.tell())
        return self._file.read(left if size is None or size < 0 else min(size, left))


def _frames(source: Source, dataset: Dataset) -> list[Frame]:
    header = _header(source, dataset)
    image_type = _words(dataset.get("ImageType"))
    if "PerFrameFunctionalGroupsSequence" not in dataset:
        return [_placed(header, None, image_type, [dataset], dataset, moment_of([dataset]))]
    shared = dataset.get("SharedFunctionalGroupsSequence") or [Dataset()]
    own = dataset.PerFrameFunctionalGroupsSequence
    count = int(dataset.get("NumberOfFrames") or 1)
    if count != len(own):
        raise DicomHeaderError(f"its header counts {count} frames and describes {len(own)}; copy it again")
    frames = []
    for index, groups in enumerate(own):
        both = [groups, shared[0]]
        kind = _group(both, "CTImageFrameTypeSequence")
        words = _words(kind.get("FrameType")) or image_type
        places = [_group(both, name) for name in ("PlanePositionSequence", "PlaneOrientationSequence")]
        places.append(_group(both, "PixelMeasuresSequence"))
        moment = moment_of([_group(both, name) for name in _MOMENT_GROUPS] + [dataset])
        frames.append(_placed(header, index, words, places, _group(both, "PixelValueTransformationSequence"), moment))
    return frames


def _header(source: Source, dataset: Dataset) -> Header:
    number = dataset.get("SeriesNumber")
    return Header(
        source,
        _text(dataset, "SOPClassUID"),
        _text(dataset, "SOPInstanceUID"),
        _text(dataset, "StudyInstanceUID"),
        _text(dataset, "SeriesInstanceUID"),
        _text(dataset, "Modality"),
        None if number in (None, "") else int(number),
        _text(dataset, "SeriesDescription"),
        " ".join(_words(dataset.get("ConvolutionKernel"))),
        _text(dataset, "PatientID"),
        str(dataset.file_meta.get("TransferSyntaxUID", "")),
        int(dataset.get("Rows") or 0),
        int(dataset.get("Columns") or 0),
        int(dataset.get("SamplesPerPixel") or 1),
        bool(dataset.get("PixelRepresentation") or 0),
        _padding(dataset),
        _text(dataset, "LossyImageCompression") == "01",
        _fault(dataset),
    )


def _fault(dataset: Dataset) -> str | None:
    if str(dataset.file_meta.get("TransferSyntaxUID", "")) == DEFLATED:
        return "it is deflated as a whole; convert it to Explicit VR Little Endian"
    if dataset.get("ModalityLUTSequence"):
        return "its values become HU by a table (Modality LUT), which is not read; export it with a rescale slope"
    stored, high = dataset.get("BitsStored"), dataset.get("HighBit")
    if stored is not None and high is not None and int(high) != int(stored) - 1:
        return f"its {stored} bits end at bit {high}, a way of storing that was retired; export it again"
    return None


def _padding(dataset: Dataset) -> tuple[int, int] | None:
    """The stored values that stand for nothing, as numbers of the pixels' own sign."""
    value, limit = dataset.get("PixelPaddingValue"), dataset.get("PixelPaddingRangeLimit")
    if value is None or value == "":
        return None
    signed = bool(dataset.get("PixelRepresentation") or 0)
    ends = sorted(_as_stored(int(number), signed) for number in (value, value if limit in (None, "") else limit))
    return ends[0], ends[1]


def _as_stored(number: int, signed: bool) -> int:
    # some scanners write the padding with the other sign than the pixels: the 16 bits are what counts
    bits = number & 0xFFFF
    return bits - 0x10000 if signed and bits >= 0x8000 else bits


def _placed(
    header: Header,
    index: int | None,
    image_type: tuple[str, ...],
    places: list[Dataset],
    values: Dataset,
    moment: Moment,
) -> Frame:
    rescale = (_number(values, "RescaleSlope"), _number(values, "RescaleIntercept"), _text(values, "RescaleType"))
    try:
        position = _numbers(places, "ImagePositionPatient", 3)
        orientation = _numbers(places, "ImageOrientationPatient", 6)
        y_mm, x_mm = _numbers(places, "PixelSpacing", 2)
        row, column = _unit(orientation[:3]), _unit(orientation[3:])
        if abs(sum(a * b for a, b in zip(row, column, strict=True))) > 1e-3:
            raise DicomHeaderError("its rows and columns are not at right angles")
        if min(y_mm, x_mm) <= 0:
            raise DicomHeaderError("its pixel spacing is not above 0")
    except DicomHeaderError as error:
        return Frame(header, index, image_type, fault=str(error))
    place = (position[0], position[1], position[2])
    slope, intercept, kind = rescale
    return Frame(header, index, image_type, place, row, column, (y_mm, x_mm), slope, intercept, kind, moment=moment)


def _group(both: list[Dataset], name: str) -> Dataset:
    for groups in both:
        if groups.get(name):
            group: Dataset = groups[name].value[0]
            return group
    return Dataset()


def _numbers(places: list[Dataset], name: str, count: int) -> list[float]:
    for place in places:
        value = place.get(name)
        if value not in (None, ""):
            try:
                numbers = [float(number) + 0.0 for number in value]
            except (TypeError, ValueError) as error:
                raise DicomHeaderError(f"its {name} is no list of numbers") from error
            if len(numbers) != count or not all(map(math.isfinite, numbers)):
                raise DicomHeaderError(f"its {name} is not {count} finite numbers")
            return numbers
    raise DicomHeaderError(f"it has no {name}")


def _number(dataset: Dataset, name: str) -> float | None:
    value = dataset.get(name)
    if value in (None, ""):
        return None
    number = float(value)
    if not math.isfinite(number):
        raise DicomHeaderError(f"its {name} is {number}")
    return number


def _unit(direction: list[float]) -> Triple:
    length = math.hypot(*direction)
    if not 0.99 < length < 1.01:
        raise DicomHeaderError(f"its ImageOrientationPatient has a direction of length {length:.3g}")
    x, y, z = (along / length + 0.0 for along in direction)
    return (x, y, z)


def _text(dataset: Dataset, name: str) -> str:
    value = dataset.get(name)
    return "" if value is None else str(value).strip()


def _words(value: Any) -> tuple[str, ...]:
    if value in (None, ""):
        return ()
    return tuple(str(word).strip().upper() for word in ([value] if isinstance(value, str) else value))
