"""Whether a scan's values are Hounsfield units: air is -1000, fat -100, water 0, an organ 20 to 250.

A few ten thousand voxels, evenly spread, are looked at: that costs next to nothing, and what is no CT is none
everywhere.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from attention_dmfnet.notes import Note

Array = npt.NDArray[Any]

FAT_HU: Final = -50.0
"""A scan in HU shows fat at least: it has values below this. Scans that lost their intercept begin at 0."""

OFFSET_HU: Final = 1024
"""What is added to HU where they are stored without a sign."""

_EIGHT_BITS: Final = 255.0
_SCORES: Final = 60.0
_SAMPLE_SIDE: Final = 40

# of HU + 1024: soft tissue and fat; all that is neither air nor lung; where most voxels are
_SOFT: Final = (OFFSET_HU - 150, OFFSET_HU + 250)
_BODY: Final = OFFSET_HU - 424
_DENSEST: Final = (OFFSET_HU - 140, OFFSET_HU + 150)
_LEAST_SOFT, _LEAST_BODY = 0.8, 0.1
_BIN, _BRIGHTEST = 10, 3000
_SOME_BODY_HU: Final = -300.0
_AIR_ALONE_HU: Final = -800.0
_FULL_OF_BODY: Final = 0.1

# a lung's values spread by more, and a window that ends at fat does no harm
_NEITHER_AIR_NOR_FAT: Final = (-900.0, -250.0)
_ALIKE_HU: Final = 30.0
_MUCH: Final = 0.1


def check_values(array: Array) -> tuple[Array, list[Note]]:
    """``array`` in HU, and what is to be said about its values.

    Values that are HU + 1024 are corrected (a new array); what else is no HU is left as it is, with a note.
    """
    sample = _sample(array)
    if _has_offset(sample):
        # below 0 there is only padding, and some of it would leave int16
        shifted = np.maximum(array, array.dtype.type(0)) - array.dtype.type(OFFSET_HU)
        offset = Note("values-offset-1024", "the values are HU + 1024; 1024 was subtracted")
        return shifted, [offset, *_empty_slices(shifted)]
    if not_hu(float(sample.min()), float(sample.max())) is None:
        elsewhere = _air_elsewhere(sample)
        return array, [*([] if elsewhere is None else [elsewhere]), *_empty_slices(array)]
    # a sample can miss the one bright organ or the sliver of air: only here is every voxel looked at
    note = not_hu(float(array.min()), float(array.max()))
    return array, [] if note is None else [note]


def not_hu(low: float, high: float) -> Note | None:
    """What values from ``low`` to ``high`` are instead of HU; None if they can be HU."""
    if low == high:
        return Note("values-constant", f"every voxel is {low:g}: the scan is empty")
    if high - low < _SCORES and low > -_SCORES:
        text = f"the values are no HU: they go from {low:.3g} to {high:.3g}, as normalised ones do; "
        return Note("values-scaled", f"{text}convert the scan from DICOM again")
    if low >= 0 and high <= _EIGHT_BITS:
        text = f"the values are no HU: they go from {low:g} to {high:g}, as a picture's do; "
        return Note("values-eight-bit", f"{text}convert the scan from DICOM again, without a window")
    if low > FAT_HU:
        text = (
            f"the values are no HU: none is below {low:g}, but air is -1000 and fat -100; "
            "is it MR or PET, or without its rescale intercept (most often -1024)?"
        )
        return Note("values-no-hu", text)
    if high < _SOME_BODY_HU:
        return Note("values-no-body", f"no value is above {high:g} HU: there is no body, or the intercept is wrong")
    return None


def _air_elsewhere(sample: Array) -> Note | None:
    """Whether much of the scan has one dark value that is neither air nor fat, as air has where a slope was lost."""
    # of a hundred voxels the darkest: single ones are padding or metal's shadows
    rank = sample.size // 100
    darkest = float(np.partition(sample, rank, axis=None)[rank])
    low, high = _NEITHER_AIR_NOR_FAT
    if not low < darkest < high or np.count_nonzero(np.abs(sample - darkest) < _ALIKE_HU) < _MUCH * sample.size:
        return None
    text = f"much of the scan is at {darkest:.0f} HU, where air is -1000; was a slope lost, or is it cut to a window?"
    return Note("values-air", text)


def _empty_slices(array: Array) -> list[Note]:
    """Whether slices of air alone lie between others, or at an end of the scan beside one that is full of body.

    Slices are the planes that lie apart in memory. Where a body ends by itself, its last slice shows little of it.
    """
    slices = np.moveaxis(array, int(np.argmax(np.abs(array.strides))), 0)
    sample = _sample(slices, axes=(1, 2))
    brightest = sample.max(axis=(1, 2))
    body = np.flatnonzero(brightest > _SOME_BODY_HU)
    if not body.size:
        return []
    first, last = int(body[0]), int(body[-1])
    empty = brightest < _AIR_ALONE_HU
    notes = []
    gaps = int(np.count_nonzero(empty[first:last]))
    if gaps:
        text = f"{gaps} of {len(slices)} slices, between others that show a body, hold air alone: are images missing?"
        notes.append(Note("values-gaps", text))
    ends = [(first, empty[:first]), (last, empty[last + 1 :])]
    cut = sum(
        beyond.size
        for at, beyond in ends
        if beyond.size and beyond.all() and np.mean(sample[at] > _SOME_BODY_HU) > _FULL_OF_BODY
    )
    if cut:
        text = f"{cut} of {len(slices)} slices, at an end and right beside a body, hold air alone: organs are cut there"
        notes.append(Note("values-padded", text))
    return notes


def _has_offset(values: Array) -> bool:
    """Whether ``values`` are HU + 1024: all but air and lung lies where fat and soft tissue are then, and densest so.

    In HU nothing but bone and metal is so bright, and that is never a tenth of a scan.
    """
    body = values[values > _BODY]
    if body.size < _LEAST_BODY * values.size:
        return False
    low, high = _SOFT
    if np.count_nonzero((body >= low) & (body <= high)) < _LEAST_SOFT * body.size:
        return False
    counts = np.bincount((np.minimum(body - _BODY, _BRIGHTEST) / _BIN).astype(np.intp))
    low, high = _DENSEST
    return bool(low <= _BODY + (counts.argmax() + 0.5) * _BIN <= high)


def _sample(array: Array, axes: tuple[int, ...] = (0, 1, 2)) -> Array:
    """Some forty places along each of the ``axes``, all along the others."""
    return array[
        tuple(
            slice(size % -(-size // _SAMPLE_SIDE) // 2, None, -(-size // _SAMPLE_SIDE)) if axis in axes else slice(None)
            for axis, size in enumerate(array.shape)
        )
    ]
