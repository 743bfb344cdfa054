"""Series of DICOM made from volumes, in every way that scanners and archives store them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from attention_dmfnet.geometry import CANONICAL_AXES_LPS, Geometry, Volume
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import UID, CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

Change = Callable[[Dataset, int], None]
"""What a test does to the image of slice k before it is written."""

INTERCEPT = -1024


def write_series(
    volume: Volume,
    folder: Path,
    change: Change | None = None,
    order: Sequence[int] | None = None,
    series_uid: str | None = None,
    study_uid: str | None = None,
    name: str = "{:03}.dcm",
    **more: Any,
) -> list[Path]:
    """One file a slice of ``volume``, slices being its first axis; ``order`` is that of names and instance numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    series_uid, study_uid = series_uid or generate_uid(), study_uid or generate_uid()
    count = volume.geometry.shape_zyx[0]
    paths = []
    for number, k in enumerate(order or range(count)):
        image = ct_image(volume.array[k], volume.geometry, k, **more)
        image.SeriesInstanceUID, image.StudyInstanceUID, image.InstanceNumber = series_uid, study_uid, number + 1
        if change is not None:
            change(image, k)
        paths.append(folder / name.format(number))
        save(image, paths[-1])
    return paths


def save(image: Dataset, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save_as(path, enforce_file_format=True)


def ct_image(hu: npt.NDArray[Any], geometry: Geometry, k: int, **more: Any) -> FileDataset:
    """The image of slice ``k``, stored as unsigned numbers from -1024 HU, 12 of 16 bits."""
    image = base(CTImageStorage)
    row, column = geometry.axes_lps[2], geometry.axes_lps[1]
    image.ImagePositionPatient = list(geometry.point_lps((k, 0, 0)))
    image.ImageOrientationPatient = [*row, *column]
    image.PixelSpacing = list(geometry.spacing_zyx[1:])
    image.RescaleSlope, image.RescaleIntercept = 1, INTERCEPT
    image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    put_pixels(image, hu - INTERCEPT)
    for tag, value in more.items():
        setattr(image, tag, value)
    return image


def put_pixels(image: Dataset, stored: npt.NDArray[Any], signed: bool = False) -> None:
    image.Rows, image.Columns = stored.shape[-2:]
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated = 16
    image.BitsStored, image.HighBit = (16, 15) if signed else (12, 11)
    image.PixelRepresentation = int(signed)
    image.PixelData = stored.astype(np.int16 if signed else np.uint16).tobytes()


def base(sop_class: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(sop_class)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    image.SOPClassUID = sop_class
    image.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = generate_uid()
    image.Modality, image.PatientID, image.PatientName = "CT", "MRN 12/34", "Doe^Jane"
    image.SeriesNumber, image.SeriesDescription = 3, "ABDOMEN  3.0"
    image.FrameOfReferenceUID = generate_uid()
    return image


def write_enhanced(
    volume: Volume, path: Path, order: Sequence[int] | None = None, later: Sequence[Volume] = ()
) -> Path:
    """One enhanced multi-frame file, its frames in ``order``; ``later`` ones are further time points in it."""
    geometry, frames = volume.geometry, list(order or range(volume.geometry.shape_zyx[0]))
    image = base(EnhancedCTImageStorage)
    image.SeriesInstanceUID, image.StudyInstanceUID = generate_uid(), generate_uid()
    image.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    put_pixels(image, np.concatenate([one.array[frames] for one in (volume, *later)]) - INTERCEPT)
    image.NumberOfFrames = len(frames) * (1 + len(later))
    shared = Dataset()
    measures, orientation = Dataset(), Dataset()
    measures.PixelSpacing = list(geometry.spacing_zyx[1:])
    orientation.ImageOrientationPatient = [*geometry.axes_lps[2], *geometry.axes_lps[1]]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = Items([measures]), Items([orientation])
    image.SharedFunctionalGroupsSequence = Items([shared])
    times = range(1 + len(later))
    image.PerFrameFunctionalGroupsSequence = Items([_frame(geometry, k, time) for time in times for k in frames])
    save(image, path)
    return path


def _frame(geometry: Geometry, k: int, time: int) -> Dataset:
    groups, place, values, kind, content = Dataset(), Dataset(), Dataset(), Dataset(), Dataset()
    content.TemporalPositionIndex, content.StackID, content.InStackPositionNumber = time + 1, "1", k + 1
    groups.FrameContentSequence = Items([content])
    place.ImagePositionPatient = list(geometry.point_lps((k, 0, 0)))
    values.RescaleSlope, values.RescaleIntercept, values.RescaleType = 1, INTERCEPT, "HU"
    kind.FrameType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    groups.PlanePositionSequence, groups.CTImageFrameTypeSequence = Items([place]), Items([kind])
    groups.PixelValueTransformationSequence = Items([values])
    return groups


def write_tilted(
    hu_at: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]],
    folder: Path,
    degrees: float,
    shape_zyx: tuple[int, int, int] = (24, 40, 36),
    step_mm: float = 3.0,
    pixel_mm: float = 2.0,
) -> None:
    """A scan of a field ``hu_at`` (points (..., 3) in LPS mm) by a gantry tilted by ``degrees``, table moving along z.

    Planes are turned about x; each begins right above the one below it, as scanners with a tilted gantry have it.
    """
    angle = math.radians(degrees)
    row, column = np.array([1.0, 0.0, 0.0]), np.array([0.0, math.cos(angle), -math.sin(angle)])
    count, rows, columns = shape_zyx
    series_uid, study_uid = generate_uid(), generate_uid()
    y, x = np.meshgrid(np.arange(rows) * pixel_mm, np.arange(columns) * pixel_mm, indexing="ij")
    geometry = Geometry(shape_zyx, (step_mm, pixel_mm, pixel_mm), (0.0, 0.0, 0.0), CANONICAL_AXES_LPS)
    for k in range(count):
        start = np.array([-30.0, -40.0, 100.0 + k * step_mm])
        points = start + y[..., None] * column + x[..., None] * row
        image = ct_image(np.rint(hu_at(points)).astype(np.int16), geometry, k)
        image.ImagePositionPatient = [round(float(along), 6) for along in start]
        image.ImageOrientationPatient = [round(float(along), 9) for along in (*row, *column)]
        image.SeriesInstanceUID, image.StudyInstanceUID = series_uid, study_uid
        save(image, folder / f"{k:03}.dcm")


def lossless_jpeg(plane: npt.NDArray[np.uint16]) -> bytes:
    """``plane`` as JPEG's lossless process 14 with its first predictor has it, which most compressed CT is.

    ITU-T T.81, annex H. Each category of differences, 0 to 16, has a code of five bits: its own number.
    """
    rows, columns = plane.shape
    values = plane.astype(np.int64)
    predicted = np.empty_like(values)
    predicted[0, 0], predicted[1:, 0], predicted[:, 1:] = 1 << 15, values[:-1, 0], values[:, :-1]
    bits = []
    # differences are taken modulo 2^16; none of the phantoms has one of half of that, whose code is a case of its own
    for difference in ((values - predicted + (1 << 15)) % (1 << 16) - (1 << 15)).ravel().tolist():
        category = abs(difference).bit_length()
        bits.append(f"{category:05b}")
        if category:
            bits.append(f"{difference if difference > 0 else difference + (1 << category) - 1:0{category}b}")
    stream = "".join(bits)
    stream += "1" * (-len(stream) % 8)
    packed: bytes = int(stream, 2).to_bytes(len(stream) // 8, "big").replace(b"\xff", b"\xff\x00")
    frame: bytes = b"\xff\xc3\x00\x0b\x10" + rows.to_bytes(2, "big") + columns.to_bytes(2, "big") + b"\x01\x01\x11\x00"
    codes = b"\xff\xc4" + (2 + 1 + 16 + 17).to_bytes(2, "big") + b"\x00" + bytes([0, 0, 0, 0, 17] + [0] * 11)
    scan = b"\xff\xda\x00\x08\x01\x01\x00\x01\x00\x00"
    return b"".join([b"\xff\xd8", frame, codes, bytes(range(17)), scan, packed, b"\xff\xd9"])
