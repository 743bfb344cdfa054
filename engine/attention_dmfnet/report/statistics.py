"""Numbers of each organ of a case, from a scan and its label map alone."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import cc3d
import msgspec
import numpy as np
import numpy.typing as npt

from attention_dmfnet.adult_volumes import ADULT_VOLUMES
from attention_dmfnet.geometry import Box, Geometry, GeometryError, Triple, Volume, box_of_labels, canonicalise
from attention_dmfnet.steps.roi import SIDES

_MM3_PER_ML: Final = 1000.0
_CONNECTIVITY: Final = 26
_SAME_PLACE_MM: Final = 0.01


class OrganStatistics(msgspec.Struct, frozen=True):
    """One organ of one case; None where there is nothing to measure.

    ``hu_std`` is that of the organ's voxels (divided by their number). ``extent_mm_xyz`` is the size, from outer edge
    to outer edge, along those axes of the scan that run nearest to left-right, front-back and foot-head.
    ``centroid_lps_mm`` is in the patient: x to the left, y to the back, z to the head, as DICOM and ITK have it.
    ``parts`` counts components; voxels that touch at a corner belong together. ``edges`` are the sides of the scan
    that the organ touches: then it is ``cut``, what was measured is a part of it, and it is not put beside a range.
    ``mean_probability`` is the network's, over the organ's voxels: only where its scores were at hand.
    ``against_reference`` is ``below``, ``within`` or ``above`` ``reference_ml``.
    """

    organ: str
    label: int
    voxels: int
    volume_ml: float
    hu_mean: float | None = None
    hu_std: float | None = None
    hu_median: float | None = None
    extent_mm_xyz: Triple | None = None
    centroid_lps_mm: Triple | None = None
    parts: int = 0
    edges: tuple[str, ...] = ()
    mean_probability: float | None = None
    reference_ml: tuple[float, float] | None = None
    reference_source: str | None = None
    against_reference: str | None = None

    @property
    def cut(self) -> bool:
        """Whether the organ goes on beyond the scan's edge."""
        return bool(self.edges)


def measure(
    ct: Volume,
    labels: Volume,
    organs: Mapping[str, int],
    mean_probabilities: Mapping[str, float] = MappingProxyType({}),
) -> tuple[OrganStatistics, ...]:
    """The statistics of ``organs`` (name to label), in their order, of a scan in HU and the label map on its grid.

    Raises ``GeometryError`` if the two lie on different grids.
    """
    if not ct.geometry.matches(labels.geometry, _SAME_PLACE_MM):
        raise GeometryError("the label map lies on another grid than its scan; label the scan again")
    scan, found = canonicalise(ct), canonicalise(labels)
    boxes = organ_boxes(found.array)
    return tuple(
        _measure_organ(organ, label, boxes[label], scan, found, mean_probabilities.get(organ))
        if label in boxes
        else OrganStatistics(organ, label, 0, 0.0)
        for organ, label in organs.items()
    )


def organ_boxes(labels: npt.NDArray[np.integer[Any]]) -> dict[int, Box]:
    """The box of each label above 0 that occurs in ``labels`` (z, y, x)."""
    whole = box_of_labels(labels)
    if whole is None:
        return {}
    # counting costs as much for a voxel of the background: most of a scan is left out
    statistics = cc3d.statistics(labels[whole.slices].astype(np.uint8, order="C"))
    boxes = {}
    for label in np.flatnonzero(statistics["voxel_counts"][1:]) + 1:
        slices = zip(statistics["bounding_boxes"][label], whole.start_zyx, strict=True)
        z, y, x = (slice(part.start + first, part.stop + first) for part, first in slices)
        boxes[int(label)] = Box((z.start, y.start, x.start), (z.stop, y.stop, x.stop))
    return boxes


def _measure_organ(
    organ: str, label: int, box: Box, scan: Volume, labels: Volume, mean_probability: float | None
) -> OrganStatistics:
    mask = np.ascontiguousarray(labels.array[box.slices] == label)
    hu = scan.array[box.slices][mask]
    voxels = len(hu)
    volume_ml = voxels * scan.geometry.voxel_volume_mm3 / _MM3_PER_ML
    z_mm, y_mm, x_mm = scan.geometry.crop(box).extent_mm_zyx
    _, parts = cc3d.connected_components(mask, connectivity=_CONNECTIVITY, return_N=True, binary_image=True)
    edges = edges_touched(box, scan.geometry)
    known = ADULT_VOLUMES.get(organ)
    # a part of an organ is put beside no range
    reference = None if edges or known is None or known.healthy_ml is None else known
    return OrganStatistics(
        organ,
        label,
        voxels,
        volume_ml,
        hu_mean=float(hu.mean(dtype=np.float64)),
        hu_std=float(hu.std(dtype=np.float64)),
        hu_median=float(np.median(hu)),
        extent_mm_xyz=(x_mm, y_mm, z_mm),
        centroid_lps_mm=_centroid_lps(mask, box, scan.geometry),
        parts=int(parts),
        edges=edges,
        mean_probability=mean_probability,
        reference_ml=None if reference is None else reference.healthy_ml,
        reference_source=None if reference is None else reference.source,
        against_reference=None if reference is None else reference.compare(volume_ml),
    )


def edges_touched(box: Box, scan: Geometry) -> tuple[str, ...]:
    """The patient's sides at which a ``box`` of the canonical ``scan`` reaches its first or last voxel."""
    return tuple(
        side
        for (low, high), start, stop, size in zip(SIDES, box.start_zyx, box.stop_zyx, scan.shape_zyx, strict=True)
        for side, reached in ((low, start == 0), (high, stop == size))
        if reached
    )


def _centroid_lps(mask: npt.NDArray[np.bool_], box: Box, scan: Geometry) -> Triple:
    # marginal counts instead of a list of all voxels: a liver has millions
    middle = []
    for axis, start in enumerate(box.start_zyx):
        others = tuple(other for other in range(3) if other != axis)
        counts = np.count_nonzero(mask, axis=others)
        middle.append(start + float(counts @ np.arange(len(counts))) / float(counts.sum()))
    return scan.point_lps((middle[0], middle[1], middle[2]))
