"""What a file can hold at most, by its size: no number in a header may ask for more work than that."""

import re
from pathlib import Path

_DEFLATE_MOST = 1032
"""Bytes that one byte can unpack to: zlib's documentation, "Maximum Compression Factor"."""

_HEADER_BYTES = 1 << 16
_ELSEWHERE = re.compile(rb"(?mi)^(data ?file:|encoding:\s*bz|ElementDataFile\s*=\s*+(?!LOCAL))")
"""NRRD and MetaImage: the voxels are in another file, or packed in a way that has no such limit."""


def most_unpacked_bytes(size_bytes: int) -> int:
    """The most that ``size_bytes`` of a gzip or zlib stream can unpack to."""
    return size_bytes * _DEFLATE_MOST


def most_voxels(path: Path) -> int | None:
    """The most voxels that can be in a file, whatever its kind; None if they are not bounded by it.

    Raises ``OSError``.
    """
    if ".nii" not in path.name.lower():
        with path.open("rb") as file:
            if _ELSEWHERE.search(file.read(_HEADER_BYTES)):
                return None
    return most_unpacked_bytes(path.stat().st_size)
