"""How much of each labelled organ the coarse stage's ROI holds, and how much larger than needed it is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from attention_dmfnet.files.cases import case_name, list_cases, output_path
from attention_dmfnet.files.image_io import read_volume
from attention_dmfnet.geometry import Box, Triple, Volume, canonicalise
from attention_dmfnet.model.loading import load_network
from attention_dmfnet.model.manifest import ManifestError, load_manifest
from attention_dmfnet.model.network import NetworkError
from attention_dmfnet.model.runtimes import runtimes_to_try
from attention_dmfnet.segmenter import locate
from attention_dmfnet.steps.roi import box_with_margin
from attention_dmfnet.steps.stage import StageModel

from evaluation.accuracy.surface import bounding_box
from evaluation.errors import EvaluationError
from evaluation.organs import ORGANS

TIGHT_MARGIN_MM: Triple = (30.0, 20.0, 20.0)
"""(z, y, x): what the box of the labels gets before an ROI is compared with it."""


@dataclass(frozen=True, slots=True)
class RoiCoverage:
    """Of one case: the share of each organ's voxels inside the ROI, and the ROI's volume to the labels' own box's."""

    case: str
    held: dict[str, float]
    volume_ratio: float


def measure_folder(
    images: Path, references: Path, models: Path, roi_margin_mm: Triple | None = None
) -> list[RoiCoverage]:
    """The coarse network of ``models``, on the CPU, on every scan of ``images`` that has a label map in ``references``.

    ``roi_margin_mm`` (z, y, x) takes the place of the manifest's. Raises ``EvaluationError`` if no scan has a label map
    or the models cannot be used, and what reading scans raises.
    """
    try:
        manifest = load_manifest(models)
        coarse = StageModel(manifest.coarse, load_network(models, manifest.coarse, runtimes_to_try("cpu", "auto")[-1]))
    except (ManifestError, NetworkError) as error:
        raise EvaluationError(str(error)) from error
    margin_mm = manifest.roi_margin_mm if roi_margin_mm is None else roi_margin_mm
    pairs = [(path, output_path(path, references)) for path in list_cases(images)]
    found = [
        measure(case_name(path), read_volume(path), read_volume(reference), coarse, margin_mm)
        for path, reference in pairs
        if reference.is_file()
    ]
    if not found:
        raise EvaluationError(f"no scan in {images} has a label map of its name in {references}")
    return found


def measure(case: str, ct: Volume, labels: Volume, coarse: StageModel, roi_margin_mm: Triple) -> RoiCoverage:
    """Of one scan and its ``labels`` (0 to 13, on its grid). Raises ``EvaluationError`` if they show no organ."""
    scan, truth = canonicalise(ct), canonicalise(labels)
    if truth.geometry.shape_zyx != scan.geometry.shape_zyx:
        raise EvaluationError(f"{case}: the label map of {truth.geometry.shape_zyx} voxels is not on the scan's grid")
    array = np.rint(truth.array).astype(np.uint8)
    if not array.any():
        raise EvaluationError(f"{case}: the label map shows no organ")
    box = locate(scan, coarse, roi_margin_mm).box
    inside = np.bincount(array[box.slices].ravel(), minlength=1 + len(ORGANS))
    everywhere = np.bincount(array.ravel(), minlength=1 + len(ORGANS))
    held = {
        organ: float(inside[label] / everywhere[label])
        for label, organ in enumerate(ORGANS, start=1)
        if everywhere[label]
    }
    z, y, x = bounding_box(array > 0)
    labelled = Box((z.start, y.start, x.start), (z.stop, y.stop, x.stop))
    tight = box_with_margin(labelled, scan.geometry, scan.geometry, TIGHT_MARGIN_MM)
    return RoiCoverage(case, held, math.prod(box.shape_zyx) / math.prod(tight.shape_zyx))


def coverage_table(coverages: Sequence[RoiCoverage]) -> str:
    """A Markdown table, one case a row: the organ that loses most, and the ROI's volume."""
    lines = ["| case | least held | of organ | volume |", "|---|---|---|---|"]
    for coverage in coverages:
        organ, share = min(coverage.held.items(), key=lambda item: item[1])
        of_organ = "all alike" if share == 1 else organ
        lines.append(f"| {coverage.case} | {share:.2%} | {of_organ} | {coverage.volume_ratio:.2f} |")
    return "\n".join(lines)
