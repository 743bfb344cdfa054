"""What a working grid costs in accuracy before any network: labels brought on to a grid and back as scores are.

Each organ's share of a grid voxel stands for its score, and the engine's own restore brings the shares back. A
network's scores are not shares and may say a little more about where an organ ends, so these are no strict bounds, but
about the best that a network on that grid can be expected to reach.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from attention_dmfnet.geometry import Triple, Volume, canonicalise
from attention_dmfnet.steps.restore import restore_labels

from evaluation.accuracy.dice import dice_by_organ
from evaluation.organs import ORGANS


def grid_limit(labels: Volume, spacing_zyx: Triple) -> dict[str, float]:
    """DSC of each organ that ``labels`` (0 to 13) hold, from a grid of ``spacing_zyx`` mm to ``labels`` again."""
    truth = canonicalise(labels)
    array = np.rint(truth.array).astype(np.uint8)
    grid = truth.geometry.with_spacing(spacing_zyx)
    z, y, x = (
        _shares(count, mm, cells, cell_mm)
        for count, mm, cells, cell_mm in zip(
            truth.geometry.shape_zyx, truth.geometry.spacing_zyx, grid.shape_zyx, grid.spacing_zyx, strict=True
        )
    )
    scores = np.zeros((1 + len(ORGANS), *grid.shape_zyx), dtype=np.float32)
    for label, share in enumerate(scores):
        mask = (array == label).astype(np.float32)
        share[...] = np.einsum("ai,bj,ck,ijk->abc", z, y, x, mask, optimize=True)
    found = restore_labels(scores, grid, truth.geometry)
    present = {organ for label, organ in enumerate(ORGANS, start=1) if (array == label).any()}
    return {organ: dsc for organ, dsc in dice_by_organ(found, array).items() if organ in present}


def _shares(count: int, mm: float, cells: int, cell_mm: float) -> npt.NDArray[np.float32]:
    """(cell, voxel) how much of each of ``cells`` lies in each of ``count`` voxels, both centred on the same point."""
    edges = (np.arange(count + 1) - count / 2) * mm
    cell_edges = (np.arange(cells + 1) - cells / 2) * cell_mm
    low = np.maximum(edges[None, :-1], cell_edges[:-1, None])
    high = np.minimum(edges[None, 1:], cell_edges[1:, None])
    overlap = np.clip(high - low, 0, None)
    return np.asarray(overlap / np.maximum(overlap.sum(1, keepdims=True), 1e-9), dtype=np.float32)


def limit_table(names: Sequence[str], limits: Sequence[dict[str, float]]) -> str:
    """A Markdown table: organs down, ``names`` across."""
    organs = [organ for organ in ORGANS if any(organ in limit for limit in limits)]
    lines = [f"| organ | {' | '.join(names)} |", "|---" * (1 + len(names)) + "|"]
    for organ in organs:
        cells = (f"{limit[organ]:.3f}" if organ in limit else "–" for limit in limits)
        lines.append(f"| {organ} | {' | '.join(cells)} |")
    return "\n".join(lines)
