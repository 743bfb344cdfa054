"""Which connected parts of an organ stay, by the manifest's rule for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import cc3d
import numpy as np
import numpy.typing as npt

from attention_dmfnet.geometry import Box, Triple
from attention_dmfnet.model.manifest import ComponentRule, KeepAll, KeepHighest, KeepLargest, KeepParts
from attention_dmfnet.notes import Note

_PartRule = KeepLargest | KeepHighest | KeepParts

_MM3_PER_ML = 1000.0
# Voxels that touch at a corner belong together: a thin oblique adrenal would fall apart otherwise.
_CONNECTIVITY: Final = 26

MOST_DROPPED_IN_SILENCE: Final = 0.1
"""Of an organ; where a rule drops more, a note says so."""

# what is less is a speck, or a piece that a slice too few has cut off
_LARGE_PART: Final = 0.1


@dataclass(frozen=True, slots=True)
class Kept:
    """What is left of an organ: its ``voxels``, their centre and their box, as indices (z, y, x) into the labels.

    ``large_parts`` counts the components of a tenth of the organ or more, those included that were dropped, where the
    rule looks at components.
    """

    voxels: int
    centre_zyx: Triple
    box: Box
    large_parts: int = 1


def keep_components(
    labels: npt.NDArray[np.uint8],
    rules: Mapping[int, ComponentRule],
    voxel_volume_mm3: float,
    counted: dict[int, Kept] | None = None,
    dropped_ml: dict[int, float] | None = None,
) -> dict[int, float]:
    """Set to 0, in place, every part of an organ that its rule drops; ``labels`` (z, y, x), z towards the head.

    ``rules`` maps labels to rules. Returns the volume in mL that each of these labels has afterwards; ``counted`` is
    filled with what else was counted of those that are left, ``dropped_ml`` with the volume that was taken away, where
    there was any.
    """
    statistics = cc3d.statistics(labels)
    volumes_ml = dict.fromkeys(rules, 0.0)
    for label, rule in rules.items():
        if label >= len(statistics["voxel_counts"]) or statistics["voxel_counts"][label] == 0:
            continue
        # only the organ's own box is searched: most organs fill a small part of the ROI
        box = statistics["bounding_boxes"][label]
        whole = Kept(int(statistics["voxel_counts"][label]), _triple(statistics["centroids"][label]), _box(box))
        kept = _keep_organ(labels[box], label, rule, rule.min_volume_ml * _MM3_PER_ML / voxel_volume_mm3, whole)
        volumes_ml[label] = kept.voxels * voxel_volume_mm3 / _MM3_PER_ML
        if counted is not None and kept.voxels:
            counted[label] = kept
        dropped = whole.voxels - kept.voxels
        if dropped and dropped_ml is not None:
            dropped_ml[label] = dropped * voxel_volume_mm3 / _MM3_PER_ML
    return volumes_ml


def dropped_note(organ: str, kept_ml: float, dropped_ml: float) -> Note | None:
    """What is to be said about an organ of which ``dropped_ml`` was taken away: nothing up to a tenth of it."""
    found_ml = kept_ml + dropped_ml
    if not dropped_ml > MOST_DROPPED_IN_SILENCE * found_ml:
        return None
    share = dropped_ml / found_ml
    text = f"{organ}: {dropped_ml:.1f} of {found_ml:.1f} mL ({share:.0%}) lay apart or were too little and were dropped"
    return Note("organ-dropped", text)


def _keep_organ(part: npt.NDArray[np.uint8], label: int, rule: ComponentRule, min_voxels: float, whole: Kept) -> Kept:
    """Apply ``rule`` to one organ within ``part``, its box in ``labels``; returns what is left of the ``whole``."""
    mask = part == label
    kept = whole if isinstance(rule, KeepAll) else _drop_parts(part, mask, rule, whole)
    if kept.voxels < min_voxels:
        part[mask] = 0
        return replace(kept, voxels=0)
    return kept


def _drop_parts(part: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_], rule: _PartRule, whole: Kept) -> Kept:
    components, count = cc3d.connected_components(mask, connectivity=_CONNECTIVITY, return_N=True, binary_image=True)
    if count == 1:
        return whole
    statistics = cc3d.statistics(components)
    counts = statistics["voxel_counts"].astype(np.int64)
    counts[0] = 0
    keep = _parts_to_keep(counts, statistics["centroids"][:, 0], _ranges_of_z(statistics), rule)
    part[mask & ~keep[components]] = 0
    return _kept(counts, statistics, keep, whole)


def _kept(counts: npt.NDArray[np.int64], statistics: Any, keep: npt.NDArray[np.bool_], whole: Kept) -> Kept:
    """What the components that are kept are together."""
    voxels = int(counts[keep].sum())
    centre = (statistics["centroids"][keep] * counts[keep, None]).sum(axis=0) / voxels + whole.box.start_zyx
    boxes = [_box(statistics["bounding_boxes"][index]) for index in np.flatnonzero(keep)]
    start = np.min([box.start_zyx for box in boxes], axis=0) + whole.box.start_zyx
    stop = np.max([box.stop_zyx for box in boxes], axis=0) + whole.box.start_zyx
    z, y, x = (slice(int(low), int(high)) for low, high in zip(start, stop, strict=True))
    large = int(np.count_nonzero(counts >= _LARGE_PART * whole.voxels))
    return Kept(voxels, _triple(centre), _box((z, y, x)), large)


def _box(slices: tuple[slice, slice, slice]) -> Box:
    z, y, x = slices
    return Box((z.start, y.start, x.start), (z.stop, y.stop, x.stop))


def _triple(values: Any) -> Triple:
    z, y, x = (float(value) for value in values)
    return (z, y, x)


def _ranges_of_z(statistics: Mapping[str, Any]) -> npt.NDArray[np.int64]:
    """(component, 2) the first z of each component and the first one beyond it."""
    return np.array([(box[0].start, box[0].stop) for box in statistics["bounding_boxes"]], dtype=np.int64)


_SIDE_BY_SIDE = 0.5
"""Of the shorter of two parts' ranges of z."""


def _parts_to_keep(
    counts: npt.NDArray[np.int64],
    height: npt.NDArray[np.float64],
    ranges_of_z: npt.NDArray[np.int64],
    rule: _PartRule,
) -> npt.NDArray[np.bool_]:
    """Which components ``rule`` keeps, by voxels and ``height`` (z) of the centres; 0, the background, is none."""
    if isinstance(rule, KeepLargest):
        keep = np.zeros(len(counts), dtype=np.bool_)
        # of equals the first: this rule keeps one component, not several
        keep[counts.argmax()] = True
        return keep
    large: npt.NDArray[np.bool_] = (counts > 0) & (counts >= rule.min_fraction * counts.max())
    if isinstance(rule, KeepParts):
        return large
    # Side by side with the highest one: the other lobe of a liver that a cleft or a vessel cuts in two. A mass in the
    # pelvis that is taken for liver may reach up beside its lower edge, but most of it lies below.
    start, stop = ranges_of_z[np.where(large, height, -np.inf).argmax()]
    shared = np.minimum(ranges_of_z[:, 1], stop) - np.maximum(ranges_of_z[:, 0], start)
    shorter = np.minimum(ranges_of_z[:, 1] - ranges_of_z[:, 0], stop - start)
    beside: npt.NDArray[np.bool_] = (shared > 0) & (shared >= _SIDE_BY_SIDE * shorter)
    return large & beside
