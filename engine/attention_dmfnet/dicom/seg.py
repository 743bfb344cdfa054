"""A DICOM Segmentation (PS3.3, A.51): one binary frame for each organ and slice that has it, laid on the series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import highdicom
import numpy as np
from highdicom.color import CIELabColor
from highdicom.seg import SegmentAlgorithmTypeValues, SegmentationTypeValues, SegmentDescription
from pydicom import Dataset
from pydicom.sr.codedict import codes

from attention_dmfnet.dicom import objects
from attention_dmfnet.dicom.algorithm import Algorithm
from attention_dmfnet.dicom.quiet import quiet
from attention_dmfnet.dicom.slices import labels_on_slices, slices_of, spacing_along_mm
from attention_dmfnet.files.image_io import ImageError
from attention_dmfnet.geometry import Volume
from attention_dmfnet.organs import colour_of

_SERIES_OFFSET = 1000


def write_seg(
    sources: Sequence[Dataset], labels: Volume, organs: Mapping[str, int], algorithm: Algorithm, path: Path
) -> None:
    """Write ``labels`` as one SEG that refers to every image of ``sources``: the whole file or none.

    ``sources`` are the images of one series, their pixels not needed. Each of ``organs`` (name to number in the label
    map) is a segment, in order of its number, found or not: with all thirteen, segment n is label n.

    Raises ``ImageError`` if the labels do not lie on the series, or the place cannot be written.
    """
    numbers = sorted(organs.values())
    slices = slices_of(sources, str(path))
    laid = labels_on_slices(labels, slices, str(path))
    if numbers != list(range(1, len(numbers) + 1)):
        segment_of = np.zeros(256, np.uint8)
        segment_of[numbers] = range(1, len(numbers) + 1)
        laid = segment_of[laid]
    names = {number: name for name, number in organs.items()}
    described = [_described(n, names[number], algorithm) for n, number in enumerate(numbers, start=1)]
    # what all objects of a study say is taken from the first
    first = objects.with_blanks(sources[0])
    thickness_mm = spacing_along_mm(labels.geometry, slices[0])
    try:
        with quiet:
            made = highdicom.seg.Segmentation(
                source_images=[objects.with_thickness(one, thickness_mm) for one in (first, *sources[1:])],
                pixel_array=laid,
                segmentation_type=SegmentationTypeValues.BINARY,
                segment_descriptions=described,
                series_instance_uid=highdicom.UID(),
                series_number=objects.series_number(first, _SERIES_OFFSET),
                sop_instance_uid=highdicom.UID(),
                instance_number=1,
                manufacturer=objects.MANUFACTURER,
                manufacturer_model_name=objects.MODEL_NAME,
                software_versions=algorithm.version,
                device_serial_number=algorithm.model_hash,
                content_label="ORGANS",
                content_description=objects.WHAT,
                content_creator_name=objects.CREATOR,
                series_description="Organs (Attention-DMFNet)",
            )
    except (AttributeError, TypeError, ValueError) as error:
        raise ImageError(f"cannot write {path}: the series cannot be referred to ({error})") from error
    objects.save(made, path)


def _described(number: int, name: str, algorithm: Algorithm) -> SegmentDescription:
    term = objects.term_of(name)
    description = SegmentDescription(
        segment_number=number,
        segment_label=name,
        segmented_property_category=term.category,
        segmented_property_type=term.type,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=objects.MODEL_NAME,
            family=codes.DCM.ArtificialIntelligence,
            version=algorithm.version,
            source=objects.MANUFACTURER,
            parameters={"model_sha256": algorithm.model_hash},
        ),
        tracking_uid=highdicom.UID(),
        tracking_id=name,
        display_color=CIELabColor.from_rgb(*colour_of(name)),
    )
    if term.side is not None:
        description.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [term.side]
    return description
