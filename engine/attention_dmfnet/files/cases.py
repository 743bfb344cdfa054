"""The scans that are asked for, and what each of them is called. Nothing here needs SimpleITK or NumPy."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from attention_dmfnet.geometry import Geometry, Volume
    from attention_dmfnet.notes import Note

EXTENSIONS = (".nii.gz", ".nii", ".nrrd", ".mha")
"""File names that count as scans; upper and lower case are the same."""

SEGMENTATION = ".seg.nrrd"
"""What 3D Slicer calls a segmentation: labels, and no scan."""

EXTENSIONS_IN_WORDS = ", ".join(f"*{extension}" for extension in EXTENSIONS[:-1]) + f" or *{EXTENSIONS[-1]}"

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class InputError(Exception):
    """Scans that are not there, or whose outputs would overwrite each other."""


class ReportError(InputError):
    """Numbers or pages of cases that cannot be made here, or not be written."""


class Case(Protocol):
    """A scan that is asked for, wherever its voxels come from."""

    @property
    def name(self) -> str:
        """What it is called: its label map is ``NAME.nii.gz``."""
        ...

    @property
    def path(self) -> Path:
        """The file or folder that messages name."""
        ...

    def read(self, notes: list[Note], strict: bool) -> Volume:
        """The scan in HU; what is to be said about it is appended to ``notes``. Raises ``ImageError``.

        ``strict`` refuses a scan whose header or values are doubtful.
        """
        ...

    def grid(self) -> Geometry:
        """The grid that ``read`` would return, from headers alone. Raises ``ImageError``."""
        ...


@dataclass(frozen=True, slots=True)
class ScanFile:
    """The case that is one file: NIfTI, NRRD or MetaImage."""

    path: Path

    @property
    def name(self) -> str:
        """As ``case_name`` has it."""
        return case_name(self.path)

    def read(self, notes: list[Note], strict: bool) -> Volume:
        """As ``image_io.read_scan`` has it."""
        from attention_dmfnet.files import image_io

        return image_io.read_scan(self.path, notes, strict)

    def grid(self) -> Geometry:
        """As ``image_io.read_geometry`` has it."""
        from attention_dmfnet.files import image_io

        return image_io.read_geometry(self.path)


def case_name(path: Path) -> str:
    """The case's name: the file's, without its extension and without one trailing ``_0000`` (FLARE22's rule)."""
    name = stem(path)
    return name.removesuffix("_0000") or name


def output_of(case: Case, outputs: Path) -> Path:
    """Where the label map of a case goes."""
    return outputs / f"{case.name}.nii.gz"


def output_path(scan: Path, outputs: Path) -> Path:
    """Where the label map of a scan that is one file goes."""
    return output_of(ScanFile(scan), outputs)


def list_cases(inputs: Path) -> list[Path]:
    """The scans in a folder (not in folders below it), by name, or the one scan that ``inputs`` is.

    Whatever has a scan's name counts, even if it turns out to be a link to nowhere. Raises ``InputError`` if there is
    none, or if two of them would be written to the same output.
    """
    if inputs.is_dir():
        try:
            paths = sorted(path for path in inputs.iterdir() if is_scan_name(path) and not path.is_dir())
        except OSError as error:
            raise InputError(f"cannot look into {inputs}: {error.strerror}") from error
        if not paths:
            raise InputError(f"no scan in {inputs}; put files named {EXTENSIONS_IN_WORDS} there")
    elif inputs.exists() or inputs.is_symlink():
        if not is_scan_name(inputs):
            raise InputError(f"{inputs} is not a scan that can be read; it should be named {EXTENSIONS_IN_WORDS}")
        paths = [inputs]
    else:
        raise InputError(f"no such file or folder: {inputs}")
    refuse_shared_names([ScanFile(path) for path in paths])
    return paths


def printable(text: str) -> str:
    """``text`` on one line, as any terminal and JSON can have it.

    Bytes of a name that are not UTF-8 and control characters become ``\\x..``.
    """
    return _UNPRINTABLE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    # Python keeps the byte 0xE9 of a name that is not UTF-8 as the lone surrogate U+DCE9
    code = ord(match[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else ascii(match[0])[1:-1]


def stem(path: Path) -> str:
    """The file's name without its extension, ``.nii.gz`` being one."""
    name = path.name
    for extension in EXTENSIONS:
        if name.lower().endswith(extension):
            return name[: -len(extension)]
    return name


def is_scan_name(path: Path) -> bool:
    """Whether the file's name is a scan's; names that begin with a dot, or tell of a segmentation, are not."""
    name = path.name.lower()
    return name.endswith(EXTENSIONS) and not name.startswith(".") and not name.endswith(SEGMENTATION)


def refuse_shared_names(cases: Sequence[Case]) -> None:
    """Raise ``InputError`` if two cases would be written to the same output."""
    first: dict[str, Case] = {}
    for case in cases:
        other = first.setdefault(case.name, case)
        if other is not case:
            raise InputError(
                f"{other.path.name} and {case.path.name} would both be written to {case.name}.nii.gz; "
                "rename one or predict them one at a time"
            )
