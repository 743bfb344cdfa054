"""What is said about a scan that is labelled all the same."""

from __future__ import annotations


class Note(str):
    """A sentence for people, with a ``code`` for programs: the sentence may change, the code does not.

    docs/input-output.md lists the codes.
    """

    __slots__ = ("code",)

    code: str

    def __new__(cls, code: str, text: str) -> Note:
        """``text`` with the ``code`` of its kind."""
        note = super().__new__(cls, text)
        note.code = code
        return note

    def __reduce__(self) -> tuple[type[Note], tuple[str, str]]:
        return Note, (self.code, str(self))


_SETTLED = frozenset(
    {"empty-voxels", "values-offset-1024", "units-converted", "header-voxel-offset"}
    | {"dicom-series", "dicom-volumes", "dicom-tilt", "dicom-duplicates", "dicom-localizer"}
)
"""What leaves no doubt about what was meant."""


def doubts(notes: list[Note]) -> list[Note]:
    """Those of the ``notes`` on reading a scan that ``--strict`` refuses it for."""
    return [note for note in notes if note.code not in _SETTLED]
