import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from attention_dmfnet.files.nifti_voxels import DamagedFileError, read_nifti_voxels

NOISE = np.random.default_rng(0).integers(-1000, 1000, (30, 40, 50)).astype(np.int16)
GAP_BYTES = 4


@pytest.fixture(autouse=True, params=["zlib", "isal.isal_zlib"])
def unpacker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to unpack refuse the same files."""
    monkeypatch.setattr("attention_dmfnet.files.nifti_voxels._deflate", pytest.importorskip(request.param))


def _nifti(array: npt.NDArray[Any], code: int, order: str = "<", dims: tuple[int, ...] | None = None) -> bytes:
    """A NIfTI-1 file as nifti1.h lays it out."""
    sizes = dims or array.shape[::-1]
    head = bytearray(348)
    struct.pack_into(f"{order}i", head, 0, 348)
    struct.pack_into(f"{order}8h", head, 40, len(sizes), *sizes, *[1] * (7 - len(sizes)))
    struct.pack_into(f"{order}2h", head, 70, code, 8 * array.itemsize)
    struct.pack_into(f"{order}f", head, 108, 348 + GAP_BYTES)
    head[344:348] = b"n+1\0"
    return bytes(head) + bytes(GAP_BYTES) + array.astype(f"{order}{array.dtype.str[1:]}").tobytes()


def _read(path: Path) -> npt.NDArray[Any]:
    voxels = read_nifti_voxels(path)
    assert voxels is not None
    return voxels.array


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("packed", [False, True])
def test_voxels_are_read_in_either_byte_order_packed_or_not(tmp_path: Path, order: str, packed: bool) -> None:
    content = _nifti(NOISE, 4, order)
    (tmp_path / "a").write_bytes(gzip.compress(content) if packed else content)
    np.testing.assert_array_equal(_read(tmp_path / "a"), NOISE)


def test_a_packed_file_in_several_members_and_with_padding_is_whole(tmp_path: Path) -> None:
    content = _nifti(NOISE, 4)
    members = [gzip.compress(content[:1000]), gzip.compress(content[1000:70_000]), gzip.compress(content[70_000:])]
    (tmp_path / "a").write_bytes(b"".join(members) + bytes(512))
    np.testing.assert_array_equal(_read(tmp_path / "a"), NOISE)


@pytest.mark.parametrize("missing_bytes", [1, 8, 9, 1000, 50_000])
def test_a_packed_file_that_ends_too_early_is_damaged(tmp_path: Path, missing_bytes: int) -> None:
    (tmp_path / "a").write_bytes(gzip.compress(_nifti(NOISE, 4))[:-missing_bytes])
    with pytest.raises(DamagedFileError, match="ends before"):
        read_nifti_voxels(tmp_path / "a")


def test_an_unpacked_file_that_lacks_one_byte_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(_nifti(NOISE, 4)[:-1])
    with pytest.raises(DamagedFileError, match="ends before"):
        read_nifti_voxels(tmp_path / "a")


@pytest.mark.parametrize("place", [0.3, 0.6, 0.9])
def test_a_packed_file_with_a_changed_byte_is_damaged(tmp_path: Path, place: float) -> None:
    content = bytearray(gzip.compress(_nifti(NOISE, 4)))
    content[int(place * len(content))] ^= 0xFF
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(DamagedFileError):
        read_nifti_voxels(tmp_path / "a")


@pytest.mark.parametrize(
    "content",
    [
        b"no header at all" * 40,
        _nifti(NOISE, 128),  # colours
        _nifti(NOISE, 4, dims=(50, 40, 15, 2)),  # a series
        _nifti(NOISE, 4).replace(b"n+1\0", b"ni1\0"),  # voxels in another file
    ],
)
def test_what_is_no_single_scan_in_nifti_1_is_left_to_others(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    assert read_nifti_voxels(tmp_path / "a") is None
