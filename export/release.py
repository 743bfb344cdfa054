"""Two training runs as a release: the networks' files and the manifest that tells the engine how to use them."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from attention_dmfnet.model.manifest import (
    ComponentRule,
    KeepAll,
    KeepHighest,
    KeepLargest,
    KeepParts,
    Manifest,
    Measured,
    NetworkInput,
    NetworkOutput,
    Stage,
    Variant,
)

from evaluation.organs import ORGANS
from export.errors import ExportError
from export.to_onnx import INPUT, OUTPUT, HalfOrFull, to_onnx
from training.learning.checkpoint import WEIGHTS, load_trained
from training.network.attention_dmfnet import TILE_MULTIPLE
from training.recipe import ROI_MARGIN_MM

_log = logging.getLogger(__name__)

COMPONENT_RULES: dict[str, ComponentRule] = {
    **dict.fromkeys(ORGANS, KeepAll()),
    **dict.fromkeys(("spleen", "pancreas", "right adrenal gland", "left adrenal gland", "stomach"), KeepLargest()),
    # an ovarian mass as large as a liver is taken for one; nothing that large is above the liver
    "liver": KeepHighest(min_fraction=0.25),
    **dict.fromkeys(("right kidney", "left kidney"), KeepParts(min_fraction=0.1)),
    # FLARE22 scores a gallbladder that is not there as 0, and patients without one are common
    "gallbladder": KeepParts(min_fraction=0.1, min_volume_ml=0.5),
}
"""What the best FLARE22 systems found to help. Vessels, esophagus and duodenum are thin: a gap must not cost half."""


@dataclass(frozen=True, slots=True)
class Release:
    """All that belongs together: the manifest, and every file that it names, by name."""

    manifest: Manifest
    files: dict[str, bytes]


def build_release(
    coarse_run: Path,
    fine_run: Path,
    release: str,
    precisions: Sequence[HalfOrFull] = ("float32", "float16"),
    measured: Sequence[Measured] = (),
) -> Release:
    """Export both stages, in every one of ``precisions``; ``measured`` is the accuracy that the manifest reports.

    Raises ``ExportError`` for a run of the wrong stage, and what ``load_trained`` raises for a broken one.
    """
    files: dict[str, bytes] = {}
    coarse = _export_stage("coarse", coarse_run, release, precisions, files)
    fine = _export_stage("fine", fine_run, release, precisions, files)
    manifest = Manifest(
        schema_version=1,
        release=release,
        labels={organ: label for label, organ in enumerate(ORGANS, start=1)},
        roi_margin_mm=ROI_MARGIN_MM,
        components={organ: COMPONENT_RULES[organ] for organ in ORGANS},
        coarse=coarse,
        fine=fine,
        measured=tuple(measured),
    )
    return Release(manifest, files)


def read_measured(path: Path) -> tuple[Measured, ...]:
    """Rows of accuracy from a JSON file, a list of the manifest's ``measured``. Raises ``ExportError``."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=tuple[Measured, ...])
    except OSError as error:
        raise ExportError(f"cannot read the accuracy in {path}: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise ExportError(f"{path} is no list of the manifest's `measured` rows: {error}") from error


def sha256(content: bytes) -> str:
    """As the manifest writes it."""
    return hashlib.sha256(content).hexdigest()


def _export_stage(
    name: str, run: Path, release: str, precisions: Sequence[HalfOrFull], files: dict[str, bytes]
) -> Stage:
    """Add the stage's ONNX files to ``files``; returns its part of the manifest."""
    trained = load_trained(run)
    recipe = trained.recipe
    if recipe.stage != name:
        raise ExportError(f"{run} is a run of the {recipe.stage} stage, the {name} one is needed; mind their order")
    metadata = {"release": release, "stage": name, "weights_sha256": sha256((run / WEIGHTS).read_bytes())}
    # the coarse network has to be ready before the scan is read, so its tile cannot wait for the scan's size
    fitted = name == "fine"
    variants = []
    for precision in precisions:
        file = f"{name}.onnx" if precision == "float32" else f"{name}.{precision}.onnx"
        _log.info("exporting %s", file)
        model = to_onnx(trained.network, recipe.grid.tile_zyx, precision, metadata, fitted)
        files[file] = model.SerializeToString(deterministic=True)
        variants.append(Variant(file=file, sha256=sha256(files[file]), precision=precision, parity=None))
    return Stage(
        variants=tuple(variants),
        input=NetworkInput(name=INPUT, dtype="float32", layout="NCDHW"),
        output=NetworkOutput(name=OUTPUT, classes=recipe.network.classes, stride=2 if fitted else 1),
        spacing_zyx=recipe.grid.spacing_zyx,
        tile_zyx=recipe.grid.tile_zyx,
        overlap=recipe.grid.overlap,
        window_hu=recipe.intensity.window_hu,
        mean_hu=recipe.intensity.mean_hu,
        std_hu=recipe.intensity.std_hu,
        tile_multiple=TILE_MULTIPLE if fitted else None,
    )
