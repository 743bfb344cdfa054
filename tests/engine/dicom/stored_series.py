"""Series of single images, as scanners and archives store them: any orientation, order and tilt. No voxels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from attention_dmfnet.geometry import Axes, Geometry, Triple
from pydicom import Dataset
from pydicom.uid import CTImageStorage, generate_uid

HEAD, FEET = (0.0, 0.0, 1.0), (0.0, 0.0, -1.0)
BACK, FRONT = (0.0, 1.0, 0.0), (0.0, -1.0, 0.0)
LEFT, RIGHT = (1.0, 0.0, 0.0), (-1.0, 0.0, 0.0)
_C, _S = math.cos(math.radians(20)), math.sin(math.radians(20))

ORIENTATIONS: dict[str, Axes] = {
    "axial": (HEAD, BACK, LEFT),
    "feet first": (FEET, BACK, RIGHT),
    "from the feet": (FEET, BACK, LEFT),
    "flipped": (HEAD, FRONT, RIGHT),
    "sagittal": (LEFT, FEET, BACK),
    "coronal": (BACK, FEET, LEFT),
    "oblique": ((0.0, -_S, _C), (0.0, _C, _S), LEFT),
    # turned about the patient's back-to-front line, then within the slice's own plane
    "doubly oblique": ((_S, 0.0, _C), (-_S * _C, _C, _S * _S), (_C * _C, _S, -_S * _C)),
}
"""How stored slices lie: from slice to slice, down the rows, along the columns."""


def small_grid(axes_lps: Axes = ORIENTATIONS["axial"]) -> Geometry:
    """20 slices of 24 x 28 pixels, 3 mm apart, pixels of 2 x 1.5 mm, far from the origin."""
    return Geometry((20, 24, 28), (3.0, 2.0, 1.5), (-31.0, 17.0, 250.0), axes_lps)


@dataclass(frozen=True)
class Tags:
    """What all images of one study, or of one series, have in common."""

    study: str
    series: str
    frame_of_reference: str


def new_tags() -> Tags:
    return Tags(generate_uid(), generate_uid(), generate_uid())


def stored(grid: Geometry, tilt_mm_per_slice: float = 0.0) -> list[Dataset]:
    """The images of ``grid``, one an array plane: its axes are the slices', the rows' and the columns' direction.

    A tilted gantry moves each further slice ``tilt_mm_per_slice`` mm along the rows' direction.
    """
    tags = new_tags()
    down, across = grid.axes_lps[1], grid.axes_lps[2]
    slices = []
    for number in range(grid.shape_zyx[0]):
        moved = np.asarray(grid.point_lps((number, 0, 0))) + number * tilt_mm_per_slice * np.asarray(down)
        slices.append(_image(tags, grid, number, (float(moved[0]), float(moved[1]), float(moved[2])), across, down))
    return slices


def _image(tags: Tags, grid: Geometry, number: int, position: Triple, across: Triple, down: Triple) -> Dataset:
    image = Dataset()
    image.SpecificCharacterSet = "ISO_IR 100"
    image.SOPClassUID = CTImageStorage
    image.SOPInstanceUID = generate_uid()
    image.StudyInstanceUID = tags.study
    image.SeriesInstanceUID = tags.series
    image.FrameOfReferenceUID = tags.frame_of_reference
    image.Modality = "CT"
    image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    image.PatientID = "P-17"
    image.PatientName = "Doe^Jo"
    image.PatientBirthDate = "19500101"
    image.PatientSex = "O"
    image.PatientAge = "071Y"
    image.StudyID = "4"
    image.StudyDate, image.StudyTime = "20200102", "030405"
    image.StudyDescription = "CT ABDOMEN"
    image.AccessionNumber = "A1"
    image.ReferringPhysicianName = ""
    image.SeriesNumber = 3
    # numbered backwards: nothing may go by it
    image.InstanceNumber = grid.shape_zyx[0] - number
    image.PositionReferenceIndicator = ""
    image.ImagePositionPatient = [f"{mm:.6f}" for mm in position]
    image.ImageOrientationPatient = [f"{part:.9f}" for part in (*across, *down)]
    image.PixelSpacing = list(map(str, grid.spacing_zyx[1:]))
    image.SliceThickness = str(grid.spacing_zyx[0])
    image.Rows, image.Columns = grid.shape_zyx[1:]
    image.SamplesPerPixel = 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 1
    return image
