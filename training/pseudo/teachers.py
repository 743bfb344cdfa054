"""Who labels a scan that nobody has labelled: teachers' networks, one by one or together, or label maps that are there.

Each gives a label map on the scan's own grid and two numbers an organ (``training.pseudo.reliability``).
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np
from attention_dmfnet.geometry import Volume, canonicalise
from attention_dmfnet.model.loading import Networks, start_loading
from attention_dmfnet.model.manifest import Manifest, Stage, load_manifest, manifest_sha256
from attention_dmfnet.notes import Note
from attention_dmfnet.segmenter import segment
from attention_dmfnet.steps.stage import StageModel

from evaluation.organs import ORGANS
from training.data.pseudo_folder import OrganReliability, PseudoError
from training.pseudo.reliability import EnsembleStage, RecordingStage, agreements, mean_probabilities


@dataclass(frozen=True)
class Labelled:
    """What is said of one scan: ``labels`` (uint8) on its own grid, its organs by name, and remarks."""

    labels: Volume
    organs: dict[str, OrganReliability]
    notes: tuple[str, ...] = ()


class Labeller(Protocol):
    """Whoever labels scans."""

    @property
    def hashes(self) -> tuple[str, ...]:
        """What tells it apart from every other one."""

    def stamp(self, name: str) -> str:
        """What tells whether the scan called ``name`` must be labelled again, besides ``hashes`` and the scan."""

    def label(self, name: str, scan: Volume) -> Labelled:
        """Label ``scan``. Raises ``PseudoError`` if that cannot be done for this one."""


@dataclass(frozen=True)
class Teacher:
    """A models folder, its networks loading."""

    folder: Path
    manifest: Manifest
    networks: Networks
    hash: str

    @staticmethod
    def load(models: Path, options: Namespace) -> Teacher:
        """Raises ``PseudoError`` for other label numbers than FLARE22's, and what the engine raises for bad models."""
        manifest = load_manifest(models)
        if manifest.labels != {organ: label for label, organ in enumerate(ORGANS, start=1)}:
            raise PseudoError(f"the models in {models} number their organs unlike FLARE22; export them again")
        # the manifest holds the hashes of the networks
        digest = manifest_sha256(models)
        return Teacher(models, manifest, start_loading(models, manifest, options.device, options.backend), digest)

    @property
    def coarse(self) -> StageModel:
        """Where the organs are."""
        return StageModel(self.manifest.coarse, self.networks.coarse)

    @property
    def fine(self) -> StageModel:
        """What they are."""
        return StageModel(self.manifest.fine, self.networks.fine)

    def label(self, scan: Volume) -> tuple[Volume, RecordingStage, tuple[Note, ...]]:
        """The label map, the fine stage with its probabilities, and what is to be said about the case."""
        fine = RecordingStage(self.manifest.fine, self.networks.fine)
        result = segment(scan, self.coarse, fine, self.manifest)
        return result.labels, fine, result.notes


@dataclass(frozen=True)
class Panel:
    """The first teacher labels; the others label too, to see how far they agree."""

    teachers: Sequence[Teacher]

    @property
    def hashes(self) -> tuple[str, ...]:
        """See :class:`Labeller`."""
        return tuple(teacher.hash for teacher in self.teachers)

    def stamp(self, name: str) -> str:
        """See :class:`Labeller`."""
        return ""

    def label(self, name: str, scan: Volume) -> Labelled:
        """See :class:`Labeller`."""
        labels, fine, notes = self.teachers[0].label(scan)
        probabilities = mean_probabilities(labels, *fine.recorded[0])
        others = [teacher.label(scan)[0].array for teacher in self.teachers[1:]]
        organs = _organs(labels, probabilities, agreements(labels.array, others))
        return Labelled(labels, organs, tuple(map(str, notes)))


@dataclass(frozen=True)
class Ensemble:
    """All teachers label together, by the mean of their probabilities in the ROI of the first one's coarse stage.

    It is widened where their mean sees organs go on.

    An organ's agreement is the mean DSC between all together and each alone, on the fine stage's grid.
    """

    teachers: Sequence[Teacher]

    def __post_init__(self) -> None:
        first = self.teachers[0]
        for teacher in self.teachers[1:]:
            if _view(teacher.manifest.fine) != _view(first.manifest.fine):
                raise PseudoError(
                    f"the fine stage of {teacher.folder} sees scans unlike that of {first.folder}, in spacing, window "
                    "or tile: name models of one recipe, or leave out --ensemble"
                )

    @property
    def hashes(self) -> tuple[str, ...]:
        """See :class:`Labeller`."""
        return ("together", *(teacher.hash for teacher in self.teachers))

    def stamp(self, name: str) -> str:
        """See :class:`Labeller`."""
        return ""

    def label(self, name: str, scan: Volume) -> Labelled:
        """See :class:`Labeller`."""
        first, *others = self.teachers
        fine = EnsembleStage(first.manifest.fine, first.networks.fine, others=tuple(teacher.fine for teacher in others))
        result = segment(scan, first.coarse, fine, first.manifest)
        together = fine.recorded[0][1].argmax(0).astype(np.uint8)
        agreement = agreements(together, fine.votes)
        probabilities = mean_probabilities(result.labels, *fine.recorded[0])
        organs = _organs(result.labels, probabilities, agreement)
        return Labelled(result.labels, organs, tuple(map(str, result.notes)))


@dataclass(frozen=True)
class ReadyMaps:
    """Label maps of others, one a scan in each of ``folders``: the first folder's are taken, the others are compared.

    ``by_folder`` has the files by case name. Nothing is known of probabilities.
    """

    folders: Sequence[Path]
    by_folder: Sequence[Mapping[str, Path]]

    @property
    def hashes(self) -> tuple[str, ...]:
        """See :class:`Labeller`."""
        return tuple(f"label maps in {folder.name}" for folder in self.folders)

    def stamp(self, name: str) -> str:
        """See :class:`Labeller`."""
        stats = [files[name].stat() if name in files else None for files in self.by_folder]
        return "".join("-none" if stat is None else f"-{stat.st_size}-{stat.st_mtime_ns}" for stat in stats)

    def label(self, name: str, scan: Volume) -> Labelled:
        """See :class:`Labeller`."""
        from training.pseudo.ready_maps import read_map

        taken, *others = self.by_folder
        if name not in taken:
            raise PseudoError(f"no label map {name}.nii.gz in {self.folders[0]}")
        labels = read_map(taken[name], scan)
        compared = [read_map(files[name], scan).array for files in others if name in files]
        agreement = agreements(labels.array, compared)
        return Labelled(labels, _organs(labels, dict.fromkeys(agreement), agreement))


def _organs(
    labels: Volume, probabilities: Mapping[int, float | None], agreement: Mapping[int, float | None]
) -> dict[str, OrganReliability]:
    organs = {}
    for label, probability in probabilities.items():
        inside = canonicalise(labels).array == label
        volume_ml = float(np.count_nonzero(inside) * labels.geometry.voxel_volume_mm3 / 1000)
        cut = bool(inside[0].any() or inside[-1].any())
        # a component rule may leave of an organ what all together did not call so on the fine grid
        organs[ORGANS[label - 1]] = OrganReliability(volume_ml, probability, agreement.get(label), cut)
    return organs


def _view(stage: Stage) -> dict[str, object]:
    """How a scan is brought before a stage, and what comes out: all but the networks themselves."""
    return {key: value for key, value in msgspec.structs.asdict(stage).items() if key not in ("variants", "weights")}
