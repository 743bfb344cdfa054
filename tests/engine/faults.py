"""Faults on purpose: the Nth call of one kind fails, everywhere below one folder, and nothing else does.

A sweep counts N up until a run meets no fault any more: then every call of the kind has failed once.
"""

import _thread
import builtins
import errno
import io
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attention_dmfnet import threads
from attention_dmfnet.files import nifti_voxels, nifti_writing


@dataclass
class Fault:
    """The ``nth`` call that asks for ``due`` fails; ``struck`` tells whether there was one."""

    nth: int
    error: Callable[[], BaseException]
    calls: int = 0
    lock: Any = field(default_factory=threading.Lock)

    @property
    def struck(self) -> bool:
        return self.calls >= self.nth

    def due(self) -> bool:
        with self.lock:
            self.calls += 1
            return self.calls == self.nth

    def strike(self) -> None:
        if self.due():
            raise self.error()


def os_error(number: int) -> Callable[[], OSError]:
    return lambda: OSError(number, os.strerror(number))


def _below(folder: Path, place: object) -> bool:
    # a directory's or file's name; numbers are descriptors of what was opened before
    return isinstance(place, str | bytes | os.PathLike) and os.fsdecode(place).startswith(str(folder))


def _failing(patch: pytest.MonkeyPatch, module: Any, name: str, folder: Path, fault: Fault, wanted: Any = None) -> None:
    whole = getattr(module, name)

    def call(*given: Any, **named: Any) -> Any:
        if any(_below(folder, place) for place in given[:2]) and (wanted is None or wanted(*given, **named)):
            fault.strike()
        return whole(*given, **named)

    patch.setattr(module, name, call)


class _Stream:
    """A file whose reads or writes may fail."""

    def __init__(self, file: Any, fault: Fault) -> None:
        self._file, self._fault = file, fault

    def __getattr__(self, name: str) -> Any:
        whole = getattr(self._file, name)
        if name not in ("read", "readinto", "readline", "write"):
            return whole

        def call(*given: Any) -> Any:
            self._fault.strike()
            return whole(*given)

        return call

    def __enter__(self) -> "_Stream":
        return self

    def __exit__(self, *given: object) -> None:
        self._file.close()


def opening(patch: pytest.MonkeyPatch, folder: Path, fault: Fault) -> None:
    """``open`` in both of Python's forms."""
    for module, name in ((builtins, "open"), (io, "open"), (os, "open")):
        _failing(patch, module, name, folder, fault)


def reading(patch: pytest.MonkeyPatch, folder: Path, fault: Fault) -> None:
    """Each piece that is read from a file."""
    whole = io.open

    def call(*given: Any, **named: Any) -> Any:
        file = whole(*given, **named)
        return _Stream(file, fault) if _below(folder, given[0]) else file

    patch.setattr(io, "open", call)
    patch.setattr(builtins, "open", call)


def listing(patch: pytest.MonkeyPatch, folder: Path, fault: Fault) -> None:
    """Looking into folders."""
    for name in ("listdir", "scandir"):
        _failing(patch, os, name, folder, fault)


def renaming(patch: pytest.MonkeyPatch, folder: Path, fault: Fault) -> None:
    for name in ("rename", "replace"):
        _failing(patch, os, name, folder, fault)


def removing(patch: pytest.MonkeyPatch, folder: Path, fault: Fault) -> None:
    for name in ("unlink", "remove"):
        _failing(patch, os, name, folder, fault)


def making_folders(patch: pytest.MonkeyPatch, folder: Path, fault: Fault) -> None:
    _failing(patch, os, "mkdir", folder, fault)


def allocating(patch: pytest.MonkeyPatch, folder: Path, fault: Fault) -> None:
    """Arrays of NumPy's, by the engine's own calls: each line that makes one counts once, there are hundreds a scan."""
    seen: set[tuple[str, int]] = set()
    for name in ("empty", "zeros", "full", "ascontiguousarray", "concatenate", "stack"):
        whole = getattr(np, name)

        def call(*given: Any, whole: Any = whole, **named: Any) -> Any:
            caller = sys._getframe(1)
            place = (caller.f_code.co_filename, caller.f_lineno)
            if "attention_dmfnet" in place[0] and place not in seen:
                seen.add(place)
                fault.strike()
            return whole(*given, **named)

        patch.setattr(np, name, call)


def starting_threads(patch: pytest.MonkeyPatch, folder: Path, fault: Fault) -> None:
    whole = _thread.start_new_thread

    def start(function: Callable[..., object], given: tuple[object, ...]) -> int:
        fault.strike()
        return whole(function, given)

    patch.setattr(threads, "start_new_thread", start)


def unpacking(patch: pytest.MonkeyPatch, folder: Path, fault: Fault) -> None:
    """Memory for the inflater."""
    _allocating_deflate(patch, nifti_voxels, fault)


def packing(patch: pytest.MonkeyPatch, folder: Path, fault: Fault) -> None:
    """Memory for the packer."""
    _allocating_deflate(patch, nifti_writing, fault)


def _allocating_deflate(patch: pytest.MonkeyPatch, module: Any, fault: Fault) -> None:
    whole = module._deflate

    class Deflate:
        error = whole.error

        @staticmethod
        def decompressobj(*given: Any) -> Any:
            fault.strike()
            return whole.decompressobj(*given)

        @staticmethod
        def compressobj(*given: Any) -> Any:
            fault.strike()
            return whole.compressobj(*given)

    patch.setattr(module, "_deflate", Deflate)


NO_SPACE = os_error(errno.ENOSPC)
BROKEN = os_error(errno.EIO)
FORBIDDEN = os_error(errno.EACCES)
TOO_MANY = os_error(errno.EMFILE)

KINDS: dict[str, tuple[Callable[[pytest.MonkeyPatch, Path, Fault], None], Callable[[], BaseException]]] = {
    "open, no space": (opening, NO_SPACE),
    "open, disk broken": (opening, BROKEN),
    "open, forbidden": (opening, FORBIDDEN),
    "open, too many files": (opening, TOO_MANY),
    "read, disk broken": (reading, BROKEN),
    "read, no memory": (reading, MemoryError),
    "list, forbidden": (listing, FORBIDDEN),
    "list, too many files": (listing, TOO_MANY),
    "rename, no space": (renaming, NO_SPACE),
    "rename, disk broken": (renaming, BROKEN),
    "remove, forbidden": (removing, FORBIDDEN),
    "mkdir, no space": (making_folders, NO_SPACE),
    "mkdir, forbidden": (making_folders, FORBIDDEN),
    "array, no memory": (allocating, MemoryError),
    "thread, too many": (starting_threads, lambda: RuntimeError("can't start new thread")),
    "inflater, no memory": (unpacking, MemoryError),
    "packer, no memory": (packing, MemoryError),
}
"""Each kind of fault: how it is set up, and the error it raises."""
