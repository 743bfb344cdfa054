"""A folder of models with TensorRT plans added: the ONNX models stay in it, as what to fall back on."""

from __future__ import annotations

import dataclasses
import importlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from attention_dmfnet.model.manifest import Stage, Variant

from export.errors import ExportError
from export.figures import without_absent
from export.release import Release, named_files, sha256
from export.tensorrt_plan import BuildOptions, BuiltPlan, build_plan
from export.weights import standalone

if TYPE_CHECKING:
    from attention_dmfnet.model.manifest import Precision

_log = logging.getLogger(__name__)

RuntimeModule = Literal["tensorrt", "tensorrt_rtx"]
_INSTALL = {"tensorrt": 'pip install "attention-dmfnet[tensorrt]"', "tensorrt_rtx": "pip install tensorrt-rtx-cu13"}


def import_tensorrt(name: RuntimeModule) -> Any:
    """The module ``name``. Raises ``ExportError`` if it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ExportError(f"{name} is not installed ({error}); {_INSTALL[name]}") from error


def add_plans(
    release: Release,
    tensorrt: Any,
    precisions: Sequence[Precision],
    options: BuildOptions,
    report: Callable[[str, BuiltPlan], None],
) -> Release:
    """The release with a plan for each of its ONNX models in ``precisions``; plans that it had are replaced.

    ``report`` hears of each plan's file when it is built. Raises ``ExportError`` if TensorRT refuses a model.
    """
    files = dict(release.files)
    coarse, fine = (
        _stage_with_plans(stage, files, tensorrt, precisions, options, report)
        for stage in (release.manifest.coarse, release.manifest.fine)
    )
    manifest = msgspec.structs.replace(release.manifest, coarse=coarse, fine=fine)
    named = {one.file for one in named_files(manifest)}
    return dataclasses.replace(
        release,
        manifest=manifest,
        files={name: content for name, content in files.items() if name in named},
        figures=without_absent(release.figures, manifest),
    )


def _stage_with_plans(
    stage: Stage,
    files: dict[str, bytes],
    tensorrt: Any,
    precisions: Sequence[Precision],
    options: BuildOptions,
    report: Callable[[str, BuiltPlan], None],
) -> Stage:
    # a plan holds for tiles of one shape
    stage = msgspec.structs.replace(stage, tile_multiple=None)
    models = [variant for variant in stage.variants if variant.plan is None]
    # a plan is as precise as its ONNX model; bfloat16 is OpenVINO's reading of the float32 one
    wanted = [model for model in models if model.precision in precisions and model.precision != "bfloat16"]
    if not wanted:
        raise ExportError(f"none of {', '.join(model.file for model in models)} is {' or '.join(precisions)}")
    plans = []
    for model in wanted:
        file = f"{Path(model.file).stem}.plan"
        _log.info("building %s", file)
        content = files[model.file]
        if stage.weights is not None:
            content = standalone(content, model.file, files[stage.weights.file], stage.weights.file)
        built = build_plan(content, model.file, model.sha256, stage, tensorrt, options)
        files[file] = built.content
        report(file, built)
        plans.append(Variant(file, sha256(built.content), model.precision, None, built.origin))
    return msgspec.structs.replace(stage, variants=(*plans, *models))
