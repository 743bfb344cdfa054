"""NRRD and MetaImage: a header that crashes ITK costs its case only, and leads to no other folder."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attention_dmfnet as dmf
import nibabel
import numpy as np
import pytest
from attention_dmfnet.cli.main import main
from attention_dmfnet.cli.status import DONE, SOME_FAILED
from attention_dmfnet.files import apart
from attention_dmfnet.files.image_io import ImageError, read_geometry, read_scan, read_volume, write_volume
from attention_dmfnet.notes import Note

from tests.engine.test_faults import fake_segmenter
from tests.engine.tiny import block_phantom

nib: Any = nibabel

CRASHES_ITK = ("NDims = 3", "NDims = -32768")


def _written(folder: Path, name: str) -> Path:
    write_volume(block_phantom()[0], folder / name)
    return folder / name


def _changed(path: Path, old: str, new: str) -> Path:
    content = path.read_bytes()
    assert old.encode() in content
    path.write_bytes(content.replace(old.encode(), new.encode(), 1))
    return path


def test_a_header_that_crashes_the_reader_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = _changed(_written(tmp_path, "a.mha"), *CRASHES_ITK)
    with pytest.raises(ImageError, match=r"cannot read .*a\.mha: the reader .* crashed on it \(SIG"):
        read_volume(path)
    with pytest.raises(ImageError, match="crashed"):
        read_geometry(path)


def test_a_header_that_the_reader_does_not_come_to_an_end_on_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ITK's own reader loops on this one; where it crashes instead, that is said."""
    monkeypatch.setattr(apart, "HEADER_CPU_S", 1)
    path = tmp_path / "a.mha"
    path.write_text(
        "ObjectType = Image\nNDims = -32768\nDimSize = 6 5 4\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    with pytest.raises(ImageError, match=r"cannot read .*a\.mha: the reader .* (did not come to an end|crashed) on it"):
        read_geometry(path)


def test_a_scan_that_crashes_the_reader_costs_its_case_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.nii.gz", "b.mha", "c.mha", "d.nrrd"):
        _written(tmp_path / "in", name)
    _changed(tmp_path / "in" / "b.mha", *CRASHES_ITK)
    monkeypatch.setattr(dmf, "load", lambda **settings: fake_segmenter())
    assert main(["predict", str(tmp_path / "in"), str(tmp_path / "out")]) == SOME_FAILED
    lines = capfd.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if "FAILED" in line] == ["b"]
    written = sorted((tmp_path / "out").glob("*.nii.gz"))
    assert [path.name for path in written] == ["a.nii.gz", "c.nii.gz", "d.nii.gz"]
    for path in written:
        np.testing.assert_array_equal(read_volume(path).array, block_phantom()[1].array)


def test_a_plain_scan_is_read_without_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from attention_dmfnet.files import itk_reading

    def refuse(*given: object) -> None:
        raise AssertionError("a process was started")

    for name in ("a.nii.gz", "b.nii"):
        _written(tmp_path, name)
    other = _written(tmp_path, "c.nrrd")
    monkeypatch.setattr(itk_reading, "ApartReader", refuse)
    for name in ("a.nii.gz", "b.nii"):
        read_volume(tmp_path / name)
    with pytest.raises(AssertionError, match="a process"):
        read_volume(other)


def _elsewhere(folder: Path, name: str, voxels: str = "voxels.raw") -> Path:
    """A scan in two files: ``name`` names ``voxels``, which is there."""
    (folder / "voxels.raw").write_bytes(block_phantom()[0].array.tobytes())
    path = _written(folder, name)
    head = path.read_bytes()
    if name.endswith(".mha"):
        head = head.split(b"ElementDataFile")[0].replace(b"CompressedData = True", b"CompressedData = False")
        head = b"\n".join(line for line in head.split(b"\n") if b"CompressedDataSize" not in line)
        path.write_bytes(head + f"ElementDataFile = {voxels}\n".encode())
    else:
        head = head.split(b"\n\n")[0].replace(b"encoding: gzip", b"encoding: raw")
        path.write_bytes(head + f"\ndata file: {voxels}\n\n".encode())
    return path


KINDS = pytest.mark.parametrize("name", ["a.mha", "a.nrrd"])


@KINDS
def test_voxels_in_a_file_beside_the_header_are_read(name: str, tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_scan(_elsewhere(tmp_path, name), []).array, block_phantom()[0].array)


def _is_a_link(folder: Path) -> None:
    (folder / "voxels.raw").rename(folder.parent / "secret.raw")
    (folder / "voxels.raw").symlink_to(folder.parent / "secret.raw")


def _is_a_pipe(folder: Path) -> None:
    (folder / "voxels.raw").unlink()
    os.mkfifo(folder / "voxels.raw")


PLACES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "above": ("../voxels.raw", lambda folder: None, "in another folder"),
    "an absolute path": ("/etc/hostname", lambda folder: None, "in another folder"),
    "below": ("sub/voxels.raw", lambda folder: None, "in another folder"),
    "a link": ("voxels.raw", _is_a_link, "which is a link"),
    "a pipe": ("voxels.raw", _is_a_pipe, "which is not there"),
    "nothing": ("voxels.raw", lambda folder: (folder / "voxels.raw").unlink(), "which is not there"),
    "a list": ("LIST", lambda folder: None, "in several other files"),
    "a pattern": ("voxels%03d.raw 1 20 1", lambda folder: None, "in several other files"),
    "too small": ("voxels.raw", lambda folder: (folder / "voxels.raw").write_bytes(b"\0" * 99), "too small"),
}


@KINDS
@pytest.mark.parametrize("place", PLACES)
def test_voxels_in_any_other_place_are_refused_with_the_reason(name: str, place: str, tmp_path: Path) -> None:
    voxels, change, words = PLACES[place]
    (tmp_path / "scans").mkdir()
    path = _elsewhere(tmp_path / "scans", name, voxels)
    change(tmp_path / "scans")
    with pytest.raises(ImageError, match=words) as told:
        read_volume(path)
    assert name in str(told.value)


@KINDS
def test_a_raw_file_that_is_a_byte_too_short_for_its_voxels_is_refused_before_they_are_read(
    name: str, tmp_path: Path
) -> None:
    path = _elsewhere(tmp_path, name)
    (tmp_path / "voxels.raw").write_bytes((tmp_path / "voxels.raw").read_bytes()[:-1])
    with pytest.raises(ImageError, match="asks for 28 x 24 x 20 voxels, the file is too small"):
        read_volume(path)


def test_numbers_that_only_64_bits_hold_are_no_reason_to_fail(tmp_path: Path) -> None:
    """Found by fuzzing: a float64 voxel beyond float32 became infinite; it is a voxel without a value."""
    values = np.full((28, 24, 20), -200.5)
    values[3, 4, 5] = 1e300
    nib.save(nib.Nifti1Image(values, np.diag([2.0, 2.0, 3.0, 1.0])), tmp_path / "a.nii")
    notes: list[Note] = []
    array = read_scan(tmp_path / "a.nii", notes).array
    assert array[5, 4, 3] == -1024
    assert array.max() == np.float32(-200.5)
    assert "empty-voxels" in {note.code for note in notes}


def test_labels_of_a_nifti_2_scan_with_longer_numbers_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by fuzzing: qform codes and offsets of NIfTI-2 that NIfTI-1 has no room for ended in ``struct.error``."""
    image = nib.Nifti2Image(np.zeros((28, 24, 20), np.int16), np.diag([2.0, 2.0, 3.0, 1.0]))
    image.header["qform_code"], image.header["qoffset_x"] = 70_000, 1e300
    (tmp_path / "in").mkdir()
    nib.save(image, tmp_path / "in" / "a.nii")
    monkeypatch.setattr(dmf, "load", lambda **settings: fake_segmenter())
    assert main(["predict", str(tmp_path / "in"), str(tmp_path / "out")]) == DONE
    read_volume(tmp_path / "out" / "a.nii.gz")


def test_an_origin_that_no_label_map_could_hold_is_refused(tmp_path: Path) -> None:
    """Found by fuzzing: an origin a thousand km off is not the same in 32 bits."""
    path = _changed(_written(tmp_path, "a.mha"), "Offset = -31", "Offset = -3e9")
    with pytest.raises(ImageError, match="correct the origin"):
        read_scan(path, [])
