"""What a series can have wrong: read exactly, or refused in a sentence that says what."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from attention_dmfnet.dicom import pixels
from attention_dmfnet.dicom.listing import list_dicom, only_case
from attention_dmfnet.dicom.quiet import quiet
from attention_dmfnet.files.image_io import ImageError
from attention_dmfnet.geometry import Volume
from attention_dmfnet.notes import Note, doubts
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import MPEG4HP41

from tests.engine.dicom.made import INTERCEPT, Change, put_pixels, save, write_enhanced, write_series
from tests.engine.tiny import block_phantom

CT = block_phantom()[0]


def _read(folder: Path, strict: bool = False) -> tuple[Volume, list[Note]]:
    notes: list[Note] = []
    return only_case(folder).read(notes, strict), notes


def _refused(folder: Path) -> str:
    with pytest.raises(ImageError) as raised:
        only_case(folder).read([])
    sentence = str(raised.value)
    assert "\n" not in sentence
    assert str(folder) in sentence
    return sentence


def _at(k: int, **values: object) -> Change:
    def change(image: Dataset, of: int) -> None:
        if of == k:
            for tag, value in values.items():
                setattr(image, tag, value)

    return change


def _moved_to(z_mm: Callable[[int], float]) -> Change:
    def change(image: Dataset, k: int) -> None:
        x, y, _ = image.ImagePositionPatient
        image.ImagePositionPatient = [x, y, z_mm(k)]

    return change


def test_a_slice_that_is_missing_is_said_with_its_place(tmp_path: Path) -> None:
    write_series(CT, tmp_path)[7].unlink()
    assert "1 slice is missing, the first between 268 and 274 mm" in _refused(tmp_path)


def test_two_gaps_are_counted(tmp_path: Path) -> None:
    paths = write_series(CT, tmp_path)
    for k in (4, 5, 11):
        paths[k].unlink()
    assert "3 slices are missing, the first between 259 and 268 mm" in _refused(tmp_path)


def test_slices_of_two_distances_are_refused(tmp_path: Path) -> None:
    write_series(CT, tmp_path, _moved_to(lambda k: k * 2.0 if k < 12 else 24.0 + (k - 12) * 5.0))
    assert "2 to 5 mm apart" in _refused(tmp_path)


def test_positions_that_scanners_rounded_to_a_tenth_are_one_distance(tmp_path: Path) -> None:
    write_series(CT, tmp_path, _moved_to(lambda k: round(k * 3.03, 1)))
    volume, _ = _read(tmp_path)
    assert volume.geometry.spacing_zyx[0] == pytest.approx(57.6 / 19)
    np.testing.assert_array_equal(volume.array, CT.array)


def test_a_slice_that_is_there_twice_is_read_once(tmp_path: Path) -> None:
    paths = write_series(CT, tmp_path)
    (tmp_path / "copy of 5").write_bytes(paths[5].read_bytes())
    volume, notes = _read(tmp_path)
    np.testing.assert_array_equal(volume.array, CT.array)
    assert [note.code for note in notes] == ["dicom-series", "dicom-duplicates"]
    assert doubts(notes) == []


def test_two_scans_in_one_series_are_refused(tmp_path: Path) -> None:
    write_series(CT, tmp_path / "a", series_uid="1.2.3", study_uid="1.2")
    other = Volume((CT.array + 1).astype(np.int16), CT.geometry)
    write_series(other, tmp_path / "b", series_uid="1.2.3", study_uid="1.2")
    assert "different images at one place" in _refused(tmp_path)


def test_two_stacks_beside_each_other_are_refused(tmp_path: Path) -> None:
    write_series(CT, tmp_path, _at(7, ImagePositionPatient=[0.0, 17.0, 271.0]))
    assert "beside each other" in _refused(tmp_path)


def test_slices_of_another_size_direction_or_spacing_are_refused(tmp_path: Path) -> None:
    small = CT.array[3, ::2, ::2] - INTERCEPT
    write_series(CT, tmp_path / "size", lambda image, k: put_pixels(image, small) if k == 3 else None)
    assert "several sizes (19 28 x 24, 1 14 x 12)" in _refused(tmp_path / "size")
    write_series(CT, tmp_path / "way", _at(3, ImageOrientationPatient=[1, 0, 0, 0, 0, -1]))
    assert "several directions" in _refused(tmp_path / "way")
    write_series(CT, tmp_path / "mm", _at(3, PixelSpacing=[2.5, 2.0]))
    assert "several pixel spacings" in _refused(tmp_path / "mm")


def test_a_localizer_within_the_series_is_left_out(tmp_path: Path) -> None:
    def localizer(image: Dataset, k: int) -> None:
        if k == 0:
            image.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
            image.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]

    write_series(CT, tmp_path, localizer)
    volume, notes = _read(tmp_path)
    np.testing.assert_array_equal(volume.array, CT.array[1:])
    assert [note.code for note in notes] == ["dicom-series", "dicom-localizer"]


def test_every_slice_has_its_own_rescale(tmp_path: Path) -> None:
    def rescaled(image: Dataset, k: int) -> None:
        image.RescaleSlope, image.RescaleIntercept = k % 2 + 1, -2048 - k
        put_pixels(image, (CT.array[k] + 2048 + k) // (k % 2 + 1))

    write_series(CT, tmp_path, rescaled)
    volume, _ = _read(tmp_path)
    assert volume.array.dtype == np.int16
    odd = np.arange(20)[:, None, None] % 2
    np.testing.assert_array_equal(volume.array, CT.array - odd * ((CT.array + 2048 + np.arange(20)[:, None, None]) % 2))


def test_a_slope_that_is_no_whole_number_gives_real_numbers(tmp_path: Path) -> None:
    write_series(CT, tmp_path, lambda image, k: setattr(image, "RescaleSlope", "0.3"))
    volume, _ = _read(tmp_path)
    assert volume.array.dtype == np.float32
    np.testing.assert_allclose(volume.array, (CT.array - INTERCEPT) * 0.3 + INTERCEPT, rtol=1e-6)


@pytest.mark.parametrize("tag", ["RescaleSlope", "RescaleIntercept"])
def test_values_without_a_rescale_are_no_hu(tag: str, tmp_path: Path) -> None:
    write_series(CT, tmp_path, lambda image, k: delattr(image, tag) if k == 9 else None)
    assert "no rescale slope and intercept" in _refused(tmp_path)


def _padded(value: int, limit: int | None, signed: bool) -> Change:
    def change(image: Dataset, k: int) -> None:
        if signed:
            image.RescaleIntercept = 0
        stored = CT.array[k].astype(np.int32) - (0 if signed else INTERCEPT)
        stored[0, :9] = value
        put_pixels(image, stored, signed)
        image.add_new("PixelPaddingValue", "SS" if signed else "US", value)
        if limit is not None:
            image.add_new("PixelPaddingRangeLimit", "SS" if signed else "US", limit)

    return change


@pytest.mark.parametrize(("value", "limit", "signed"), [(-2000, None, True), (0, None, False), (-3024, -1100, True)])
def test_padding_is_air(value: int, limit: int | None, signed: bool, tmp_path: Path) -> None:
    write_series(CT, tmp_path, _padded(value, limit, signed))
    volume, notes = _read(tmp_path)
    assert (volume.array[:, 0, :9] == -1024).all()
    np.testing.assert_array_equal(volume.array[:, 1:], CT.array[:, 1:])
    assert [note.code for note in notes] == ["dicom-series"]


def test_padding_of_the_other_sign_is_air_too(tmp_path: Path) -> None:
    def change(image: Dataset, k: int) -> None:
        _padded(-2000, None, True)(image, k)
        del image.PixelPaddingValue
        image.add_new("PixelPaddingValue", "US", 0x10000 - 2000)

    write_series(CT, tmp_path, change)
    assert (_read(tmp_path)[0].array[:, 0, :9] == -1024).all()


def test_padding_that_would_be_tissue_is_not_believed(tmp_path: Path) -> None:
    write_series(CT, tmp_path, _padded(40 - INTERCEPT, None, False))
    volume, notes = _read(tmp_path)
    assert (volume.array[:, 0, :9] == 40).all()
    assert [note.code for note in notes] == ["dicom-series", "dicom-padding"]
    with pytest.raises(ImageError, match="padding"):
        _read(tmp_path, strict=True)


def test_values_that_the_header_calls_otherwise_are_noted(tmp_path: Path) -> None:
    write_series(CT, tmp_path, RescaleType="Z_EFF")
    assert [note.code for note in _read(tmp_path)[1]] == ["dicom-series", "dicom-rescale-type"]


def test_loss_is_noted(tmp_path: Path) -> None:
    write_series(CT, tmp_path, LossyImageCompression="01")
    assert [note.code for note in _read(tmp_path)[1]] == ["dicom-series", "dicom-lossy"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"HighBit": 15}, "a way of storing that was retired"),
        ({"ModalityLUTSequence": Items([Dataset()])}, "Modality LUT"),
        ({"SamplesPerPixel": 3}, "3 values per pixel"),
        ({"RescaleSlope": 0}, "rescale slope is 0"),
        ({"PixelSpacing": [0.0, 2.0]}, "pixel spacing is not above 0"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "right angles"),
        ({"ImageOrientationPatient": [2, 0, 0, 0, 1, 0]}, "length 2"),
        ({"PixelSpacing": [200.0, 200.0]}, "no scan of a body"),
    ],
)
def test_headers_that_cannot_be_are_refused(values: dict[str, Any], said: str, tmp_path: Path) -> None:
    write_series(CT, tmp_path, **values)
    assert said in _refused(tmp_path)


def test_a_file_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    path = write_series(CT, tmp_path)[3]
    path.write_bytes(path.read_bytes()[:-100])
    assert "003.dcm: its pixels cannot be read" in _refused(tmp_path)


def test_a_file_that_is_cut_in_its_header_is_listed(tmp_path: Path) -> None:
    path = write_series(CT, tmp_path)[0]
    path.write_bytes(path.read_bytes()[:200])
    (tmp_path / "empty.dcm").touch()
    listing = list_dicom(tmp_path)
    assert [item.path.name for item in listing.damaged] == ["000.dcm", "empty.dcm"]
    assert only_case(tmp_path).grid().shape_zyx[0] == 19


def test_an_enhanced_file_that_counts_wrongly_is_refused(tmp_path: Path) -> None:
    path = write_enhanced(CT, tmp_path / "a.dcm")
    image = pydicom.dcmread(path)
    image.NumberOfFrames = 21
    save(image, path)
    assert "counts 21 frames and describes 20" in _refused(tmp_path)


def test_a_decoder_that_is_missing_is_named_with_what_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Missing:
        is_available = False

    write_series(CT, tmp_path)
    monkeypatch.setattr(pixels, "get_decoder", lambda syntax: Missing())
    assert 'pip install "attention-dmfnet[dicom]"' in _refused(tmp_path)


def test_a_film_is_no_ct(tmp_path: Path) -> None:
    for path in write_series(CT, tmp_path):
        image = pydicom.dcmread(path)
        image.file_meta.TransferSyntaxUID = MPEG4HP41
        image.PixelData = pydicom.encaps.encapsulate([b"\0" * 10])
        image["PixelData"].VR = "OB"
        save(image, path)
    assert "MPEG-4" in _refused(tmp_path)


def test_random_damage_never_ends_in_anything_but_a_sentence(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    path = write_series(CT, tmp_path)[3]
    for unneeded in range(6, 20):
        (tmp_path / f"{unneeded:03}.dcm").unlink()
    content = path.read_bytes()
    header = content.index(b"\xe0\x7f\x10\x00")
    sentences = []
    for _ in range(150):
        damaged = bytearray(content)
        for at in random.integers(132, header + 12, 4):
            damaged[at] = random.integers(256)
        path.write_bytes(damaged)
        try:
            only_case(tmp_path).read([])
        except ImageError as error:
            sentences.append(str(error))
    assert len(sentences) > 50
    assert not any("\n" in sentence for sentence in sentences)


def test_remarks_of_pydicom_are_back_when_the_last_thread_has_read() -> None:
    filters = list(warnings.filters)
    first, second = quiet, quiet
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert warnings.filters != filters
    second.__exit__(None, None, None)
    assert warnings.filters == filters
