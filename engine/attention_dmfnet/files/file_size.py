"""What a file can hold at most, by its size: no number in a header may ask for more work than that."""

import re
from pathlib import Path

_DEFLATE_MOST = 1032
"""Bytes that one byte can unpack to: zlib's documentation, "Maximum Compression Factor"."""

_HEADER_BYTES = 1 << 16
_NRRD_ELSEWHERE = re.compile(rb"(?mi)^\s*data ?file\s*:\s*(.*?)\s*$")
_META_ELSEWHERE = re.compile(rb"(?mi)^\s*ElementDataFile\s*[=:]\s*(.*?)\s*$")
_PACKED = re.compile(rb"(?mi)^\s*(?:encoding\s*:\s*(?:gz|bz)|CompressedData\s*[=:]\s*[T1])")
_TEXT = re.compile(rb"(?mi)^\s*(?:encoding\s*:\s*(?:txt|text|ascii|hex)|BinaryData\s*[=:]\s*[F0])")


class ElsewhereError(Exception):
    """Voxels in another file that must not, or cannot, be read: a clause with the remedy."""


def most_unpacked_bytes(size_bytes: int) -> int:
    """The most that ``size_bytes`` of a gzip or zlib stream can unpack to."""
    return size_bytes * _DEFLATE_MOST


def most_voxels(path: Path, voxel_bytes: int = 1) -> int:
    """The most voxels of so many bytes that can be in a file, whatever its kind.

    An NRRD or MetaImage header may name one other file for them, which has to lie beside it: no header leads to
    another folder. Raises ``ElsewhereError`` for any other place, and ``OSError``.
    """
    if ".nii" in path.name.lower():
        return most_unpacked_bytes(path.stat().st_size) // voxel_bytes
    with path.open("rb") as file:
        head = file.read(_HEADER_BYTES)
    is_nrrd = path.name.lower().endswith(".nrrd")
    if is_nrrd:
        head = re.split(rb"\r?\n\r?\n", head, maxsplit=1)[0]
    size_bytes = _voxel_file(path, head, is_nrrd).stat().st_size
    if _PACKED.search(head):
        return most_unpacked_bytes(size_bytes) // voxel_bytes
    # as text a voxel is one digit and a space at least, whatever its type
    return size_bytes if _TEXT.search(head) else size_bytes // voxel_bytes


def _voxel_file(path: Path, head: bytes, is_nrrd: bool) -> Path:
    names = [match[1].decode("utf-8", "surrogateescape") for match in _NRRD_ELSEWHERE.finditer(head)]
    if not is_nrrd:
        # what follows this field are voxels
        match = _META_ELSEWHERE.search(head)
        names = [match[1].decode("utf-8", "surrogateescape")] if match and match[1].upper() != b"LOCAL" else []
    if not names:
        return path
    name = names[0]
    remedy = "save the scan as one file, such as *.nii.gz"
    if len(names) > 1 or name.upper().startswith("LIST") or "%" in name:
        raise ElsewhereError(f"its header says that the voxels are in several other files; {remedy}")
    if "/" in name or "\\" in name or "\0" in name or name in ("", ".", ".."):
        raise ElsewhereError(f"its header says that the voxels are in another folder ({name[:100]!r}); {remedy}")
    other = path.with_name(name[:255])
    if other.is_symlink() or not other.is_file():
        what = "a link" if other.is_symlink() else "not there"
        raise ElsewhereError(f"its header says that the voxels are in {name[:100]!r}, which is {what}; {remedy}")
    return other
