"""Which connected parts of an organ stay, by the manifest's rule for it."""

from collections.abc import Mapping
from typing import Final

import cc3d
import numpy as np
import numpy.typing as npt

from attention_dmfnet.model.manifest import ComponentRule, KeepAll, KeepHighest, KeepLargest, KeepParts

_PartRule = KeepLargest | KeepHighest | KeepParts

_MM3_PER_ML = 1000.0
# Voxels that touch at a corner belong together: a thin oblique adrenal would fall apart otherwise.
_CONNECTIVITY: Final = 26


def keep_components(
    labels: npt.NDArray[np.uint8], rules: Mapping[int, ComponentRule], voxel_volume_mm3: float
) -> dict[int, float]:
    """Set to 0, in place, every part of an organ that its rule drops; ``labels`` (z, y, x), z towards the head.

    ``rules`` maps labels to rules. Returns the volume in mL that each of these labels has afterwards.
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
    return volumes_ml


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
    keep = _parts_to_keep(counts, statistics["centroids"][:, 0], rule)
    part[mask & ~keep[components]] = 0
    return int(counts[keep].sum())


def _parts_to_keep(
    counts: npt.NDArray[np.int64], height: npt.NDArray[np.float64], rule: _PartRule
) -> npt.NDArray[np.bool_]:
    """Which components ``rule`` keeps, by voxels and ``height`` (z) of the centres; 0, the background, is none."""
    keep = np.zeros(len(counts), dtype=np.bool_)
    # of equals the first: these rules keep one component, not several
    if isinstance(rule, KeepLargest):
        keep[counts.argmax()] = True
        return keep
    large: npt.NDArray[np.bool_] = (counts > 0) & (counts >= rule.min_fraction * counts.max())
    if isinstance(rule, KeepParts):
        return large
    keep[np.where(large, height, -np.inf).argmax()] = True
    return keep
