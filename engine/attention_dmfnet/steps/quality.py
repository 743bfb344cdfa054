"""Whether the organs that were found can be those of an adult: what cannot is noted, and nothing is changed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from attention_dmfnet.adult_volumes import ADULT_VOLUMES
from attention_dmfnet.geometry import Box, Geometry, Triple
from attention_dmfnet.notes import Note
from attention_dmfnet.steps.components import Kept
from attention_dmfnet.steps.roi import SIDES, listed

CLEARLY_MM: Final = 10.0
"""A scan that cuts an organ moves its centre: only what lies so far apart is judged."""

ORDER: Final[tuple[tuple[str, str, int, str], ...]] = (
    ("right kidney", "left kidney", 0, "the right kidney lies to the left of the left kidney"),
    ("right adrenal gland", "left adrenal gland", 0, "the right adrenal gland lies to the left of the left one"),
    ("liver", "spleen", 0, "the liver lies to the left of the spleen"),
    ("pancreas", "right kidney", 1, "the right kidney lies in front of the pancreas"),
    ("pancreas", "left kidney", 1, "the left kidney lies in front of the pancreas"),
    ("right kidney", "right adrenal gland", 2, "the right kidney lies above its adrenal gland"),
    ("left kidney", "left adrenal gland", 2, "the left kidney lies above its adrenal gland"),
)
"""(organ, organ, LPS axis, what it is called when the first one's centre is the farther along it)."""

_AXIS_CODES: Final = ("sides-exchanged", "front-and-back-exchanged", "upside-down")
_KIDNEYS_ABOVE_LIVER_MM: Final = 30.0
_LEAST_ORGANS: Final = 5
_MOST_ODD_VOLUMES: Final = 6
RUNS_THROUGH: Final = frozenset({"aorta", "inferior vena cava", "esophagus"})
"""Organs that leave every scan of an abdomen."""


def judge(
    organs: Mapping[str, Kept],
    volumes_ml: Mapping[str, float],
    roi: Box,
    scan: Geometry,
    wanted: Collection[str] | None = None,
) -> tuple[Note, ...]:
    """What of the ``organs`` is not as it is in adults; indices are within ``roi``, a box of the canonical ``scan``.

    ``volumes_ml`` has every organ, 0 where it was not found. Where hardly any organ was found, or most of them have
    volumes of no adult, one note says that, and none says it of each organ. Notes on single organs are of those
    ``wanted`` alone (None: all); notes on the scan as a whole rest on every organ.
    """
    if len(organs) < min(_LEAST_ORGANS, len(volumes_ml)):
        text = f"only {len(organs)} of {len(volumes_ml)} organs were found: is it a scan of the abdomen?"
        return (Note("not-an-abdomen", text),)
    edges = {organ: _edges(kept, roi, scan) for organ, kept in organs.items()}
    odd = {
        organ: note
        for organ in organs
        if (note := _odd_volume(organ, volumes_ml[organ], bool(edges[organ]))) is not None
    }
    of = volumes_ml if wanted is None else wanted
    volumes = [note for organ, note in odd.items() if organ in of]
    if len(odd) > _MOST_ODD_VOLUMES:
        text = f"{len(odd)} of {len(organs)} organs have volumes that no adult has: is the spacing in the header right?"
        volumes = [Note("not-an-adult", text)]
    cut = _cut({organ: sides for organ, sides in edges.items() if organ in of})
    missing = _missing({organ: volume for organ, volume in volumes_ml.items() if organ in of}, edges)
    in_parts = _in_parts({organ: kept for organ, kept in organs.items() if organ in of})
    return (*cut, *volumes, *missing, *in_parts, *_misplaced(organs, roi, scan))


def _edges(kept: Kept, roi: Box, scan: Geometry) -> list[str]:
    """The sides of the scan that an organ touches."""
    reached = []
    for axis, (low, high) in enumerate(SIDES):
        if roi.start_zyx[axis] + kept.box.start_zyx[axis] == 0:
            reached.append(low)
        if roi.start_zyx[axis] + kept.box.stop_zyx[axis] == scan.shape_zyx[axis]:
            reached.append(high)
    return reached


def _cut(edges: Mapping[str, list[str]]) -> list[Note]:
    notes = []
    for side in (side for pair in SIDES for side in pair):
        cut = [organ for organ, sides in edges.items() if side in sides and organ not in RUNS_THROUGH]
        if cut:
            reach = "reaches" if len(cut) == 1 else "reach"
            text = f"{listed(cut)} {reach} the scan's {side} edge: what was measured is a part"
            notes.append(Note("organ-cut", text))
    return notes


def _odd_volume(organ: str, volume_ml: float, cut: bool) -> Note | None:
    known = ADULT_VOLUMES.get(organ)
    if known is None:
        return None
    low, high = known.possible_ml
    if volume_ml > high or (volume_ml < low and not cut):
        return Note("organ-volume", f"{organ} of {volume_ml:.3g} mL; adults have {low:g} to {high:g}")
    return None


def _missing(volumes_ml: Mapping[str, float], edges: Mapping[str, list[str]]) -> list[Note]:
    """The organs that a scan of the whole liver should show."""
    missing = [organ for organ, volume in volumes_ml.items() if volume == 0]
    if not missing or {"inferior", "superior"} & set(edges.get("liver", ())):
        return []
    return [Note("organ-missing", f"not found: {listed(missing)}; removed, or missed?")]


def _in_parts(organs: Mapping[str, Kept]) -> list[Note]:
    return [
        Note("organ-in-parts", f"{organ} was found in {kept.large_parts} large parts")
        for organ, kept in organs.items()
        if kept.large_parts > 1
    ]


def _misplaced(organs: Mapping[str, Kept], roi: Box, scan: Geometry) -> list[Note]:
    centres = {organ: _centre_lps(kept, roi, scan) for organ, kept in organs.items()}
    notes = [Note(_AXIS_CODES[axis], f"{what}: is the header right?") for axis, what in out_of_order(centres)]
    kidneys = [centres[kidney][2] for kidney in ("right kidney", "left kidney") if kidney in centres]
    liver = centres.get("liver")
    above = liver is not None and bool(kidneys) and min(kidneys) - liver[2] > _KIDNEYS_ABOVE_LIVER_MM
    if above and "upside-down" not in {note.code for note in notes}:
        notes.append(Note("upside-down", "the kidneys lie above the liver: is the header right?"))
    return notes


def out_of_order(centres_lps: Mapping[str, Triple]) -> list[tuple[int, str]]:
    """Organs on the wrong side of each other, as a header with a flipped axis puts them; one per LPS axis."""
    found: dict[int, str] = {}
    for first, second, axis, what in ORDER:
        if axis in found or not {first, second} <= centres_lps.keys():
            continue
        if centres_lps[first][axis] - centres_lps[second][axis] > CLEARLY_MM:
            found[axis] = what
    return list(found.items())


def _centre_lps(kept: Kept, roi: Box, scan: Geometry) -> Triple:
    z, y, x = (start + index for start, index in zip(roi.start_zyx, kept.centre_zyx, strict=True))
    return scan.point_lps((z, y, x))
