"""An RTSTRUCT's contours close, hold exactly the label map's pixels, and are where the label map has the organs."""

import itertools
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
from attention_dmfnet.dicom.rtstruct import write_rtstruct
from attention_dmfnet.geometry import CANONICAL_AXES_LPS, Volume, with_axes
from attention_dmfnet.organs import ORGANS
from matplotlib.path import Path as Outline
from pydicom import Dataset

from tests.engine.dicom.stored_series import ORIENTATIONS, small_grid, stored
from tests.engine.dicom.test_seg import ALGORITHM, NUMBERS, ORIENTED, _centroid_lps, _labels
from tests.engine.dicom.verifier import errors_of


def _written(sources: list[Dataset], labels: Volume, folder: Path) -> Path:
    path = folder / "a.rtstruct.dcm"
    write_rtstruct(sources, labels, NUMBERS, ALGORITHM, path)
    return path


def _contours(structures: Dataset, number: int) -> list[tuple[str, npt.NDArray[np.float64]]]:
    """Of each contour of a region the image that it refers to, and its points (n, 3) in mm."""
    (region,) = (one for one in structures.ROIContourSequence if one.ReferencedROINumber == number)
    found = []
    for contour in region.get("ContourSequence", []):
        assert contour.ContourGeometricType == "CLOSED_PLANAR"
        points = np.array(contour.ContourData, float).reshape(-1, 3)
        assert len(points) == contour.NumberOfContourPoints >= 3
        found.append((contour.ContourImageSequence[0].ReferencedSOPInstanceUID, points))
    return found


def _centroid_of_contours(contours: list[tuple[str, npt.NDArray[np.float64]]]) -> npt.NDArray[np.float64]:
    """Of the plane areas inside, by their corners alone (triangles from the first corner, with their sign)."""
    total, moment = 0.0, np.zeros(3)
    for _, points in contours:
        first = points[0]
        crosses = np.cross(points[1:-1] - first, points[2:] - first)
        middle = (first + points[1:-1] + points[2:]) / 3
        whole = crosses.sum(axis=0)
        signed = crosses @ whole / np.linalg.norm(whole) / 2
        total += signed.sum()
        moment += (signed[:, None] * middle).sum(axis=0)
    centroid: npt.NDArray[np.float64] = moment / total
    return centroid


def _pixels_inside(source: Dataset, points: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """The pixel centres of an image inside a contour, as matplotlib sees it."""
    across, down = np.array(source.ImageOrientationPatient, float).reshape(2, 3)
    between_rows, between_columns = map(float, source.PixelSpacing)
    way = points - np.array(source.ImagePositionPatient, float)
    normal = np.cross(across, down)
    assert np.abs(way @ normal).max() < 2e-3, "the contour leaves the plane of its image"
    columns_rows = np.column_stack([way @ across / between_columns, way @ down / between_rows])
    columns, rows = np.meshgrid(np.arange(source.Columns), np.arange(source.Rows))
    # a hair aside: the cuts of holes run through pixel centres
    centres = np.column_stack([columns.ravel(), rows.ravel()]) + 1e-2
    inside: npt.NDArray[np.bool_] = Outline(columns_rows, closed=False).contains_points(centres)
    return inside.reshape(source.Rows, source.Columns)


@ORIENTED
def test_each_organ_is_where_the_label_map_has_it(orientation: str, tmp_path: Path) -> None:
    grid = small_grid(ORIENTATIONS[orientation])
    labels = with_axes(_labels(grid), CANONICAL_AXES_LPS)
    structures = pydicom.dcmread(_written(stored(grid), labels, tmp_path))
    for organ in ORGANS:
        away = _centroid_of_contours(_contours(structures, organ.number)) - _centroid_lps(labels, organ.number)
        assert np.abs(away).max() < 0.01, organ.name


@ORIENTED
def test_inside_the_contours_are_exactly_the_label_maps_pixels(orientation: str, tmp_path: Path) -> None:
    grid = small_grid(ORIENTATIONS[orientation])
    sources, labels = stored(grid), _labels(grid)
    # a cyst in the liver, which is a hole in it
    labels.array[5, 7, 6] = 0
    structures = pydicom.dcmread(_written(sources, labels, tmp_path))
    number_of = {source.SOPInstanceUID: n for n, source in enumerate(sources)}
    read = np.zeros_like(labels.array)
    for organ in ORGANS:
        for uid, points in _contours(structures, organ.number):
            inside = _pixels_inside(sources[number_of[uid]], points)
            assert not read[number_of[uid]][inside].any(), "contours overlap"
            read[number_of[uid]][inside] = organ.number
    np.testing.assert_array_equal(read, labels.array)


def test_a_hole_is_cut_open_to_the_outline(tmp_path: Path) -> None:
    grid = small_grid()
    labels = Volume(np.zeros(grid.shape_zyx, np.uint8), grid)
    labels.array[3, 4:9, 5:12] = 1
    labels.array[3, 6, 8] = 0
    ((_, points),) = _contours(pydicom.dcmread(_written(stored(grid), labels, tmp_path)), 1)
    sides = {frozenset([tuple(a), tuple(b)]) for a, b in itertools.pairwise([*points, points[0]])}
    # all but the cut are run through once
    assert len(sides) == len(points) - 1


def test_it_says_what_the_regions_are_and_on_which_images(tmp_path: Path) -> None:
    sources = stored(small_grid())
    labels = _labels(small_grid())
    labels.array[labels.array == 9] = 0
    structures = pydicom.dcmread(_written(sources, labels, tmp_path))
    assert [(roi.ROINumber, roi.ROIName) for roi in structures.StructureSetROISequence] == [
        (organ.number, organ.name) for organ in ORGANS
    ]
    assert _contours(structures, 9) == []
    colours = [tuple(region.ROIDisplayColor) for region in structures.ROIContourSequence]
    assert colours == [organ.colour for organ in ORGANS]
    for organ, said in zip(ORGANS, structures.RTROIObservationsSequence, strict=True):
        code = said.RTROIIdentificationCodeSequence[0]
        assert (code.CodeValue, code.CodingSchemeDesignator) == (organ.type.value, "SCT")
        side = code.get("SegmentedPropertyTypeModifierCodeSequence")
        assert (side[0].CodeValue if side else None) == (organ.side.value if organ.side else None)
    frame = structures.ReferencedFrameOfReferenceSequence[0]
    series = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    assert series.SeriesInstanceUID == sources[0].SeriesInstanceUID
    assert [image.ReferencedSOPInstanceUID for image in series.ContourImageSequence] == [
        source.SOPInstanceUID for source in sources
    ]
    for keyword in ("PatientID", "PatientName", "PatientAge", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert getattr(structures, keyword) == getattr(sources[0], keyword), keyword
    assert structures.SoftwareVersions == "1.2.3"


@ORIENTED
def test_dciodvfy_finds_no_error(orientation: str, tmp_path: Path) -> None:
    grid = small_grid(ORIENTATIONS[orientation])
    assert errors_of(_written(stored(grid), _labels(grid), tmp_path)) == []


def test_a_scan_without_any_organ_has_regions_without_contours(tmp_path: Path) -> None:
    path = _written(stored(small_grid()), Volume(np.zeros((20, 24, 28), np.uint8), small_grid()), tmp_path)
    assert [_contours(pydicom.dcmread(path), organ.number) for organ in ORGANS] == [[]] * len(ORGANS)
    assert errors_of(path) == []
