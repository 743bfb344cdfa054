"""The voxels of a NIfTI file: every one of them, or an error.

ITK reads a truncated or damaged ``.nii.gz`` without complaint and leaves whatever was in memory where the missing
voxels should be. Here the stream is unpacked once, its length and checksum are verified, and the numbers come as the
file has them.
"""

import importlib
import math
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from attention_dmfnet.files.file_size import most_unpacked_bytes
from attention_dmfnet.files.nifti_header import LONGEST_HEADER_BYTES, NiftiHeader, parse_header
from attention_dmfnet.notes import Note

try:
    # Intel's ISA-L: unpacks in less than half of zlib's time
    _deflate: Any = importlib.import_module("isal.isal_zlib")
except ImportError:
    _deflate = zlib

# stays in the CPU's own cache until it is copied: 53 MB unpack in 0.14 s, with pieces of 1 MB in 0.20
_CHUNK_BYTES = 1 << 17
_HEADER_CHUNK_BYTES = 1 << 12
_TOO_SHORT = "the file ends before its last voxel"
_GZIP_MAGIC = b"\x1f\x8b"


class DamagedFileError(Exception):
    """A file that ends too early or does not match its own checksum."""


@dataclass(frozen=True, slots=True)
class NiftiVoxels:
    """``array`` (z, y, x) as stored; the values are ``array * slope + intercept``."""

    array: npt.NDArray[Any]
    slope: float
    intercept: float


def read_nifti_header(path: Path) -> NiftiHeader | None:
    """The header of a single-file NIfTI image, packed with gzip or not, or None for anything else.

    Raises ``DamagedFileError`` for a gzip stream that does not unpack.
    """
    with path.open("rb") as file:
        head = bytearray(LONGEST_HEADER_BYTES)
        return parse_header(bytes(head[: _open(file, _HEADER_CHUNK_BYTES).read_up_to(memoryview(head))]))


def read_nifti_voxels(path: Path, header: NiftiHeader, notes: list[Note]) -> NiftiVoxels | None:
    """Read the voxels of a three-dimensional image with this ``header``.

    Returns None for anything else (more dimensions, colours). Raises ``DamagedFileError``, also for a header that asks
    for more voxels than the file can hold: no more memory is taken than the file is worth.
    """
    if header.shape_zyx is None or header.dtype is None:
        return None
    first_byte = _first_byte(header, notes)
    voxel_bytes = math.prod(header.shape_zyx) * header.dtype.itemsize
    with path.open("rb") as file:
        stream = _open(file)
        size_bytes = os.fstat(file.fileno()).st_size
        held = most_unpacked_bytes(size_bytes) if isinstance(stream, _Gunzip) else size_bytes
        if first_byte + voxel_bytes > held:
            by = " x ".join(map(str, header.shape_zyx[::-1]))
            raise DamagedFileError(f"{_TOO_SHORT}: the header asks for {by} voxels, which do not fit into it")
        _skip(stream, first_byte)
        array = np.empty(header.shape_zyx, dtype=header.dtype)
        stream.fill(array.reshape(-1).view(np.uint8).data)
        stream.check_rest()
    return NiftiVoxels(array, header.slope, header.intercept)


def _first_byte(header: NiftiHeader, notes: list[Note]) -> int:
    """Where the voxels begin. Raises ``DamagedFileError`` for what is no place."""
    offset = header.voxel_offset
    if not math.isfinite(offset) or offset < 0:
        raise DamagedFileError(f"its header says that the voxels begin at byte {offset:g} (vox_offset)")
    if offset < header.first_byte:
        text = f"the header lets the voxels begin at byte {offset:g}, within itself; byte {header.first_byte} was taken"
        notes.append(Note("header-voxel-offset", text))
        return header.first_byte
    return int(offset)


def _skip(stream: "_Plain | _Gunzip", count: int) -> None:
    waste = memoryview(bytearray(min(count, _CHUNK_BYTES)))
    while count > 0:
        stream.fill(waste[:count])
        count -= len(waste[:count])


def _open(file: BinaryIO, chunk_bytes: int = _CHUNK_BYTES) -> "_Plain | _Gunzip":
    packed = file.read(2) == _GZIP_MAGIC
    file.seek(0)
    return _Gunzip(file, chunk_bytes) if packed else _Plain(file)


class _Plain:
    """Bytes as they are in the file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read_up_to(self, buffer: memoryview) -> int:
        """Fill ``buffer`` as far as there are bytes; returns how many there were."""
        got: int = self._file.readinto(buffer)  # type: ignore[attr-defined]  # typeshed leaves readinto out of BinaryIO
        return got

    def fill(self, buffer: memoryview) -> None:
        if self.read_up_to(buffer) != len(buffer):
            raise DamagedFileError(_TOO_SHORT)

    def check_rest(self) -> None:
        """An unpacked file has no checksum: having all the voxels is all that can be known."""


class _Gunzip:
    """Bytes unpacked from gzip, into buffers that exist already: Python's gzip module takes twice the time."""

    def __init__(self, file: BinaryIO, chunk_bytes: int) -> None:
        self._file = file
        self._chunk_bytes = chunk_bytes
        self._unpacker = _deflate.decompressobj(zlib.MAX_WBITS | 16)

    def read_up_to(self, buffer: memoryview) -> int:
        """Fill ``buffer`` as far as there are bytes; returns how many there were."""
        filled = 0
        while filled < len(buffer):
            piece = self._unpack(min(self._chunk_bytes, len(buffer) - filled))
            if not piece:
                break
            buffer[filled : filled + len(piece)] = piece
            filled += len(piece)
        return filled

    def fill(self, buffer: memoryview) -> None:
        if self.read_up_to(buffer) != len(buffer):
            raise DamagedFileError(_TOO_SHORT)

    def check_rest(self) -> None:
        """Unpack what follows the voxels, because the checksum is at the very end."""
        while self._unpack(self._chunk_bytes):
            pass
        if not self._unpacker.eof:
            raise DamagedFileError("the file ends before its checksum")

    def _unpack(self, at_most: int) -> bytes:
        """The next bytes, or none at the end of the file."""
        while True:
            packed = self._unpacker.unconsumed_tail or self._unpacker.unused_data
            if self._unpacker.eof:
                # zeros after the last member are padding; anything else is a further member of the same stream
                packed = packed.lstrip(b"\0") or self._file.read(self._chunk_bytes).lstrip(b"\0")
                if not packed:
                    return b""
                self._unpacker = _deflate.decompressobj(zlib.MAX_WBITS | 16)
            packed = packed or self._file.read(self._chunk_bytes)
            try:
                piece: bytes = self._unpacker.decompress(packed, at_most)
            except _deflate.error as error:
                raise DamagedFileError(
                    "the file is damaged: it does not unpack or does not match its checksum"
                ) from error
            if piece or not packed:
                return piece
