"""A series as a case, and what it is called."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attention_dmfnet.dicom.headers import PARSE_ERRORS, one_line, read_dataset
from attention_dmfnet.dicom.pixels import PixelError, read_voxels, refuse_undecodable
from attention_dmfnet.dicom.series import Series
from attention_dmfnet.dicom.sources import Reader
from attention_dmfnet.dicom.stack import Stack, StackError
from attention_dmfnet.files.image_io import ImageError, check_grid, check_scan
from attention_dmfnet.geometry import Geometry, Volume
from attention_dmfnet.notes import Note

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_NAME_DIGITS: Final = 12
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9.-]+")


def name_of(series: Series, patient: bool = False) -> str:
    """``ct-`` and twelve digits of the SHA-256 of the series UID: always the same, nobody's name, no two alike.

    A volume of a series that holds several has its number behind that. With ``patient``, the patient's ID and a dash
    before it; what no file name should hold becomes a dash.
    """
    digest = hashlib.sha256(series.uid.encode()).hexdigest()[:_NAME_DIGITS]
    if series.part is not None:
        digest += f"-{series.part.number}"
    patient_id = _UNSAFE.sub("-", series.frames[0].header.patient_id).strip("-.") if patient else ""
    return f"{patient_id}-ct-{digest}" if patient_id else f"ct-{digest}"


@dataclass(frozen=True, eq=False)
class DicomCase:
    """A series that is labelled. ``said`` is on why it was chosen, where it is not what one would wish for."""

    name: str
    series: Series
    said: tuple[Note, ...] = ()

    @property
    def path(self) -> Path:
        """The file it is, or the folder or archive that holds it."""
        return self.series.path

    @property
    def stack(self) -> Stack:
        """Its planes in order, with their files, and the grid. Raises ``ImageError``."""
        try:
            return self.series.stack
        except StackError as error:
            raise ImageError(f"{self.path}, {self.series}: {error}") from error

    def grid(self) -> Geometry:
        """The grid of the volume, from headers alone. Raises ``ImageError``."""
        return self.stack.geometry

    def read(self, notes: list[Note], strict: bool = False) -> Volume:
        """The series in HU, on its own grid; of a tilted gantry, on one at right angles. Raises ``ImageError``."""
        stack = self.stack
        notes.append(Note("dicom-series", f"the scan is {self.series} in {self.path}"))
        part = self.series.part
        if part is not None:
            text = f"its series holds {part.count} volumes; --series {self.series.uid} labels all of them"
            notes.append(Note("dicom-volumes", text))
        notes += (*self.said, *stack.notes)
        name = f"{self.path}, {self.series}"
        check_grid(name, stack.geometry)
        try:
            with Reader() as reader:
                volume = read_voxels(stack, reader, notes)
        except PixelError as error:
            raise ImageError(str(error)) from error
        except MemoryError as error:
            size = " x ".join(map(str, stack.geometry.shape_zyx[::-1]))
            raise ImageError(f"cannot read {name}: not enough memory for {size} voxels") from error
        return check_scan(name, volume, notes, strict)

    def refuse_undecodable(self) -> None:
        """Raise ``ImageError`` for what is known to be unreadable before a pixel is read."""
        try:
            refuse_undecodable(self.stack)
        except PixelError as error:
            raise ImageError(str(error)) from error

    def datasets(self) -> Iterator[Dataset]:
        """The whole header of each file, without pixels, in the order of the planes; one of a multi-frame file.

        Raises ``ImageError``, also for a multi-frame file that holds more volumes than this one: an object would lie on
        all of them.
        """
        if self.series.part is not None and any(frame.index is not None for frame in self.stack.frames):
            raise ImageError(
                f"{self.path}, {self.series}: its label map is written, but DICOM objects refer to whole files, and "
                "this one holds several volumes; leave --dicom-seg and --rtstruct out, or export a series of single "
                "images"
            )
        with Reader() as reader:
            for source in dict.fromkeys(frame.header.source for frame in self.stack.frames):
                try:
                    with reader.open(source) as file:
                        yield read_dataset(file)
                except PARSE_ERRORS as error:
                    raise ImageError(f"cannot read {source}: {one_line(error)}") from error
