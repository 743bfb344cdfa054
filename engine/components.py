"""Which connected parts of an organ stay, by the manifest's rule for it."""

from collections.abc import Mapping
from typing import Final

import cc3d
import numpy as np
import numpy.typing as npt

from engine.manifest import ComponentRule, KeepAll, KeepLargest, KeepParts

_MM3_PER_ML = 1000.0
# Voxels that touch at a corner belong together: a thin oblique adrenal would fall apart otherwise.
_CONNECTIVITY: Final = 26


def keep_components(
    labels: npt.NDArray[np.uint8], rules: Mapping[int, ComponentRule], voxel_volume_mm3: float
) -> dict[int, float]:
    """Set to 0, in place, every part of an organ that its rule drops.

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


def _drop_parts(part: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_], rule: KeepLargest | KeepParts) -> int:
    components, count = cc3d.connected_components(mask, connectivity=_CONNECTIVITY, return_N=True, binary_image=True)
    if count == 1:
        return int(np.count_nonzero(mask))
    counts = cc3d.statistics(components)["voxel_counts"].astype(np.int64)
    counts[0] = 0
    keep = _parts_to_keep(counts, rule)
    part[mask & ~keep[components]] = 0
    return int(counts[keep].sum())


def _parts_to_keep(counts: npt.NDArray[np.int64], rule: KeepLargest | KeepParts) -> npt.NDArray[np.bool_]:
    """Which of the components, by their voxel counts, ``rule`` keeps; the background (0) is none of them."""
    keep = np.zeros(len(counts), dtype=np.bool_)
    if isinstance(rule, KeepLargest):
        # of equals the first: the rule keeps one component, not several
        keep[counts.argmax()] = True
    else:
        keep[(counts > 0) & (counts >= rule.min_fraction * counts.max())] = True
    return keep
