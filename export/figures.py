"""``measured.json`` beside the manifest: accuracy and parity, for people. The engine never reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec
from attention_dmfnet.json_text import JsonError, decode_json
from attention_dmfnet.model.manifest import (
    BackendName,
    DeviceName,
    Manifest,
    Name,
    NotNegative,
    Parity,
    Positive,
    Precision,
    Share,
    Stage,
)

from export.errors import ExportError

FIGURES_NAME = "measured.json"


class Accuracy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How well one organ of one case was found; ``what`` says by which weights, and against whose labels."""

    case: Name
    what: Name
    organ: Name
    dsc: Share | None
    nsd: Share | None


class ParityFigures(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How near a variant's results in one runtime are to those of the network as it was trained, in full precision.

    Whole scans are labelled with only this stage's network exchanged. ``max_score_difference`` is the largest one of
    any class in any voxel of their tiles, ``labels_differ`` the share of voxels whose label differs, ``dsc`` the
    agreement of either label map by organ, the lowest of all scans. ``seconds_per_tile`` (median) compares runtimes
    and precisions on the machine of the test, ``machine``; ``measured_on`` names the scans.
    """

    backend: BackendName
    device: DeviceName
    max_score_difference: NotNegative
    labels_differ: Share
    dsc: dict[Name, Share]
    seconds_per_tile: Positive
    machine: Name
    measured_on: Name

    @property
    def row(self) -> Parity:
        """What the manifest holds of it."""
        return Parity(self.backend, self.device, self.seconds_per_tile)


class VariantFigures(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The figures of one of the manifest's variants in the runtimes where it passed, in the manifest's order."""

    stage: Literal["coarse", "fine"]
    file: Name
    precision: Precision
    passed: tuple[ParityFigures, ...]


class Figures(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of ``measured.json``."""

    accuracy: tuple[Accuracy, ...] = ()
    parity: tuple[VariantFigures, ...] = ()

    def of(self, stage: str, file: str, precision: Precision) -> tuple[ParityFigures, ...]:
        """A variant's figures, none if it was not measured."""
        return next((v.passed for v in self.parity if (v.stage, v.file, v.precision) == (stage, file, precision)), ())


def read_figures(path: Path) -> Figures:
    """Read ``path``, a ``measured.json``. Raises ``ExportError``."""
    try:
        return decode_json(path.read_bytes(), Figures)
    except OSError as error:
        raise ExportError(f"cannot read the figures in {path}: {error.strerror}") from error
    except JsonError as error:
        raise ExportError(f"{path} does not hold figures as export writes them: {error}") from error


def without_absent(figures: Figures, manifest: Manifest) -> Figures:
    """The figures without those of variants that the manifest no longer has."""
    stages: dict[str, Stage] = {"coarse": manifest.coarse, "fine": manifest.fine}
    kept = [
        one
        for one in figures.parity
        if any((v.file, v.precision) == (one.file, one.precision) for v in stages[one.stage].variants)
    ]
    return msgspec.structs.replace(figures, parity=tuple(kept))


def check_figures(figures: Figures, manifest: Manifest) -> None:
    """Raise ``ExportError`` unless the figures of parity are those that the manifest's variants passed with."""
    claimed: dict[tuple[str, str, str], tuple[Parity, ...]] = {
        (stage, variant.file, variant.precision): variant.parity
        for stage, variants in (("coarse", manifest.coarse.variants), ("fine", manifest.fine.variants))
        for variant in variants
        if variant.parity is not None
    }
    shown: dict[tuple[str, str, str], tuple[Parity, ...]] = {
        (v.stage, v.file, v.precision): tuple(one.row for one in v.passed) for v in figures.parity
    }
    for key in [*claimed, *shown]:
        if claimed.get(key) != shown.get(key):
            stage, file, precision = key
            raise ExportError(
                f"{FIGURES_NAME} and the manifest do not agree on where {file} of the {stage} stage passed in "
                f"{precision}; run `python -m export parity` again"
            )
