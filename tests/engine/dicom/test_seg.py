"""A SEG is what highdicom, pydicom and dciodvfy take it for, and each organ is where the label map has it."""

from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from attention_dmfnet.dicom.algorithm import Algorithm
from attention_dmfnet.dicom.rtstruct import write_rtstruct
from attention_dmfnet.dicom.seg import write_seg
from attention_dmfnet.files.image_io import ImageError
from attention_dmfnet.geometry import CANONICAL_AXES_LPS, Geometry, Volume, with_axes
from attention_dmfnet.organs import CATEGORY, ORGANS
from highdicom.color import CIELabColor
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian

from tests.engine.dicom.stored_series import ORIENTATIONS, small_grid, stored
from tests.engine.dicom.verifier import errors_of
from tests.engine.tiny import block_labels

ALGORITHM = Algorithm("1.2.3", "ab" * 32)
NUMBERS = {organ.name: organ.number for organ in ORGANS}
ORIENTED = pytest.mark.parametrize("orientation", ORIENTATIONS)


def _labels(grid: Geometry) -> Volume:
    return Volume(block_labels(grid.shape_zyx), grid)


def _written(sources: list[Dataset], labels: Volume, folder: Path, organs: dict[str, int] | None = None) -> Path:
    path = folder / "a.seg.dcm"
    write_seg(sources, labels, NUMBERS if organs is None else organs, ALGORITHM, path)
    return path


def _centroid_lps(labels: Volume, number: int) -> npt.NDArray[np.float64]:
    z, y, x = np.argwhere(labels.array == number).mean(axis=0)
    return np.array(labels.geometry.point_lps((z, y, x)))


def _centroid_of_segment(seg: Dataset, number: int) -> npt.NDArray[np.float64]:
    """From the file alone: each frame's own position, the shared orientation and spacing."""
    shared = seg.SharedFunctionalGroupsSequence[0]
    cosines = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    between_rows, between_columns = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    points = []
    for frame, pixels in zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array, strict=True):
        # all frames of a single segment may share what segment they are of
        of = frame if "SegmentIdentificationSequence" in frame else shared
        if of.SegmentIdentificationSequence[0].ReferencedSegmentNumber == number:
            rows, columns = np.nonzero(pixels)
            first = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
            points.append(first + np.outer(rows * between_rows, cosines[3:])
                          + np.outer(columns * between_columns, cosines[:3]))  # fmt: skip
    centroid: npt.NDArray[np.float64] = np.concatenate(points).mean(axis=0)
    return centroid


@ORIENTED
def test_each_organ_is_where_the_label_map_has_it(orientation: str, tmp_path: Path) -> None:
    stored_grid = small_grid(ORIENTATIONS[orientation])
    # the label map's axes are its own: those of the slices, or the canonical ones
    labels = with_axes(_labels(stored_grid), CANONICAL_AXES_LPS)
    seg = pydicom.dcmread(_written(stored(stored_grid), labels, tmp_path))
    for organ in ORGANS:
        away = _centroid_of_segment(seg, organ.number) - _centroid_lps(labels, organ.number)
        assert np.abs(away).max() < 1e-3, organ.name


@ORIENTED
def test_highdicom_reads_the_same_masks_on_the_same_images(orientation: str, tmp_path: Path) -> None:
    grid = small_grid(ORIENTATIONS[orientation])
    sources, labels = stored(grid), _labels(grid)
    seg = highdicom.seg.segread(_written(sources, labels, tmp_path))
    # every image of the series, and in the order that is asked for, whatever the file's is
    uids = [source.SOPInstanceUID for source in sources]
    masks = seg.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)
    for number in range(1, 14):
        np.testing.assert_array_equal(masks[..., number - 1], labels.array == number)


def test_a_tilted_series_has_each_organ_within_a_voxel(tmp_path: Path) -> None:
    grid = small_grid()
    # slices 1.2 mm further back each, as of a gantry tilted by 22 degrees; the labels' grid is upright and holds them
    sources = stored(grid, tilt_mm_per_slice=1.2)
    upright = Geometry((20, 36, 28), grid.spacing_zyx, grid.origin_lps, grid.axes_lps)
    array = np.zeros(upright.shape_zyx, np.uint8)
    array[:, 12:] = block_labels(grid.shape_zyx)
    labels = Volume(array, upright)
    seg = pydicom.dcmread(_written(sources, labels, tmp_path))
    for organ in ORGANS:
        away = _centroid_of_segment(seg, organ.number) - _centroid_lps(labels, organ.number)
        # voxels of 1.5 x 2 x 3 mm along x, y, z
        assert (np.abs(away) < (1.5, 2.0, 3.0)).all(), organ.name


def test_slices_in_any_order_give_the_same_masks(tmp_path: Path) -> None:
    grid = small_grid()
    sources, labels = stored(grid), _labels(grid)
    shuffled = [sources[n] for n in np.random.default_rng(1).permutation(len(sources))]
    seg = highdicom.seg.segread(_written(shuffled, labels, tmp_path))
    masks = seg.get_pixels_by_source_instance([s.SOPInstanceUID for s in sources], assert_missing_frames_are_empty=True)
    np.testing.assert_array_equal((masks * np.arange(1, 14)).sum(axis=-1), labels.array)


def test_it_says_what_the_organs_are_who_found_them_and_of_whom(tmp_path: Path) -> None:
    sources = stored(small_grid())
    seg = highdicom.seg.segread(_written(sources, _labels(small_grid()), tmp_path))
    assert seg.number_of_segments == len(ORGANS)
    for organ in ORGANS:
        segment = seg.get_segment_description(organ.number)
        assert segment.segment_label == organ.name
        assert segment.segmented_property_category.value == CATEGORY.value
        assert segment.segmented_property_type.value == organ.type.value
        side = segment.segmented_property_type.get("SegmentedPropertyTypeModifierCodeSequence")
        assert (side[0].CodeValue if side else None) == (organ.side.value if organ.side else None)
        maker = segment.algorithm_identification
        assert maker is not None
        assert (maker.version, maker.parameters) == ("1.2.3", {"model_sha256": "ab" * 32})
        colour = CIELabColor.from_dicom_value(segment.RecommendedDisplayCIELabValue)
        # 16 bits an axis keep a colour to a step of 255
        assert np.abs(np.subtract(colour.to_rgb(), organ.colour)).max() <= 1
    first = sources[0]
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "PatientAge", "StudyInstanceUID",
                    "StudyDescription", "StudyDate", "AccessionNumber", "FrameOfReferenceUID"):  # fmt: skip
        assert getattr(seg, keyword) == getattr(first, keyword), keyword
    assert seg.SeriesInstanceUID != first.SeriesInstanceUID
    referenced = seg.ReferencedSeriesSequence[0]
    assert referenced.SeriesInstanceUID == first.SeriesInstanceUID
    assert {i.ReferencedSOPInstanceUID for i in referenced.ReferencedInstanceSequence} == {
        source.SOPInstanceUID for source in sources
    }


def test_organs_that_were_asked_for_are_segments_found_or_not(tmp_path: Path) -> None:
    labels = _labels(small_grid())
    labels.array[labels.array != 3] = 0
    path = _written(stored(small_grid()), labels, tmp_path, {"left kidney": 13, "spleen": 3})
    seg = highdicom.seg.segread(path)
    assert [seg.get_segment_description(n).segment_label for n in (1, 2)] == ["spleen", "left kidney"]
    masks = seg.get_pixels_by_source_instance(
        [i.ReferencedSOPInstanceUID for i in seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence],
        assert_missing_frames_are_empty=True,
    )
    assert (masks[..., 0].sum(), masks[..., 1].sum()) == (np.count_nonzero(labels.array), 0)
    assert errors_of(path) == []


def test_a_scan_without_any_organ_has_a_seg_that_says_so(tmp_path: Path) -> None:
    labels = Volume(np.zeros(small_grid().shape_zyx, np.uint8), small_grid())
    path = _written(stored(small_grid()), labels, tmp_path)
    assert not pydicom.dcmread(path).pixel_array.any()
    assert errors_of(path) == []


@ORIENTED
def test_dciodvfy_finds_no_error(orientation: str, tmp_path: Path) -> None:
    grid = small_grid(ORIENTATIONS[orientation])
    assert errors_of(_written(stored(grid), _labels(grid), tmp_path)) == []


def test_what_an_archive_dropped_of_the_patient_is_blank(tmp_path: Path) -> None:
    sources = stored(small_grid())
    for source in sources:
        for keyword in (
            "PatientBirthDate", "PatientSex", "StudyID", "AccessionNumber", "ReferringPhysicianName", "SliceThickness"
        ):  # fmt: skip
            delattr(source, keyword)
    path = _written(sources, _labels(small_grid()), tmp_path)
    seg = pydicom.dcmread(path)
    assert seg.PatientSex == ""
    # the slices' distance stands for the thickness that nobody states
    assert seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness == 3
    assert errors_of(path) == []


@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        ("ISO_IR 100", "Müller^Jürgen"),
        ("ISO_IR 192", "Αθηνά^Ω"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (None, "Doe^Jo"),
    ],
)
def test_a_patients_name_stays_what_it_is(character_set: str | list[str] | None, name: str, tmp_path: Path) -> None:
    sources: list[Dataset] = []
    for image in stored(small_grid()):
        del image.SpecificCharacterSet
        if character_set is not None:
            image.SpecificCharacterSet = character_set
        image.PatientName = name
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.save_as(tmp_path / "image.dcm", enforce_file_format=True)
        sources.append(pydicom.dcmread(tmp_path / "image.dcm"))
    write_rtstruct(sources, _labels(small_grid()), NUMBERS, ALGORITHM, tmp_path / "structures.dcm")
    for path in (_written(sources, _labels(small_grid()), tmp_path), tmp_path / "structures.dcm"):
        assert pydicom.dcmread(path).PatientName == name
        assert errors_of(path) == []


def test_the_scans_own_headers_stay_as_they_are(tmp_path: Path) -> None:
    sources: list[Any] = stored(small_grid())
    for source in sources:
        source.PatientSex = "X"
        del source.SliceThickness
    before = [str(source) for source in sources]
    _written(sources, _labels(small_grid()), tmp_path)
    assert [str(source) for source in sources] == before


def test_what_no_object_may_repeat_is_blank(tmp_path: Path) -> None:
    sources: list[Any] = stored(small_grid())
    for source in sources:
        source.PatientSex = "X"
        source["PatientBirthDate"] = RawDataElement(Tag("PatientBirthDate"), "DA", 8, b"00000000", 0, False, True)
    write_rtstruct(sources, _labels(small_grid()), NUMBERS, ALGORITHM, tmp_path / "structures.dcm")
    for path in (_written(sources, _labels(small_grid()), tmp_path), tmp_path / "structures.dcm"):
        made = pydicom.dcmread(path)
        assert (made.PatientSex, made.PatientBirthDate) == ("", "")
        assert errors_of(path) == []


def test_labels_of_another_place_are_refused(tmp_path: Path) -> None:
    grid = small_grid()
    z, y, x = grid.origin_lps
    elsewhere = Geometry(grid.shape_zyx, grid.spacing_zyx, (z, y, x + 30), grid.axes_lps)
    with pytest.raises(ImageError, match=r"a\.seg\.dcm: the labels do not lie on this series"):
        _written(stored(grid), _labels(elsewhere), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_series_without_a_frame_of_reference_is_refused(tmp_path: Path) -> None:
    sources = stored(small_grid())
    for source in sources:
        del source.FrameOfReferenceUID
    with pytest.raises(ImageError, match="no Frame of Reference UID"):
        _written(sources, _labels(small_grid()), tmp_path)


def test_the_verifier_itself_finds_an_error(tmp_path: Path) -> None:
    path = _written(stored(small_grid()), _labels(small_grid()), tmp_path)
    seg = pydicom.dcmread(path)
    del seg.SegmentSequence[0].SegmentLabel
    seg.save_as(path)
    assert any("SegmentLabel" in error for error in errors_of(path))


def test_a_folder_that_is_not_there_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="cannot write"):
        write_seg(stored(small_grid()), _labels(small_grid()), NUMBERS, ALGORITHM, tmp_path / "gone" / "a.seg.dcm")
    assert list(tmp_path.iterdir()) == []
