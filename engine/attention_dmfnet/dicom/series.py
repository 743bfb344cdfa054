"""Images grouped by the series that they belong to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from attention_dmfnet.dicom.headers import Frame
from attention_dmfnet.dicom.stack import Stack, place_frames
from attention_dmfnet.files.cases import printable


@dataclass(frozen=True, slots=True)
class Part:
    """Volume ``number`` (from 1) of the ``count`` that one series holds, and what tells it from the others."""

    number: int
    count: int
    said: str


@dataclass(frozen=True, eq=False)
class Series:
    """The planes of one series, or of the ``part`` of it that is one volume, in no order. All have one series UID."""

    frames: tuple[Frame, ...]
    part: Part | None = None

    @property
    def uid(self) -> str:
        """SeriesInstanceUID."""
        return self.frames[0].header.series_uid

    @property
    def key(self) -> str:
        """What ``--series`` names it by: its UID, with a colon and the volume's number where it is one of several."""
        return self.uid if self.part is None else f"{self.uid}:{self.part.number}"

    @property
    def study_uid(self) -> str:
        """StudyInstanceUID."""
        return self.frames[0].header.study_uid

    @property
    def path(self) -> Path:
        """The file it is, or else the folder or archive of its first file."""
        sources = {frame.header.source for frame in self.frames}
        first = min(sources, key=lambda source: (source.path, source.member or ""))
        return first.path if len(sources) == 1 else first.place

    @cached_property
    def stack(self) -> Stack:
        """Its planes in order, and their grid. Raises ``StackError``."""
        return place_frames(self.frames)

    def __str__(self) -> str:
        header = self.frames[0].header
        number = "" if header.number is None else f" number {header.number}"
        said = f' "{printable(header.description)}"' if header.description else ""
        count = len(self.frames)
        part = self.part
        which = f", volume {part.number} of {part.count} ({printable(part.said)})," if part is not None else ""
        return f"series {printable(self.uid)}{number}{said}{which} of {count} image{'s' * (count != 1)}"


def group(frames: Iterable[Frame]) -> list[Series]:
    """The series that ``frames`` belong to, in the order of their first images.

    A series UID is one in the world: files of one series that were put into two studies are still one series.
    """
    by_series: dict[str, list[Frame]] = {}
    for frame in frames:
        by_series.setdefault(frame.header.series_uid, []).append(frame)
    return [Series(tuple(members)) for members in by_series.values()]
