"""However a scan is stored, the same voxels are read at the same places in the patient, and labelled alike."""

import itertools
import random
import shutil
import zipfile
from pathlib import Path

import attention_dmfnet as dmf
import numpy as np
import pydicom
import pytest
from attention_dmfnet.dicom import listing
from attention_dmfnet.dicom.listing import list_dicom, only_case
from attention_dmfnet.files.image_io import ImageError, read_scan, read_volume, write_volume
from attention_dmfnet.geometry import CANONICAL_AXES_LPS, Axes, Geometry, Volume, canonicalise, with_axes
from attention_dmfnet.notes import Note
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from tests.engine.dicom.made import INTERCEPT, lossless_jpeg, put_pixels, save, write_enhanced, write_series
from tests.engine.tiny import AIR_HU, block_phantom, organ_hu, write_models

REAL = Path(__file__).parents[4] / "shared" / "data"
STORAGES: dict[str, Axes] = {
    "axial": ((0, 0, 1), (0, 1, 0), (1, 0, 0)),
    "axial, feet first": ((0, 0, -1), (0, 1, 0), (-1, 0, 0)),
    "axial, prone": ((0, 0, 1), (0, -1, 0), (-1, 0, 0)),
    "axial, mirrored": ((0, 0, -1), (0, 1, 0), (1, 0, 0)),
    "sagittal": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
    "coronal": ((0, 1, 0), (0, 0, -1), (1, 0, 0)),
    "coronal, upside down": ((0, -1, 0), (0, 0, 1), (1, 0, 0)),
}


def _volume(folder: Path) -> tuple[Volume, list[Note]]:
    notes: list[Note] = []
    return only_case(folder).read(notes), notes


def _assert_same_in_the_patient(read: Volume, truth: Volume) -> None:
    read, truth = canonicalise(read), canonicalise(truth)
    assert read.array.dtype == np.int16
    assert read.geometry.matches(truth.geometry, 1e-6)
    np.testing.assert_array_equal(read.array, truth.array)


def test_a_study_is_chosen_once_and_its_series_read_again_where_the_roi_is_widened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ct, _ = block_phantom((20, 40, 40))
    ct.array[:] = AIR_HU
    ct.array[2:8, 8:28, 8:28] = organ_hu(13)
    ct.array[8:18, 8:28, 8:28] = organ_hu(1)
    write_series(ct, tmp_path / "study")
    listed: list[Path] = []

    def counted(inputs: Path) -> listing.Listing:
        listed.append(inputs)
        return list_dicom(inputs)

    monkeypatch.setattr(listing, "list_dicom", counted)
    blind = write_models(tmp_path / "models", coarse_sees_hu=organ_hu(5))
    with dmf.load(models=blind, device="cpu", backend="openvino") as segmenter:
        result = segmenter(tmp_path / "study")
    assert "roi-widened" in [note.code for note in result.notes]
    assert int((result.labels.array == 1).sum()) == 10 * 20 * 20
    assert listed == [tmp_path / "study"]


def test_all_48_ways_to_store_a_volume_give_the_same_voxels_at_the_same_places(tmp_path: Path) -> None:
    grid = Geometry((5, 6, 7), (20.0, 18.0, 16.0), (-31.0, 17.0, 250.0), CANONICAL_AXES_LPS)
    ct = Volume(np.arange(-210, 0, dtype=np.int16).reshape(5, 6, 7), grid)
    axes = np.eye(3)
    ways = [
        tuple(tuple(map(float, sign * axes[axis])) for sign, axis in zip(signs, order, strict=True))
        for order in itertools.permutations(range(3))
        for signs in itertools.product((1, -1), repeat=3)
    ]
    assert len(set(ways)) == 48
    for number, way in enumerate(ways):
        write_series(with_axes(ct, way), tmp_path / str(number))  # type: ignore[arg-type]
        _assert_same_in_the_patient(_volume(tmp_path / str(number))[0], ct)


def test_an_oblique_volume_keeps_its_place(tmp_path: Path) -> None:
    c, s = np.cos(0.3), np.sin(0.3)
    ct, _ = block_phantom(axes_lps=((0.0, -s, c), (0.0, c, s), (1.0, 0.0, 0.0)))
    write_series(ct, tmp_path)
    _assert_same_in_the_patient(_volume(tmp_path)[0], ct)


@pytest.mark.parametrize("storage", STORAGES)
def test_labels_are_those_of_the_nifti(storage: str, tmp_path: Path, models: Path) -> None:
    ct, _ = block_phantom()
    write_volume(ct, tmp_path / "a.nii.gz")
    write_series(with_axes(ct, STORAGES[storage]), tmp_path / "series")
    with dmf.load(models=models, device="cpu", backend="openvino") as segmenter:
        nifti, dicom = segmenter(tmp_path / "a.nii.gz"), segmenter(tmp_path / "series")
    assert len(np.unique(nifti.labels.array)) == 14
    assert canonicalise(dicom.labels).geometry.matches(nifti.labels.geometry, 1e-4)
    np.testing.assert_array_equal(canonicalise(dicom.labels).array, nifti.labels.array)


def test_neither_names_nor_instance_numbers_order_the_slices(tmp_path: Path) -> None:
    ct, _ = block_phantom()
    order = list(range(20))
    random.Random(0).shuffle(order)
    write_series(ct, tmp_path, order=order)
    _assert_same_in_the_patient(_volume(tmp_path)[0], ct)


@pytest.mark.parametrize("order", [None, list(range(20))[::-1]])
def test_one_enhanced_file_is_a_series(order: list[int] | None, tmp_path: Path) -> None:
    ct, _ = block_phantom()
    path = write_enhanced(ct, tmp_path / "enhanced", order)
    volume, notes = _volume(path)
    _assert_same_in_the_patient(volume, ct)
    assert [note.code for note in notes] == ["dicom-series"]
    assert only_case(tmp_path).path == path


def test_an_archive_is_read_where_it_is(tmp_path: Path) -> None:
    ct, _ = block_phantom()
    write_series(ct, tmp_path / "in" / "patient" / "study")
    archive = Path(shutil.make_archive(str(tmp_path / "all"), "zip", tmp_path / "in"))
    before = sorted(tmp_path.rglob("*"))
    _assert_same_in_the_patient(_volume(archive)[0], ct)
    assert only_case(archive).path == archive
    assert sorted(tmp_path.rglob("*")) == before


def test_names_in_an_archive_are_no_paths(tmp_path: Path) -> None:
    ct, _ = block_phantom()
    paths = write_series(ct, tmp_path / "in")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    archive = tmp_path / "deep" / "er" / "all.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in paths:
            file.write(path, f"../../../escaped/{path.name}")
    shutil.rmtree(tmp_path / "in")
    _assert_same_in_the_patient(_volume(archive)[0], ct)
    assert not list(tmp_path.rglob("escaped"))


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless, RLELossless])
def test_compressed_series_give_the_same_voxels(syntax: str, tmp_path: Path) -> None:
    ct, _ = block_phantom((8, 32, 40))
    for path in write_series(ct, tmp_path):
        image = pydicom.dcmread(path)
        image.compress(syntax)
        save(image, path)
    _assert_same_in_the_patient(_volume(tmp_path)[0], ct)


@pytest.mark.parametrize("signed", [False, True])
def test_lossless_jpeg_gives_the_same_voxels(signed: bool, tmp_path: Path) -> None:
    ct, _ = block_phantom((6, 32, 40))
    stored_at_0 = 0 if signed else -INTERCEPT

    def compress(image: pydicom.Dataset, k: int) -> None:
        put_pixels(image, ct.array[k] + stored_at_0, signed=True)
        image.PixelRepresentation, image.RescaleIntercept = int(signed), -stored_at_0
        frame = lossless_jpeg((ct.array[k] + stored_at_0).astype(np.int16).view(np.uint16))
        image.PixelData = encapsulate([frame])
        image["PixelData"].VR = "OB"
        image["PixelData"].is_undefined_length = True
        image.file_meta.TransferSyntaxUID = JPEGLosslessSV1

    write_series(ct, tmp_path, compress)
    _assert_same_in_the_patient(_volume(tmp_path)[0], ct)


def test_signed_pixels_and_those_with_other_bits_above_them_are_read(tmp_path: Path) -> None:
    ct, _ = block_phantom()

    def as_signed(image: pydicom.Dataset, k: int) -> None:
        image.PixelRepresentation, image.RescaleIntercept = 1, 0
        # twelve bits of two's complement, and an old overlay in the highest bit
        image.PixelData = ((ct.array[k].astype(np.uint16) & 0x0FFF) | 0x8000).tobytes()

    write_series(ct, tmp_path, as_signed)
    _assert_same_in_the_patient(_volume(tmp_path)[0], ct)


def test_the_listing_names_nobody_unless_it_is_asked_to(tmp_path: Path) -> None:
    ct, _ = block_phantom()
    write_series(ct, tmp_path, series_uid="1.2.3")
    # printf 1.2.3 | sha256sum
    assert list_dicom(tmp_path).cases[0].name == "ct-c47f5b18b8a4"
    assert list_dicom(tmp_path, patient=True).cases[0].name == "MRN-12-34-ct-c47f5b18b8a4"


def test_a_folder_of_several_studies_is_not_guessed_from_by_the_interface(tmp_path: Path, models: Path) -> None:
    ct, _ = block_phantom()
    for name in ("a", "b"):
        write_series(ct, tmp_path / name)
    with pytest.raises(ImageError, match="2 studies"):
        only_case(tmp_path)


needs_series = pytest.mark.skipif(
    not (REAL / "dicom" / "C3N-00249").is_dir(), reason="needs the series in ../shared/data/dicom/C3N-00249"
)


@needs_series
def test_a_real_series_has_exactly_the_voxels_and_the_grid_of_its_nifti() -> None:
    volume, _ = _volume(REAL / "dicom" / "C3N-00249")
    nifti = read_scan(REAL / "ct" / "C3N-00249_0000.nii.gz", [])
    assert volume.geometry == nifti.geometry
    assert volume.array.dtype == nifti.array.dtype
    np.testing.assert_array_equal(volume.array, nifti.array)


@needs_series
def test_a_real_series_stored_in_other_directions_is_labelled_alike(tmp_path: Path) -> None:
    whole, _ = _volume(REAL / "dicom" / "C3N-00249")
    # every eighth pixel and third slice, on a grid of the networks' own: the same body in a hundredth of the time
    geometry = whole.geometry.with_grid((34, 64, 64), (9.0, 7.0625, 7.0625))
    part = Volume(np.ascontiguousarray(whole.array[::3, ::8, ::8]), geometry)
    write_volume(part, tmp_path / "a.nii.gz")
    models = write_models(tmp_path / "models", spacings_zyx=((18.0, 14.0, 14.0), (9.0, 7.0, 7.0)))
    with dmf.load(models=models, device="cpu", backend="openvino") as segmenter:
        truth = segmenter(tmp_path / "a.nii.gz").labels
        assert len(np.unique(truth.array)) > 5
        for storage in ("axial, feet first", "axial, mirrored", "sagittal", "coronal"):
            write_series(with_axes(part, STORAGES[storage]), tmp_path / storage)
            labels = canonicalise(segmenter(tmp_path / storage).labels)
            assert labels.geometry.matches(read_volume(tmp_path / "a.nii.gz").geometry, 1e-3)
            np.testing.assert_array_equal(labels.array, truth.array)
