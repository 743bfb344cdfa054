"""Arrays on disk, compressed, of which any part can be read without the rest; and files that appear whole or not."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
import numpy.typing as npt
from attention_dmfnet.geometry import Index

from training.errors import TrainingError

# A patch of 64x96x128 voxels touches few blocks beyond its own, and a block still compresses well: 3 MB for a scan
# at 3 x 2.5 x 2.5 mm, 3 ms to read such a patch on one core.
_CHUNK_ZYX: Index = (32, 64, 64)
_BLOCK_ZYX: Index = (16, 32, 32)
_LEVEL = 5

# numpy.lib.format, version 1.0: magic, length of the header, the header padded with spaces up to a line break
_ROWS = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '<i2', 'fortran_order': False, 'shape': \((\d{1,9}), (\d{1,3})\), \} *",
    re.DOTALL,
)


class CacheError(TrainingError):
    """An array of the cache that is not there, is damaged, or cannot be written."""


def write_array(array: npt.NDArray[Any], path: Path) -> None:
    """Write ``array`` (z, y, x) compressed to a new file. Raises ``CacheError`` if that cannot be done."""
    chunk, block = (
        tuple(min(step, size) for step, size in zip(steps, array.shape, strict=True))
        for steps in (_CHUNK_ZYX, _BLOCK_ZYX)
    )
    # one thread: cases are prepared in several processes, patches are read beside the training
    compression = blosc2.CParams(codec=blosc2.Codec.ZSTD, clevel=_LEVEL, nthreads=1)
    try:
        blosc2.asarray(np.ascontiguousarray(array), urlpath=str(path), chunks=chunk, blocks=block, cparams=compression)
    except (RuntimeError, OSError) as error:
        raise CacheError(f"cannot write {path}: {error}; is the disk full?") from error


class CachedArray:
    """A file made by ``write_array``. Nothing of it stays open or in memory between reads.

    Thousands of cases held open would take 0.1 MB and a file descriptor each, in every worker; opening one takes a
    thirtieth of the time that reading a patch takes. Threads may share it, and it can be pickled.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, start_zyx: Index, shape_zyx: Index, outside: int) -> npt.NDArray[Any]:
        """The box of ``shape_zyx`` voxels from ``start_zyx``, which may lie (partly) beyond the array.

        What is beyond it is ``outside``. Raises ``CacheError``.
        """
        with self._open() as array:
            inside, place = [], []
            for start, size, available in zip(start_zyx, shape_zyx, array.shape, strict=True):
                first, last = min(max(start, 0), available), max(min(start + size, available), 0)
                inside.append(slice(first, max(first, last)))
                place.append(slice(first - start, max(first, last) - start))
            patch: npt.NDArray[Any] = np.full(shape_zyx, outside, array.dtype)
            if all(part.stop > part.start for part in inside):
                patch[tuple(place)] = array[tuple(inside)]
            return patch

    def read_whole(self, shape_zyx: Index) -> npt.NDArray[Any]:
        """All of it. Raises ``CacheError``, also where it has not ``shape_zyx`` voxels."""
        with self._open() as array:
            # before anything is made for it: what says how many voxels there are is another file
            if tuple(array.shape) != tuple(shape_zyx):
                raise ValueError(f"{array.shape} is not {shape_zyx}")
            whole: npt.NDArray[Any] = array[:]
            return whole

    @contextlib.contextmanager
    def _open(self) -> Iterator[Any]:
        """Blosc's array of numbers. What goes wrong within the block is a ``CacheError``, but for lack of memory."""
        try:
            array = blosc2.open(str(self._path), mode="r", mmap_mode="r", dparams=blosc2.DParams(nthreads=1))
            # of a damaged header it makes other things than an array of numbers, too
            if array.dtype.kind not in "iuf":
                raise ValueError(f"{array.dtype} is no number")
            yield array
        except MemoryError:
            raise
        except Exception as error:  # Blosc raises errors of many kinds at a damaged header, a SyntaxError among them
            raise CacheError(
                f"{self._path} is missing or damaged; delete {self._path.parent} and run "
                "`python -m training prepare` again"
            ) from error


def read_rows(path: Path, columns: int) -> npt.NDArray[np.int16]:
    """(n, ``columns``) whole numbers of a file that ``numpy.save`` wrote, through a memory map.

    The header is read here: NumPy raises errors of many kinds at a damaged one. Raises ``OSError``, and ``ValueError``
    for any other content.
    """
    with path.open("rb") as file:
        lead = file.read(1024).partition(b"\n")[0]
        size_bytes = file.seek(0, os.SEEK_END)
    match = _ROWS.fullmatch(lead)
    if match is None or int(match[2]) != columns or len(lead) + 1 + int(match[1]) * columns * 2 != size_bytes:
        raise ValueError("no array of rows of 16-bit numbers")
    if match[1] == b"0":
        return np.empty((0, columns), np.int16)  # there is no map of nothing
    return np.memmap(path, np.dtype("<i2"), "r", len(lead) + 1, (int(match[1]), columns))


@contextlib.contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """A new empty folder that becomes ``folder``, replacing it, when the block ends without an error."""
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_text(text: str, path: Path) -> None:
    """Write a small file: the whole of it, or none. Raises ``CacheError`` if the place cannot be written."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise CacheError(f"cannot write {path}: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
