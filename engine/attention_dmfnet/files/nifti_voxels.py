"""The voxels of a NIfTI-1 file: every one of them, or an error.

ITK reads a truncated or damaged ``.nii.gz`` without complaint and leaves whatever was in memory where the missing
voxels should be. Here the stream is unpacked once, its length and checksum are verified, and the numbers come as the
file has them.
"""

import contextlib
import importlib
import math
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from attention_dmfnet.files.file_size import most_unpacked_bytes

try:
    # Intel's ISA-L: unpacks in less than half of zlib's time
    _deflate: Any = importlib.import_module("isal.isal_zlib")
except ImportError:
    _deflate = zlib

_HEADER_BYTES = 348
_ITK_FIRST_BYTE = 352
_NIFTI_2_BYTES = 540
_CHUNK_BYTES = 1 << 20
_TOO_SHORT = "the file ends before its last voxel"
_GZIP_MAGIC = b"\x1f\x8b"
_TYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
"""NIfTI's ``datatype`` codes with one number per voxel (nifti1.h), as NumPy names them."""


class DamagedFileError(Exception):
    """A file that ends too early or does not match its own checksum."""


@dataclass(frozen=True, slots=True)
class NiftiVoxels:
    """``array`` (z, y, x) as stored; the values are ``array * slope + intercept``."""

    array: npt.NDArray[Any]
    slope: float
    intercept: float


@dataclass(frozen=True, slots=True)
class _Header:
    shape_zyx: tuple[int, int, int]
    dtype: np.dtype[Any]
    first_byte: int
    slope: float
    intercept: float


def read_nifti_voxels(path: Path) -> NiftiVoxels | None:
    """Read the voxels of a three-dimensional, single-file NIfTI-1 image, packed with gzip or not.

    Returns None for anything else (another format or version, more dimensions, colours). Raises ``DamagedFileError``.
    """
    with path.open("rb") as file:
        packed = file.read(2) == _GZIP_MAGIC
        file.seek(0)
        stream: _Plain | _Gunzip = _Gunzip(file) if packed else _Plain(file)
        head = bytearray(_HEADER_BYTES)
        stream.fill(memoryview(head))
        header = _parse(bytes(head))
        if header is None:
            return None
        size_bytes = os.fstat(file.fileno()).st_size
        held = most_unpacked_bytes(size_bytes) if packed else size_bytes
        if header.first_byte + math.prod(header.shape_zyx) * header.dtype.itemsize > held:
            raise DamagedFileError(_TOO_SHORT)
        for start in range(_HEADER_BYTES, header.first_byte, _CHUNK_BYTES):
            stream.fill(memoryview(bytearray(min(_CHUNK_BYTES, header.first_byte - start))))
        array = np.empty(header.shape_zyx, dtype=header.dtype)
        stream.fill(array.reshape(-1).view(np.uint8).data)
        stream.check_rest()
    return NiftiVoxels(array, header.slope, header.intercept)


def is_nifti_2(path: Path) -> bool:
    """Whether the file is NIfTI-2, packed with gzip or not. Raises ``OSError``."""
    with path.open("rb") as file:
        head = file.read(_NIFTI_2_BYTES)
    if head.startswith(_GZIP_MAGIC):
        with path.open("rb") as file, contextlib.suppress(DamagedFileError):
            unpacked = bytearray(_NIFTI_2_BYTES)
            _Gunzip(file).fill(memoryview(unpacked))
            head = bytes(unpacked)
    # nifti2.h: its own length first, then the magic string
    return head[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c") and head[4:8] in (b"n+2\0", b"ni2\0")


def ends_as_written(path: Path, voxel_bytes: int) -> bool:
    """Whether a NIfTI-1 file that ITK has just written has its end, by its length alone and without unpacking it.

    A gzip stream ends with the length of what it holds; in a stream that was cut short, anything else stands there.
    """
    with path.open("rb") as file:
        packed = file.read(2) == _GZIP_MAGIC
        length = file.seek(0, os.SEEK_END)
        if packed and length > 4:
            file.seek(-4, os.SEEK_END)
            length = int.from_bytes(file.read(4), "little")
    return length == (_ITK_FIRST_BYTE + voxel_bytes) % (1 << 32 if packed else 1 << 63)


def _parse(head: bytes) -> _Header | None:
    order = next((order for order in "<>" if struct.unpack_from(f"{order}i", head)[0] == _HEADER_BYTES), None)
    if order is None or head[344:348] != b"n+1\0":
        return None
    dim = struct.unpack_from(f"{order}8h", head, 40)
    code = struct.unpack_from(f"{order}h", head, 70)[0]
    first_byte, slope, intercept = struct.unpack_from(f"{order}3f", head, 108)
    three_dimensional = 3 <= dim[0] <= 7 and all(size >= 1 for size in dim[1:4]) and set(dim[4 : dim[0] + 1]) <= {1}
    if not three_dimensional or code not in _TYPES or not first_byte >= _HEADER_BYTES:
        return None
    if first_byte == math.inf:
        raise DamagedFileError("its header says that the voxels begin at byte infinity (vox_offset)")
    # nifti1.h: a slope of zero means that the values are not scaled
    scaled = bool(np.isfinite(slope) and np.isfinite(intercept) and slope != 0)
    return _Header(
        (dim[3], dim[2], dim[1]),
        np.dtype(order + _TYPES[code]),
        int(first_byte),
        slope if scaled else 1.0,
        intercept if scaled else 0.0,
    )


class _Plain:
    """Bytes as they are in the file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def fill(self, buffer: memoryview) -> None:
        got = self._file.readinto(buffer)  # type: ignore[attr-defined]  # typeshed leaves readinto out of BinaryIO
        if got != len(buffer):
            raise DamagedFileError(_TOO_SHORT)

    def check_rest(self) -> None:
        """An unpacked file has no checksum: having all the voxels is all that can be known."""


class _Gunzip:
    """Bytes unpacked from gzip, into buffers that exist already: Python's gzip module takes twice the time."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._unpacker = _deflate.decompressobj(zlib.MAX_WBITS | 16)

    def fill(self, buffer: memoryview) -> None:
        filled = 0
        while filled < len(buffer):
            piece = self._unpack(min(_CHUNK_BYTES, len(buffer) - filled))
            if not piece:
                raise DamagedFileError(_TOO_SHORT)
            buffer[filled : filled + len(piece)] = piece
            filled += len(piece)

    def check_rest(self) -> None:
        """Unpack what follows the voxels, because the checksum is at the very end."""
        while self._unpack(_CHUNK_BYTES):
            pass
        if not self._unpacker.eof:
            raise DamagedFileError("the file ends before its checksum")

    def _unpack(self, at_most: int) -> bytes:
        """The next bytes, or none at the end of the file."""
        while True:
            packed = self._unpacker.unconsumed_tail or self._unpacker.unused_data
            if self._unpacker.eof:
                # zeros after the last member are padding; anything else is a further member of the same stream
                packed = packed.lstrip(b"\0") or self._file.read(_CHUNK_BYTES).lstrip(b"\0")
                if not packed:
                    return b""
                self._unpacker = _deflate.decompressobj(zlib.MAX_WBITS | 16)
            packed = packed or self._file.read(_CHUNK_BYTES)
            try:
                piece: bytes = self._unpacker.decompress(packed, at_most)
            except _deflate.error as error:
                raise DamagedFileError(
                    "the file is damaged: it does not unpack or does not match its checksum"
                ) from error
            if piece or not packed:
                return piece
