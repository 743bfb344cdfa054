"""The method, on one page: find the organs coarsely, label them finely, return to the scan's own grid."""

from dataclasses import dataclass

import numpy as np

from attention_dmfnet.geometry import Geometry, Triple, Volume, canonicalise
from attention_dmfnet.marks import step
from attention_dmfnet.model.manifest import Manifest
from attention_dmfnet.model.network import Scores
from attention_dmfnet.stage import StageModel
from attention_dmfnet.steps.components import keep_components
from attention_dmfnet.steps.restore import restore_labels
from attention_dmfnet.steps.roi import Roi, find_roi


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """``labels`` (uint8) on the scan's own grid, the size (z, y, x) of the ROI in mm, and mL by organ."""

    labels: Volume
    roi_mm: Triple
    volumes_ml: dict[str, float]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """What the networks found in ``roi``: the fine ``scores``, on ``grid``.

    Of the scan only its own grid, ``scan``, and that of its canonical voxels in the ROI are still needed.
    """

    scores: Scores
    grid: Geometry
    scan: Geometry
    roi: Roi
    roi_geometry: Geometry


def segment(ct: Volume, coarse: StageModel, fine: StageModel, manifest: Manifest) -> Segmentation:
    """Label the organs of ``ct``, on the grid of ``ct`` itself, whatever its axes.

    Of ``manifest``, the ROI's margin, the label table and the component rules are used.
    """
    return label(score(ct, coarse, fine, manifest), manifest)


def score(ct: Volume, coarse: StageModel, fine: StageModel, manifest: Manifest) -> Scored:
    """The networks' half of ``segment``. The scores are valid until ``fine`` is asked again."""
    scan = canonicalise(ct)
    with step("coarse"):
        roi = locate(scan, coarse, manifest.roi_margin_mm)
    with step("crop"):
        grid = fine.grid(roi.box, scan.geometry)
        view = fine.view(scan, grid)
    with step("fine"):
        scores = fine.score(view)
    return Scored(scores, fine.score_grid(grid), ct.geometry, roi, scan.geometry.crop(roi.box))


def label(found: Scored, manifest: Manifest) -> Segmentation:
    """The other half of ``segment``: from scores to labels on the scan's grid."""
    with step("restore"):
        part = restore_labels(found.scores, found.grid, found.roi_geometry)
    with step("components"):
        by_label = {manifest.labels[organ]: rule for organ, rule in manifest.components.items()}
        volumes_ml = keep_components(part, by_label, found.scan.voxel_volume_mm3)
        labels = Volume(np.zeros(found.scan.shape_zyx, dtype=np.uint8), found.scan)
        # written through a view with the canonical axes: the way back to the scan's axes costs nothing
        canonicalise(labels).array[found.roi.box.slices] = part
    organs_ml = {organ: volumes_ml[label] for organ, label in manifest.labels.items()}
    return Segmentation(labels, found.roi_geometry.extent_mm_zyx, organs_ml, found.roi.notes)


def locate(scan: Volume, coarse: StageModel, roi_margin_mm: Triple) -> Roi:
    """The ROI of a canonical ``scan``: where the coarse stage sees organs, any of them."""
    view = coarse.view(scan, scan.geometry.with_spacing(coarse.stage.spacing_zyx))
    background, organs = coarse.score(view)
    return find_roi(organs > background, coarse.score_grid(view.geometry), scan.geometry, roi_margin_mm)
