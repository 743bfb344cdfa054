"""What an ablation compares on: prepared scans with pseudo labels, or painted ones of which the truth is known."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from attention_dmfnet.geometry import Index

from evaluation.accuracy.dice import dice
from training.arrays import Labels
from training.data.augment import Augment
from training.data.dataset import Case
from training.learning.checkpoint import load_trained
from training.learning.source import (
    DatasetSource,
    PaintedSource,
    Sample,
    Source,
    SourceError,
    as_scored,
    canvas_of,
    open_datasets,
)
from training.learning.validation import ValidationCase, painted_cases, predict, whole_cases
from training.painting.bodies import load
from training.painting.completion import Body
from training.painting.painter import Painter
from training.recipe import Recipe

Places = npt.NDArray[np.uint32]


class Scenario(Protocol):
    """Sources for the arms of an ablation, and the cases that are scored."""

    def teacher(self, recipe: Recipe) -> Source:
        """Labelled scans alone."""

    def student(self, recipe: Recipe, teacher: Path) -> Source:
        """Labelled scans, and others with the pseudo labels of the run ``teacher``."""

    def oracle(self, recipe: Recipe) -> Source | None:
        """All scans with true labels, where these are known: what no pseudo label can beat."""

    def validation(self, recipe: Recipe) -> Sequence[ValidationCase]:
        """The cases that are scored."""

    def description(self) -> list[str]:
        """What the scans are, for the table."""

    def notes(self, recipe: Recipe, teacher: Path) -> list[str]:
        """What is known of a teacher's pseudo labels."""

    def made_of(self, recipe: Recipe) -> dict[str, str]:
        """What is trained on and scored, as hashes and numbers by the option that chooses it."""


@dataclass(frozen=True)
class PreparedScenario:
    """Data sets of ``prepare``, whose pseudo labels come from `pseudo-label`: the same for every seed."""

    folders: Sequence[Path]
    cases: int

    def teacher(self, recipe: Recipe) -> Source:
        """The true labels of the fold."""
        return self._source(recipe, with_pseudo=False)

    def student(self, recipe: Recipe, teacher: Path) -> Source:
        """All of the fold."""
        return self._source(recipe, with_pseudo=True)

    def oracle(self, recipe: Recipe) -> Source | None:
        """Not known."""
        return None

    def validation(self, recipe: Recipe) -> Sequence[ValidationCase]:
        """Real cases of the fold that have true labels."""
        _, held_out = open_datasets(self.folders, recipe)
        if not held_out:
            raise SourceError("the fold holds no validation case; prepare more labelled patients")
        return whole_cases(held_out[: self.cases])

    def description(self) -> list[str]:
        """The folders."""
        return [f"data sets: {', '.join(folder.name for folder in self.folders)}"]

    def notes(self, recipe: Recipe, teacher: Path) -> list[str]:
        """None."""
        return []

    def made_of(self, recipe: Recipe) -> dict[str, str]:
        """The data sets, whatever their folders are called."""
        source, _ = open_datasets(self.folders, recipe)
        return {"--data": " ".join(source.fingerprint.values()), "--cases": str(self.cases)}

    def _source(self, recipe: Recipe, with_pseudo: bool) -> Source:
        source, _ = open_datasets(self.folders, recipe)
        cases: list[Case] = [case for case in source.cases if with_pseudo or not case.is_pseudo]
        if with_pseudo and not any(case.is_pseudo for case in cases):
            raise SourceError("no case has pseudo labels; run `python -m training pseudo-label`, then prepare again")
        augment = Augment(recipe.augmentation, recipe.grid, recipe.intensity.window_hu)
        return DatasetSource(cases, recipe, augment, source.fingerprint)


LABELLED_PHASES = {"portal": 1.0}
OTHER_PHASES = {"plain": 0.5, "arterial": 0.5}
"""The domain shift: labels exist for one contrast phase, the clinic's other scans are of the other two."""


class PaintedScenario:
    """Few labelled anatomies in the portal phase, and many unlabelled scans of other anatomies in the other phases.

    The scored cases are of held-out anatomies, in the other phases too: unlabelled scans can teach what labelled ones
    do not show.
    """

    def __init__(self, bodies: Path, labelled: int, unlabelled: int, cases: int) -> None:
        self._labelled, self._others, self._held_out = split_bodies(bodies, labelled)
        self._unlabelled, self._cases = unlabelled, cases
        self._true: list[tuple[npt.NDArray[np.int16], Labels]] = []
        self._pseudo: dict[Path, list[Labels]] = {}

    def teacher(self, recipe: Recipe) -> Source:
        """Painted anew for every sample, as `fit --bodies` does, from the labelled anatomies."""
        return painted_source(self._labelled, recipe, LABELLED_PHASES)

    def student(self, recipe: Recipe, teacher: Path) -> Source:
        """The same, and the unlabelled scans as the teacher labels them."""
        scans = [hu for hu, _ in self._scans(recipe)]
        return PseudoSource(self.teacher(recipe), scans, self._predicted(recipe, teacher), recipe)

    def oracle(self, recipe: Recipe) -> Source | None:
        """The same scans with the labels that they were painted from."""
        scans, labels = zip(*self._scans(recipe), strict=True)
        return PseudoSource(self.teacher(recipe), scans, labels, recipe, is_pseudo=False)

    def validation(self, recipe: Recipe) -> Sequence[ValidationCase]:
        """Painted from held-out anatomies, the same for every seed."""
        source = painted_source(self._held_out, as_scored(recipe), OTHER_PHASES)
        return painted_cases(source, self._cases, recipe.network.classes, seed=0)

    def description(self) -> list[str]:
        """How many of what."""
        return [
            f"labelled: {count_anatomies(self._labelled)}, painted anew for every sample in the portal phase",
            f"unlabelled: {self._unlabelled} scans of {count_anatomies(self._others)}, plain or arterial",
            f"scored: {self._cases} scans of {count_anatomies(self._held_out)}, plain or arterial",
        ]

    def notes(self, recipe: Recipe, teacher: Path) -> list[str]:
        """The DSC of the pseudo labels, which is known here."""
        pairs = list(zip(self._scans(recipe), self._predicted(recipe, teacher), strict=True))
        organs = range(1, recipe.network.classes)
        mean = np.mean([dice(found == organ, true == organ) for (_, true), found in pairs for organ in organs])
        return [f"pseudo labels of the teacher with seed {recipe.run.seed}: DSC {mean:.3f}, mean over scans and organs"]

    def made_of(self, recipe: Recipe) -> dict[str, str]:
        """All bodies, and how many of what."""
        numbers = {"--unlabelled": str(self._unlabelled), "--cases": str(self._cases)}
        return hashes_of_bodies([self._labelled, self._others, self._held_out], recipe) | numbers

    def _scans(self, recipe: Recipe) -> list[tuple[npt.NDArray[np.int16], Labels]]:
        """HU and true labels of the unlabelled scans: the same for every arm and seed."""
        if not self._true:
            source = painted_source(self._others, recipe, OTHER_PHASES)
            for number in range(self._unlabelled):
                sample = source.sample(np.random.default_rng((0, number)))
                self._true.append((np.rint(sample.image).astype(np.int16), sample.labels))
        return self._true

    def _predicted(self, recipe: Recipe, teacher: Path) -> list[Labels]:
        if teacher not in self._pseudo:
            network, device = load_trained(teacher).network, torch.device("cpu")
            scans = self._scans(recipe)
            self._pseudo[teacher] = [predict(network, recipe, hu.astype(np.float32), device) for hu, _ in scans]
        return self._pseudo[teacher]


@dataclass(frozen=True)
class _Labelled:
    """A scan (z, y, x) with labels; ``places`` are the flat indices of its labelled voxels, where a tile is cut out."""

    hu: npt.NDArray[np.int16]
    labels: Labels
    places: Places | None


class PseudoSource:
    """Labelled samples, and in the recipe's ``pseudo_share`` of the cases one of ``scans`` (HU) with its ``labels``.

    A scan of the tile's size is taken as it is. Of another a tile is cut out about a voxel that is labelled.
    """

    def __init__(
        self,
        labelled: Source,
        scans: Sequence[npt.NDArray[np.int16]],
        labels: Sequence[Labels],
        recipe: Recipe,
        is_pseudo: bool = True,
    ) -> None:
        self._labelled, self._share, self._is_pseudo = labelled, recipe.sampling.pseudo_share, is_pseudo
        self._tile, self._air_hu = recipe.grid.tile_zyx, round(recipe.intensity.window_hu[0])
        self._scans = [
            _Labelled(hu, drawn, None if hu.shape == self._tile else labelled_places(drawn))
            for hu, drawn in zip(scans, labels, strict=True)
        ]

    @property
    def fingerprint(self) -> dict[str, str]:
        """The labelled source's, and a hash of the pseudo labels."""
        digest = hashlib.sha256()
        for scan in self._scans:
            digest.update(scan.hu.tobytes())
            digest.update(scan.labels.tobytes())
        return self._labelled.fingerprint | {"scans": digest.hexdigest()}

    def sample(self, rng: np.random.Generator) -> Sample:
        """See :class:`training.learning.source.Source`."""
        if rng.uniform() >= self._share:
            return self._labelled.sample(rng)
        scan = self._scans[int(rng.integers(len(self._scans)))]
        hu, labels = scan.hu, scan.labels
        if scan.places is not None:
            hu, labels = cut_tile(hu, labels, scan.places, self._tile, self._air_hu, rng)
        return Sample(hu.astype(np.float32), labels, is_pseudo=self._is_pseudo)


def labelled_places(labels: Labels) -> Places:
    """Flat indices of the labelled voxels: to be found once a scan, not once a sample."""
    return np.flatnonzero(labels).astype(np.uint32)


def cut_tile(
    hu: npt.NDArray[np.int16], labels: Labels, places: Places, tile_zyx: Index, air_hu: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int16], Labels]:
    """A tile whose middle is up to a quarter of its side from a labelled voxel, or from any where none is labelled.

    ``places`` are those of ``labelled_places``. Beyond the scan are air and label 0, as around the engine's tiles.
    """
    if len(places):
        middle = np.array(np.unravel_index(int(places[rng.integers(len(places))]), hu.shape))
    else:
        middle = rng.integers(hu.shape)
    side = np.array(tile_zyx)
    start = middle + rng.integers(-side // 4, side // 4 + 1) - side // 2
    tile, drawn = np.full(tile_zyx, air_hu, np.int16), np.zeros(tile_zyx, np.uint8)
    low, high = np.maximum(start, 0), np.minimum(start + side, hu.shape)
    inside = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    there = tuple(slice(a, b) for a, b in zip(low - start, high - start, strict=True))
    tile[there], drawn[there] = hu[inside], labels[inside]
    return tile, drawn


def split_bodies(folder: Path, labelled: int) -> tuple[list[Body], list[Body], list[Body]]:
    """Bodies of ``labelled`` anatomies, of the others, and held-out ones. A body is an anatomy in a template's body."""
    try:
        training, held_out = load(folder), load(folder, held_out=True)
    except FileNotFoundError as error:
        raise SourceError(str(error)) from error
    # a real scan would be the labelled ones' third phase
    training = [body for body in training if not body.is_real]
    names = sorted({_anatomy(body) for body in training})
    if not 0 < labelled < len(names):
        raise SourceError(f"--labelled {labelled} must leave some of the {len(names)} anatomies in {folder} unlabelled")
    chosen = {names[round(at)] for at in np.linspace(0, len(names) - 1, labelled)}
    few = [body for body in training if _anatomy(body) in chosen]
    return few, [body for body in training if _anatomy(body) not in chosen], held_out


def painted_source(bodies: Sequence[Body], recipe: Recipe, phases: dict[str, float]) -> PaintedSource:
    return PaintedSource(Painter(bodies, canvas_of(recipe), 0.0, phases), recipe)


def hashes_of_bodies(groups: Sequence[Sequence[Body]], recipe: Recipe) -> dict[str, str]:
    """One hash of the bodies and of how they are shared out, for `--bodies` and `--labelled` together."""
    each = (painted_source(bodies, recipe, LABELLED_PHASES).fingerprint for bodies in groups)
    return {"--bodies or --labelled": " ".join(value for hashes in each for value in hashes.values())}


def _anatomy(body: Body) -> str:
    return body.name.rpartition("_")[0]


def count_anatomies(bodies: Sequence[Body]) -> str:
    return f"{len({_anatomy(body) for body in bodies})} anatomies"
