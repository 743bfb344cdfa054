"""An ablation on real scans: painted ones are labelled, real ones are not, and real ones are scored.

A data set with few labelled and many unlabelled real scans is not always at hand. Labels that were painted from are,
and scans without labels are. So what pseudo labels carry over is a larger step than between two contrast phases: from
painted scans to real ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from attention_dmfnet.files.image_io import read_volume
from attention_dmfnet.geometry import canonicalise
from attention_dmfnet.steps.resample import resample_linear
from msgspec.structs import replace

from training.arrays import Labels
from training.learning.checkpoint import load_trained
from training.learning.source import Source, SourceError, open_datasets
from training.learning.validation import ValidationCase, predict, whole_cases
from training.painting.real_scans import patient_of_scan
from training.recipe import Recipe
from training.reports.ablation_scenarios import (
    LABELLED_PHASES,
    PseudoSource,
    count_anatomies,
    hashes_of_bodies,
    painted_source,
    split_bodies,
)

_ENDING = "_0000.nii.gz"


class RealScenario:
    """Labelled anatomies painted in the portal phase, real scans without labels, and real scans to be scored.

    No scan of a patient that is scored, of whatever phase, is among the unlabelled ones: the names tell.
    """

    def __init__(self, bodies: Path, labelled: int, scans: Path, scored: Sequence[Path]) -> None:
        self._labelled, _, _ = split_bodies(bodies, labelled)
        self._scans, self._scored = sorted(scans.glob(f"*{_ENDING}")), scored
        self._hu: list[npt.NDArray[np.int16]] = []
        self._pseudo: dict[Path, list[Labels]] = {}

    def teacher(self, recipe: Recipe) -> Source:
        """Painted anew for every sample."""
        return painted_source(self._labelled, recipe, LABELLED_PHASES)

    def student(self, recipe: Recipe, teacher: Path) -> Source:
        """The same, and the real scans as the teacher labels them."""
        if teacher not in self._pseudo:
            network, device = load_trained(teacher).network, torch.device("cpu")
            scans = self._read(recipe)
            self._pseudo[teacher] = [predict(network, recipe, hu.astype(np.float32), device) for hu in scans]
        labels = self._pseudo[teacher]
        return PseudoSource(self.teacher(recipe), self._hu, labels, recipe)

    def oracle(self, recipe: Recipe) -> Source | None:
        """Not known."""
        return None

    def validation(self, recipe: Recipe) -> Sequence[ValidationCase]:
        """The labelled cases of the data sets that are scored, whole."""
        whole, _ = open_datasets(self._scored, replace(recipe, run=replace(recipe.run, fold="all")))
        return whole_cases([case for case in whole.cases if not case.is_pseudo])

    def description(self) -> list[str]:
        """How many of what."""
        return [
            f"labelled: {count_anatomies(self._labelled)}, painted anew for every sample in the portal phase",
            f"unlabelled: the real scans of {len(self._scans)} files, without those of patients that are scored",
            f"scored: real scans of {', '.join(folder.name for folder in self._scored)}",
        ]

    def notes(self, recipe: Recipe, teacher: Path) -> list[str]:
        """None: nobody knows how good the pseudo labels are."""
        return []

    def made_of(self, recipe: Recipe) -> dict[str, str]:
        """The labelled bodies, the names and sizes of the scans, and what is scored."""
        scans = repr([(path.name, path.stat().st_size) for path in self._scans])
        whole, _ = open_datasets(self._scored, replace(recipe, run=replace(recipe.run, fold="all")))
        return hashes_of_bodies([self._labelled], recipe) | {
            "--scans": hashlib.sha256(scans.encode()).hexdigest(),
            "--scored": " ".join(whole.fingerprint.values()),
        }

    def _read(self, recipe: Recipe) -> list[npt.NDArray[np.int16]]:
        """HU of the unlabelled scans on the recipe's grid, clipped to its window."""
        if not self._hu:
            scored = {patient_of_scan(case.name) for case in self.validation(recipe)}
            paths = [path for path in self._scans if patient_of_scan(path.name.removesuffix(_ENDING)) not in scored]
            if not paths:
                raise SourceError(
                    "no scan is left of a patient that is not scored; name a folder of scans NAME_0000.nii.gz"
                )
            for path in paths:
                scan = canonicalise(read_volume(path))
                grid = scan.geometry.with_spacing(recipe.grid.spacing_zyx)
                array = resample_linear(scan, grid, recipe.intensity.window_hu).array
                self._hu.append(np.rint(array).astype(np.int16))
        return self._hu
