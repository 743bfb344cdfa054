"""The volumes of a series: phases, time points or reconstructions that were stored under one series UID.

A series that makes one regular stack is one volume. Another one is divided by the first thing in its headers that
leaves no two planes at one place. Where nothing does, it stays whole, and reading it says why it is no stack.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from attention_dmfnet.dicom.headers import CT_CLASSES, Frame
from attention_dmfnet.dicom.moment import WORDS
from attention_dmfnet.dicom.series import Part, Series
from attention_dmfnet.dicom.stack import SAME_PLACE_MM, StackError

LEAST_SLICES: Final = 5
"""A stack of fewer slices is no scan."""

_LEAST_SHARE: Final = 0.5
"""One of the volumes has at least so much of the series' places: else it was cut into slabs, not into volumes."""

_SAID: Final = ("stack", "time_position", "cardiac_phase", "trigger", "acquisition", "kernel", "voltage", "acquired")
"""What tells whole volumes apart, the surest first."""

_COUNTED: Final = ("acquired", "content", "instance")
"""What every plane may have a value of its own for: the volumes are the first plane at each place, the second, ..."""

Frames = Sequence[Frame]


def volumes_of(series: Series) -> list[Series]:
    """``series`` itself, or its volumes in their order, each with its ``part``. Headers alone are looked at."""
    frames = [frame for frame in series.frames if "LOCALIZER" not in frame.image_type]
    if len(frames) < 2 * LEAST_SLICES or frames[0].header.sop_class_uid not in CT_CLASSES:
        return [series]
    if any(frame.fault is not None for frame in frames) or _is_stack(series):
        return [series]
    places = _places(frames)
    for divide in (*(_by_value(field) for field in _SAID), *(_by_rank(field, places) for field in _COUNTED)):
        found = divide(frames)
        if len(found) > 1 and _are_volumes([members for _, members in found], frames, places):
            return [
                Series(tuple(members), Part(number, len(found), said))
                for number, (said, members) in enumerate(found, start=1)
            ]
    return [series]


def _is_stack(series: Series) -> bool:
    try:
        return not series.stack.copies
    except StackError:
        return False


def _places(frames: Frames) -> dict[Frame, int]:
    """Where along the normal of the first one each plane lies, in steps of what counts as the same place."""
    normal = np.cross(frames[0].row_lps, frames[0].column_lps)
    along = np.array([frame.position_lps for frame in frames]) @ normal
    order = np.argsort(along, kind="stable")
    numbers = np.empty(len(frames), int)
    numbers[order] = np.cumsum(np.diff(along[order], prepend=along[order[0]]) >= SAME_PLACE_MM)
    return dict(zip(frames, numbers.tolist(), strict=True))


def _by_value(field: str) -> Callable[[Frames], list[tuple[str, list[Frame]]]]:
    def divide(frames: Frames) -> list[tuple[str, list[Frame]]]:
        members: dict[str, list[Frame]] = defaultdict(list)
        for frame in frames:
            members[getattr(frame.moment, field)].append(frame)
        return [(f"{WORDS[field]} {value or 'not given'}", members[value]) for value in sorted(members, key=_in_order)]

    return divide


def _by_rank(field: str, places: dict[Frame, int]) -> Callable[[Frames], list[tuple[str, list[Frame]]]]:
    def divide(frames: Frames) -> list[tuple[str, list[Frame]]]:
        at_place: dict[int, list[Frame]] = defaultdict(list)
        for frame in frames:
            at_place[places[frame]].append(frame)
        values = {place: {getattr(frame.moment, field) for frame in there} for place, there in at_place.items()}
        # one that lacks some planes, or does not tell them apart, says nothing of which volume each belongs to
        if len({len(there) for there in at_place.values()}) > 1 or any(
            "" in values[place] or len(values[place]) < len(there) for place, there in at_place.items()
        ):
            return []
        ranked = [
            sorted(there, key=lambda frame: _in_order(getattr(frame.moment, field))) for there in at_place.values()
        ]
        return [
            (f"{WORDS[field]}, the {_ordinal(rank)} at each place", list(members))
            for rank, members in enumerate(zip(*ranked, strict=True), start=1)
        ]

    return divide


def _are_volumes(found: list[list[Frame]], frames: Frames, places: dict[Frame, int]) -> bool:
    scans = [members for members in found if len(members) >= LEAST_SLICES]
    counts = [Counter(places[frame] for frame in members) for members in found]
    if not scans or max(max(count.values()) for count in counts) > 1:
        return False
    most = len(set(places.values()))
    if max(map(len, counts)) < _LEAST_SHARE * most:
        return False
    # where no two planes were at one place before, dividing has to help
    return most < len(frames) or all(_is_stack(Series(tuple(members))) for members in scans)


def _in_order(value: str) -> tuple[bool, float, str]:
    try:
        return False, float(value), value
    except ValueError:
        return True, 0.0, value


def _ordinal(number: int) -> str:
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
