import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from attention_dmfnet.files.nifti_voxels import DamagedFileError, NiftiVoxels, read_nifti_header, read_nifti_voxels
from attention_dmfnet.notes import Note

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


def _voxels(path: Path, notes: list[Note] | None = None) -> NiftiVoxels | None:
    header = read_nifti_header(path)
    return None if header is None else read_nifti_voxels(path, header, [] if notes is None else notes)


def _read(path: Path) -> npt.NDArray[Any]:
    voxels = _voxels(path)
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
        _voxels(tmp_path / "a")


def test_an_unpacked_file_that_lacks_one_byte_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(_nifti(NOISE, 4)[:-1])
    with pytest.raises(DamagedFileError, match="ends before"):
        _voxels(tmp_path / "a")


@pytest.mark.parametrize("place", [0.3, 0.6, 0.9])
def test_a_packed_file_with_a_changed_byte_is_damaged(tmp_path: Path, place: float) -> None:
    content = bytearray(gzip.compress(_nifti(NOISE, 4)))
    content[int(place * len(content))] ^= 0xFF
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(DamagedFileError):
        _voxels(tmp_path / "a")


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
    assert _voxels(tmp_path / "a") is None


@pytest.mark.parametrize("offset", [0, 1, 348, 351])
def test_voxels_that_begin_within_the_header_are_read_behind_it_with_a_note(tmp_path: Path, offset: float) -> None:
    content = bytearray(_nifti(NOISE, 4))
    struct.pack_into("<f", content, 108, offset)
    (tmp_path / "a").write_bytes(content)
    notes: list[Note] = []
    voxels = _voxels(tmp_path / "a", notes)
    assert voxels is not None
    np.testing.assert_array_equal(voxels.array, NOISE)
    assert [note.code for note in notes] == ["header-voxel-offset"]


@pytest.mark.parametrize("offset", [np.inf, -np.inf, np.nan, -352, 1e9, 3e38])
@pytest.mark.parametrize("packed", [False, True])
def test_voxels_that_begin_nowhere_are_refused(tmp_path: Path, offset: float, packed: bool) -> None:
    content = bytearray(_nifti(NOISE, 4))
    struct.pack_into("<f", content, 108, offset)
    (tmp_path / "a").write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(DamagedFileError, match=r"vox_offset|do not fit"):
        _voxels(tmp_path / "a")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("side", [32767, 20000])
def test_no_memory_is_taken_for_voxels_that_the_file_cannot_hold(tmp_path: Path, packed: bool, side: int) -> None:
    content = _nifti(NOISE, 4, dims=(side, side, side))
    (tmp_path / "a").write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(DamagedFileError, match=f"{side} x {side} x {side} voxels, which do not fit"):
        _voxels(tmp_path / "a")
