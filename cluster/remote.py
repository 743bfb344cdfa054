"""A case whose files are at a URL, and how it comes to this machine."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
from attention_dmfnet.cli.cases import find_cases
from attention_dmfnet.files.cases import Case, ScanFile
from attention_dmfnet.folder import CaseReport
from attention_dmfnet.notes import Note

from cluster.errors import ClusterError
from cluster.places import Place


@dataclass(frozen=True, slots=True)
class Remote:
    """A case whose files are at a URL: their names there, with their sizes in bytes.

    ``series_key`` is what ``--series`` would name it by if it is DICOM, and ``said`` is why it was chosen.
    """

    name: str
    members: Mapping[str, int]
    series_key: str | None = None
    said: tuple[Note, ...] = ()

    @property
    def size(self) -> int:
        """Of all its files, in bytes."""
        return sum(self.members.values())


def fetched(remote: Remote, place: Place, to: Path, options: argparse.Namespace) -> Case:
    """``remote``, whose files are at ``place``, in the new folder ``to``. Raises ``ClusterError``.

    ``options`` are those of ``predict``.
    """
    for name, size in remote.members.items():
        place.fetch(name, to / name, size)
    if remote.series_key is None:
        (name,) = remote.members
        return ScanFile(to / name)
    found = find_cases(to, to.parent / "out", [remote.series_key], options.patient_names).cases
    from attention_dmfnet.dicom.case import DicomCase

    for case in found:
        if isinstance(case, DicomCase) and case.name == remote.name:
            return replace(case, said=remote.said)
    raise ClusterError(f"{remote.name} is not what its headers in {place} told; is it being written?")


def files_of(case: Case) -> Sequence[Path]:
    """The files that a case is read from."""
    if isinstance(case, ScanFile):
        return [case.path]
    from attention_dmfnet.dicom.case import DicomCase

    assert isinstance(case, DicomCase)
    return sorted({frame.header.source.path for frame in case.series.frames})


def stand_ins(case: Case | Remote, room: Path, inputs: Path | Place, outputs: Path | Place) -> dict[str, str]:
    """What ``in`` and ``out`` in the folder ``room`` stand for while ``case`` is there."""
    names = {str(room / "in"): str(inputs), str(room / "out"): str(outputs)}
    if isinstance(case, Remote) and isinstance(inputs, Place):
        first = next(iter(case.members))
        return {str(room / "in" / first): inputs.url_of(first), **names}
    return names


def told(text: str, places: Mapping[str, str]) -> str:
    """``text`` with the names of ``places`` for the local folders that stood for them."""
    for local, place in places.items():
        text = text.replace(local, place)
    return text


def told_notes(notes: Sequence[Note], places: Mapping[str, str]) -> tuple[Note, ...]:
    """The same for notes."""
    return tuple(Note(note.code, told(note, places)) for note in notes)


def named(report: CaseReport, places: Mapping[str, str]) -> CaseReport:
    """The same for a whole report."""
    return msgspec.structs.replace(
        report,
        output=told(report.output, places),
        notes=told_notes(report.notes, places),
        error=None if report.error is None else told(report.error, places),
    )
