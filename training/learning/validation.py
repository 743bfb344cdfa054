"""How good a network is on cases that it has not seen: DSC and NSD by the project's scorer, on the stage's grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from attention_dmfnet.model.network import Scores, Tile
from attention_dmfnet.steps.intensity import normalise
from attention_dmfnet.steps.tiles import score_in_tiles
from torch import nn

from evaluation.accuracy.dice import dice
from evaluation.accuracy.flare22 import OrganScore, score_organ
from evaluation.accuracy.surface import surface_dice
from training.arrays import UNKNOWN, Hu, Labels
from training.learning.source import PaintedSource, Source
from training.recipe import Recipe

if TYPE_CHECKING:
    from training.data.dataset import Case


@dataclass(frozen=True)
class ValidationCase:
    """A whole case, read when it is needed: ``read`` returns its image (HU) and labels (z, y, x)."""

    name: str
    annotated: frozenset[int]
    read: Callable[[], tuple[Hu, Labels]]


CaseScores = dict[str, dict[int, OrganScore]]
"""By case name and label."""


def whole_cases(cases: Sequence[Case]) -> list[ValidationCase]:
    """Cases of a prepared data set, on the stage's grid."""
    return [ValidationCase(case.name, case.annotated, case.read_whole) for case in cases]


def painted_cases(source: Source, count: int, classes: int, seed: int) -> list[ValidationCase]:
    """``count`` samples of a source, always the same: for bodies that were held out from training.

    An organ that nobody drew in one of the bodies is not scored.
    """

    def paint(number: int) -> tuple[Hu, Labels]:
        sample = source.sample(np.random.default_rng((seed, 2 * 10**12 + number)))
        return sample.image, sample.labels

    drawn = frozenset(range(1, classes)) - (source.undrawn if isinstance(source, PaintedSource) else frozenset())
    return [
        ValidationCase(f"painted-{number:02}", drawn, lambda number=number: paint(number))  # type: ignore[misc]
        for number in range(count)
    ]


def validate(
    network: nn.Module,
    recipe: Recipe,
    cases: Sequence[ValidationCase],
    device: torch.device,
    stop: Callable[[], bool] = lambda: False,
) -> CaseScores:
    """Score ``cases``, or those that come before ``stop`` says so; the network is to be in evaluation mode."""
    scores: CaseScores = {}
    for case in cases:
        if stop():
            break
        image, labels = case.read()
        predicted = predict(network, recipe, image, device)
        # what nobody has judged is no mistake
        predicted[labels == UNKNOWN] = 0
        scores[case.name] = {label: _score(predicted, labels, label, recipe) for label in sorted(case.annotated)}
    return scores


def predict(network: nn.Module, recipe: Recipe, image: Hu, device: torch.device) -> Labels:
    """Labels (z, y, x) for an image in HU on the stage's grid, by the engine's own tiles."""
    how = recipe.intensity
    air = (how.window_hu[0] - how.mean_hu) / how.std_hu
    normal = normalise(image, how.window_hu, how.mean_hu, how.std_hu)
    grid = recipe.grid
    scores = score_in_tiles(
        normal, _TorchNetwork(network, device), recipe.network.classes, grid.tile_zyx, grid.overlap, air
    )
    labels: Labels = scores.argmax(0).astype(np.uint8)
    return labels


def mean_by_label(scores: CaseScores) -> dict[int, OrganScore]:
    """The mean DSC and NSD of each label over the cases that annotate it."""
    labels = sorted({label for case in scores.values() for label in case})
    means = {}
    for label in labels:
        of_label = [case[label] for case in scores.values() if label in case]
        means[label] = OrganScore(_mean([s.dsc for s in of_label]), _mean([s.nsd for s in of_label]))
    return means


def mean_dsc(scores: CaseScores) -> float:
    """The mean DSC over the labels, each label's being the mean over the cases that annotate it."""
    return _mean([score.dsc for score in mean_by_label(scores).values()])


@dataclass(frozen=True)
class _TorchNetwork:
    """A torch network behind the engine's seam."""

    network: nn.Module
    device: torch.device

    @torch.inference_mode()
    def __call__(self, tile: Tile) -> Scores:
        image = torch.from_numpy(tile)[None, None].to(self.device, memory_format=torch.channels_last_3d)
        scores: Scores = self.network(image)[0].float().contiguous().cpu().numpy()
        return scores


def _score(predicted: Labels, labels: npt.NDArray[np.uint8], label: int, recipe: Recipe) -> OrganScore:
    spacing_zyx = recipe.grid.spacing_zyx
    if recipe.stage == "fine":
        return score_organ(predicted, labels, label, spacing_zyx)
    # all organs together have no tolerance of their own in FLARE22: a voxel here
    found, drawn = predicted == label, labels == label
    return OrganScore(dice(found, drawn), surface_dice(found, drawn, spacing_zyx, max(spacing_zyx)))


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
