"""What is written and read without ITK is what ITK writes and reads, to the last bit that a reader looks at."""

import struct
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK
from attention_dmfnet.files import itk_files, itk_reading
from attention_dmfnet.files.image_io import read_geometry
from attention_dmfnet.files.nifti_writing import write_nifti
from attention_dmfnet.geometry import CANONICAL_AXES_LPS, Axes, Geometry, Volume

from tests.engine.files.test_header_checks import nifti

sitk: Any = SimpleITK

TURNS: dict[str, Axes] = {
    "canonical": CANONICAL_AXES_LPS,
    "head first, prone": ((0.0, 0.0, 1.0), (0.0, -1.0, 0.0), (-1.0, 0.0, 0.0)),
    "mirrored": ((0.0, 0.0, -1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)),
    "sagittal": ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0)),
    "oblique": ((0.0, 0.6, 0.8), (0.0, -0.8, 0.6), (-1.0, 0.0, 0.0)),
}


def _rotation(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    return np.linalg.qr(rng.normal(size=(3, 3)))[0]


def _header(path: Path) -> dict[str, Any]:
    header = nibabel.Nifti1Image.from_filename(path).header
    return {name: np.array(header[name]) for name in header}


def _grids() -> list[Geometry]:
    rng = np.random.default_rng(1)
    turns = [*TURNS.values(), *(tuple(map(tuple, _rotation(rng))) for _ in range(10))]
    return [Geometry((3, 4, 5), (2.5, 0.7, 0.3), (-120.1, 33.3, 900.7), axes) for axes in turns]  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["uint8", "int16", "float32"])
def test_the_header_holds_what_itk_writes_into_it(kind: str, tmp_path: Path) -> None:
    array = np.arange(60, dtype=kind).reshape(3, 4, 5)
    for grid in _grids():
        write_nifti(array, grid, tmp_path / "ours.nii.gz", packed=True)
        itk_files.write_image(Volume(array, grid), tmp_path / "theirs.nii.gz", ".nii.gz")
        ours, theirs = _header(tmp_path / "ours.nii.gz"), _header(tmp_path / "theirs.nii.gz")
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            if value.dtype.kind == "f":
                # a half turn's quaternion has two signs, each of them right
                opposite = name.startswith("quatern_") and abs(value + ours[name]).max() < 1e-6
                assert opposite or ours[name] == pytest.approx(value, abs=1e-6, nan_ok=True), (name, grid)
            else:
                np.testing.assert_array_equal(ours[name], value, err_msg=name)
        np.testing.assert_array_equal(nibabel.Nifti1Image.from_filename(tmp_path / "ours.nii.gz").dataobj, array.T)
        image = sitk.ReadImage(str(tmp_path / "ours.nii.gz"))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(image), array)
        assert image.IsSameImageGeometryAs(sitk.ReadImage(str(tmp_path / "theirs.nii.gz")), 1e-6, 1e-6)


def test_both_forms_say_the_same(tmp_path: Path) -> None:
    for grid in _grids():
        write_nifti(np.zeros((3, 4, 5), np.uint8), grid, tmp_path / "a.nii", packed=False)
        image = nibabel.Nifti1Image.from_filename(tmp_path / "a.nii")
        forms: Any = image
        np.testing.assert_allclose(forms.get_qform(), forms.get_sform(), atol=1e-4)


def test_the_grid_of_a_header_is_itks_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    path = tmp_path / "a.nii"
    for number in range(200):
        spacing = rng.uniform(2, 5, 3).astype(np.float32)
        turn = np.float32(_rotation(rng)) if number % 2 else np.diag([-1.0, -1.0, 1.0])
        sform = np.column_stack([turn * spacing, rng.uniform(-300, 300, 3)])
        quaternion = rng.normal(size=4)
        quaternion *= np.sign(quaternion[0]) / np.linalg.norm(quaternion)
        qform = (*quaternion[1:], *sform[:, 3])
        # one of the forms alone: of two that agree, which one is read is seen below
        alone: dict[str, Any] = {"sform": sform, "qform": None} if number % 3 else {"sform": None, "qform": qform}
        nifti(path, **alone, pixdim=(rng.choice([-1, 0, 1]), *spacing.tolist()))
        theirs = _itk_grid(path)
        with monkeypatch.context() as patch:
            patch.setattr(itk_reading, "ItkFile", None)
            assert read_geometry(path) == theirs, number


def _itk_grid(path: Path) -> Geometry:
    """What ITK makes of a header."""
    reader: Any = itk_files.sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    return itk_reading.checked_geometry(str(path), reader, 1)


@pytest.mark.parametrize("codes", [(1, 1), (1, 2), (2, 1), (3, 4)])
@pytest.mark.parametrize("apart_mm", [0.0, 1e-4, 0.5])
def test_of_two_forms_that_agree_the_one_is_read_that_itk_reads(
    tmp_path: Path, codes: tuple[int, int], apart_mm: float
) -> None:
    path = nifti(tmp_path / "a.nii", qform=(0, 0, 1, 100 + apart_mm, 75, -80))
    content = bytearray(path.read_bytes())
    struct.pack_into("<2h", content, 252, *codes)
    path.write_bytes(content)
    assert read_geometry(path).origin_lps == _itk_grid(path).origin_lps


def test_a_matrix_that_itk_finds_askew_is_left_to_it(tmp_path: Path) -> None:
    askew: list[list[float]] = [[-5, 0, 0, 100], [0.002, -5, 0, 75], [0, 0, 8, -80]]
    path = nifti(tmp_path / "a.nii", sform=askew)
    assert read_geometry(path) == _itk_grid(path)


def test_what_was_packed_unpacks_with_gzip_and_is_the_same_every_time(tmp_path: Path) -> None:
    import gzip

    grid = _grids()[0]
    noise = np.random.default_rng(0).integers(0, 14, (3, 4, 5)).astype(np.uint8)
    write_nifti(noise, grid, tmp_path / "a.nii.gz", packed=True)
    write_nifti(noise, grid, tmp_path / "b.nii.gz", packed=True)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    assert gzip.decompress((tmp_path / "a.nii.gz").read_bytes())[352:] == noise.tobytes()
