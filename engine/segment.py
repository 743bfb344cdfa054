"""The method, on one page: find the organs coarsely, label them finely, return to the scan's own grid."""

from dataclasses import dataclass

import numpy as np

from engine.components import keep_components
from engine.geometry import Triple, Volume, canonicalise
from engine.manifest import Manifest
from engine.marks import step
from engine.restore import restore_labels
from engine.roi import Roi, find_roi
from engine.stage import StageModel


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """``labels`` (uint8) on the scan's own grid, the size (z, y, x) of the ROI in mm, and mL by organ."""

    labels: Volume
    roi_mm: Triple
    volumes_ml: dict[str, float]
    notes: tuple[str, ...]


def segment(ct: Volume, coarse: StageModel, fine: StageModel, manifest: Manifest) -> Segmentation:
    """Label the organs of ``ct``, on the grid of ``ct`` itself, whatever its axes.

    Of ``manifest``, the ROI's margin, the label table and the component rules are used.
    """
    scan = canonicalise(ct)
    with step("coarse"):
        roi = locate(scan, coarse, manifest.roi_margin_mm)
    with step("crop"):
        grid = fine.grid(roi.box, scan.geometry)
        view = fine.view(scan, grid)
    with step("fine"):
        scores = fine.score(view)
    roi_geometry = scan.geometry.crop(roi.box)
    with step("restore"):
        part = restore_labels(scores, fine.score_grid(grid), roi_geometry)
    with step("components"):
        by_label = {manifest.labels[organ]: rule for organ, rule in manifest.components.items()}
        volumes_ml = keep_components(part, by_label, scan.geometry.voxel_volume_mm3)
        labels = Volume(np.zeros(ct.array.shape, dtype=np.uint8), ct.geometry)
        # written through a view with the canonical axes: the way back to the scan's axes costs nothing
        canonicalise(labels).array[roi.box.slices] = part
    organs_ml = {organ: volumes_ml[label] for organ, label in manifest.labels.items()}
    return Segmentation(labels, roi_geometry.extent_mm_zyx, organs_ml, roi.notes)


def locate(scan: Volume, coarse: StageModel, roi_margin_mm: Triple) -> Roi:
    """The ROI of a canonical ``scan``: where the coarse stage sees organs, any of them."""
    view = coarse.view(scan, scan.geometry.with_spacing(coarse.stage.spacing_zyx))
    background, organs = coarse.score(view)
    return find_roi(organs > background, coarse.score_grid(view.geometry), scan.geometry, roi_margin_mm)
