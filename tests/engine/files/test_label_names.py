"""Label names in a NIfTI file: found by who knows of them, in nobody's way else."""

import gzip
import struct
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import nibabel
import numpy as np
import pytest
import SimpleITK
from attention_dmfnet.files.cases import ScanFile
from attention_dmfnet.files.image_io import read_volume, write_labels
from attention_dmfnet.files.label_maps import fault_of_label_map
from attention_dmfnet.geometry import Geometry, Volume
from attention_dmfnet.organs import ORGANS

sitk: Any = SimpleITK
OBLIQUE = Geometry(
    (3, 4, 5), (2.5, 0.75, 0.5), (-120.5, 33.25, 900.0), ((0.0, 0.6, 0.8), (0.0, -0.8, 0.6), (-1.0, 0.0, 0.0))
)
NUMBERS = {organ.name: organ.number for organ in ORGANS}
LABELS = Volume((np.arange(60, dtype=np.uint8) % 14).reshape(3, 4, 5), OBLIQUE)

BOTH = pytest.mark.parametrize("extension", [".nii.gz", ".nii"])


def _written(folder: Path, extension: str = ".nii.gz", organs: dict[str, int] | None = None) -> Path:
    path = folder / f"a{extension}"
    write_labels(LABELS, path, NUMBERS if organs is None else organs)
    return path


def _bytes(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.name.endswith(".gz") else path.read_bytes()


@BOTH
def test_every_label_has_its_name_and_colour(extension: str, tmp_path: Path) -> None:
    image: Any = nibabel.load(_written(tmp_path, extension))
    (names,) = image.header.extensions
    assert names.get_code() == 6
    table = ElementTree.fromstring(names.get_content().rstrip(b"\0")).find("VolumeInformation/LabelTable")
    assert table is not None
    rows = {row.text: (int(row.attrib["Key"]), row.attrib) for row in table}
    assert {name: number for name, (number, _) in rows.items()} == NUMBERS
    aorta = rows["aorta"][1]
    assert [round(255 * float(aorta[part])) for part in ("Red", "Green", "Blue")] == [213, 50, 89]


@BOTH
def test_itk_and_nibabel_read_the_same_labels_in_the_same_place(extension: str, tmp_path: Path) -> None:
    path = _written(tmp_path, extension)
    image = sitk.ReadImage(str(path))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), LABELS.array)
    assert image.GetPixelID() == sitk.sitkUInt8
    assert image.TransformIndexToPhysicalPoint((3, 2, 1)) == pytest.approx(OBLIQUE.point_lps((1, 2, 3)))
    other: Any = nibabel.load(path)
    np.testing.assert_array_equal(np.asarray(other.dataobj).T, LABELS.array)
    assert other.get_data_dtype() == np.uint8
    back = read_volume(path)
    np.testing.assert_array_equal(back.array, LABELS.array)
    assert fault_of_label_map(path, ScanFile(path)) is None


@BOTH
def test_all_other_bytes_are_as_without_names(extension: str, tmp_path: Path) -> None:
    named, bare = _bytes(_written(tmp_path, extension)), _bytes(_written(tmp_path, extension, {}))
    first = int(struct.unpack_from("<f", named, 108)[0])
    assert (first % 16, named[348], bare[348]) == (0, 1, 0)
    assert named[first:] == bare[352:]
    # but for where the voxels begin, and that something stands before them
    assert named[:108] + named[112:348] == bare[:108] + bare[112:348]


def test_what_itk_writes_of_it_is_a_plain_file_again(tmp_path: Path) -> None:
    # as nnU-Net and others do who change a label map
    sitk.WriteImage(sitk.ReadImage(str(_written(tmp_path))), str(tmp_path / "b.nii.gz"))
    np.testing.assert_array_equal(read_volume(tmp_path / "b.nii.gz").array, LABELS.array)


def test_a_name_with_signs_of_xml_is_that_name(tmp_path: Path) -> None:
    image: Any = nibabel.load(_written(tmp_path, organs={"cyst <1 cm & more": 1}))
    text = image.header.extensions[0].get_content().rstrip(b"\0")
    assert [row.text for row in ElementTree.fromstring(text).iter("Label")] == ["cyst <1 cm & more"]


def test_names_cost_less_than_a_kilobyte(tmp_path: Path) -> None:
    named = _written(tmp_path).stat().st_size
    assert named - _written(tmp_path, organs={}).stat().st_size < 1000
