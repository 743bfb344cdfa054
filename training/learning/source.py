"""Where samples come from: painted bodies, cases of a prepared data set, or several sources together.

A sample depends on the source and the generator's state alone, so sample n of a run can be drawn by any process, in any
order, and again after a stop.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from attention_dmfnet.geometry import Index
from msgspec.structs import replace

from training.arrays import Hu, Labels
from training.errors import TrainingError
from training.recipe import Grid, Recipe, Sampling

if TYPE_CHECKING:
    from training.data.augment import Augment
    from training.data.dataset import Case, Dataset
    from training.painting.painter import Canvas, Painter


class SourceError(TrainingError):
    """Data that do not fit the recipe, or are missing."""


@dataclass(frozen=True)
class Sample:
    """One patch: ``image`` (z, y, x) in HU, ``labels`` (z, y, x), 255 where what is there is unknown.

    ``annotated`` are the labels that the case's author (or teacher) has drawn, None being all; ``weight`` scales its
    loss.
    """

    image: Hu
    labels: Labels
    annotated: frozenset[int] | None = None
    is_pseudo: bool = False
    weight: float = 1.0


class Source(Protocol):
    """What a run is trained on."""

    @property
    def fingerprint(self) -> dict[str, str]:
        """Names and hashes that change when the data do."""

    def sample(self, rng: np.random.Generator) -> Sample:
        """One patch of the recipe's tile; the same generator state gives the same sample."""


class PaintedSource:
    """Scans painted from completed bodies; every organ is annotated."""

    def __init__(self, painter: Painter, recipe: Recipe) -> None:
        self._painter = painter
        self._average, self._coarse = recipe.sampling.painted_average, recipe.stage == "coarse"
        self._mixed = recipe.sampling.painted_mix_probability

    @functools.cached_property
    def fingerprint(self) -> dict[str, str]:
        """A hash of the bodies' names and tissues."""
        digest = hashlib.sha256()
        for body in self._painter.bodies:
            digest.update(body.name.encode())
            # every 7th slice: hundreds of bodies are mapped, not read
            digest.update(body.tissues[::7].tobytes())
        return {"bodies": digest.hexdigest()}

    def sample(self, rng: np.random.Generator) -> Sample:
        """See :class:`Source`."""
        from training.painting.mix_boxes import mix_boxes
        from training.painting.painter import coarsen
        from training.painting.tissue import UNKNOWN_LABEL

        image, labels = self._painter.sample(rng)
        if self._mixed and rng.uniform() < self._mixed:
            image, labels = mix_boxes(image, labels, *self._painter.sample(rng), rng)
        if self._average == 2:
            image, labels = coarsen(image, labels)
        elif self._coarse:
            labels = np.where(labels == UNKNOWN_LABEL, labels, labels > 0).astype(np.uint8)
        return Sample(image, labels)


def open_bodies(folder: Path, recipe: Recipe, held_out: bool = False) -> PaintedSource:
    """The bodies in ``folder`` as the recipe's stage wants them painted.

    ``folder`` was made by ``python -m training synthesize``: the run's seed draws the vessels of these bodies. Or it is
    a library made by ``recombine``, which holds several drawings of most bodies. ``held_out`` bodies are never painted
    for training, and a library has none. Raises ``SourceError`` if there are none.
    """
    from training.painting.bodies import load
    from training.painting.body_library import is_library, open_library
    from training.painting.painter import Painter

    if held_out:
        recipe = as_scored(recipe)
    canvas = canvas_of(recipe)
    if held_out and is_library(folder):
        raise SourceError(
            f"the library {folder} holds nobody who is held out; validate afterwards, and set run.validation_cases to 0"
        )
    try:
        # scored cases stay what they are, whatever the run's seed is
        seed = 0 if held_out else recipe.run.seed
        bodies = open_library(folder) if is_library(folder) else load(folder, held_out, seed)
    except FileNotFoundError as error:
        raise SourceError(str(error)) from error
    return PaintedSource(Painter(bodies, canvas), recipe)


def as_scored(recipe: Recipe) -> Recipe:
    """The recipe for painted cases that are scored: each is one scan, of the abdomen."""
    return replace(recipe, sampling=replace(recipe.sampling, painted_far_probability=0.0, painted_mix_probability=0.0))


def canvas_of(recipe: Recipe) -> Canvas:
    """What is painted for a tile of the recipe: as many mm, in finer voxels where blocks of them are averaged.

    Raises ``SourceError`` for a fine stage whose voxels are averaged.
    """
    from training.painting.painter import Canvas

    sampling, average = recipe.sampling, recipe.sampling.painted_average
    if average == 2 and recipe.stage == "fine":
        raise SourceError("sampling.painted_average 2 merges all organs into one class; the fine stage needs 1")
    z, y, x = (side * average for side in recipe.grid.tile_zyx)
    mm_z, mm_y, mm_x = (mm / average for mm in recipe.grid.spacing_zyx)
    return Canvas(
        (z, y, x),
        (mm_z, mm_y, mm_x),
        sampling.painted_jitter_mm_zyx,
        sampling.painted_cut_probability,
        far_probability=sampling.painted_far_probability,
        far_mm=sampling.painted_far_mm,
    )


class DatasetSource:
    """Patches of a prepared data set's training cases, centred on organs or anywhere, and augmented."""

    def __init__(self, cases: Sequence[Case], recipe: Recipe, augment: Augment, fingerprint: dict[str, str]) -> None:
        self._true = [case for case in cases if not case.is_pseudo]
        self._pseudo = [case for case in cases if case.is_pseudo]
        self._sampling, self._grid, self._augment = recipe.sampling, recipe.grid, augment
        self._every_organ = frozenset(range(1, recipe.network.classes))
        self._fingerprint = fingerprint
        if not cases:
            raise SourceError("no labelled case is left to train on; prepare more, or choose another --fold")

    @property
    def cases(self) -> list[Case]:
        """What is drawn from, those with true labels first."""
        return [*self._true, *self._pseudo]

    @property
    def fingerprint(self) -> dict[str, str]:
        """The prepared data sets' own, by folder name."""
        return self._fingerprint

    def sample(self, rng: np.random.Generator) -> Sample:
        """See :class:`Source`."""
        case = self._draw_case(rng)
        centre = _draw_centre(case, self._sampling, self._grid, rng)
        plan = self._augment.plan(rng)
        shape = plan.shape_zyx
        start = (centre[0] - shape[0] // 2, centre[1] - shape[1] // 2, centre[2] - shape[2] // 2)
        image, labels = plan.apply(*case.read_patch(start, shape))
        annotated = None if case.annotated >= self._every_organ else case.annotated
        return Sample(image, labels, annotated, case.is_pseudo, case.weight)

    def _draw_case(self, rng: np.random.Generator) -> Case:
        if not (self._true and self._pseudo):
            pool = self._true or self._pseudo
        else:
            pool = self._pseudo if rng.uniform() < self._sampling.pseudo_share else self._true
        return pool[int(rng.integers(len(pool)))]


def open_datasets(folders: Sequence[Path], recipe: Recipe) -> tuple[DatasetSource, list[Case]]:
    """The recipe's fold of one or more prepared data sets: what to train on, and the cases to validate on.

    Raises ``SourceError`` for a grid or window that is not the recipe's, ``DatasetError`` for the data sets themselves.
    """
    from training.data.augment import Augment
    from training.data.dataset import open_dataset

    training: list[Case] = []
    validation: list[Case] = []
    fingerprint: dict[str, str] = {}
    for folder in folders:
        dataset = open_dataset(folder, recipe.stage)
        _check_grid(dataset, recipe)
        to_train, to_validate = dataset.split(None if recipe.run.fold == "all" else recipe.run.fold)
        training += to_train
        validation += to_validate
        fingerprint[f"data set {len(fingerprint)} ({folder.name})"] = dataset.fingerprint
    augment = Augment(recipe.augmentation, recipe.grid, recipe.intensity.window_hu)
    return DatasetSource(training, recipe, augment, fingerprint), validation


class MixedSource:
    """Painted samples in a share of the cases, else those of the data set."""

    def __init__(self, painted: Source, real: Source, painted_share: float) -> None:
        self._painted, self._real, self._share = painted, real, painted_share

    @property
    def fingerprint(self) -> dict[str, str]:
        """Both sources' own."""
        return self._painted.fingerprint | self._real.fingerprint

    def sample(self, rng: np.random.Generator) -> Sample:
        """See :class:`Source`."""
        return (self._painted if rng.uniform() < self._share else self._real).sample(rng)


def open_sources(recipe: Recipe, folders: Sequence[Path], bodies: Path | None) -> tuple[Source, list[Case]]:
    """All that a run is trained on, and the real cases to validate on.

    Raises ``SourceError`` if what is given and the recipe's ``painted_share`` do not fit together.
    """
    share = recipe.sampling.painted_share
    if (share > 0) is not (bodies is not None):
        what = "needs --bodies" if share > 0 else "leaves --bodies unused; raise it with --set sampling.painted_share"
        raise SourceError(f"sampling.painted_share {share:g} {what}")
    if (share < 1) is not (len(folders) > 0):
        what = "needs --data" if share < 1 else "leaves --data unused; lower it with --set sampling.painted_share"
        raise SourceError(f"sampling.painted_share {share:g} {what}")
    painted = None if bodies is None else open_bodies(bodies, recipe)
    if not folders:
        assert painted is not None
        return painted, []
    real, validation = open_datasets(folders, recipe)
    return (real if painted is None else MixedSource(painted, real, share)), validation


def _draw_centre(case: Case, sampling: Sampling, grid: Grid, rng: np.random.Generator) -> Index:
    """The middle of a patch: near a voxel of an organ drawn at random, or anywhere that keeps the patch in the case."""
    places = case.class_locations
    organs = sorted(label for label in places if label in case.annotated)
    if organs and rng.uniform() < sampling.organ_share:
        voxels = places[organs[int(rng.integers(len(organs)))]]
        # off centre, or the network would learn that what is searched for lies in the middle
        shift = [int(rng.integers(-side // 4, side // 4 + 1)) for side in grid.tile_zyx]
        voxel = voxels[int(rng.integers(len(voxels)))]
        z, y, x = (
            _within(int(at) + by, size, side)
            for at, by, size, side in zip(voxel, shift, case.shape_zyx, grid.tile_zyx, strict=True)
        )
    else:
        z, y, x = (
            _within(int(rng.integers(size)), size, side)
            for size, side in zip(case.shape_zyx, grid.tile_zyx, strict=True)
        )
    return z, y, x


def _within(middle: int, size: int, side: int) -> int:
    """``middle`` moved so that a patch of ``side`` voxels lies inside ``size``, or centred if it is larger.

    The engine's tiles never reach beyond a scan that is larger than they are.
    """
    if size <= side:
        return size // 2
    return min(max(middle, side // 2), size - (side - side // 2))


def _check_grid(dataset: Dataset, recipe: Recipe) -> None:
    grid = dataset.grid
    if not np.allclose(grid.spacing_zyx, recipe.grid.spacing_zyx):
        raise SourceError(
            f"{dataset.folder} was prepared at {list(grid.spacing_zyx)} mm for the {recipe.stage} stage, the recipe "
            f"wants {list(recipe.grid.spacing_zyx)}; prepare it with this recipe, or add "
            f"--set grid.spacing_zyx={list(grid.spacing_zyx)}"
        )
    low, high = recipe.intensity.window_hu
    if low < grid.window_hu[0] or high > grid.window_hu[1]:
        raise SourceError(
            f"{dataset.folder} was clipped to {list(grid.window_hu)} HU, the recipe's window {[low, high]} is wider; "
            "prepare it with this recipe"
        )
