"""What a header says of when and how a plane was taken: which of several volumes of its series it belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException

_NO_VALUE: Final = (ValueError, TypeError, ArithmeticError, AttributeError, LookupError, BytesLengthException)
"""What pydicom raises on a value that is none of its kind: it tells nothing apart, and the image is still read."""

_TAGS: Final[dict[str, tuple[str, ...]]] = {
    "stack": ("StackID",),
    "time_position": ("TemporalPositionIdentifier", "TemporalPositionIndex", "TemporalPositionTimeOffset"),
    "cardiac_phase": ("NominalPercentageOfCardiacPhase",),
    "trigger": ("TriggerTime", "NominalCardiacTriggerDelayTime"),
    "acquisition": ("AcquisitionNumber", "FrameAcquisitionNumber"),
    "kernel": ("ConvolutionKernel",),
    "voltage": ("KVP",),
    "acquired": ("FrameAcquisitionDateTime", "AcquisitionDateTime", "AcquisitionTime"),
    "content": ("ContentTime",),
    "instance": ("InstanceNumber",),
}
"""Of each field of ``Moment``, the attributes that say it: the first that is there."""

_DAYS: Final = {"AcquisitionTime": "AcquisitionDate", "ContentTime": "ContentDate"}
"""Which attribute has the day of a time: scans go on after midnight."""

MOMENT_TAGS: Final = sorted({*(tag for tags in _TAGS.values() for tag in tags), *_DAYS.values()})
"""What has to be read of a header."""


class Moment(NamedTuple):
    """Each as the header has it, empty where it says nothing."""

    stack: str = ""
    time_position: str = ""
    cardiac_phase: str = ""
    trigger: str = ""
    acquisition: str = ""
    kernel: str = ""
    voltage: str = ""
    acquired: str = ""
    content: str = ""
    instance: str = ""


NO_MOMENT: Final = Moment()

WORDS: Final[dict[str, str]] = {
    "stack": "stack",
    "time_position": "temporal position",
    "cardiac_phase": "percentage of the cardiac cycle",
    "trigger": "trigger time in ms",
    "acquisition": "acquisition number",
    "kernel": "kernel",
    "voltage": "tube voltage in kV",
    "acquired": "acquisition time",
    "content": "content time",
    "instance": "instance number",
}
"""What the fields of ``Moment`` are called."""


def moment_of(places: Sequence[Dataset]) -> Moment:
    """What ``places`` say: the header of an image, or before it the groups of one frame, which count more."""
    return Moment(**{field: _first(places, tags) for field, tags in _TAGS.items()})


def _first(places: Sequence[Dataset], tags: Sequence[str]) -> str:
    for place in places:
        for tag in tags:
            try:
                value, day = place.get(tag), place.get(_DAYS[tag]) if tag in _DAYS else None
            except _NO_VALUE:
                continue
            if value not in (None, ""):
                return f"{day or ''}{value}".strip()
    return ""
