"""Which connected parts of an organ stay, by the manifest's rule for it."""

from collections.abc import Mapping
from typing import Any, Final

import cc3d
import numpy as np
import numpy.typing as npt

from attention_dmfnet.model.manifest import ComponentRule, KeepAll, KeepHighest, KeepLargest, KeepParts

_PartRule = KeepLargest | KeepHighest | KeepParts

_MM3_PER_ML = 1000.0
# Voxels that touch at a corner belong together: a thin oblique adrenal would fall apart otherwise.
_CONNECTIVITY: Final = 26

MOST_DROPPED_IN_SILENCE: Final = 0.1
"""Of an organ; where a rule drops more, a note says so."""


def keep_components(
    labels: npt.NDArray[np.uint8],
    rules: Mapping[int, ComponentRule],
    voxel_volume_mm3: float,
    dropped_ml: dict[int, float] | None = None,
) -> dict[int, float]:
    """Set to 0, in place, every part of an organ that its rule drops; ``labels`` (z, y, x), z towards the head.

    ``rules`` maps labels to rules. Returns the volume in mL that each of these labels has afterwards; the volume that
    was taken away, where there was any, is put into ``dropped_ml``.
    """
    statistics = cc3d.statistics(labels)
    volumes_ml = dict.fromkeys(rules, 0.0)
    for label, rule in rules.items():
        if label >= len(statistics["voxel_counts"]) or statistics["voxel_counts"][label] == 0:
            continue
        # only the organ's own box is searched: most organs fill a small part of the ROI
        part = labels[statistics["bounding_boxes"][label]]
        kept = _keep_organ(part, label, rule, rule.min_volume_ml * _MM3_PER_ML / voxel_volume_mm3)
        volumes_ml[label] = kept * voxel_volume_mm3 / _MM3_PER_ML
        dropped = int(statistics["voxel_counts"][label]) - kept
        if dropped and dropped_ml is not None:
            dropped_ml[label] = dropped * voxel_volume_mm3 / _MM3_PER_ML
    return volumes_ml


def dropped_note(organ: str, kept_ml: float, dropped_ml: float) -> str | None:
    """What is to be said about an organ of which ``dropped_ml`` was taken away: nothing up to a tenth of it."""
    found_ml = kept_ml + dropped_ml
    if not dropped_ml > MOST_DROPPED_IN_SILENCE * found_ml:
        return None
    share = dropped_ml / found_ml
    return f"{organ}: {dropped_ml:.1f} of {found_ml:.1f} mL ({share:.0%}) lay apart or were too little and were dropped"


def _keep_organ(part: npt.NDArray[np.uint8], label: int, rule: ComponentRule, min_voxels: float) -> int:
    """Apply ``rule`` to one organ within ``part``; returns how many voxels of it are left."""
    mask = part == label
    kept = int(np.count_nonzero(mask)) if isinstance(rule, KeepAll) else _drop_parts(part, mask, rule)
    if kept < min_voxels:
        part[mask] = 0
        return 0
    return kept


def _drop_parts(part: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_], rule: _PartRule) -> int:
    components, count = cc3d.connected_components(mask, connectivity=_CONNECTIVITY, return_N=True, binary_image=True)
    if count == 1:
        return int(np.count_nonzero(mask))
    statistics = cc3d.statistics(components)
    counts = statistics["voxel_counts"].astype(np.int64)
    counts[0] = 0
    keep = _parts_to_keep(counts, statistics["centroids"][:, 0], _ranges_of_z(statistics), rule)
    part[mask & ~keep[components]] = 0
    return int(counts[keep].sum())


def _ranges_of_z(statistics: Mapping[str, Any]) -> npt.NDArray[np.int64]:
    """(component, 2) the first z of each component and the first one beyond it."""
    return np.array([(box[0].start, box[0].stop) for box in statistics["bounding_boxes"]], dtype=np.int64)


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
    # side by side with the highest one: the other lobe of a liver that a cleft or a vessel cuts in two
    start, stop = ranges_of_z[np.where(large, height, -np.inf).argmax()]
    beside: npt.NDArray[np.bool_] = (ranges_of_z[:, 0] < stop) & (ranges_of_z[:, 1] > start)
    return large & beside
