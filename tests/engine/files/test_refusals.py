"""Files that cannot be opened, or hold less than their headers ask for: one sentence, by its right name."""

import gzip
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from attention_dmfnet.files.image_io import ImageError, read_volume, write_labels

from tests.engine.tiny import block_phantom


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may look into, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def _nifti(path: Path) -> Path:
    write_labels(block_phantom()[1], path)
    return path


def _edit(path: Path, offset: int, form: str, *values: float) -> None:
    packed = path.name.endswith(".gz")
    content = bytearray(gzip.decompress(path.read_bytes()) if packed else path.read_bytes())
    struct.pack_into(form, content, offset, *values)
    path.write_bytes(gzip.compress(content) if packed else content)


@pytest.mark.parametrize("extension", [".nii.gz", ".mha", ".nrrd"])
def test_a_file_without_permission_is_said_to_be_that(open_folder: Path, extension: str) -> None:
    path = _nifti(open_folder / f"a{extension}")
    path.chmod(0o000)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        with pytest.raises(ImageError, match=r"cannot read .*a\..*: no permission"):
            read_volume(path)
    finally:
        os.seteuid(user)


def test_links_pipes_and_folders_are_said_to_be_that_and_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").symlink_to("nowhere")
    with pytest.raises(ImageError, match=r"a\.nii\.gz: this is a link to nowhere, which is not there"):
        read_volume(tmp_path / "a.nii.gz")
    (tmp_path / "b.nii.gz").symlink_to("b.nii.gz")
    with pytest.raises(ImageError, match=r"b\.nii\.gz: .*symbolic links"):
        read_volume(tmp_path / "b.nii.gz")
    os.mkfifo(tmp_path / "c.nii.gz")
    (tmp_path / "d.mha").mkdir()
    for name in ("c.nii.gz", "d.mha"):
        with pytest.raises(ImageError, match="not a regular file"):
            read_volume(tmp_path / name)


@pytest.mark.parametrize("name", ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"])
def test_a_file_that_only_this_process_has_is_refused_and_not_waited_for(tmp_path: Path, name: str) -> None:
    _nifti(tmp_path / "a.nii.gz")
    script = (
        "import pathlib, sys\n"
        "from attention_dmfnet.files.image_io import ImageError, read_volume\n"
        "try: read_volume(pathlib.Path(sys.argv[1]))\n"
        "except ImageError as error: print(error)"
    )
    with (tmp_path / "a.nii.gz").open("rb") as scan:
        said = subprocess.run([sys.executable, "-c", script, name], stdin=scan, capture_output=True, timeout=600)
    assert said.stdout.decode() == f"{name}: this is the process's own name of a file; give the scan itself\n"


@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
@pytest.mark.parametrize("sides", [(32767, 32767, 32767), (32767, 1000, 1000), (20, 24, 2800)])
def test_dimensions_that_the_file_cannot_hold_are_refused(
    tmp_path: Path, extension: str, sides: tuple[int, int, int]
) -> None:
    path = _nifti(tmp_path / f"a{extension}")
    _edit(path, 42, "<3h", *sides)
    with pytest.raises(ImageError, match=r"cannot read .*a\.nii"):
        read_volume(path)


@pytest.mark.parametrize(("extension", "key"), [(".mha", b"DimSize = "), (".nrrd", b"sizes: ")])
@pytest.mark.parametrize("sides", [b"32767 32767 32767", b"32767 1000 1000"])
def test_dimensions_of_other_formats_too(tmp_path: Path, extension: str, key: bytes, sides: bytes) -> None:
    path = _nifti(tmp_path / f"a{extension}")
    content = path.read_bytes()
    assert key + b"28 24 20" in content
    path.write_bytes(content.replace(key + b"28 24 20", key + sides))
    with pytest.raises(ImageError, match=r"too small to hold them"):
        read_volume(path)


@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
@pytest.mark.parametrize("offset", [float("inf"), 1e30, 1e12, 1e7])
def test_voxels_that_begin_behind_the_files_end_are_refused(tmp_path: Path, extension: str, offset: float) -> None:
    path = _nifti(tmp_path / f"a{extension}")
    _edit(path, 108, "<f", offset)
    with pytest.raises(ImageError, match=r"cannot read .*a\.nii"):
        read_volume(path)


def test_a_scan_of_air_packed_a_thousandfold_is_read(tmp_path: Path) -> None:
    path = _nifti(tmp_path / "a.nii.gz")
    head = bytearray(gzip.decompress(path.read_bytes())[:352])
    struct.pack_into("<3h", head, 42, 300, 300, 300)
    path.write_bytes(gzip.compress(bytes(head) + bytes(300**3), 9))
    assert 300**3 / path.stat().st_size > 900
    volume = read_volume(path)
    assert volume.array.shape == (300, 300, 300)
    assert not np.any(volume.array)
