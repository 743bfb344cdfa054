"""What lies beside the scans and looks like one, but is not read: it is to be said, not passed over in silence."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from attention_dmfnet.files.cases import is_scan_name, printable

_OTHER_KINDS = {
    ".mhd": "MetaImage in two files",
    ".nhdr": "NRRD in two files",
    ".hdr": "Analyze or NIfTI in two files",
    ".img": "Analyze or NIfTI in two files",
    ".hdr.gz": "Analyze or NIfTI in two files",
    ".img.gz": "Analyze or NIfTI in two files",
    ".dcm": "DICOM",
    ".ima": "DICOM",
    ".nii.bz2": "NIfTI, packed in another way than gzip",
    ".nii.xz": "NIfTI, packed in another way than gzip",
    ".nii.zst": "NIfTI, packed in another way than gzip",
    ".nii.zip": "NIfTI, packed in another way than gzip",
    ".mgz": "FreeSurfer",
    ".mgh": "FreeSurfer",
    ".mnc": "MINC",
}
"""Kinds of images that are not read, by the ends of their names."""

_DICOM_MAGIC = slice(128, 132)
"""DICOM PS3.10, 7.1: four letters after a preamble."""

_MOST_LOOKS = 2000
"""So many entries of a folder are looked at: a million notes must not hold up the scans."""

_DEEPEST = 8
"""So many folders below each other are looked into: DICOM's patient, study and series are three."""

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
            if _holds_scans(path, outputs):
                found.append(PassedOver(path, "folder with scans"))
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


def _holds_scans(folder: Path, outputs: Path) -> bool:
    """Whether there is a scan in ``folder`` or below it, as far as a bounded look goes."""
    coming, looks = [(folder, 1)], 0
    while coming:
        within, depth = coming.pop()
        if within.is_symlink() or _same(within, outputs):
            continue
        for path in _listed(within):
            looks += 1
            if looks > _MOST_LOOKS:
                return False
            if path.is_dir():
                if depth < _DEEPEST:
                    coming.append((path, depth + 1))
            elif is_scan_name(path) or _kind(path):
                return True
    return False


def _kind(path: Path) -> str | None:
    name = path.name.lower()
    for extension, kind in _OTHER_KINDS.items():
        if name.endswith(extension):
            return kind
    # a DICOM file has often no extension, or the last number of its UID for one
    return "DICOM" if _is_dicom(path) else None


def _is_dicom(path: Path) -> bool:
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(_DICOM_MAGIC.stop)[_DICOM_MAGIC] == b"DICM"
    except OSError:
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
