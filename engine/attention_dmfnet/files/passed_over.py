"""What lies beside the scans and looks like one, but is not read: it is to be said, not passed over in silence.

DICOM is found here too, because this looks at every name once. Whether it is read is for ``cli.cases`` to say.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from attention_dmfnet.files.cases import SEGMENTATION, is_scan_name, printable

if TYPE_CHECKING:
    import zipfile

_OTHER_KINDS = {
    ".mhd": "MetaImage in two files",
    ".nhdr": "NRRD in two files",
    ".hdr": "Analyze or NIfTI in two files",
    ".img": "Analyze or NIfTI in two files",
    ".hdr.gz": "Analyze or NIfTI in two files",
    ".img.gz": "Analyze or NIfTI in two files",
    ".nii.bz2": "NIfTI, packed in another way than gzip",
    ".nii.xz": "NIfTI, packed in another way than gzip",
    ".nii.zst": "NIfTI, packed in another way than gzip",
    ".nii.zip": "NIfTI, packed in another way than gzip",
    ".mgz": "FreeSurfer",
    ".mgh": "FreeSurfer",
    ".mnc": "MINC",
    SEGMENTATION: "3D Slicer's segmentation",
}
"""Kinds of images that are not read, by the ends of their names."""

INSTALL_DICOM = 'pip install "attention-dmfnet[dicom]"'
"""What to type where DICOM cannot be read."""

DICOM = "DICOM"
FOLDER_WITH_DICOM = "folder with DICOM"
_FOLDER_WITH_SCANS = "folder with scans"

_DICOM_NAMES = (".dcm", ".ima")

DICOM_MAGIC = slice(128, 132)
"""DICOM PS3.10, 7.1: four letters after a preamble."""

_MOST_LOOKS = 2000
"""So many entries of a folder are looked at: a million notes must not hold up the scans."""

_DEEPEST = 8
"""So many folders below each other are looked into: DICOM's patient, study and series are three."""

_MOST_MEMBERS = 200
"""So many members of an archive are looked at: DICOM comes as nothing else, or after a few texts."""

_MOST_NAMED = 5
"""So many names of a kind are on the line: a series of DICOM has a thousand."""


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A file or folder that looks like a scan and is not read, and what it seems to be."""

    path: Path
    kind: str


def find_passed_over(inputs: Path, outputs: Path) -> list[PassedOver]:
    """What in the folder ``inputs`` looks like a scan and is not among ``list_cases``, by name.

    ``outputs`` and names that begin with a dot do not count. Never fails: what cannot be looked into is left out.
    """
    found = []
    for path in _listed(inputs):
        if path.is_dir():
            found += [PassedOver(path, kind) for kind in _kinds_below(path, outputs)]
        elif not is_scan_name(path) and (kind := _kind(path)):
            found.append(PassedOver(path, kind))
    return found


def as_sentence(found: Sequence[PassedOver]) -> str:
    """One line for all of them, with what to do."""
    by_kind: dict[str, list[str]] = {}
    for item in found:
        by_kind.setdefault(item.kind, []).append(printable(item.path.name))
    parts = []
    for kind, names in by_kind.items():
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        parts.append(f"{', '.join(names[:_MOST_NAMED])}{more} ({kind})")
    return f"not read: {'; '.join(parts)}. Give a folder by its own name, convert other files to *.nii.gz"


def is_dicom(path: Path) -> bool:
    """Whether ``path`` is a file of DICOM, by its content or else by its name, or an archive with one."""
    return _kind(path) == DICOM


def has_dicom_name(path: Path) -> bool:
    """Whether the file's name is one that DICOM has; most often it has none of its own."""
    return path.name.lower().endswith(_DICOM_NAMES)


def is_zip_name(path: Path) -> bool:
    """Whether the file's name is an archive's."""
    return path.name.lower().endswith(".zip")


def _kinds_below(folder: Path, outputs: Path) -> list[str]:
    """What kinds of scans there are in ``folder`` or below it, as far as a bounded look goes."""
    found: set[str] = set()
    coming, looks = [(folder, 1)], 0
    while coming and len(found) < 2:
        within, depth = coming.pop()
        if within.is_symlink() or _same(within, outputs):
            continue
        for path in _listed(within):
            looks += 1
            if looks > _MOST_LOOKS:
                return sorted(found)
            if path.is_dir():
                if depth < _DEEPEST:
                    coming.append((path, depth + 1))
            elif is_scan_name(path):
                found.add(_FOLDER_WITH_SCANS)
            elif kind := _kind(path):
                found.add(FOLDER_WITH_DICOM if kind == DICOM else _FOLDER_WITH_SCANS)
    return sorted(found)


def _kind(path: Path) -> str | None:
    name = path.name.lower()
    for extension, kind in _OTHER_KINDS.items():
        if name.endswith(extension):
            return kind
    # a DICOM file has often no extension, or the last number of its UID for one
    if has_dicom_name(path) or _begins_as_dicom(path):
        return DICOM
    return _kind_of_archive(path) if is_zip_name(path) else None


def _begins_as_dicom(path: Path) -> bool:
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(DICOM_MAGIC.stop)[DICOM_MAGIC] == b"DICM"
    except OSError:
        return False


def _kind_of_archive(path: Path) -> str | None:
    # no other name needs it
    import zipfile

    kind = None
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist()[:_MOST_MEMBERS]:
                name = Path(member.filename)
                if member.is_dir():
                    continue
                if is_scan_name(name):
                    kind = "archive with scans"
                elif has_dicom_name(name) or _member_begins(archive, member):
                    return DICOM
    except (OSError, zipfile.BadZipFile):
        return "damaged archive"
    return kind


def _member_begins(archive: "zipfile.ZipFile", member: "zipfile.ZipInfo") -> bool:
    import zlib

    try:
        with archive.open(member) as file:
            return file.read(DICOM_MAGIC.stop)[DICOM_MAGIC] == b"DICM"
    # zipfile has no class of its own for what it cannot unpack, such as an encrypted member
    except (OSError, EOFError, zlib.error, NotImplementedError, RuntimeError, ValueError):
        return False


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError:
        return []


def _same(path: Path, outputs: Path) -> bool:
    try:
        return path.samefile(outputs)
    except OSError:
        return False
