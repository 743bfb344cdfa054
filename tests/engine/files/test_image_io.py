import gzip
import resource
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK
from attention_dmfnet.files import image_io
from attention_dmfnet.files.image_io import ImageError, read_volume, write_labels, write_volume
from attention_dmfnet.geometry import CANONICAL_AXES_LPS, Geometry, Volume
from attention_dmfnet.notes import Note

sitk: Any = SimpleITK

ALL_FORMATS = pytest.mark.parametrize("extension", [".nii.gz", ".nii", ".nrrd", ".mha"])
OBLIQUE = Geometry(
    (3, 4, 5), (2.5, 0.75, 0.5), (-120.5, 33.25, 900.0), ((0.0, 0.6, 0.8), (0.0, -0.8, 0.6), (-1.0, 0.0, 0.0))
)
NIFTI_HEADER_BYTES = 352


def _numbers(shape: tuple[int, ...] = (3, 4, 5)) -> npt.NDArray[np.int16]:
    return np.arange(np.prod(shape), dtype=np.int16).reshape(shape) - 30


def _write(array: npt.NDArray[Any], path: Path, vector: bool = False) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(array, isVector=vector), str(path))
    return path


@ALL_FORMATS
def test_a_volume_comes_back_with_its_voxels_and_its_grid(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"a{extension}"
    write_volume(Volume(_numbers(), OBLIQUE), path)
    back = read_volume(path)
    assert back.array.dtype == np.int16
    np.testing.assert_array_equal(back.array, _numbers())
    assert back.geometry.matches(OBLIQUE, tolerance_mm=1e-4)


@ALL_FORMATS
def test_voxels_are_where_itk_says_they_are(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"a{extension}"
    write_volume(Volume(_numbers(), OBLIQUE), path)
    image, ours = sitk.ReadImage(str(path)), read_volume(path)
    assert int(ours.array[1, 2, 3]) == image.GetPixel(3, 2, 1)
    assert ours.geometry.point_lps((1, 2, 3)) == pytest.approx(image.TransformIndexToPhysicalPoint((3, 2, 1)))


def test_a_nifti_beside_a_packed_nifti_of_the_same_name_is_another_scan(tmp_path: Path) -> None:
    # ITK's own NIfTI reader takes the voxels of a.nii for those of a.nii.gz
    geometry = Geometry((2, 2, 2), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), CANONICAL_AXES_LPS)
    write_volume(Volume(np.full((2, 2, 2), 1, np.int16), geometry), tmp_path / "a.nii.gz")
    write_volume(Volume(np.full((2, 2, 2), 2, np.int16), geometry), tmp_path / "a.nii")
    assert (read_volume(tmp_path / "a.nii.gz").array == 1).all()


@ALL_FORMATS
@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (np.uint8(200), np.int16),
        (np.uint16(3000), np.int16),
        (np.int32(-1024), np.int16),
        (np.float32(-1024.0), np.int16),
        (np.float64(40.0), np.int16),
        (np.float32(40.5), np.float32),
        (np.uint16(60_000), np.float32),
    ],
)
def test_whole_numbers_that_fit_become_int16_and_others_float32(
    tmp_path: Path, extension: str, stored: np.generic, expected: type
) -> None:
    volume = read_volume(_write(np.full((2, 3, 4), stored), tmp_path / f"a{extension}"))
    assert volume.array.dtype == expected
    assert (volume.array == stored).all()


def test_a_scan_that_turns_fractional_in_its_last_slice_keeps_all_its_values(tmp_path: Path) -> None:
    values = np.zeros((3, 2, 2))
    values[0], values[2] = 7, 0.5
    np.testing.assert_array_equal(read_volume(_write(values, tmp_path / "a.nii")).array, values)


@pytest.mark.parametrize(
    ("slope", "intercept", "value", "dtype"),
    [(1.0, -1024.0, -24, np.int16), (0.0, 5.0, 1000, np.int16), (0.25, 0.5, 250.5, np.float32)],
)
def test_a_niftis_slope_and_intercept_are_applied(
    tmp_path: Path, slope: float, intercept: float, value: float, dtype: type
) -> None:
    path = _write(np.full((2, 2, 2), 1000, np.int16), tmp_path / "a.nii")
    _edit(path, (112, "<2f", slope, intercept))
    volume = read_volume(path)
    assert volume.array.dtype == dtype
    assert (volume.array == value).all()


@ALL_FORMATS
def test_voxels_without_a_value_are_air_and_a_note_says_how_many(tmp_path: Path, extension: str) -> None:
    values = np.full((2, 3, 4), 40.0, dtype=np.float32)
    values[0, 0, 0], values[1, 2, 3] = np.nan, np.inf
    notes: list[Note] = []
    volume = read_volume(_write(values, tmp_path / f"a{extension}"), notes)
    assert volume.array[0, 0, 0] == volume.array[1, 2, 3] == -1024
    assert volume.array[0, 0, 1] == 40
    assert notes == ["2 voxels have no value and were read as air"]


@ALL_FORMATS
def test_half_a_file_is_refused_by_name(tmp_path: Path, extension: str) -> None:
    noise = np.random.default_rng(0).integers(-1000, 1000, (20, 30, 40)).astype(np.int16)
    path = _write(noise, tmp_path / f"scan{extension}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ImageError, match=rf"scan\{extension}"):
        read_volume(path)


@ALL_FORMATS
@pytest.mark.parametrize("content", [b"", b"this is a text" * 50])
def test_what_is_no_image_is_refused_by_name(tmp_path: Path, extension: str, content: bytes) -> None:
    path = tmp_path / f"scan{extension}"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"scan.*not a file of the kind"):
        read_volume(path)


@ALL_FORMATS
def test_a_colour_image_is_refused(tmp_path: Path, extension: str) -> None:
    path = _write(np.zeros((4, 5, 6, 3), np.uint8), tmp_path / f"a{extension}", vector=True)
    with pytest.raises(ImageError, match="3 values per voxel"):
        read_volume(path)


@ALL_FORMATS
def test_a_series_in_time_is_refused_but_a_single_frame_is_a_scan(tmp_path: Path, extension: str) -> None:
    series = _write(np.zeros((2, 4, 5, 6), np.int16), tmp_path / f"series{extension}", vector=False)
    with pytest.raises(ImageError, match="4 dimensions"):
        read_volume(series)
    frame = _write(_numbers()[None], tmp_path / f"frame{extension}", vector=False)
    np.testing.assert_array_equal(read_volume(frame).array, _numbers())


@ALL_FORMATS
def test_a_single_slice_without_depth_is_refused(tmp_path: Path, extension: str) -> None:
    with pytest.raises(ImageError, match="2 dimensions"):
        read_volume(_write(np.zeros((5, 6), np.int16), tmp_path / f"a{extension}"))


def _edit(path: Path, *edits: tuple[Any, ...]) -> None:
    content = bytearray(path.read_bytes())
    for offset, form, *values in edits:
        struct.pack_into(form, content, offset, *values)
    path.write_bytes(content)


def test_axes_that_are_not_at_right_angles_are_refused(tmp_path: Path) -> None:
    path = _write(_numbers(), tmp_path / "a.nii")
    _edit(path, (252, "<h", 0), (284, "<f", 0.3))
    with pytest.raises(ImageError, match="right angles"):
        read_volume(path)


def test_a_direction_that_is_no_number_is_refused(tmp_path: Path) -> None:
    path = _write(_numbers(), tmp_path / "a.nrrd")
    content = path.read_bytes().replace(b"(1,0,0)", b"(nan,0,0)")
    assert b"nan" in content
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"a\.nrrd"):
        read_volume(path)


def test_a_spacing_that_is_no_number_is_refused(tmp_path: Path) -> None:
    path = _write(_numbers(), tmp_path / "a.mha")
    content = path.read_bytes().replace(b"ElementSpacing = 1 1 1", b"ElementSpacing = nan 1 1")
    assert b"nan" in content
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"a\.mha"):
        read_volume(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"nowhere\.nii\.gz: no such file"):
        read_volume(tmp_path / "nowhere.nii.gz")


def test_labels_are_written_as_packed_bytes(tmp_path: Path) -> None:
    labels = np.arange(60).reshape(3, 4, 5)
    write_labels(Volume(labels, OBLIQUE), tmp_path / "a.nii.gz")
    content = gzip.decompress((tmp_path / "a.nii.gz").read_bytes())
    assert content[NIFTI_HEADER_BYTES:] == bytes(range(60))


@pytest.mark.parametrize("value", [-1, 256, 0.5])
def test_labels_that_are_no_byte_are_refused(tmp_path: Path, value: float) -> None:
    with pytest.raises(ImageError, match="whole numbers from 0 to 255"):
        write_labels(Volume(np.full((3, 4, 5), value), OBLIQUE), tmp_path / "a.nii.gz")
    assert list(tmp_path.iterdir()) == []


def test_flipped_and_transposed_views_are_written_as_they_appear(tmp_path: Path) -> None:
    view = np.arange(60, dtype=np.uint8).reshape(5, 4, 3).transpose(2, 1, 0)[::-1]
    write_labels(Volume(view, OBLIQUE), tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii.gz").array, view)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_an_interrupted_write_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interruption: BaseException
) -> None:
    def write_half(array: object, geometry: object, path: Path, packed: bool, extension: bytes) -> None:
        path.write_bytes(b"half of it")
        raise interruption

    monkeypatch.setattr(image_io, "write_nifti", write_half)
    with pytest.raises((KeyboardInterrupt, ImageError)):
        write_labels(Volume(np.zeros((3, 4, 5), np.uint8), OBLIQUE), tmp_path / "a.nii.gz")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_write_leaves_the_old_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(b"the old one")

    def fail(array: object, geometry: object, path: Path, packed: bool, extension: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(image_io, "write_nifti", fail)
    with pytest.raises(ImageError):
        write_labels(Volume(np.zeros((3, 4, 5), np.uint8), OBLIQUE), path)
    assert path.read_bytes() == b"the old one"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"cannot write .*nowhere.*No such file or directory"):
        write_labels(Volume(np.zeros((3, 4, 5), np.uint8), OBLIQUE), tmp_path / "nowhere" / "a.nii.gz")


def test_a_type_or_a_size_that_nifti_does_not_have_is_refused(tmp_path: Path) -> None:
    long = Geometry((1, 1, 32768), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), CANONICAL_AXES_LPS)
    with pytest.raises(ImageError, match="no axis of 32768 voxels"):
        write_volume(Volume(np.zeros((1, 1, 32768), np.uint8), long), tmp_path / "a.nii.gz")
    with pytest.raises(ImageError, match="no voxels of type float16"):
        write_volume(Volume(np.zeros((3, 4, 5), np.float16), OBLIQUE), tmp_path / "a.nii.gz")
    assert list(tmp_path.iterdir()) == []


@ALL_FORMATS
def test_a_disk_that_fills_up_leaves_no_file(tmp_path: Path, extension: str) -> None:
    # to the process, a limit on the size of files is a disk that is full: writes come back short
    noise = np.random.default_rng(0).integers(0, 14, (20, 64, 64)).astype(np.uint8)
    geometry = Geometry(noise.shape, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), CANONICAL_AXES_LPS)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(ImageError, match="is the disk full"):
            write_labels(Volume(noise, geometry), tmp_path / f"a{extension}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


REAL_SCANS = Path(__file__).parents[4] / "shared" / "data" / "ct"


@pytest.mark.skipif(not REAL_SCANS.is_dir(), reason="needs the real scans in ../shared/data/ct")
def test_labels_of_a_real_scan_have_exactly_its_grid(tmp_path: Path) -> None:
    for path in sorted(REAL_SCANS.glob("*.nii.gz")):
        scan = read_volume(path)
        assert scan.array.dtype == np.int16
        write_labels(Volume(np.zeros(scan.array.shape, np.uint8), scan.geometry), tmp_path / path.name)
        assert read_volume(tmp_path / path.name).geometry == scan.geometry
        # the tool that others will read them with sees no difference either
        ours, theirs = (sitk.ReadImage(str(folder / path.name)) for folder in (tmp_path, REAL_SCANS))
        assert ours.IsSameImageGeometryAs(theirs, 0.0, 0.0)
        np.testing.assert_array_equal(sitk.GetArrayViewFromImage(theirs), scan.array)
