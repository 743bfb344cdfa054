"""The voxels of a stack in HU: decoded, rescaled plane by plane, padding as air."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any, BinaryIO, Final, cast

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import UID

from attention_dmfnet.dicom import tilt
from attention_dmfnet.dicom.codestream import stated_size
from attention_dmfnet.dicom.headers import PARSE_ERRORS, Frame, one_line
from attention_dmfnet.dicom.quiet import quiet
from attention_dmfnet.dicom.sources import Reader, Source
from attention_dmfnet.dicom.stack import Stack
from attention_dmfnet.files.image_io import AIR_HU
from attention_dmfnet.files.passed_over import INSTALL_DICOM
from attention_dmfnet.geometry import Volume
from attention_dmfnet.notes import Note

Array = npt.NDArray[Any]

AIR_BELOW_HU: Final = -500.0
"""Padding lies outside the body. One that would stand for a brighter value than this is not believed."""

_HU: Final = frozenset({"", "HU", "HU_MOD"})


class PixelError(Exception):
    """Pixels that cannot be read, or are no HU, as a sentence that names the file."""


def refuse_undecodable(stack: Stack) -> None:
    """Raise ``PixelError`` for what is known before a pixel is read to have no decoder, or no HU."""
    for frame in stack.frames:
        header = frame.header
        if header.fault is not None:
            raise PixelError(f"{header.source}: {header.fault}")
        if header.samples != 1:
            raise PixelError(f"{header.source}: {header.samples} values per pixel; a CT has one (is this in colour?)")
        if frame.slope is None or frame.intercept is None:
            raise PixelError(
                f"{header.source}: it has no rescale slope and intercept, without which its values are no HU; "
                "export it again"
            )
        if frame.slope == 0:
            raise PixelError(f"{header.source}: its rescale slope is 0; export it again")
    for syntax in {frame.header.transfer_syntax for frame in stack.frames}:
        _refuse_syntax(syntax, stack)


def _refuse_syntax(syntax: str, stack: Stack) -> None:
    source = next(frame.header.source for frame in stack.frames if frame.header.transfer_syntax == syntax)
    if not syntax:
        raise PixelError(f"{source}: its header names no transfer syntax; export it again")
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        raise PixelError(
            f"{source}: its transfer syntax is {UID(syntax).name}, which holds no CT that can be read; "
            "convert it to Explicit VR Little Endian"
        ) from error
    if not decoder.is_available:
        raise PixelError(f"{source}: it is compressed with {UID(syntax).name}; {INSTALL_DICOM} brings what unpacks it")


def read_voxels(stack: Stack, reader: Reader, notes: list[Note]) -> Volume:
    """The volume of ``stack``, int16 where every value is a whole number that fits, else float32.

    What is to be said about the values is appended to ``notes``. Raises ``PixelError``.
    """
    refuse_undecodable(stack)
    _say(stack, notes)
    planes = {frame: k for k, frame in enumerate(stack.frames)}
    kept = {kept for kept, _ in stack.copies}
    stored_at: dict[Frame, Array] = {}
    array: Array = np.empty(stack.geometry.shape_zyx, dtype=np.int16)
    for frame, stored in _decoded(stack.frames, reader):
        if frame in kept:
            stored_at[frame] = stored
        k = planes[frame]
        values = _upright(in_hu(frame, stored), k, stack)
        if array.dtype == np.int16 and not _fits_int16(values):
            array = array.astype(np.float32)
        array[k] = values
    _refuse_unequal_copies(stack, stored_at, reader)
    return Volume(array, stack.geometry)


def in_hu(frame: Frame, stored: Array) -> Array:
    """``stored`` values as HU (float64, or int32 where slope and intercept are whole); padding is -1024."""
    slope, intercept = frame.slope, frame.intercept
    assert slope is not None
    assert intercept is not None
    whole = slope.is_integer() and intercept.is_integer() and abs(slope) < 100 and abs(intercept) < 1e5
    values: Array = stored.astype(np.int32) * int(slope) + int(intercept) if whole else stored * slope + intercept
    padding = frame.header.padding
    if padding is not None and _is_air(frame):
        values[(stored >= padding[0]) & (stored <= padding[1])] = AIR_HU
    return values


def _is_air(frame: Frame) -> bool:
    """Whether the padding stands for something as dark as air, so that it can be outside of the body."""
    assert frame.header.padding is not None
    assert frame.slope is not None
    assert frame.intercept is not None
    return max(value * frame.slope + frame.intercept for value in frame.header.padding) < AIR_BELOW_HU


def _say(stack: Stack, notes: list[Note]) -> None:
    kinds = {frame.rescale_type for frame in stack.frames} - _HU
    if kinds:
        notes.append(
            Note("dicom-rescale-type", f"the header says that the values are {', '.join(sorted(kinds))}, not HU")
        )
    if any(frame.header.lossy for frame in stack.frames):
        notes.append(Note("dicom-lossy", "the images were compressed with loss"))
    if any(frame.header.padding is not None and not _is_air(frame) for frame in stack.frames):
        text = "the header's padding value would be tissue, not air; it was not believed"
        notes.append(Note("dicom-padding", text))


def _upright(values: Array, k: int, stack: Stack) -> Array:
    if stack.shift_yx is None:
        return values
    _, y, x = stack.geometry.shape_zyx
    result = tilt.moved(values, stack.shift_yx[k], (y, x), AIR_HU)
    return np.rint(result) if np.issubdtype(values.dtype, np.integer) else result


def _decoded(frames: tuple[Frame, ...], reader: Reader) -> Iterator[tuple[Frame, Array]]:
    """Each frame with its stored values; those of one file after each other."""
    by_source: dict[Source, list[Frame]] = {}
    for frame in frames:
        by_source.setdefault(frame.header.source, []).append(frame)
    for source, members in by_source.items():
        indices = None if members[0].index is None else [frame.index or 0 for frame in members]
        try:
            with quiet, reader.open_whole(source) as file:
                image = _checked_streams(source, file, members) if _is_compressed(members[0]) else cast(BinaryIO, file)
                for frame, stored in zip(members, iter_pixels(image, indices=indices), strict=True):
                    shape = (frame.header.rows, frame.header.columns)
                    if stored.shape != shape or stored.dtype.kind not in "iu":
                        raise PixelError(f"{source}: its pixels are not those that its header says; copy it again")
                    yield frame, stored
        except PARSE_ERRORS as error:
            raise PixelError(f"{source}: its pixels cannot be read ({one_line(error)}); copy it again") from error


def _is_compressed(frame: Frame) -> bool:
    return UID(frame.header.transfer_syntax).is_encapsulated


def _checked_streams(source: Source, file: IO[bytes], members: list[Frame]) -> Dataset:
    """The whole image, none of whose compressed frames says that it is larger than the header does."""
    image = pydicom.dcmread(file, force=True)
    header = members[0].header
    count = int(image.get("NumberOfFrames") or 1)
    for stream in generate_frames(image.PixelData, number_of_frames=count):
        rows, columns = stated_size(stream) or (0, 0)
        if rows > header.rows or columns > header.columns:
            raise PixelError(
                f"{source}: a compressed frame says {columns} x {rows} pixels, its header {header.columns} x "
                f"{header.rows}; copy it again"
            )
    return image


def _refuse_unequal_copies(stack: Stack, stored_at: dict[Frame, Array], reader: Reader) -> None:
    pairs = {copy: kept for kept, copy in stack.copies}
    for copy, stored in _decoded(tuple(pairs), reader):
        kept = pairs[copy]
        same = (copy.slope, copy.intercept) == (kept.slope, kept.intercept)
        if not same or not np.array_equal(stored, stored_at[kept]):
            raise PixelError(
                f"{copy.header.source} and {kept.header.source} are different images at one place; the series holds "
                "several scans (phases?): give the files of one"
            )


def _fits_int16(values: Array) -> bool:
    limits = np.iinfo(np.int16)
    if values.min() < limits.min or values.max() > limits.max:
        return False
    return bool(np.issubdtype(values.dtype, np.integer) or np.array_equal(values, np.rint(values)))
