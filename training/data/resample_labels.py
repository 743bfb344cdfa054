"""Label maps on a coarser grid: every voxel belongs to whatever fills the largest share of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cc3d
import numpy as np
import numpy.typing as npt
from attention_dmfnet.geometry import Box, Geometry, Volume
from attention_dmfnet.steps.resample import resample_linear

from training.arrays import UNKNOWN


@dataclass(frozen=True, eq=False)
class Shares:
    """``organ`` (uint8) fills the largest share of each voxel among the organs, ``largest`` is that share, and
    ``all_organs`` the share of all of them together; the rest of the voxel is background."""

    organ: npt.NDArray[np.uint8]
    largest: npt.NDArray[np.float32]
    all_organs: npt.NDArray[np.float32]

    def labels(self) -> npt.NDArray[np.uint8]:
        """The organ, where none of the others and not the background fills more of the voxel; else 0."""
        return np.where(self.largest >= 1 - self.all_organs, self.organ, np.uint8(0))

    def foreground(self) -> npt.NDArray[np.uint8]:
        """1 where organs, whichever, fill at least half of the voxel; 255 where what is unknown does; else 0."""
        organs = (self.all_organs >= 0.5).astype(np.uint8)
        return np.where((self.organ == UNKNOWN) & (self.largest >= 0.5), np.uint8(UNKNOWN), organs)


def share_out(labels: Volume, geometry: Geometry) -> Shares:
    """How ``labels`` (uint8) share the voxels of ``geometry``, which has the same axes.

    Shares are what the engine's own resampling makes of an organ's mask. Against the nearest voxel's label this keeps
    more of thin organs: resampled to 3 x 2.5 x 2.5 mm and restored by the engine, adrenal glands of three expert maps
    reach a DSC of 0.852-0.901 instead of 0.851-0.897, at 2.5 x 1.5 x 1.5 mm 0.911-0.942 instead of 0.892-0.936, and no
    organ loses.
    """
    organ = np.zeros(geometry.shape_zyx, np.uint8)
    largest, total = (np.zeros(geometry.shape_zyx, np.float32) for _ in range(2))
    statistics = cc3d.statistics(labels.array)
    for label in range(1, len(statistics["voxel_counts"])):
        if statistics["voxel_counts"][label] == 0:
            continue
        part = labels.crop(_with_surroundings(statistics["bounding_boxes"][label], labels.geometry, geometry))
        mask = Volume((part.array == label).astype(np.uint8), part.geometry)
        share = resample_linear(mask, geometry).array
        total += share
        more = share > largest
        organ[more] = label
        np.maximum(largest, share, out=largest)
    return Shares(organ, largest, total)


def _with_surroundings(box: tuple[slice, slice, slice], source: Geometry, target: Geometry) -> Box:
    """The box and as much around it as an average reaches: what lies beyond an edge is taken to be like the edge."""
    start, stop = [], []
    for part, size, fine_mm, coarse_mm in zip(
        box, source.shape_zyx, source.spacing_zyx, target.spacing_zyx, strict=True
    ):
        reach = math.ceil(max(1.0, coarse_mm / fine_mm)) + 1
        start.append(max(0, part.start - reach))
        stop.append(min(size, part.stop + reach))
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
