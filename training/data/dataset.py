"""A prepared data set, as training reads it: one stage's cases on that stage's grid, patch by patch.

``python -m training prepare`` writes it: ``dataset.json`` (the cases and the two grids), ``splits.json``,
``fingerprint.json``, and per stage and case a folder with the image, the labels and the places of the organs.
"""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt
from attention_dmfnet.geometry import Axes, Geometry, GeometryError, Index, Triple
from attention_dmfnet.json_text import JsonError, decode_json

from training.arrays import Hu, Labels
from training.data.cache import CachedArray, CacheError, read_rows
from training.data.splits import SPLITS_NAME, Splits, SplitsError, read_splits
from training.errors import TrainingError
from training.recipe import AtLeastOne, NotNegative, Positive, Share, Stage

DATASET_NAME = "dataset.json"
IMAGE_NAME, LABELS_NAME, PLACES_NAME, CASE_NAME = "image.b2nd", "labels.b2nd", "places.npy", "case.json"


class DatasetError(TrainingError):
    """A data set that is not there, is damaged, or does not hold what is asked for."""


class StageGrid(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """On which grid a stage's cases were cached, and clipped to what.

    ``tile_zyx`` matters to the fine stage alone: a case smaller than a tile was given as much of its surroundings as
    the tile has room for, as the engine does. So does ``roi_margin_mm``, the margin around the organs' box.
    """

    spacing_zyx: tuple[Positive, Positive, Positive]
    tile_zyx: tuple[AtLeastOne, AtLeastOne, AtLeastOne]
    window_hu: tuple[float, float]
    roi_margin_mm: tuple[NotNegative, NotNegative, NotNegative]


class CaseEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One case of ``dataset.json``. ``labels`` is None for an unlabelled one, which no stage has cached.

    ``annotated`` are the labels (1 to 13) that its author, or a teacher that was sure enough, has drawn; ``weight`` is
    1 for true labels and a teacher's mean reliability for pseudo labels.
    """

    name: str
    patient: str
    image: str
    labels: str | None
    annotated: tuple[int, ...]
    is_pseudo: bool
    weight: Share
    stages: tuple[Stage, ...]
    content: str
    """A hash of the voxels, the grids and the label values of the two files."""


class DatasetIndex(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of ``dataset.json``."""

    format: Literal[1]
    grids: dict[Stage, StageGrid]
    cases: tuple[CaseEntry, ...]

    def cases_of(self, stage: Stage) -> tuple[CaseEntry, ...]:
        """The cases that are cached for ``stage``."""
        return tuple(entry for entry in self.cases if stage in entry.stages)


class CachedGeometry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of a cached case's ``case.json``: its grid, and the ``cache_key`` of what it was made from."""

    key: str
    shape_zyx: Index
    spacing_zyx: Triple
    origin_lps: Triple
    axes_lps: Axes


@dataclass(frozen=True)
class Case:
    """A labelled case on one stage's grid. ``annotated`` counts in the stage's labels (coarse: 1 is any organ)."""

    folder: Path
    name: str
    patient: str
    annotated: frozenset[int]
    is_pseudo: bool
    weight: float
    geometry: Geometry
    outside_hu: int

    @property
    def shape_zyx(self) -> Index:
        """Voxels of the case on this grid."""
        return self.geometry.shape_zyx

    def read_patch(self, start_zyx: Index, shape_zyx: Index) -> tuple[Hu, Labels]:
        """The patch of ``shape_zyx`` voxels from ``start_zyx``, which may be negative or reach beyond the case.

        Outside of the case are air (the window's lower end) and label 0, as around the engine's tiles. Raises
        ``training.data.cache.CacheError`` if the cache is damaged.
        """
        image = self._image.read(start_zyx, shape_zyx, self.outside_hu)
        return image.astype(np.float32), self._labels.read(start_zyx, shape_zyx, 0)

    def read_whole(self) -> tuple[Hu, Labels]:
        """The whole case, HU clipped to the stage's window and rounded to whole numbers. Raises as ``read_patch``."""
        return self._image.read_whole(self.shape_zyx).astype(np.float32), self._labels.read_whole(self.shape_zyx)

    @property
    def class_locations(self) -> dict[int, npt.NDArray[np.int16]]:
        """(n, 3) voxel indices z, y, x at which each label of this case is found: all, or a random few thousand.

        They are read anew each time, through a memory map: kept, those of 2,000 cases would take 0.8 GB a worker.
        """
        path = self.folder / PLACES_NAME
        try:
            places = read_rows(path, 4)
        except (OSError, ValueError) as error:
            raise CacheError(f"{path} is missing or damaged; delete {self.folder} and prepare again") from error
        # ascending, as stage_arrays wrote them
        labels = np.ascontiguousarray(places[:, 0])
        edges = [*np.flatnonzero(np.diff(labels, prepend=0)), len(labels)]
        return {int(labels[first]): places[first:last, 1:] for first, last in itertools.pairwise(edges)}

    @property
    def _image(self) -> CachedArray:
        return CachedArray(self.folder / IMAGE_NAME)

    @property
    def _labels(self) -> CachedArray:
        return CachedArray(self.folder / LABELS_NAME)


@dataclass(frozen=True)
class Dataset:
    """One stage of a prepared data set. ``fingerprint`` changes with any case, label map, grid or split."""

    folder: Path
    stage: Stage
    grid: StageGrid
    cases: tuple[Case, ...]
    unlabelled: tuple[CaseEntry, ...]
    splits: Splits
    fingerprint: str

    def split(self, fold: int | None) -> tuple[tuple[Case, ...], tuple[Case, ...]]:
        """The cases to train on and those to validate on; with ``fold`` None all to train on.

        Nothing of a patient who is held out is trained on, pseudo labels included, and only true labels are validated
        on. Where all labelled cases are of one patient, they are trained on and none is held out.

        Raises ``DatasetError`` if there is no such fold.
        """
        if fold is None:
            return self.cases, ()
        try:
            held_out = self.splits.held_out(fold)
        except SplitsError as error:
            raise DatasetError(f"{self.folder / SPLITS_NAME}: {error}") from error
        if self.splits.folds == 1:
            return self.cases, ()
        training = tuple(case for case in self.cases if case.patient not in held_out)
        validation = tuple(case for case in self.cases if case.patient in held_out and not case.is_pseudo)
        return training, validation


def open_dataset(folder: Path, stage: Stage) -> Dataset:
    """Open what ``python -m training prepare`` wrote to ``folder``.

    Raises ``DatasetError``, with what to do, if it is not there, damaged, or holds no case for ``stage``.
    """
    index = read_index(folder)
    if stage not in index.grids:
        raise DatasetError(f"{folder} was not prepared for the {stage} stage; prepare it again with a {stage} recipe")
    grid = index.grids[stage]
    cases = tuple(_open_case(folder / stage / entry.name, entry, stage, grid) for entry in index.cases_of(stage))
    if not cases:
        raise DatasetError(f"{folder} has no labelled case for the {stage} stage; prepare labelled scans first")
    try:
        splits = read_splits(folder / SPLITS_NAME)
    except SplitsError as error:
        raise DatasetError(str(error)) from error
    unlabelled = tuple(entry for entry in index.cases if entry.labels is None)
    return Dataset(folder, stage, grid, cases, unlabelled, splits, stage_fingerprint(index, stage, splits))


def stage_fingerprint(index: DatasetIndex, stage: Stage, splits: Splits) -> str:
    """A hash of what ``stage`` is trained on: its cases, its grid and who is held out.

    Where the files lie does not matter, nor do the other stage's cases and scans without labels.
    """
    cases = [
        (cache_key(entry, stage, index.grids[stage]), entry.name, entry.patient, entry.weight)
        for entry in index.cases_of(stage)
    ]
    return hashlib.sha256(msgspec.json.encode((cases, splits))).hexdigest()


def read_index(folder: Path) -> DatasetIndex:
    """``dataset.json`` of ``folder``. Raises ``DatasetError``."""
    path = folder / DATASET_NAME
    try:
        return decode_json(path.read_bytes(), DatasetIndex)
    except FileNotFoundError:
        raise DatasetError(
            f"there is no {path}; make the data set with `python -m training prepare RAW --to {folder}`"
        ) from None
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror}") from error
    except JsonError as error:
        raise DatasetError(f"{path} is not valid: {error}; prepare the data set again") from error


def _open_case(folder: Path, entry: CaseEntry, stage: Stage, grid: StageGrid) -> Case:
    cached = read_cached_geometry(folder)
    if cached is None or cached.key != cache_key(entry, stage, grid):
        raise DatasetError(f"{folder} is missing or belongs to another state of the data; prepare the data set again")
    try:
        geometry = Geometry(cached.shape_zyx, cached.spacing_zyx, cached.origin_lps, cached.axes_lps)
    except GeometryError as error:
        raise DatasetError(f"{folder / CASE_NAME} is damaged: {error}; prepare the data set again") from error
    annotated = frozenset({1}) if stage == "coarse" else frozenset(entry.annotated)
    return Case(
        folder, entry.name, entry.patient, annotated, entry.is_pseudo, entry.weight, geometry, round(grid.window_hu[0])
    )


def cache_key(entry: CaseEntry, stage: Stage, grid: StageGrid) -> str:
    """A hash of all that a cached case depends on: where it differs, the case must be prepared again."""
    parts = [entry.content, entry.annotated, entry.is_pseudo, stage, grid]
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


def read_cached_geometry(folder: Path) -> CachedGeometry | None:
    """What a case's folder in the cache holds; None if it is not there or not whole."""
    try:
        return decode_json((folder / CASE_NAME).read_bytes(), CachedGeometry)
    except (OSError, JsonError):
        return None
