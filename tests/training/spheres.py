"""Small made-up scans for tests of the loop: bright and dark balls in noise, one organ each."""

import numpy as np

from training.arrays import Hu, Labels
from training.learning.source import Sample
from training.learning.validation import ValidationCase
from training.recipe import SGD, AdamW, Augmentation, Grid, Intensity, Loss, Network, Recipe, Run, Sampling, Schedule

TILE = (32, 32, 32)
HU = (-100.0, 150.0, 0.0)
"""Of the background and of labels 1 and 2."""


def paint(rng: np.random.Generator) -> tuple[Hu, Labels]:
    """A scan of ``TILE`` with a ball of each label."""
    labels = np.zeros(TILE, np.uint8)
    where = np.stack(np.meshgrid(*map(np.arange, TILE), indexing="ij"))
    for label in (1, 2):
        centre = rng.uniform(8, 24, 3)[:, None, None, None]
        labels[((where - centre) ** 2).sum(0) < rng.uniform(5, 8) ** 2] = label
    image = np.asarray(HU, np.float32)[labels] + rng.normal(0, 20, TILE).astype(np.float32)
    return image.astype(np.float32), labels


class Spheres:
    """A source of such scans."""

    fingerprint = {"spheres": "1"}  # noqa: RUF012 - never changed

    def sample(self, rng: np.random.Generator) -> Sample:
        return Sample(*paint(rng))


def cases(count: int) -> list[ValidationCase]:
    """Scans that are not among the first million samples of seed 1."""
    scans = [paint(np.random.default_rng((99, number))) for number in range(count)]
    return [
        ValidationCase(f"case-{number}", frozenset({1, 2}), lambda scan=scan: scan)  # type: ignore[misc]
        for number, scan in enumerate(scans)
    ]


def recipe(optimiser: str = "adamw", frozen_norms: bool = False, **run: object) -> Recipe:
    """Three classes, 14,000 parameters; steps of a few hundredths of a second."""
    settings: dict[str, object] = {"batch": 2, "steps_per_epoch": 4, "epochs": 2, "ema": 0.9}
    return Recipe(
        "fine",
        Network(classes=3, stem=8, width=16, groups=4),
        Grid((3.0, 3.0, 3.0), TILE),
        Intensity(),
        Sampling(workers=0),
        Augmentation(),
        Loss(),
        SGD(learning_rate=0.01, momentum=0.9) if optimiser == "sgd" else AdamW(learning_rate=0.01, clip_norm=5),
        Schedule(
            "cosine",
            warm_up_steps=2,
            freeze_norm_at=0.0 if frozen_norms else 1.0,
            recalibrate_samples=0 if frozen_norms else 4,
        ),
        Run(**(settings | run)),  # type: ignore[arg-type]
    )
