"""What a working grid costs in accuracy before any network: labels brought on to a grid and back as scores are.

Each organ's share of a grid voxel stands for its score, and the engine's own restore brings the shares back. A
network's scores are not shares and may say a little more about where an organ ends, so these are no strict bounds, but
about the best that a network on that grid can be expected to reach. The study behind
docs/decisions/0004-grid-tiles-scores.md:

    python -m evaluation.studies.grid_limit LABELS --spacing 6 5 5 --spacing 4 3 3
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from attention_dmfnet.files.image_io import read_volume
from attention_dmfnet.geometry import Triple, Volume, canonicalise
from attention_dmfnet.steps.restore import restore_labels

from evaluation.accuracy.dice import dice_by_organ
from evaluation.command import DONE, run_command
from evaluation.errors import ArgumentsError
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.studies.grid_limit",
        description="How well organs survive a working grid, without any network.",
    )
    parser.add_argument("labels", type=Path, metavar="LABELS", help="a label map")
    parser.add_argument(
        "--spacing", nargs=3, type=float, action="append", required=True, metavar=("Z", "Y", "X"),
        help="of the scores, mm; the networks score at twice their input's spacing; may be repeated",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    return run_command("grid_limit", lambda: _print_limits(options.labels, [(z, y, x) for z, y, x in options.spacing]))


def _print_limits(path: Path, spacings: Sequence[Triple]) -> int:
    if not all(0 < mm < float("inf") for spacing in spacings for mm in spacing):
        raise ArgumentsError("--spacing takes three sizes in mm, each above 0")
    labels = read_volume(path)
    names = [" x ".join(f"{mm:g}" for mm in spacing) for spacing in spacings]
    print(limit_table(names, [grid_limit(labels, spacing) for spacing in spacings]))
    return DONE


if __name__ == "__main__":
    sys.exit(main())
