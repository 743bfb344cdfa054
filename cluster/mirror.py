"""A folder that stands for one at a URL, for the engine to say which cases it holds: names and headers, no voxels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from attention_dmfnet.files.cases import is_scan_name
from attention_dmfnet.files.passed_over import is_zip_name

from cluster.errors import ClusterError
from cluster.places import Place

_BEYOND: Final = 64
"""So many bytes behind a header: the tag of the pixels, which ends it."""

_LOOK: Final = 132
_MAGIC: Final = b"DICM"


def mirror(place: Place, to: Path) -> Mapping[str, int]:
    """Make the folder ``to`` stand for ``place``; returns the size of each file there.

    Of a scan that is one file, only the name; of DICOM the header, as much as is read of it; an archive as a whole,
    because its index is at its end. Raises ``ClusterError`` if there is nothing.
    """
    sizes = place.sizes()
    if not sizes:
        raise ClusterError(f"no such file or folder: {place}")
    to.mkdir(parents=True)
    for name, size in sizes.items():
        parts = PurePosixPath(name).parts
        path = to / name
        # an empty scan is a case that fails; whatever else is empty tells nothing, such as a marker of a folder
        empty = not size and (name.endswith("/") or not is_scan_name(path))
        if empty or ".." in parts or any(part.startswith(".") for part in parts):
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if is_scan_name(path):
            path.touch()
        elif is_zip_name(path):
            place.fetch(name, path, size)
        else:
            path.write_bytes(_header(place, name, size))
    return sizes


def _header(place: Place, name: str, size: int) -> bytes:
    """The file up to its pixels if it is DICOM, else its first bytes."""
    with place.open(name) as file:
        first = file.read(_LOOK)
        if first[128:] != _MAGIC and not name.lower().endswith((".dcm", ".ima")):
            return first
        try:
            from attention_dmfnet.dicom.headers import PARSE_ERRORS, read_dataset
        except ModuleNotFoundError:  # the engine says what is missing
            return first
        file.seek(0)
        try:
            read_dataset(file)
            end = file.tell() + _BEYOND
        except PARSE_ERRORS:  # what is damaged is judged whole
            end = size
        file.seek(0)
        return file.read(min(end, size))
