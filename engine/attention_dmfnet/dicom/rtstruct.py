"""A DICOM RT Structure Set (PS3.3, A.19): the organs' outlines on the slices of the series, in the patient's mm."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import highdicom
import numpy as np
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import ImplicitVRLittleEndian, RTStructureSetStorage

from attention_dmfnet.dicom import objects
from attention_dmfnet.dicom.algorithm import Algorithm
from attention_dmfnet.dicom.contours import outlines
from attention_dmfnet.dicom.quiet import quiet
from attention_dmfnet.dicom.slices import Slice, labels_on_slices, slices_of
from attention_dmfnet.files.image_io import ImageError
from attention_dmfnet.geometry import Volume
from attention_dmfnet.organs import colour_of

_SERIES_OFFSET = 2000
_CONTOUR_DATA = Tag("ContourData")
_STUDY_CLASS = "1.2.840.10008.3.1.2.3.1"
"""Detached Study Management, retired: what RT Referenced Study Sequence still asks for."""


def write_rtstruct(
    sources: Sequence[Dataset], labels: Volume, organs: Mapping[str, int], algorithm: Algorithm, path: Path
) -> None:
    """Write ``labels`` as closed planar contours on the images of ``sources``: the whole file or none.

    Each of ``organs`` (name to number in the label map) is a region with that number, with contours if it was found.
    Holes are cut open to the outline around them (keyhole).

    Raises ``ImageError`` if the labels do not lie on the series, or the place cannot be written.
    """
    slices = slices_of(sources, str(path))
    laid = labels_on_slices(labels, slices, str(path))
    try:
        made = _empty(objects.with_blanks(sources[0]), algorithm)
    except (AttributeError, TypeError, ValueError) as error:
        raise ImageError(f"cannot write {path}: the series cannot be referred to ({error})") from error
    made.ReferencedFrameOfReferenceSequence = [_frame_of_reference(slices)]
    by_number = sorted((number, name) for name, number in organs.items())
    made.StructureSetROISequence = [_region(number, name, sources[0], algorithm) for number, name in by_number]
    made.ROIContourSequence = [
        _contours(number, name, [_contour(*found) for found in _found(laid, number, slices)])
        for number, name in by_number
    ]
    made.RTROIObservationsSequence = [_observation(number, name) for number, name in by_number]
    objects.save(made, path)


def _empty(source: Dataset, algorithm: Algorithm) -> Dataset:
    """The modules of patient, study, series and equipment, and the structure set's own name and time."""
    with quiet:
        made = highdicom.SOPClass(
            study_instance_uid=source.StudyInstanceUID,
            series_instance_uid=highdicom.UID(),
            series_number=objects.series_number(source, _SERIES_OFFSET),
            sop_instance_uid=highdicom.UID(),
            sop_class_uid=RTStructureSetStorage,
            instance_number=1,
            modality="RTSTRUCT",
            manufacturer=objects.MANUFACTURER,
            manufacturer_model_name=objects.MODEL_NAME,
            software_versions=algorithm.version,
            device_serial_number=algorithm.model_hash,
            series_description="Organs (Attention-DMFNet)",
            # with explicit types the length of one contour's numbers is 16 bits, too few for a liver
            transfer_syntax_uid=ImplicitVRLittleEndian,
            patient_id=source.PatientID,
            patient_name=source.PatientName,
            patient_birth_date=source.PatientBirthDate,
            patient_sex=source.PatientSex,
            study_id=source.StudyID,
            accession_number=source.AccessionNumber,
            study_date=source.StudyDate,
            study_time=source.StudyTime,
            referring_physician_name=source.ReferringPhysicianName,
            specific_character_set=source.get("SpecificCharacterSet"),
        )
    made.copy_patient_and_study_information(source)
    made.OperatorsName = ""
    made.FrameOfReferenceUID = source.FrameOfReferenceUID
    made.PositionReferenceIndicator = source.get("PositionReferenceIndicator", "")
    made.StructureSetLabel = "ORGANS"
    made.StructureSetName = objects.WHAT
    now = datetime.now()
    made.StructureSetDate, made.StructureSetTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    made.ApprovalStatus = "UNAPPROVED"
    return made


def _frame_of_reference(slices: Sequence[Slice]) -> Dataset:
    """The series that the contours lie on, by every image of it."""
    source = slices[0].source
    series = Dataset()
    series.SeriesInstanceUID = source.SeriesInstanceUID
    series.ContourImageSequence = [_reference(one) for one in slices]
    study = Dataset()
    study.ReferencedSOPClassUID = _STUDY_CLASS
    study.ReferencedSOPInstanceUID = source.StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame = Dataset()
    frame.FrameOfReferenceUID = source.FrameOfReferenceUID
    frame.RTReferencedStudySequence = [study]
    return frame


def _reference(one: Slice) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = one.source.SOPClassUID
    reference.ReferencedSOPInstanceUID = one.source.SOPInstanceUID
    if one.frame is not None:
        reference.ReferencedFrameNumber = one.frame
    return reference


def _region(number: int, name: str, source: Dataset, algorithm: Algorithm) -> Dataset:
    region = Dataset()
    region.ROINumber = number
    region.ReferencedFrameOfReferenceUID = source.FrameOfReferenceUID
    region.ROIName = name
    region.ROIGenerationAlgorithm = "AUTOMATIC"
    region.ROIGenerationDescription = f"{objects.MODEL_NAME} {algorithm.version}"
    return region


def _found(laid: np.ndarray, number: int, slices: Sequence[Slice]) -> Iterator[tuple[Slice, np.ndarray]]:
    """Each slice that has label ``number``, with one polygon (n, 3) in LPS mm; a slice may come several times."""
    for labels, one in zip(laid, slices, strict=True):
        for ring in outlines(labels == number):
            yield one, one.points_lps(ring)


def _contour(one: Slice, points_lps: np.ndarray) -> Dataset:
    contour = Dataset()
    contour.ContourImageSequence = [_reference(one)]
    contour.ContourGeometricType = "CLOSED_PLANAR"
    contour.NumberOfContourPoints = len(points_lps)
    # thousandths of a mm; + 0.0 turns negative zeros into zeros
    numbers = (points_lps.round(3) + 0.0).ravel().tolist()
    text = b"\\".join(b"%.3f" % mm for mm in numbers)
    text += b" " * (len(text) % 2)
    # as bytes: pydicom looks at every single number otherwise, which takes ten times as long as all the rest
    contour[_CONTOUR_DATA] = RawDataElement(_CONTOUR_DATA, "DS", len(text), text, 0, True, True)
    return contour


def _contours(number: int, name: str, contours: list[Dataset]) -> Dataset:
    region = Dataset()
    region.ROIDisplayColor = list(colour_of(name))
    region.ReferencedROINumber = number
    if contours:
        region.ContourSequence = contours
    return region


def _observation(number: int, name: str) -> Dataset:
    term = objects.term_of(name)
    kind = term.type
    if term.side is not None:
        kind.SegmentedPropertyTypeModifierCodeSequence = [term.side]
    observation = Dataset()
    observation.ObservationNumber = number
    observation.ReferencedROINumber = number
    observation.RTROIInterpretedType = "ORGAN"
    observation.ROIInterpreter = ""
    observation.RTROIIdentificationCodeSequence = [kind]
    return observation
