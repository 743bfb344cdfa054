"""The planes of a series in the order of their positions, and the grid that they make.

Names of files and numbers of instances are not looked at: they may be in any order. What makes no regular grid is
refused by name; a tilted gantry makes one whose planes are shifted against each other, which ``tilt`` sets right.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from attention_dmfnet.dicom.headers import Frame
from attention_dmfnet.geometry import Geometry, Triple
from attention_dmfnet.notes import Note

Array = npt.NDArray[np.float64]

SAME_PLACE_MM: Final = 0.01
"""Two planes no further apart are at the same place."""

OFF_LINE_MM: Final = 0.1
"""So far a plane may lie from where a regular grid has it: scanners round positions to a tenth of a millimetre."""

OFF_LINE_SHARE: Final = 0.1
"""The same, as a share of the distance between planes."""

UPRIGHT_PIXELS: Final = 0.1
"""A stack whose planes shift by less, from the first to the last, is at right angles."""

SAME_DIRECTION: Final = 1e-3
SAME_SPACING: Final = 1e-4

MOST_SIDE: Final = 4096
"""No CT has more rows or columns; the largest matrices have 2048."""


class StackError(Exception):
    """Planes that make no regular grid, as a clause with what to do."""


@dataclass(frozen=True, eq=False)
class Stack:
    """``frames`` from the first plane to the last along the normal, plane k of the volume lying in that of frame k.

    ``geometry`` is the grid of the volume. Where the gantry was tilted, plane k of the scan begins ``shift_yx[k]``
    voxels after that of the volume; else ``shift_yx`` is None. ``copies`` are pairs of a kept frame and another one at
    its place: their pixels have to be equal.
    """

    frames: tuple[Frame, ...]
    geometry: Geometry
    shift_yx: Array | None
    copies: tuple[tuple[Frame, Frame], ...]
    notes: tuple[Note, ...]


def place_frames(frames: Sequence[Frame]) -> Stack:
    """Put ``frames`` in order. Raises ``StackError``."""
    images = [frame for frame in frames if "LOCALIZER" not in frame.image_type] or list(frames)
    notes = []
    if len(images) < len(frames):
        notes.append(Note("dicom-localizer", f"{len(frames) - len(images)} localizers in the series were left out"))
    _refuse_mixtures(images)
    row, column = (np.array(axis) for axis in (images[0].row_lps, images[0].column_lps))
    normal = np.cross(row, column)
    normal /= np.linalg.norm(normal)
    images = sorted(images, key=lambda frame: (float(normal @ frame.position_lps), frame.header.sop_instance_uid))
    kept, copies = _without_copies(images, normal)
    if copies:
        notes.append(Note("dicom-duplicates", f"{len(copies)} images are there twice and were read once"))
    if len(kept) < 2:
        raise StackError("it has one slice; a scan needs at least two")
    places = np.array([frame.position_lps for frame in kept])
    step_mm = _step(places @ normal)
    shift_yx, angle = _shift(places, row, column, step_mm, kept[0].spacing_yx)
    if shift_yx is not None:
        text = f"the gantry was tilted by {angle:.1f} degrees; the scan was resampled to a grid at right angles"
        notes.append(Note("dicom-tilt", text))
    geometry, shift_yx = _grid(kept, np.array([normal, column, row]), step_mm, shift_yx)
    return Stack(tuple(kept), geometry, shift_yx, tuple(copies), tuple(notes))


def _refuse_mixtures(frames: Sequence[Frame]) -> None:
    faults = Counter(frame.fault for frame in frames if frame.fault is not None)
    if faults:
        fault, count = faults.most_common(1)[0]
        raise StackError(f"{count} of its {len(frames)} images have no place in the patient ({fault}); export it again")
    sizes = Counter(f"{frame.header.columns} x {frame.header.rows}" for frame in frames)
    if len(sizes) > 1:
        raise StackError(f"its images have several sizes ({_counted(sizes)}); give those of one size")
    header = frames[0].header
    if not (0 < header.rows <= MOST_SIDE and 0 < header.columns <= MOST_SIDE):
        raise StackError(f"its images have {header.columns} x {header.rows} pixels, which no CT has; export it again")
    first = frames[0]
    directions = Counter(
        "one way" if _near((*first.row_lps, *first.column_lps), (*frame.row_lps, *frame.column_lps)) else "another way"
        for frame in frames
    )
    if len(directions) > 1:
        raise StackError(f"its images lie in several directions ({_counted(directions)}); give those of one direction")
    if any(not np.allclose(frame.spacing_yx, first.spacing_yx, rtol=SAME_SPACING, atol=0) for frame in frames):
        spacings = Counter("{1:.4g} x {0:.4g} mm".format(*frame.spacing_yx) for frame in frames)
        raise StackError(f"its images have several pixel spacings ({_counted(spacings)}); give those of one spacing")


def _near(first: Iterable[float], second: Iterable[float]) -> bool:
    return all(abs(a - b) <= SAME_DIRECTION for a, b in zip(first, second, strict=True))


def _counted(kinds: Counter[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(3))


def _without_copies(frames: Sequence[Frame], normal: Array) -> tuple[list[Frame], list[tuple[Frame, Frame]]]:
    kept: list[Frame] = []
    copies: list[tuple[Frame, Frame]] = []
    for frame in frames:
        along = float(normal @ frame.position_lps)
        if kept and along - float(normal @ kept[-1].position_lps) < SAME_PLACE_MM:
            if math.dist(frame.position_lps, kept[-1].position_lps) > SAME_PLACE_MM:
                raise StackError(f"two of its images lie side by side, at {along:g} mm; give those of one stack")
            copies.append((kept[-1], frame))
        else:
            kept.append(frame)
    return kept, copies


def _step(along_mm: Array) -> float:
    """The distance between planes, which lie at ``along_mm``. Raises ``StackError`` if there is not one."""
    count = len(along_mm)
    step_mm = float(along_mm[-1] - along_mm[0]) / (count - 1)
    off_mm = np.abs(along_mm - (along_mm[0] + step_mm * np.arange(count)))
    if off_mm.max() <= min(OFF_LINE_MM, OFF_LINE_SHARE * step_mm):
        return step_mm
    steps = np.diff(along_mm)
    usual = float(np.median(steps))
    in_steps = np.rint(steps / usual)
    tolerance = max(2 * OFF_LINE_MM, OFF_LINE_SHARE * usual)
    if in_steps.min() >= 1 and np.abs(steps - in_steps * usual).max() <= tolerance and in_steps.max() > 1:
        missing, at = int((in_steps - 1).sum()), int(in_steps.argmax())
        raise StackError(
            f"{missing} slice{'s are' if missing > 1 else ' is'} missing, the first between {along_mm[at]:g} and "
            f"{along_mm[at + 1]:g} mm; send the whole series again"
        )
    raise StackError(
        f"its slices are {steps.min():.4g} to {steps.max():.4g} mm apart; give those of one distance, "
        "or resample it to one"
    )


def _shift(
    places: Array, row: Array, column: Array, step_mm: float, spacing_yx: tuple[float, float]
) -> tuple[Array | None, float]:
    """How many pixels each plane is shifted against the first along y and x, and the angle of tilt in degrees."""
    moved = places - places[0]
    yx_mm = np.stack([moved @ column, moved @ row], axis=1)
    planes = np.arange(len(places))[:, None]
    per_plane = yx_mm[-1] / planes[-1]
    off_mm = float(np.abs(yx_mm - planes * per_plane).max())
    if off_mm > OFF_LINE_MM:
        raise StackError(f"its slices lie up to {off_mm:.3g} mm beside each other; give those of one stack")
    shift = planes * per_plane / np.array(spacing_yx)
    if np.abs(shift).max() < UPRIGHT_PIXELS:
        return None, 0.0
    return shift, math.degrees(math.atan2(float(np.linalg.norm(per_plane)), step_mm))


def _grid(
    frames: Sequence[Frame], axes: Array, step_mm: float, shift_yx: Array | None
) -> tuple[Geometry, Array | None]:
    """The grid at right angles that holds every plane, and the shifts against it. Pixels of the first plane stay."""
    header, (y_mm, x_mm) = frames[0].header, frames[0].spacing_yx
    size, start = np.array([header.rows, header.columns]), np.zeros(2)
    if shift_yx is not None:
        start = np.floor(shift_yx.min(axis=0) + 1e-6)
        size = size + (np.ceil(shift_yx.max(axis=0) - 1e-6) - start).astype(np.int64)
        shift_yx = shift_yx - start
    origin = np.array(frames[0].position_lps) + axes[1] * start[0] * y_mm + axes[2] * start[1] * x_mm
    along_z, along_y, along_x = (_triple(axis) for axis in axes)
    shape = (len(frames), int(size[0]), int(size[1]))
    geometry = Geometry(shape, (step_mm, y_mm, x_mm), _triple(origin), (along_z, along_y, along_x))
    return geometry, shift_yx


def _triple(values: Any) -> Triple:
    # + 0.0 turns negative zeros into zeros
    x, y, z = (float(value) + 0.0 for value in values)
    return (x, y, z)
