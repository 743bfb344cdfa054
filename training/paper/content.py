"""What a step depends on, as hashes of contents: a file that was only touched or copied is the same.

A file is read once. Later its size and time of change tell whether it must be read again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import msgspec

from training.data.cache import write_text
from training.data.dataset import read_index, stage_fingerprint
from training.data.splits import SPLITS_NAME, read_splits
from training.errors import TrainingError
from training.recipe import Stage


class _Seen(msgspec.Struct, frozen=True):
    size: int
    mtime_ns: int
    sha256: str


@dataclass
class Hashes:
    """The hashes of files, remembered in ``path``."""

    path: Path
    _seen: dict[str, _Seen] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            self._seen = msgspec.json.decode(self.path.read_bytes(), type=dict[str, _Seen])
        except (OSError, msgspec.MsgspecError):
            self._seen = {}  # nothing is lost but time

    def of_file(self, path: Path) -> str:
        """The content's hash. Raises ``TrainingError`` if the file cannot be read."""
        key = str(path.resolve())
        try:
            stat = path.stat()
            seen = self._seen.get(key)
            if seen is None or (seen.size, seen.mtime_ns) != (stat.st_size, stat.st_mtime_ns):
                with path.open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                seen = self._seen[key] = _Seen(stat.st_size, stat.st_mtime_ns, digest)
        except OSError as error:
            raise TrainingError(f"cannot read {path}: {error.strerror}") from error
        return seen.sha256

    def save(self) -> None:
        """Remember what was read."""
        write_text(msgspec.json.encode(self._seen).decode(), self.path)


class Input(Protocol):
    """Something that a step depends on."""

    @property
    def name(self) -> str:
        """How it is called where it is told that it has changed."""

    def digest(self, hashes: Hashes) -> str:
        """Changes when the content does."""


@dataclass(frozen=True)
class Files:
    """A file, or all files below a folder but hidden ones, by their names in it. What is not there has a hash too."""

    path: Path

    @property
    def name(self) -> str:
        """See :class:`Input`."""
        return str(self.path)

    def digest(self, hashes: Hashes) -> str:
        """See :class:`Input`."""
        if not self.path.exists():
            return "not there"
        if self.path.is_file():
            return hashes.of_file(self.path)
        digest = hashlib.sha256()
        for path in _below(self.path):
            digest.update(
                f"{path.relative_to(self.path).as_posix()}\0{hashes.of_file(path)}\0".encode(errors="replace")
            )
        return digest.hexdigest()


@dataclass(frozen=True)
class PreparedCases:
    """What a stage is trained on: its cases, grid and splits, whatever else lies in the data set."""

    dataset: Path
    stage: Stage

    @property
    def name(self) -> str:
        """See :class:`Input`."""
        return f"the {self.stage} cases of {self.dataset}"

    def digest(self, hashes: Hashes) -> str:
        """See :class:`Input`."""
        index = read_index(self.dataset)
        return stage_fingerprint(index, self.stage, read_splits(self.dataset / SPLITS_NAME))


@dataclass(frozen=True)
class UnlabelledScans:
    """The scans of a data set that nobody has labelled."""

    dataset: Path

    @property
    def name(self) -> str:
        """See :class:`Input`."""
        return f"the unlabelled scans of {self.dataset}"

    def digest(self, hashes: Hashes) -> str:
        """See :class:`Input`."""
        scans = [(entry.name, entry.content) for entry in read_index(self.dataset).cases if entry.labels is None]
        return hashlib.sha256(repr(sorted(scans)).encode()).hexdigest()


@dataclass(frozen=True)
class Text:
    """Something that was typed or decided."""

    name: str
    text: str

    def digest(self, hashes: Hashes) -> str:
        """See :class:`Input`."""
        return self.text


def _below(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _below(path)
        elif path.is_file():
            yield path
