"""The ways in which this machine can compute a stage's network, each to be compared with the original."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import torch
from attention_dmfnet.cpus import available_cpus
from attention_dmfnet.model.loading import load_network
from attention_dmfnet.model.network import Network, NetworkError, Scores, Tile
from attention_dmfnet.model.runtimes import Runtime, find_gpu
from torch import Tensor

if TYPE_CHECKING:
    from attention_dmfnet.model.manifest import BackendName, DeviceName, Precision, Stage, Variant

    from training.network.attention_dmfnet import AttentionDMFNet

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Contender:
    """A variant in a runtime, loaded; the network computes in ``variant.precision``."""

    variant: Variant
    runtime: Runtime
    network: Network


class TorchNetwork:
    """The network as it was trained; see ``attention_dmfnet.model.network.Network``."""

    def __init__(self, network: AttentionDMFNet, stride: int) -> None:
        # as `to_onnx` exports them
        self._forward: Callable[[Tensor], Tensor] = network if stride == 1 else network.half_scores

    def __call__(self, tile: Tile) -> Scores:
        with torch.inference_mode():
            scores: Scores = self._forward(torch.from_numpy(np.ascontiguousarray(tile))[None, None])[0].numpy()
        return scores


def load_contenders(models: Path, stage: Stage) -> list[Contender]:
    """Every variant of ``stage`` in every runtime that computes its precision here without imitating it.

    Of float32 files, OpenVINO makes bfloat16 variants too, whether or not the manifest has them yet. What does not
    load is left out, and the log says why.
    """
    contenders = []
    for variant, backend, device in _ways(stage):
        runtime = Runtime(backend, device, available_cpus(), precision=variant.precision)
        try:
            network = load_network(models, msgspec.structs.replace(stage, variants=(variant,)), runtime, gpu_share=0.5)
        except NetworkError as error:
            _log.warning("not measured: %s in %s: %s", variant.file, backend, error)
            continue
        contenders.append(Contender(variant, runtime, network))
    return contenders


def reference_in_onnxruntime(models: Path, stage: Stage) -> Network:
    """The float32 file in ONNX Runtime on the CPU: what stands in for the trained network where it is not at hand."""
    return load_network(models, stage, Runtime("onnxruntime", "cpu", available_cpus(), precision="float32"))


def _ways(stage: Stage) -> Iterator[tuple[Variant, BackendName, DeviceName]]:
    gpu = find_gpu()
    listed = {(variant.file, variant.precision) for variant in stage.variants}
    for variant in stage.variants:
        if variant.plan is not None:
            if gpu:
                yield variant, "tensorrt", "cuda"
            continue
        if _installed("openvino") and variant.precision in _native_to_openvino():
            yield variant, "openvino", "cpu"
            missing = variant.precision == "float32" and (variant.file, "bfloat16") not in listed
            if missing and "bfloat16" in _native_to_openvino():
                yield msgspec.structs.replace(variant, precision="bfloat16", parity=None), "openvino", "cpu"
        if _installed("onnxruntime") and variant.precision in ("float32", "float16"):
            yield variant, "onnxruntime", "cpu"
            if gpu:
                yield variant, "onnxruntime", "cuda"


def _native_to_openvino() -> tuple[Precision, ...]:
    from attention_dmfnet.model.backend_openvino import native_precisions

    return native_precisions()


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
