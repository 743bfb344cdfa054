"""The parity test: each way to compute a network against the original, on the same real tiles and whole scans.

On tiles the scores are compared. On whole scans the label maps are, with one stage's network exchanged at a time and
the other the original, so that each figure has one cause: the coarse stage's shows what a shifted ROI does.
"""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
from attention_dmfnet.files.image_io import read_volume
from attention_dmfnet.geometry import Volume, canonicalise
from attention_dmfnet.model.manifest import Manifest, NetworkOutput
from attention_dmfnet.segmenter import locate, segment
from attention_dmfnet.steps.roi import Roi
from attention_dmfnet.steps.stage import StageModel

from evaluation.accuracy.dice import dice_by_organ
from export.contenders import Contender
from export.figures import ParityFigures

if TYPE_CHECKING:
    from attention_dmfnet.model.network import Network, Scores, Tile

_log = logging.getLogger(__name__)

StageName = Literal["coarse", "fine"]
Labels = npt.NDArray[np.uint8]

# Warming up: the first tile allocates memory and starts threads.
_UNTIMED_TILES = 1


@dataclass(slots=True)
class Figures:
    """What was measured of one contender so far: lists have one entry a tile, or one a scan."""

    contender: Contender
    score_differences: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    voxels: int = 0
    voxels_differ: int = 0
    dsc: dict[str, float] = field(default_factory=dict)

    def add_tile(self, scores: Scores, reference: Scores, seconds: float) -> None:
        """Compare a tile's scores (class, z, y, x)."""
        self.score_differences.append(float(np.abs(scores - reference).max()))
        self.seconds.append(seconds)

    def add_scan(self, labels: Labels, reference: Labels) -> None:
        """Compare a scan's labels (z, y, x); of the DSC the lowest of all scans is kept."""
        self.voxels += labels.size
        self.voxels_differ += int(np.count_nonzero(labels != reference))
        for organ, dsc in dice_by_organ(labels, reference).items():
            self.dsc[organ] = min(dsc, self.dsc.get(organ, 1.0))

    def parity(self, machine: str, measured_on: str) -> ParityFigures:
        """As ``measured.json`` has it."""
        return ParityFigures(
            backend=self.contender.runtime.backend,
            device=self.contender.runtime.device,
            max_score_difference=max(self.score_differences),
            labels_differ=self.voxels_differ / self.voxels,
            dsc={organ: round(dsc, 6) for organ, dsc in self.dsc.items()},
            seconds_per_tile=round(statistics.median(self.seconds[_UNTIMED_TILES:] or self.seconds), 5),
            machine=machine,
            measured_on=measured_on,
        )


@dataclass(frozen=True, slots=True)
class Original:
    """The reference networks of both stages, and the manifest by which they are used."""

    manifest: Manifest
    coarse: Network
    fine: Network

    def model(self, stage: StageName, network: Network | None = None) -> StageModel:
        """One stage with its original network, or with ``network`` in its place."""
        own = self.coarse if stage == "coarse" else self.fine
        return StageModel(self.manifest.coarse if stage == "coarse" else self.manifest.fine, network or own)


def compare(
    original: Original, contenders: dict[StageName, list[Contender]], scans: Sequence[Path], repeats: int = 1
) -> dict[StageName, list[Figures]]:
    """Compare all ``contenders`` with the ``original`` on every scan; each tile is computed ``repeats`` times."""
    figures: dict[StageName, list[Figures]] = {
        stage: [Figures(contender) for contender in own] for stage, own in contenders.items()
    }
    for path in scans:
        _log.info("comparing on %s", path.name)
        _compare_on_scan(original, figures, read_volume(path, []), repeats)
    return figures


def _compare_on_scan(original: Original, figures: dict[StageName, list[Figures]], ct: Volume, repeats: int) -> None:
    margin_mm = original.manifest.roi_margin_mm
    scan = canonicalise(ct)
    roi = locate(scan, original.model("coarse"), margin_mm)
    reference = _labels(original, ct, original.model("coarse"), original.model("fine"))
    for stage, own in figures.items():
        for number, tile in enumerate(_tiles(original, stage, scan, roi)):
            if number == 0:
                # of one shape as all of this scan, and of another than the scan's before: it takes longer
                for one in own:
                    one.contender.network(tile)
            _compare_on_tile(original.model(stage).network, own, tile, repeats)
    for one in figures["coarse"]:
        coarse = original.model("coarse", one.contender.network)
        # of the coarse stage only the ROI goes on: with the same one, the rest is the same computation
        same = locate(scan, coarse, margin_mm).box == roi.box
        one.add_scan(reference if same else _labels(original, ct, coarse, original.model("fine")), reference)
    for one in figures["fine"]:
        fine = original.model("fine", one.contender.network)
        one.add_scan(_labels(original, ct, original.model("coarse"), fine), reference)


def _compare_on_tile(original: Network, figures: Sequence[Figures], tile: Tile, repeats: int) -> None:
    # a copy: the contenders may share the original's memory
    reference = original(tile).copy()
    for _ in range(repeats):
        # one after the other on the same tile: whatever else the machine does slows all of them
        for one in figures:
            started_s = time.perf_counter()
            scores = one.contender.network(tile)
            one.add_tile(scores, reference, time.perf_counter() - started_s)


def _labels(original: Original, ct: Volume, coarse: StageModel, fine: StageModel) -> Labels:
    labels: Labels = segment(ct, coarse, fine, original.manifest).labels.array
    return labels


def _tiles(original: Original, stage: StageName, scan: Volume, roi: Roi) -> Iterator[Tile]:
    """The tiles that the stage sees of a scan, as the engine cuts them."""
    model = original.model(stage)
    plan = model.plan(scan.geometry, None if stage == "coarse" else roi.box)
    tiles: list[Tile] = []
    listener = StageModel(model.stage, _Listener(tiles.append, model.stage.output))
    listener.score(listener.view(scan, plan.grid), plan)
    yield from tiles


class _Listener:
    """A network that passes its tiles on and scores nothing."""

    def __init__(self, heard: Callable[[Tile], None], output: NetworkOutput) -> None:
        self._heard = heard
        self._output = output

    def __call__(self, tile: Tile) -> Scores:
        self._heard(tile.copy())
        shape = (side // self._output.stride for side in tile.shape)
        return np.zeros((self._output.classes, *shape), dtype=np.float32)
