"""Hundreds of bodies in a folder of plain arrays, mapped into memory: all processes share what they read of them.

``NAME.tissues.npy`` (uint8) and ``NAME.known.npy`` (uint8: the organs that it teaches) for each body, and
``NAME.hu.npy`` (int16) for those a real CT was warped along with. Libraries before release 0.11.0 have no
``NAME.known.npy``: of their bodies all organs count as taught.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt

from training.errors import TrainingError
from training.painting.anatomy import TissueMap
from training.painting.completion import Body
from training.painting.tissue import NO_HU

_TISSUES, _HU, _KNOWN = ".tissues.npy", ".hu.npy", ".known.npy"


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
        # plain views of the maps: compiled code takes no np.memmap
        tissues: TissueMap = np.asarray(np.load(self.folder / f"{name}{_TISSUES}", mmap_mode="r"))
        with_hu, with_known = (self.folder / f"{name}{kind}" for kind in (_HU, _KNOWN))
        hu = np.asarray(np.load(with_hu, mmap_mode="r")) if with_hu.exists() else self._without_hu(tissues.shape)
        body = Body(name, tissues, hu)
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
        _write(body.hu if (body.hu != NO_HU).any() else None, folder / f"{body.name}{_HU}")
        _write(body.tissues, folder / f"{body.name}{_TISSUES}")
        names.append(body.name)
    return names


def _write(array: npt.NDArray[np.generic] | None, path: Path) -> None:
    if array is None:
        path.unlink(missing_ok=True)
        return
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with part.open("wb") as file:
        np.save(file, np.ascontiguousarray(array))
    part.rename(path)
