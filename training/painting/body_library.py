"""Hundreds of bodies in a folder of plain arrays, mapped into memory: all processes share what they read of them.

``NAME.tissues.npy`` (uint8) and ``NAME.known.npy`` (uint8: the organs that it teaches) for each body,
``NAME.hu.npy`` (int16) for those a real CT was warped along with, and ``NAME.undrawn.npy`` (uint8) where nobody drew
some organs. Libraries of release 0.10.0 and before have no ``NAME.known.npy``: of their bodies all organs count as
taught.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt

from training.errors import TrainingError
from training.painting.anatomy import TissueMap
from training.painting.bodies import DamagedBodyError, read_tissues
from training.painting.completion import Body
from training.painting.tissue import NO_HU

_MADE_OF = "made_of.json"
_TISSUES, _HU, _KNOWN, _UNDRAWN = ".tissues.npy", ".hu.npy", ".known.npy", ".undrawn.npy"


class BodyLibrary(Sequence[Body]):
    """The bodies of a folder by name; each is opened when it is asked for, and only its address is sent to workers."""

    def __init__(self, folder: Path) -> None:
        """Raises ``TrainingError`` if ``folder`` holds no body."""
        self.folder = folder
        self.names = sorted(path.name.removesuffix(_TISSUES) for path in folder.glob(f"*{_TISSUES}"))
        if not self.names:
            raise TrainingError(
                f"no body library in {folder}; run `python -m training recombine BODIES --to {folder}` first"
            )
        self._opened: dict[int, Body] = {}
        self._nothing = np.zeros(0, np.int16)

    def __reduce__(self) -> tuple[type[BodyLibrary], tuple[Path]]:
        return BodyLibrary, (self.folder,)

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, which: int) -> Body: ...
    @overload
    def __getitem__(self, which: slice) -> list[Body]: ...
    def __getitem__(self, which: int | slice) -> Body | list[Body]:
        """Its arrays are read only."""
        if isinstance(which, slice):
            return [self[number] for number in range(*which.indices(len(self)))]
        number = range(len(self))[which]
        if number not in self._opened:
            self._opened[number] = self._open(self.names[number])
        return self._opened[number]

    def _open(self, name: str) -> Body:
        try:
            return self._read(name)
        except (OSError, ValueError, EOFError) as error:
            raise DamagedBodyError(
                f"{self.folder / name}{_TISSUES}, or a file beside it, holds no whole body ({error}); delete "
                f"{self.folder / name}.*.npy and make it again with `python -m training recombine BODIES --to "
                f"{self.folder}`"
            ) from error

    def _read(self, name: str) -> Body:
        # plain views of the maps: compiled code takes no np.memmap
        tissues: TissueMap = np.asarray(np.load(self.folder / f"{name}{_TISSUES}", mmap_mode="r"))
        with_hu, with_known, with_undrawn = (self.folder / f"{name}{kind}" for kind in (_HU, _KNOWN, _UNDRAWN))
        hu = np.asarray(np.load(with_hu, mmap_mode="r")) if with_hu.exists() else self._without_hu(tissues.shape)
        undrawn = frozenset(np.load(with_undrawn).tolist()) if with_undrawn.exists() else frozenset()
        body = Body(name, tissues, hu, undrawn=undrawn)
        return replace(body, known=frozenset(np.load(with_known).tolist())) if with_known.exists() else body

    def _without_hu(self, shape: tuple[int, ...]) -> npt.NDArray[np.int16]:
        """One array serves all bodies without HU."""
        count = int(np.prod(shape))
        if count > self._nothing.size:
            self._nothing = np.full(count, NO_HU, np.int16)
            self._nothing.flags.writeable = False
        return self._nothing[:count].reshape(shape)


def is_library(folder: Path) -> bool:
    """Whether ``write_library`` has put bodies there."""
    return any(folder.glob(f"*{_TISSUES}"))


def open_library(folder: Path) -> BodyLibrary:
    """The bodies that ``write_library`` put in ``folder``. Raises ``TrainingError`` if there are none."""
    return BodyLibrary(folder)


def write_library(bodies: Iterable[Body], folder: Path) -> list[str]:
    """Add ``bodies`` to ``folder``, one after the other; returns their names. One of the same name is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for body in bodies:
        # the tissues last: a body counts once they are there
        _write(np.array(sorted(body.known), np.uint8), folder / f"{body.name}{_KNOWN}")
        undrawn = np.array(sorted(body.undrawn), np.uint8) if body.undrawn else None
        _write(undrawn, folder / f"{body.name}{_UNDRAWN}")
        _write(body.hu if (body.hu != NO_HU).any() else None, folder / f"{body.name}{_HU}")
        _write(body.tissues, folder / f"{body.name}{_TISSUES}")
        names.append(body.name)
    return names


def body_hashes(paths: Iterable[Path]) -> dict[str, str]:
    """By name of a body's file: a hash of the tissues in it."""
    return {path.stem: hashlib.sha256(read_tissues(path).tobytes()).hexdigest()[:16] for path in paths}


def claim_library(folder: Path, made_of: dict[str, str]) -> None:
    """Note in ``folder`` of which bodies it is made. Further bodies may join; the same ones must still be there.

    Raises ``TrainingError`` for a library of other bodies, and for one that does not tell.
    """
    note = folder / _MADE_OF
    if is_library(folder) or note.exists():
        try:
            before = json.loads(note.read_text())
        except (OSError, ValueError) as error:
            raise TrainingError(
                f"the library {folder} does not tell which bodies it was made of; name a new folder with --to"
            ) from error
        others = sorted(name for name, content in before.items() if made_of.get(name) != content)
        if others:
            more = f" and {len(others) - 1} more" if len(others) > 1 else ""
            raise TrainingError(
                f"the library {folder} was made of other bodies ({others[0]}{more} differs or is missing); name a new "
                "folder with --to"
            )
    folder.mkdir(parents=True, exist_ok=True)
    part = note.with_name(f"{note.name}.part")
    part.write_text(json.dumps(made_of, indent=1))
    part.rename(note)


def _write(array: npt.NDArray[np.generic] | None, path: Path) -> None:
    if array is None:
        path.unlink(missing_ok=True)
        return
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with part.open("wb") as file:
        np.save(file, np.ascontiguousarray(array))
    part.rename(path)
