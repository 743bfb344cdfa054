"""How far a teacher's organ is to be trusted when nobody has drawn it: two numbers per organ.

**Mean probability**: the teacher's own probability of the organ, averaged over the voxels that it labelled so. It is
there with a single teacher and falls where the organ blends into its surroundings. But a network can be sure of a
mistake, above all on scans unlike those it was trained on.

**Agreement**: the mean DSC between the first teacher's organ and each other teacher's, where several are given
(snapshots of one run, or runs on other folds). What the data taught, all of them have learned; what is a guess, each
guesses differently. It finds confident mistakes, but not those that all of them share.

Measured with two snapshots of a fine stage that had seen painted scans only, on the 22 organs that they found in two
real scans with labels: both numbers rank the organs as their DSC does (Spearman's rho 0.88 each). One pancreas shows
why both are needed: mean probability 0.81, like the good ones, but the snapshots agreed by 0.00, and its DSC was 0.10.

So an organ is kept only if both are high enough, and only if its volume is possible
(``training.pseudo.selection``). Where a patient was scanned in several phases, these must agree too
(``training.pseudo.phases``). Both numbers are lower for thin organs, of which most voxels lie at a border: they are
compared per organ, never across.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from attention_dmfnet.geometry import Geometry, Volume, canonicalise
from attention_dmfnet.model.network import Scores
from attention_dmfnet.steps.stage import Plan, StageModel

from evaluation.accuracy.dice import dice
from evaluation.nearest import resample_nearest

Probabilities = npt.NDArray[np.float32]
"""(class, z, y, x), summing to 1 over the classes."""


@dataclass(frozen=True, slots=True)
class RecordingStage(StageModel):
    """A stage that keeps the probabilities of its last view: the engine's pipeline returns labels alone."""

    recorded: list[tuple[Geometry, Probabilities]] = field(default_factory=list)

    def score(self, view: Volume, plan: Plan) -> Scores:
        """As any stage scores."""
        # not super(): a dataclass with slots is another class than the one that its methods were written in
        scores = StageModel.score(self, view, plan)
        self.recorded[:] = [(self.score_grid(view.geometry), softmax(scores))]
        return scores


@dataclass(frozen=True, slots=True)
class EnsembleStage(RecordingStage):
    """Several networks that see the same view: scores are the logarithms of their probabilities' mean.

    ``votes`` are the labels (z, y, x) that each alone gave to its last view, on the scores' grid.
    """

    others: tuple[StageModel, ...] = ()
    votes: list[npt.NDArray[np.uint8]] = field(default_factory=list)

    def score(self, view: Volume, plan: Plan) -> Scores:
        """As any stage scores."""
        mean: Probabilities = np.zeros(1, np.float32)
        self.votes.clear()
        for stage in (StageModel(self.stage, self.network), *self.others):
            probabilities = softmax(stage.score(view, plan))
            self.votes.append(probabilities.argmax(0).astype(np.uint8))
            mean = mean + probabilities / np.float32(1 + len(self.others))
        self.recorded[:] = [(self.score_grid(view.geometry), mean)]
        # a class that no network thinks of at all has a logarithm too
        scores: Scores = np.log(np.maximum(mean, np.finfo(np.float32).tiny))
        return scores


def softmax(scores: Scores) -> Probabilities:
    """Probabilities from scores (class, z, y, x)."""
    probabilities: Probabilities = scores - scores.max(axis=0)
    np.exp(probabilities, out=probabilities)
    probabilities /= probabilities.sum(axis=0)
    return probabilities


def mean_probabilities(labels: Volume, grid: Geometry, probabilities: Probabilities) -> dict[int, float]:
    """Of each label in ``labels``: the mean of its probability over those voxels of ``grid`` that lie in it.

    ``grid`` is the canonical one on which the probabilities were computed. A label too small to hold any of its voxels
    gets 0.
    """
    near = resample_nearest(canonicalise(labels), grid).array
    means = dict.fromkeys((int(label) for label in np.unique(labels.array) if label), 0.0)
    for label in means:
        inside = near == label
        if inside.any():
            means[label] = float(probabilities[label][inside].mean())
    return means


def agreements(labels: npt.NDArray[np.uint8], others: Sequence[npt.NDArray[np.uint8]]) -> dict[int, float | None]:
    """Of each label in ``labels``: its mean DSC with the same label of ``others``; None if there are no others."""
    found = (int(label) for label in np.unique(labels) if label)
    if not others:
        return dict.fromkeys(found)
    return {label: float(np.mean([dice(labels == label, other == label) for other in others])) for label in found}
