"""Two training runs as a release: the networks' files and the manifest that tells the engine how to use them."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import safetensors.torch
from attention_dmfnet.model.manifest import (
    SCHEMA_VERSION,
    ComponentRule,
    KeepAll,
    KeepHighest,
    KeepLargest,
    KeepParts,
    Manifest,
    NetworkInput,
    NetworkOutput,
    SeenTogether,
    Stage,
    Variant,
    WeightsFile,
)

from evaluation.organs import ORGANS
from export.errors import ExportError
from export.figures import Accuracy, Figures
from export.to_onnx import INPUT, OUTPUT, HalfOrFull, to_onnx
from export.weights import HALF_BITS, half_precision, refer_to_weights
from training.learning.checkpoint import load_trained, recipe_path
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

SEEN_TOGETHER = SeenTogether(
    organs=("pancreas", "right adrenal gland", "left adrenal gland", "gallbladder", "stomach", "duodenum"),
    beside=("liver", "right kidney", "spleen", "left kidney"),
    min_volume_ml=20.0,
)
"""A scan of the upper abdomen shows some of their neighbours; 20 mL is the pole of a kidney, or a slice of a liver."""


@dataclass(frozen=True, slots=True)
class Release:
    """All that belongs together: the manifest, every file that it names, by name, and what lies beside it.

    That is the figures and, by file name, the recipes (TOML) that the networks were trained by, from which they can be
    built again. The engine reads neither.
    """

    manifest: Manifest
    files: dict[str, bytes]
    figures: Figures = field(default_factory=Figures)
    recipes: dict[str, bytes] = field(default_factory=dict)


def build_release(
    coarse_run: Path,
    fine_run: Path,
    release: str,
    precisions: Sequence[HalfOrFull] = ("float32", "float16"),
    accuracy: Sequence[Accuracy] = (),
    significant_bits: int = HALF_BITS,
) -> Release:
    """Export both stages, in every one of ``precisions``; ``accuracy`` is what was measured of them.

    A run is the folder of one, or a release's file of weights with its recipe beside it: exported again, the weights
    stay as they are. A folder's convolutions are rounded to ``significant_bits``.

    Raises ``ExportError`` for a run of the wrong stage, and what ``load_trained`` raises for a broken one.
    """
    files: dict[str, bytes] = {}
    coarse = _export_stage("coarse", coarse_run, release, precisions, significant_bits, files)
    fine = _export_stage("fine", fine_run, release, precisions, significant_bits, files)
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        release=release,
        labels={organ: label for label, organ in enumerate(ORGANS, start=1)},
        roi_margin_mm=ROI_MARGIN_MM,
        components={organ: COMPONENT_RULES[organ] for organ in ORGANS},
        coarse=coarse,
        fine=fine,
        seen_together=SEEN_TOGETHER,
    )
    recipes = {
        recipe_path(Path(f"{stage}.safetensors")).name: recipe_path(run).read_bytes()
        for stage, run in (("coarse", coarse_run), ("fine", fine_run))
    }
    return Release(manifest, files, Figures(accuracy=tuple(accuracy)), recipes)


def named_files(manifest: Manifest) -> list[Variant | WeightsFile]:
    """All that the manifest names a file of; files that serve several variants more than once."""
    stages = (manifest.coarse, manifest.fine)
    variants = [variant for stage in stages for variant in stage.variants]
    return [*variants, *(stage.weights for stage in stages if stage.weights is not None)]


def sha256(content: bytes) -> str:
    """As the manifest writes it."""
    return hashlib.sha256(content).hexdigest()


def _export_stage(
    name: str,
    run: Path,
    release: str,
    precisions: Sequence[HalfOrFull],
    significant_bits: int,
    files: dict[str, bytes],
) -> Stage:
    """Add the stage's weights and graphs to ``files``; returns its part of the manifest."""
    trained = load_trained(run)
    recipe = trained.recipe
    if recipe.stage != name:
        raise ExportError(f"{run} is a run of the {recipe.stage} stage, the {name} one is needed; mind their order")
    weights_file = f"{name}.safetensors"
    weights = files[weights_file] = half_precision(trained.network, significant_bits if run.is_dir() else HALF_BITS)
    trained.network.load_state_dict(safetensors.torch.load(weights))
    metadata = {"release": release, "stage": name, "weights_sha256": sha256(weights)}
    # the coarse network has to be ready before the scan is read, so its tile cannot wait for the scan's size
    fitted = name == "fine"
    variants = []
    for precision in precisions:
        file = f"{name}.onnx" if precision == "float32" else f"{name}.{precision}.onnx"
        _log.info("exporting %s", file)
        model = to_onnx(trained.network, recipe.grid.tile_zyx, precision, metadata, fitted)
        files[file] = refer_to_weights(model, weights, weights_file).SerializeToString(deterministic=True)
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
        weights=WeightsFile(weights_file, sha256(weights)),
    )
