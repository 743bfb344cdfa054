"""Which connected parts of an organ stay, by the manifest's rule for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import cc3d
import numpy as np
import numpy.typing as npt

from attention_dmfnet.geometry import Box, Triple, box_of_labels
from attention_dmfnet.model.manifest import ComponentRule, KeepAll, KeepLargest, KeepParts
from attention_dmfnet.notes import Note

_Numbers = npt.NDArray[np.int64]

_MM3_PER_ML = 1000.0
# Voxels that touch at a corner belong together: a thin oblique adrenal would fall apart otherwise.
_CONNECTIVITY: Final = 26

MOST_DROPPED_IN_SILENCE: Final = 0.1
"""Of an organ; where a rule drops more, a note says so."""

# what is less is a speck, or a piece that a slice too few has cut off
_LARGE_PART: Final = 0.1

_VOXELS_AT_ONCE: Final = 1 << 21
_ONE_VOXEL: Final = Box((0, 0, 0), (1, 1, 1))


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
    components = _Components(labels)
    volumes_ml = dict.fromkeys(rules, 0.0)
    for label, rule in rules.items():
        parts = components.of(label)
        if len(parts) == 0:
            continue
        keep = _parts_to_keep(components, parts, rule)
        kept = components.together(parts[keep])
        if not isinstance(rule, KeepAll):
            kept = replace(kept, large_parts=components.large(parts))
        if kept.voxels < rule.min_volume_ml * _MM3_PER_ML / voxel_volume_mm3:
            keep, kept = np.zeros_like(keep), replace(kept, voxels=0)
        components.erase(parts[~keep])
        volumes_ml[label] = kept.voxels * voxel_volume_mm3 / _MM3_PER_ML
        if counted is not None and kept.voxels:
            counted[label] = kept
        dropped = int(components.counts[parts[~keep]].sum())
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


class _Components:
    """The connected parts of all labels, numbered in one pass; each function takes their numbers."""

    def __init__(self, labels: npt.NDArray[np.uint8]) -> None:
        # the ROI's margin holds no organ: a third of the voxels, and numbers take four bytes each
        box = box_of_labels(labels) or _ONE_VOXEL
        self._labels = labels
        self._corner: _Numbers = np.array(box.start_zyx, dtype=np.int64)
        inner = np.ascontiguousarray(labels[box.slices])
        self._numbers = cc3d.connected_components(inner, connectivity=_CONNECTIVITY)
        count = int(self._numbers.max(initial=0)) + 1
        totals = np.zeros((4, count))
        # index 0, what is no part, has no label
        self._label_of = np.zeros(count, dtype=np.int64)
        self._starts = np.full((count, 3), np.iinfo(np.int64).max)
        self._stops = np.zeros((count, 3), dtype=np.int64)
        # slices by slices: what is counted of a long scan is never all in memory
        depth = max(1, _VOXELS_AT_ONCE // inner[:1].size)
        for first in range(0, len(inner), depth):
            runs = _Runs(self._numbers[first : first + depth], self._corner + np.array((first, 0, 0)))
            totals += runs.totals(count)
            runs.widen(self._starts, self._stops)
            self._label_of[runs.parts] = inner[first : first + depth].reshape(-1)[runs.first_voxels]
        self.counts: _Numbers = totals[0].astype(np.int64)
        self.centres_zyx = (totals[1:] / np.maximum(totals[0], 1)).T

    def of(self, label: int) -> _Numbers:
        """The parts of ``label``."""
        return np.flatnonzero(self._label_of == label)

    def together(self, parts: _Numbers) -> Kept:
        """What one or several parts are together."""
        counts = self.counts[parts]
        voxels = int(counts.sum())
        centre = (self.centres_zyx[parts] * counts[:, None]).sum(axis=0) / voxels
        return Kept(voxels, _triple(centre), _box(self._starts[parts].min(axis=0), self._stops[parts].max(axis=0)))

    def large(self, parts: _Numbers) -> int:
        """How many of an organ's ``parts`` are a tenth of it or more."""
        counts = self.counts[parts]
        return int(np.count_nonzero(counts >= _LARGE_PART * counts.sum()))

    def ranges_of_z(self, parts: _Numbers) -> _Numbers:
        """(part, 2) the first z of each part and the first one beyond it."""
        return np.stack([self._starts[parts, 0], self._stops[parts, 0]], axis=1)

    def erase(self, parts: _Numbers) -> None:
        """Set the labels of ``parts`` to 0."""
        for part in parts:
            box = _box(self._starts[part], self._stops[part])
            there = _box(self._starts[part] - self._corner, self._stops[part] - self._corner)
            self._labels[box.slices][self._numbers[there.slices] == part] = 0


class _Runs:
    """The voxels of all parts in some slices as runs along x, of which there are far fewer than voxels.

    All arrays have one entry a run, in the order of the voxels in memory: its part, its first voxel as an index into
    these slices, its length, and where it begins in the whole, in which ``corner_zyx`` is these slices' first voxel.
    """

    def __init__(self, numbers: npt.NDArray[np.unsignedinteger[Any]], corner_zyx: _Numbers) -> None:
        begins = np.empty(numbers.shape, dtype=np.bool_)
        begins[..., 0] = True
        np.not_equal(numbers[..., 1:], numbers[..., :-1], out=begins[..., 1:])
        first_voxels = np.flatnonzero(begins)
        lengths = np.diff(first_voxels, append=numbers.size)
        parts = numbers.reshape(-1)[first_voxels]
        inside = parts > 0
        self.first_voxels: _Numbers = first_voxels[inside]
        self.lengths: _Numbers = lengths[inside]
        self.parts: _Numbers = parts[inside].astype(np.int64)
        begin = np.unravel_index(self.first_voxels, numbers.shape)
        self.z, self.y, self.x = (at + by for at, by in zip(begin, corner_zyx, strict=True))

    def totals(self, count: int) -> npt.NDArray[np.float64]:
        """(4, count) by part: its voxels, and the sums of their z, y and x; exact for whole numbers."""
        # the middle of a run of n voxels that begins at x is x + (n - 1) / 2
        middles = (1, self.z, self.y, self.x + (self.lengths - 1) / 2)
        return np.stack([np.bincount(self.parts, weights=m * self.lengths, minlength=count) for m in middles])

    def widen(self, starts: _Numbers, stops: _Numbers) -> None:
        """Widen, in place, the (part, 3) first z, y, x of each part and the first ones beyond it to hold these runs."""
        if len(self.parts) == 0:
            return
        order = np.argsort(self.parts, kind="stable")
        numbers, first = np.unique(self.parts[order], return_index=True)
        for axis, (begin, last) in enumerate(((self.z, self.z), (self.y, self.y), (self.x, self.x + self.lengths - 1))):
            least, most = np.minimum.reduceat(begin[order], first), np.maximum.reduceat(last[order], first) + 1
            starts[numbers, axis] = np.minimum(starts[numbers, axis], least)
            stops[numbers, axis] = np.maximum(stops[numbers, axis], most)


def _box(start: _Numbers, stop: _Numbers) -> Box:
    first, end = start.tolist(), stop.tolist()
    return Box((first[0], first[1], first[2]), (end[0], end[1], end[2]))


def _triple(values: Any) -> Triple:
    z, y, x = (float(value) for value in values)
    return (z, y, x)


_SIDE_BY_SIDE = 0.5
"""Of the shorter of two parts' ranges of z."""


def _parts_to_keep(components: _Components, parts: _Numbers, rule: ComponentRule) -> npt.NDArray[np.bool_]:
    """Which of an organ's ``parts`` the ``rule`` keeps."""
    counts = components.counts[parts]
    if isinstance(rule, KeepAll):
        return np.ones(len(parts), dtype=np.bool_)
    if isinstance(rule, KeepLargest):
        # of equals the first: this rule keeps one component, not several
        largest: npt.NDArray[np.bool_] = np.arange(len(parts)) == counts.argmax()
        return largest
    large: npt.NDArray[np.bool_] = counts >= rule.min_fraction * counts.max()
    if isinstance(rule, KeepParts):
        return large
    # Side by side with the highest one: the other lobe of a liver that a cleft or a vessel cuts in two. A mass in the
    # pelvis that is taken for liver may reach up beside its lower edge, but most of it lies below.
    ranges_of_z = components.ranges_of_z(parts)
    start, stop = ranges_of_z[np.where(large, components.centres_zyx[parts, 0], -np.inf).argmax()]
    shared = np.minimum(ranges_of_z[:, 1], stop) - np.maximum(ranges_of_z[:, 0], start)
    shorter = np.minimum(ranges_of_z[:, 1] - ranges_of_z[:, 0], stop - start)
    beside: npt.NDArray[np.bool_] = (shared > 0) & (shared >= _SIDE_BY_SIDE * shorter)
    return large & beside
