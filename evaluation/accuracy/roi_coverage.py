"""How much of each labelled organ the ROI holds, and how much larger than needed it is."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from attention_dmfnet.files.cases import case_name, list_cases, output_path
from attention_dmfnet.files.image_io import read_volume
from attention_dmfnet.geometry import Box, Triple, Volume, canonicalise
from attention_dmfnet.model.loading import load_network
from attention_dmfnet.model.manifest import Manifest, ManifestError, load_manifest
from attention_dmfnet.model.network import NetworkError
from attention_dmfnet.model.runtimes import Runtime, runtimes_to_try
from attention_dmfnet.segmenter import locate, score
from attention_dmfnet.steps.roi import box_with_margin
from attention_dmfnet.steps.stage import StageModel

from evaluation.accuracy.surface import bounding_box
from evaluation.errors import EvaluationError
from evaluation.organs import ORGANS

TIGHT_MARGIN_MM: Triple = (30.0, 20.0, 20.0)
"""(z, y, x): what the box of the labels gets before an ROI is compared with it."""


@dataclass(frozen=True, slots=True)
class RoiCoverage:
    """Of one case: the share of each organ's voxels inside the ROI, and the ROI's volume to the labels' own box's.

    Both are of the coarse stage's ROI. ``searched`` is the share in the one that was searched in the end: it is widened
    where the fine stage sees organs go on. None if that was not asked for.
    """

    case: str
    held: dict[str, float]
    volume_ratio: float
    searched: dict[str, float] | None = None


def measure_folder(
    images: Path, references: Path, models: Path, roi_margin_mm: Triple | None = None
) -> list[RoiCoverage]:
    """Both networks of ``models``, on the CPU, on every scan of ``images`` that has a label map in ``references``.

    With ``roi_margin_mm`` (z, y, x) in place of the manifest's, the coarse network alone. Raises ``EvaluationError`` if
    no scan has a label map or the models cannot be used, and what reading scans raises.
    """
    try:
        manifest = load_manifest(models)
        runtime = runtimes_to_try("cpu", "auto")[-1]
        coarse = StageModel(manifest.coarse, load_network(models, manifest.coarse, runtime))
        searched = None if roi_margin_mm else _searched(models, manifest, coarse, runtime)
    except (ManifestError, NetworkError) as error:
        raise EvaluationError(str(error)) from error
    margin_mm = manifest.roi_margin_mm if roi_margin_mm is None else roi_margin_mm
    pairs = [(path, output_path(path, references)) for path in list_cases(images)]
    found = [
        measure(case_name(path), read_volume(path), read_volume(reference), coarse, margin_mm, searched)
        for path, reference in pairs
        if reference.is_file()
    ]
    if not found:
        raise EvaluationError(f"no scan in {images} has a label map of its name in {references}")
    return found


def _searched(models: Path, manifest: Manifest, coarse: StageModel, runtime: Runtime) -> Callable[[Volume], Box]:
    """What finds the ROI that is searched in the end. Raises ``NetworkError``."""
    fine = StageModel(manifest.fine, load_network(models, manifest.fine, runtime))
    return lambda ct: score(ct, coarse, fine, manifest).roi.box


def measure(
    case: str,
    ct: Volume,
    labels: Volume,
    coarse: StageModel,
    roi_margin_mm: Triple,
    searched: Callable[[Volume], Box] | None = None,
) -> RoiCoverage:
    """Of one scan and its ``labels`` (0 to 13, on its grid); ``searched`` finds the ROI that is searched in the end.

    Raises ``EvaluationError`` if the labels show no organ.
    """
    scan, truth = canonicalise(ct), canonicalise(labels)
    if truth.geometry.shape_zyx != scan.geometry.shape_zyx:
        raise EvaluationError(f"{case}: the label map of {truth.geometry.shape_zyx} voxels is not on the scan's grid")
    array = np.rint(truth.array).astype(np.uint8)
    if not array.any():
        raise EvaluationError(f"{case}: the label map shows no organ")
    box = locate(scan, coarse, roi_margin_mm).box
    everywhere = np.bincount(array.ravel(), minlength=1 + len(ORGANS))

    def held_in(box: Box) -> dict[str, float]:
        inside = np.bincount(array[box.slices].ravel(), minlength=1 + len(ORGANS))
        return {
            organ: float(inside[label] / everywhere[label])
            for label, organ in enumerate(ORGANS, start=1)
            if everywhere[label]
        }

    z, y, x = bounding_box(array > 0)
    labelled = Box((z.start, y.start, x.start), (z.stop, y.stop, x.stop))
    tight = box_with_margin(labelled, scan.geometry, scan.geometry, TIGHT_MARGIN_MM)
    ratio = math.prod(box.shape_zyx) / math.prod(tight.shape_zyx)
    return RoiCoverage(case, held_in(box), ratio, None if searched is None else held_in(searched(ct)))


def coverage_table(coverages: Sequence[RoiCoverage]) -> str:
    """A Markdown table, one case a row: the organ that loses most, the ROI's volume, and what is held in the end."""
    lines = ["| case | least held | of organ | volume | least held where it was searched | of organ |"]
    lines.append("|---|---|---|---|---|---|")
    for coverage in coverages:
        end = ("", "") if coverage.searched is None else _least(coverage.searched)
        cells = (coverage.case, *_least(coverage.held), f"{coverage.volume_ratio:.2f}", *end)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _least(held: dict[str, float]) -> tuple[str, str]:
    organ, share = min(held.items(), key=lambda item: item[1])
    return f"{share:.2%}", "all alike" if share == 1 else organ
