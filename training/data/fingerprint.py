"""The fingerprint of a data set: its grids, intensities and organ sizes, and the settings that they suggest."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt
from attention_dmfnet.geometry import Index, Triple
from attention_dmfnet.json_text import JsonError, decode_json

from evaluation.organs import ORGANS
from training.arrays import TILE_MULTIPLE
from training.data.facts import HU_EDGES, CaseFacts, OrganFacts
from training.errors import TrainingError

FINGERPRINT_NAME = "fingerprint.json"

# what the paper's protocol trains on and a GPU of 8 GB holds at batch 2: 80 x 192 x 160
_FINE_TILE_VOXELS = 80 * 192 * 160
_COARSE_TILE_VOXELS = 64 * 64 * 96
# finer than this, voxels of the fine stage show noise instead of organs; coarser, the adrenals vanish
_FINE_SPACING_MM = (0.7, 3.0)
_COARSE_SPACING_MM = (3.0, 8.0)
_WINDOW_PERCENTILES = (0.5, 99.5)
# the window reaches down to here at least: an organ ends where fat begins (-100 HU), and noise blurs that border
_BELOW_FAT_HU = -150
_ROUND_HU = 10
_HOLLOW = frozenset({10, 11, 12})
"""Esophagus, stomach and duodenum: gas in them would stretch the window to where no organ is."""


class Spread(msgspec.Struct, frozen=True):
    """Of some numbers, one a case: the smallest, the middle and the largest."""

    least: float
    median: float
    most: float


class OrganFingerprint(msgspec.Struct, frozen=True):
    """Of one organ over the ``cases`` that have it: volume, and HU percentiles 0.5, 50 and 99.5 of its voxels."""

    cases: int
    volume_ml: Spread
    hu: tuple[float, float, float]


class Proposal(msgspec.Struct, frozen=True):
    """Settings for a recipe's ``[grid]`` and ``[intensity]`` that fit the data."""

    spacing_zyx: Triple
    tile_zyx: Index
    window_hu: tuple[float, float]
    mean_hu: float
    std_hu: float


class Fingerprint(msgspec.Struct, frozen=True):
    """The whole of ``fingerprint.json``. Spreads are over all scans, organs over the labelled ones; z, y, x in mm."""

    format: Literal[1]
    scans: int
    labelled: int
    spacing_zyx: tuple[Spread, Spread, Spread]
    extent_mm_zyx: tuple[Spread, Spread, Spread]
    organs_box_mm_zyx: tuple[Spread, Spread, Spread]
    organs: dict[str, OrganFingerprint]
    coarse: Proposal
    fine: Proposal

    def volumes_ml(self) -> dict[str, tuple[float, float]]:
        """The least and the largest volume seen of each organ."""
        return {organ: (of_it.volume_ml.least, of_it.volume_ml.most) for organ, of_it in self.organs.items()}


def take_fingerprint(facts: Iterable[CaseFacts], roi_margin_mm: Triple) -> Fingerprint:
    """Summarise the measured cases. Raises ``TrainingError`` if none of them is labelled."""
    cases = list(facts)
    labelled = [case.labels for case in cases if case.labels is not None]
    if not labelled:
        raise TrainingError("none of the scans is labelled; a data set needs at least one scan with labels")
    by_label: dict[int, list[OrganFacts]] = {}
    for labels in labelled:
        for label, organ in labels.organs.items():
            by_label.setdefault(label, []).append(organ)
    extents = [_times(case.image.shape_zyx, case.image.spacing_zyx) for case in cases]
    spacings = [case.image.spacing_zyx for case in cases]
    boxes = [labels.box_mm_zyx for labels in labelled]
    solid = {label: organs for label, organs in by_label.items() if label not in _HOLLOW} or by_label
    window, mean_hu, std_hu = _intensity(organ for organs in solid.values() for organ in organs)
    fine_spacing, fine_tile = _fine_grid(spacings, boxes, roi_margin_mm)
    coarse_spacing, coarse_tile = _coarse_grid(extents)
    return Fingerprint(
        1,
        len(cases),
        len(labelled),
        _spreads(spacings),
        _spreads(extents),
        _spreads(boxes),
        {ORGANS[label - 1]: _organ(organs) for label, organs in sorted(by_label.items())},
        Proposal(coarse_spacing, coarse_tile, window, mean_hu, std_hu),
        Proposal(fine_spacing, fine_tile, window, mean_hu, std_hu),
    )


def read_fingerprint(folder: Path) -> Fingerprint:
    """The fingerprint of the data set in ``folder``. Raises ``TrainingError``."""
    path = folder / FINGERPRINT_NAME
    try:
        return decode_json(path.read_bytes(), Fingerprint)
    except OSError as error:
        raise TrainingError(f"cannot read {path}: {error.strerror}; prepare the data set first") from error
    except JsonError as error:
        raise TrainingError(f"{path} is not valid: {error}; prepare the data set again") from error


def as_table(fingerprint: Fingerprint) -> str:
    """The fingerprint for people: a line a fact, and the proposals as a recipe has them."""
    lines = [f"{fingerprint.scans} scans, {fingerprint.labelled} of them labelled"]
    for name, spreads in (
        ("spacing, mm", fingerprint.spacing_zyx),
        ("extent, mm", fingerprint.extent_mm_zyx),
        ("box of the organs, mm", fingerprint.organs_box_mm_zyx),
    ):
        axes = (
            f"{axis} {of_it.least:.4g} / {of_it.median:.4g} / {of_it.most:.4g}"
            for axis, of_it in zip("zyx", spreads, strict=True)
        )
        lines.append(f"{name:22s} {'  '.join(axes)}   (least / median / most)")
    for organ, of_it in fingerprint.organs.items():
        volume = of_it.volume_ml
        lines.append(
            f"{organ:22s} {of_it.cases:4d} cases  {volume.least:.4g} / {volume.median:.4g} / {volume.most:.4g} mL  "
            f"HU {of_it.hu[0]:.0f} / {of_it.hu[1]:.0f} / {of_it.hu[2]:.0f}"
        )
    for stage, proposal in (("coarse", fingerprint.coarse), ("fine", fingerprint.fine)):
        lines += ["", f"# proposed for the {stage} stage", *_as_recipe(stage, proposal)]
    return "\n".join(lines)


def _as_recipe(stage: str, proposal: Proposal) -> list[str]:
    return [
        f"[{stage}.grid]",
        f"spacing_zyx = {list(proposal.spacing_zyx)}",
        f"tile_zyx = {list(proposal.tile_zyx)}",
        f"[{stage}.intensity]",
        f"window_hu = {list(proposal.window_hu)}",
        f"mean_hu = {proposal.mean_hu}",
        f"std_hu = {proposal.std_hu}",
    ]


def _organ(organs: Sequence[OrganFacts]) -> OrganFingerprint:
    histogram = np.sum([organ.histogram for organ in organs], axis=0)
    low, middle, high = (_percentile(histogram, percent) for percent in (0.5, 50.0, 99.5))
    return OrganFingerprint(len(organs), _spread([organ.volume_ml for organ in organs]), (low, middle, high))


def _intensity(organs: Iterable[OrganFacts]) -> tuple[tuple[float, float], float, float]:
    """Window, mean and standard deviation over the voxels of ``organs``, clipped to the window.

    Every organ counts the same, however large it is: by voxels the liver alone would set the window.
    """
    shares = []
    for organ in organs:
        histogram = np.array(organ.histogram, dtype=np.float64)
        shares.append(histogram / histogram.sum())
    histogram = np.sum(shares, axis=0)
    low = min(math.floor(_percentile(histogram, _WINDOW_PERCENTILES[0]) / _ROUND_HU) * _ROUND_HU, _BELOW_FAT_HU)
    high = math.ceil(_percentile(histogram, _WINDOW_PERCENTILES[1]) / _ROUND_HU) * _ROUND_HU
    high = max(high, low + _ROUND_HU)
    centres = np.clip((HU_EDGES[:-1] + HU_EDGES[1:]) / 2, low, high)
    mean = float(np.average(centres, weights=histogram))
    std = math.sqrt(float(np.average((centres - mean) ** 2, weights=histogram)))
    return (float(low), float(high)), float(round(mean)), float(max(1, round(std)))


def _fine_grid(spacings: Sequence[Triple], boxes: Sequence[Triple], margin_mm: Triple) -> tuple[Triple, Index]:
    """The middle scan's own spacing, made coarser on all axes alike until the middle ROI fits into two tiles."""
    spacing = [float(np.median([mm[axis] for mm in spacings])) for axis in range(3)]
    roi_mm = [float(np.median([box[axis] for box in boxes])) + 2 * margin_mm[axis] for axis in range(3)]
    low, high = _FINE_SPACING_MM
    spacing = [min(max(mm, low), high) for mm in spacing]
    voxels = math.prod(mm / step for mm, step in zip(roi_mm, spacing, strict=True))
    while voxels > 2 * _FINE_TILE_VOXELS and min(spacing) < high:
        # the finest axes first: voxels become cubes before they become large
        finest = min(spacing)
        spacing = [min(mm * 1.05, high) if mm <= finest * 1.001 else mm for mm in spacing]
        voxels = math.prod(mm / step for mm, step in zip(roi_mm, spacing, strict=True))
    rounded = _rounded(spacing)
    return rounded, _tile(roi_mm, rounded, _FINE_TILE_VOXELS)


def _coarse_grid(extents: Sequence[Triple]) -> tuple[Triple, Index]:
    """The smallest cubes of which one tile covers nearly every scan (the 90th percentile of each side)."""
    scan_mm = [float(np.percentile([mm[axis] for mm in extents], 90)) for axis in range(3)]
    cube, high = _COARSE_SPACING_MM
    while cube < high and math.prod(_covering(scan_mm, (cube,) * 3)) > _COARSE_TILE_VOXELS:
        cube += 0.5
    return (cube,) * 3, _tile(scan_mm, (cube,) * 3, _COARSE_TILE_VOXELS)


def _tile(covered_mm: Sequence[float], spacing_zyx: Triple, voxels: int) -> Index:
    """A tile over ``covered_mm`` in multiples the network takes, cut on its longest side until it has few enough."""
    tile = _covering(covered_mm, spacing_zyx)
    while math.prod(tile) > voxels and max(tile) > TILE_MULTIPLE:
        tile[tile.index(max(tile))] -= TILE_MULTIPLE
    return (tile[0], tile[1], tile[2])


def _covering(covered_mm: Sequence[float], spacing_zyx: Triple) -> list[int]:
    """The smallest tile over ``covered_mm`` in multiples the network takes."""
    return [
        max(1, math.ceil(mm / step / TILE_MULTIPLE)) * TILE_MULTIPLE
        for mm, step in zip(covered_mm, spacing_zyx, strict=True)
    ]


def _percentile(histogram: npt.NDArray[np.generic], percent: float) -> float:
    """The upper edge of the bin that the ``percent``-th of 100 voxels is in."""
    summed = np.cumsum(histogram, dtype=np.float64)
    place = int(np.searchsorted(summed, summed[-1] * percent / 100))
    return float(HU_EDGES[min(place + 1, len(HU_EDGES) - 1)])


def _rounded(spacing: Sequence[float]) -> Triple:
    z, y, x = (round(mm, 1) for mm in spacing)
    return (z, y, x)


def _times(shape: Index, spacing: Triple) -> Triple:
    z, y, x = (size * mm for size, mm in zip(shape, spacing, strict=True))
    return (z, y, x)


def _spreads(rows: Sequence[Triple]) -> tuple[Spread, Spread, Spread]:
    z, y, x = (_spread([row[axis] for row in rows]) for axis in range(3))
    return (z, y, x)


def _spread(numbers: Sequence[float]) -> Spread:
    return Spread(min(numbers), float(np.median(numbers)), max(numbers))
