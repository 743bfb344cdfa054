"""The region of interest: where in the scan the fine stage has to look. Its margin is the manifest's."""

from dataclasses import dataclass

import cc3d
import numpy as np
import numpy.typing as npt

from attention_dmfnet.geometry import Box, Geometry, Index, Triple
from attention_dmfnet.notes import Note

SIDES = (("inferior", "superior"), ("anterior", "posterior"), ("right", "left"))
"""The low and the high end of the canonical axes z, y, x, in the patient's terms."""


@dataclass(frozen=True, slots=True)
class Roi:
    """A box of the scan's voxels; ``notes`` say where it is not what it should be."""

    box: Box
    notes: tuple[Note, ...]


def find_roi(foreground: npt.NDArray[np.bool_], grid: Geometry, scan: Geometry, margin_mm: Triple) -> Roi:
    """The box of the largest component of ``foreground``, a mask on ``grid``, plus margins (z, y, x) in mm.

    ``scan`` and ``grid`` are canonical and have the same axes. The box is cut at the scan's edge, and a note says at
    which of the patient's sides the organs themselves reach it. With no foreground at all the whole scan is the ROI.
    """
    component = largest_component_box(foreground)
    if component is None:
        note = Note("no-roi", "the coarse stage found no organs; the whole scan was searched")
        return Roi(Box((0, 0, 0), scan.shape_zyx), (note,))
    touched = [
        side
        for (low, high), start, stop, size in zip(
            SIDES, component.start_zyx, component.stop_zyx, grid.shape_zyx, strict=True
        )
        for side, reached in ((low, start == 0), (high, stop == size))
        if reached
    ]
    text = f"the organs reach the scan's {listed(touched)} edge and may be cut off"
    notes = (Note("roi-at-edge", text),) if touched else ()
    return Roi(box_with_margin(component, grid, scan, margin_mm), notes)


def largest_component_box(mask: npt.NDArray[np.bool_]) -> Box | None:
    """The box of the largest component (voxels that touch, be it at a corner), or None for an empty mask."""
    components, count = cc3d.connected_components(mask, connectivity=26, return_N=True, binary_image=True)
    if count == 0:
        return None
    statistics = cc3d.statistics(components)
    largest = 1 + int(np.argmax(statistics["voxel_counts"][1:]))
    z, y, x = statistics["bounding_boxes"][largest]
    return Box((z.start, y.start, x.start), (z.stop, y.stop, x.stop))


def box_with_margin(box: Box, grid: Geometry, scan: Geometry, margin_mm: Triple) -> Box:
    """The voxels of ``scan`` that ``box`` on ``grid`` and a margin around it cover, even partly."""
    first = scan.index_zyx(grid.point_lps(_shifted(box.start_zyx, -0.5)))
    last = scan.index_zyx(grid.point_lps(_shifted(box.stop_zyx, -0.5)))
    start, stop = [], []
    for low, high, size, mm, margin in zip(first, last, scan.shape_zyx, scan.spacing_zyx, margin_mm, strict=True):
        # voxel i covers i - 0.5 to i + 0.5; rounding keeps an edge that meets a voxel's edge from taking one more
        begin = int(np.floor(round(low - margin / mm + 0.5, 6)))
        end = int(np.ceil(round(high + margin / mm + 0.5, 6)))
        # at least one voxel, also where the grid stands out beyond the scan by less than half of its own voxel
        begin = min(max(begin, 0), size - 1)
        start.append(begin)
        stop.append(max(min(end, size), begin + 1))
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def working_grid(box: Box, scan: Geometry, spacing_zyx: Triple, tile_zyx: Index) -> Geometry:
    """The grid for a network that looks at ``box`` of ``scan``: exactly ``spacing_zyx`` mm, centred on the box.

    Where the box is smaller than a tile, the grid takes in as much of the scan around it as the tile has room for:
    real surroundings cost nothing there and are better than padding.
    """
    shape, middle = [], []
    for axis in range(3):
        mm, spacing, tile = scan.spacing_zyx[axis], spacing_zyx[axis], tile_zyx[axis]
        start_mm, stop_mm = box.start_zyx[axis] * mm, box.stop_zyx[axis] * mm
        scan_mm = scan.shape_zyx[axis] * mm
        size = max(round((stop_mm - start_mm) / spacing), min(tile, int(scan_mm / spacing)), 1)
        half_mm = size * spacing / 2
        centre_mm = (start_mm + stop_mm) / 2
        if size * spacing <= scan_mm:
            centre_mm = min(max(centre_mm, half_mm), scan_mm - half_mm)
        shape.append(size)
        middle.append((centre_mm - half_mm + spacing / 2) / mm - 0.5)
    origin = scan.point_lps((middle[0], middle[1], middle[2]))
    return Geometry((shape[0], shape[1], shape[2]), spacing_zyx, origin, scan.axes_lps)


def _shifted(index: Index, by: float) -> Triple:
    z, y, x = index
    return (z + by, y + by, x + by)


def listed(words: list[str]) -> str:
    """ "a, b and c"."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
