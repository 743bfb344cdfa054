"""Where DICOM files are: in folders below each other and in zip archives. Nothing is ever unpacked to the disk."""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from attention_dmfnet.files.cases import InputError, is_scan_name, printable
from attention_dmfnet.files.passed_over import DICOM_MAGIC, has_dicom_name, is_zip_name

MOST_FILES: Final = 200_000
"""So many files are looked at in one run: a patient's studies have a few thousand."""

DEEPEST: Final = 16
"""So many folders below each other are looked into."""

MOST_MEMBER_BYTES: Final = 2 << 30
"""What a member of an archive may unpack to. The largest CT in one file has about 1 GiB."""

_ENCRYPTED: Final = 1

READ_ERRORS: Final = (OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError)
"""What opening and reading a file or a member can raise: zipfile has no class of its own for a method that it lacks."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where the bytes of one DICOM file are: ``path`` itself, or ``member`` of the archive ``path``.

    The member's name is shown to people and never used as a path.
    """

    path: Path
    member: str | None = None

    def __str__(self) -> str:
        return str(self.path) if self.member is None else f"{self.path}:{printable(self.member)}"

    @property
    def place(self) -> Path:
        """The folder or archive that it lies in."""
        return self.path.parent if self.member is None else self.path


class Reader:
    """Opens sources; an archive stays open until the block ends, so that its index is read once."""

    def __init__(self) -> None:
        self._archives: dict[Path, zipfile.ZipFile] = {}

    def open(self, source: Source) -> IO[bytes]:
        """The source's bytes, as far as they are read. Raises one of ``READ_ERRORS``."""
        if source.member is None:
            return source.path.open("rb")
        return self.archive(source.path).open(source.member)

    def open_whole(self, source: Source) -> IO[bytes]:
        """The same, for going back and forth in it: a member is unpacked into memory."""
        if source.member is None:
            return source.path.open("rb")
        with self.open(source) as file:
            # zipfile gives no byte beyond the size that the index states, whatever the packed stream holds
            return io.BytesIO(file.read(MOST_MEMBER_BYTES))

    def archive(self, path: Path) -> zipfile.ZipFile:
        """The archive at ``path``, opened once. Raises one of ``READ_ERRORS``."""
        if path not in self._archives:
            self._archives[path] = zipfile.ZipFile(path)
        return self._archives[path]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for archive in self._archives.values():
            archive.close()


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file that should hold an image, and why it is not read."""

    source: Source
    reason: str


def find_sources(inputs: Path, outputs: Path | None, reader: Reader) -> Iterator[Source | Unreadable]:
    """What looks like DICOM in ``inputs``, a file, an archive or a tree of folders: by content, or else by name.

    Names that begin with a dot, scans of other kinds and the folder ``outputs`` are left out. A link to a folder is
    followed, each folder entered once. Raises ``InputError`` where there are too many files.
    """
    looked = 0
    for path in [inputs] if not inputs.is_dir() else _files(inputs, outputs):
        found = _members(path, reader) if is_zip_name(path) else iter([Source(path)])
        for item in found:
            looked += 1
            if looked > MOST_FILES:
                raise InputError(f"{inputs} holds more than {MOST_FILES} files; give one patient's folder at a time")
            if isinstance(item, Unreadable) or _is_dicom(item, reader):
                yield item


def _files(folder: Path, outputs: Path | None) -> Iterator[Path]:
    """The files in ``folder`` and below, by name, one folder after the other."""
    coming, entered, avoided = [(folder, 1)], set[tuple[int, int]](), _identity(outputs)
    while coming:
        within, depth = coming.pop()
        identity = _identity(within)
        if identity is None or identity in entered or (identity == avoided and within != folder):
            continue
        entered.add(identity)
        try:
            entries = sorted(within.iterdir())
        except OSError:
            continue
        below = []
        for path in entries:
            if path.name.startswith("."):
                continue
            if path.is_dir():
                below.append((path, depth + 1))
            elif not is_scan_name(path) and path.is_file():
                yield path
        if depth < DEEPEST:
            coming += reversed(below)


def _identity(path: Path | None) -> tuple[int, int] | None:
    try:
        status = None if path is None else os.stat(path)
    except OSError:
        return None
    return None if status is None else (status.st_dev, status.st_ino)


def _members(path: Path, reader: Reader) -> Iterator[Source | Unreadable]:
    try:
        infos = reader.archive(path).infolist()
    except READ_ERRORS as error:
        yield Unreadable(Source(path), f"it cannot be unpacked ({error}); pack it again")
        return
    for info in infos:
        source = Source(path, info.filename)
        parts = info.filename.replace("\\", "/").split("/")
        if info.is_dir() or any(part.startswith(".") and part not in (".", "..") for part in parts):
            continue
        if "__MACOSX" in parts or is_scan_name(Path(parts[-1])):
            continue
        if info.flag_bits & _ENCRYPTED:
            yield Unreadable(source, "it is encrypted; unpack the archive and give the folder")
        elif info.file_size > MOST_MEMBER_BYTES:
            yield Unreadable(source, f"it would unpack to more than {MOST_MEMBER_BYTES >> 30} GiB")
        else:
            yield source


def _is_dicom(source: Source, reader: Reader) -> bool:
    try:
        with reader.open(source) as file:
            if file.read(DICOM_MAGIC.stop)[DICOM_MAGIC] == b"DICM":
                return True
    except READ_ERRORS:
        # said when its header is read
        pass
    return has_dicom_name(source.path if source.member is None else Path(source.member))
